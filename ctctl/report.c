/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl report: a page of HTML with charts of what containers used, to be kept or sent.
 *
 * One file and nothing beside it: style and charts (SVG) are in the page, there is no script, and the page
 * forbids its reader to load anything. Every text from outside is escaped for HTML. Charts are bars, each
 * with its figure as a title, all drawn here from the ledger's rows.
 *
 * The page is written beside its place and moved there when it is whole. Root is who runs this: a place that
 * is no plain file (/dev/null, /dev/stdout, a pipe) is written to instead, never replaced.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/history.h"

#define CHART_WIDTH  600
#define CHART_HEIGHT 90

struct report_values {
	const char *html;
};

static const struct option_row report_options[] = {
	{ "html", 'o', OPTION_STRING, "FILE", "where the page is written; - is standard output",
	        offsetof(struct report_values, html) },
	{ 0 },
};

static const char page_head[] =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<style>body{font:14px sans-serif;margin:2em auto;max-width:660px;color:#222}"
        "h2{margin-top:2.5em;border-bottom:1px solid #ccc}h3{margin-bottom:.3em}"
        "svg{display:block;width:100%;background:#f6f6f6}rect{fill:#36c}figure{margin:.8em 0}"
        "figcaption,.small{color:#555;font-size:12px}</style>\n";

/* Failures are kept in the buffer. */
static void add_escaped(struct strbuf *b, const char *text)
{
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;

		switch (c) {
		case '<': (void)strbuf_puts(b, "&lt;"); break;
		case '>': (void)strbuf_puts(b, "&gt;"); break;
		case '&': (void)strbuf_puts(b, "&amp;"); break;
		case '"': (void)strbuf_puts(b, "&quot;"); break;
		case '\'': (void)strbuf_puts(b, "&#39;"); break;
		default: (void)strbuf_putc(b, c < 0x20 || c == 0x7f ? ' ' : (char)c);
		}
	}
}

static void add_time(struct strbuf *b, int64_t time)
{
	char text[32];

	(void)strbuf_puts(b, format_time_utc(text, sizeof(text), (uint64_t)time * USEC_PER_SEC));
}

static void add_bar(struct strbuf *b, const struct history *h, enum history_kind kind, size_t at, double most)
{
	const double width = (double)CHART_WIDTH / (double)h->n;
	const double height = fmin(h->of[kind][at] / most, 1) * CHART_HEIGHT;
	char value[48];

	(void)strbuf_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
	        (double)at * width, CHART_HEIGHT - height, width - 1, height);
	add_time(b, h->start + (int64_t)at * h->step);
	(void)strbuf_printf(
	        b, ": %s</title></rect>", history_format(value, sizeof(value), kind, h->of[kind][at]));
}

static void add_chart(struct strbuf *b, const struct history *h, enum history_kind kind)
{
	const double most = history_most(h, kind);
	char mean_text[48], most_text[48];

	(void)strbuf_printf(b,
	        "<figure><figcaption>%s: mean %s, most %s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\">",
	        history_kinds[kind].title,
	        history_format(mean_text, sizeof(mean_text), kind, history_mean(h, kind)),
	        history_format(most_text, sizeof(most_text), kind, most), CHART_WIDTH, CHART_HEIGHT);
	for (size_t at = 0; most > 0 && at < h->n; at++)
		if (h->of[kind][at] > 0)
			add_bar(b, h, kind, at, most);
	(void)strbuf_puts(b, "</svg></figure>\n");
}

static void add_charts(struct strbuf *b, const struct history spans[_HISTORY_SPAN_MAX])
{
	for (unsigned span = HISTORY_DAY; span < _HISTORY_SPAN_MAX; span++) {
		(void)strbuf_printf(b, "<h3>Last %s</h3>\n<p class=\"small\">From ", history_spans[span]);
		add_time(b, spans[span].start);
		(void)strbuf_puts(b, " (UTC)</p>\n");
		for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++)
			add_chart(b, &spans[span], i);
	}
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

static void add_heading(struct strbuf *b, const char *name, const json_t *container)
{
	const char *owner = text_of(json_object_get(container, "config"), "owner");

	(void)strbuf_puts(b, "<h2>");
	add_escaped(b, name);
	(void)strbuf_puts(b, "</h2>\n");
	if (!container)
		return;
	(void)strbuf_puts(b, "<p class=\"small\">");
	if (*owner) {
		(void)strbuf_puts(b, "Owner ");
		add_escaped(b, owner);
		(void)strbuf_puts(b, " · ");
	}
	add_escaped(b, text_of(container, "ctid"));
	(void)strbuf_puts(b, "</p>\n");
}

static int fetch_all(struct client *client, const char *name, int64_t now,
        struct history spans[_HISTORY_SPAN_MAX], struct ct_error *err)
{
	int r = 0;

	for (unsigned span = HISTORY_DAY; r >= 0 && span < _HISTORY_SPAN_MAX; span++)
		r = history_fetch(client, name, span, now, &spans[span], err);
	return r;
}

static const json_t *find(const json_t *containers, const char *name)
{
	const json_t *c;
	size_t i;

	json_array_foreach(containers, i, c)
	{
		if (str_eq(text_of(c, "name"), name) || str_eq(text_of(c, "ctid"), name))
			return c;
	}
	return NULL;
}

/* Those that are named; their ledger may outlive them. */
static int add_named(
        struct strbuf *b, struct context *ctx, const json_t *containers, int64_t now, struct ct_error *err)
{
	for (size_t i = 0; i < ctx->n_operands; i++) {
		struct history spans[_HISTORY_SPAN_MAX];
		int r = fetch_all(&ctx->client, ctx->operands[i], now, spans, err);

		if (r < 0)
			return r;
		add_heading(b, ctx->operands[i], find(containers, ctx->operands[i]));
		add_charts(b, spans);
	}
	return 0;
}

/* All that are there now, which is not all that the node did: their sum, and then each. */
static int add_node(
        struct strbuf *b, struct context *ctx, const json_t *containers, int64_t now, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf each = STRBUF_INIT;
	struct history sum[_HISTORY_SPAN_MAX] = { 0 };
	const json_t *c;
	size_t i, n = 0;

	json_array_foreach(containers, i, c)
	{
		struct history spans[_HISTORY_SPAN_MAX];
		int r = fetch_all(&ctx->client, text_of(c, "ctid"), now, spans, err);

		if (r < 0 && err->kind == CT_ERROR_NOT_FOUND)
			continue; /* destroyed meanwhile, or not in the ledger yet */
		if (r < 0)
			return r;
		n++;
		for (unsigned span = HISTORY_DAY; span < _HISTORY_SPAN_MAX; span++) {
			if (sum[span].n == 0)
				sum[span] = spans[span];
			else
				history_add(&sum[span], &spans[span]);
		}
		add_heading(&each, text_of(c, "name"), c);
		add_charts(&each, spans);
	}
	(void)strbuf_printf(b, "<h2>All containers that are there now: %zu</h2>\n", n);
	if (n > 0)
		add_charts(b, sum);
	(void)strbuf_puts(b, each.data ? each.data : "");
	return each.error;
}

static void begin_page(struct strbuf *b, int64_t now)
{
	char host[65] = "";

	(void)gethostname(host, sizeof(host) - 1); /* cut short is fine */
	(void)strbuf_puts(b, page_head);
	(void)strbuf_puts(b, "<title>Use of ");
	add_escaped(b, host);
	(void)strbuf_puts(b, "</title></head><body>\n<h1>Use of ");
	add_escaped(b, host);
	(void)strbuf_puts(b, "</h1>\n<p class=\"small\">Made ");
	add_time(b, now);
	(void)strbuf_puts(b, " (UTC) from the ledger; bars are hours or days.</p>\n");
}

static int cannot_write(struct ct_error *err, const char *path, int r)
{
	return ct_error_kind_set(err, CT_ERROR_FAILED, r, "cannot write \"%s\": %s", path, strerror(-r));
}

/* A device, a pipe, a link such as /dev/stdout: what stands there is written to, and stays. */
static int write_into(const char *path, const struct strbuf *b, struct ct_error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
	int r = fd < 0 ? -errno : write_all(fd, b->data, b->len);

	return r < 0 ? cannot_write(err, path, r) : 0;
}

/* Who may read it stays as it was. */
static int write_part(int fd, const struct strbuf *b, const struct stat *old)
{
	if (old && fchown(fd, old->st_uid, old->st_gid) < 0)
		return -errno;
	if (old && fchmod(fd, old->st_mode & 0777) < 0)
		return -errno;
	return write_all(fd, b->data, b->len);
}

static int write_file(const char *path, const struct strbuf *b, struct ct_error *err)
{
	_cleanup_free_ char *part = str_printf("%s.part.%d", path, (int)getpid());
	_cleanup_close_ int fd = -1;
	struct stat old;
	bool is_there = lstat(path, &old) == 0;
	int r;

	if (!part)
		return ct_error_set(err, -ENOMEM, "report", "out of memory");
	if (is_there && !S_ISREG(old.st_mode))
		return write_into(path, b, err);
	/* It names owners: a new one is for who made it. */
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return cannot_write(err, path, -errno);
	r = write_part(fd, b, is_there ? &old : NULL);
	if (r >= 0 && rename(part, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(part); /* what is left of it is told by its name */
		return cannot_write(err, path, r);
	}
	return 0;
}

static int write_page(const char *path, const struct strbuf *b, struct ct_error *err)
{
	int r;

	if (!str_eq(path, "-"))
		return write_file(path, b, err);
	r = write_all(STDOUT_FILENO, b->data, b->len);
	return r < 0 ? ct_error_set(err, r, "report", "cannot write the page: %s", strerror(-r)) : 0;
}

static int run_report(struct context *ctx, struct ct_error *err)
{
	const int64_t now = (int64_t)(now_realtime_usec() / USEC_PER_SEC);
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_json_ json_t *list = NULL;
	struct report_values v = { 0 };
	const json_t *containers;
	int r;

	r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (!v.html || !*v.html)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "--html FILE is missing");
	r = client_call(&ctx->client, "GET", "/v1/containers", NULL, &list, err);
	if (r < 0)
		return r;
	containers = json_object_get(list, "containers");
	begin_page(&b, now);
	r = ctx->n_operands ? add_named(&b, ctx, containers, now, err)
	                    : add_node(&b, ctx, containers, now, err);
	if (r >= 0)
		r = strbuf_puts(&b, "</body></html>\n");
	if (r < 0)
		return err->code ? r : ct_error_set(err, r, "report", "out of memory");
	r = write_page(v.html, &b, err);
	if (r >= 0 && ctx->json && !str_eq(v.html, "-"))
		(void)printf("{}\n");
	return r;
}

const struct command command_report = {
	.name = "report",
	.operands = "[NAME]...",
	.summary = "Write a page with charts of what containers used",
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = report_options,
	.run = run_report,
};
