/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl stats: small graphs of what a container used, in the terminal, from the daemon's ledger.
 *
 * Each line is one kind of use, scaled to its own most; eighths of a block where the locale has UTF-8, else
 * signs of ASCII. What it uses at this moment is in ctctl top.
 */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/history.h"
#include "ctctl/table.h"

#define LEVELS 9

struct stats_values {
	const char *last;
};

static const struct option_row stats_options[] = {
	{ "last", 'l', OPTION_STRING, "SPAN", "only the last hour, day or month",
	        offsetof(struct stats_values, last) },
	{ 0 },
};

static bool has_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strcasestr(value, "UTF-8") || strcasestr(value, "utf8");
	}
	return false;
}

/* finish_output looks at the stream, here and below. */
static void print_graph(const struct history *h, enum history_kind kind)
{
	static const char *const blocks[LEVELS] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const signs[LEVELS] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	const char *const *levels = has_utf8() ? blocks : signs;
	const double most = history_most(h, kind);

	for (size_t at = 0; at < h->n; at++) {
		const double share = most > 0 ? fmin(h->of[kind][at] / most, 1) : 0;

		/* What is more than nothing is seen. */
		(void)fputs(levels[(unsigned)ceil(share * (LEVELS - 1))], stdout);
	}
}

static void print_span(const struct history *h, enum history_span span)
{
	char text[32], now[48], mean[48], most[48];

	(void)printf("last %s, from %s\n", history_spans[span],
	        format_time_utc(text, sizeof(text), (uint64_t)h->start * USEC_PER_SEC));
	for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++) {
		(void)printf("%-8s |", history_kinds[i].label);
		print_graph(h, i);
		(void)printf("| last %s  mean %s  most %s\n",
		        history_format(now, sizeof(now), i, h->of[i][h->n - 1]),
		        history_format(mean, sizeof(mean), i, history_mean(h, i)),
		        history_format(most, sizeof(most), i, history_most(h, i)));
	}
}

static json_t *to_json(const struct history *h)
{
	json_t *points = json_array();
	char text[32];

	for (size_t at = 0; points && at < h->n; at++) {
		const int64_t start = h->start + (int64_t)at * h->step;
		json_t *point = json_object();

		(void)json_object_set_new(point, "start",
		        json_string(format_time_utc(text, sizeof(text), (uint64_t)start * USEC_PER_SEC)));
		(void)json_object_set_new(point, "seconds", json_integer((json_int_t)h->seconds[at]));
		for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++)
			(void)json_object_set_new(point, history_kinds[i].key, json_real(h->of[i][at]));
		if (json_array_append_new(points, point) < 0)
			break; /* out of memory: told by who misses it */
	}
	return points;
}

static int parse_span(const char *text, unsigned *ret_first, unsigned *ret_last, struct ct_error *err)
{
	*ret_first = 0;
	*ret_last = _HISTORY_SPAN_MAX - 1;
	if (!text)
		return 0;
	for (unsigned i = 0; i < _HISTORY_SPAN_MAX; i++)
		if (str_eq(text, history_spans[i])) {
			*ret_first = *ret_last = i;
			return 0;
		}
	return ct_error_kind_set(
	        err, CT_ERROR_USAGE, -EINVAL, "--last takes hour, day or month, not \"%.40s\"", text);
}

static int run_stats(struct context *ctx, struct ct_error *err)
{
	const int64_t now = (int64_t)(now_realtime_usec() / USEC_PER_SEC);
	_cleanup_json_ json_t *all = json_object();
	struct stats_values v = { 0 };
	unsigned first, last;
	int r;

	r = options_parse(ctx, &v, NULL, err);
	if (r >= 0)
		r = parse_span(v.last, &first, &last, err);
	if (r < 0)
		return r;
	for (unsigned span = first; span <= last; span++) {
		struct history h;

		r = history_fetch(&ctx->client, ctx->operands[0], span, now, &h, err);
		if (r < 0)
			return r;
		if (ctx->json && json_object_set_new(all, history_spans[span], to_json(&h)) < 0)
			return ct_error_set(err, -ENOMEM, "stats", "out of memory");
		if (ctx->json)
			continue;
		if (span != first)
			(void)putchar('\n');
		print_span(&h, span);
	}
	return ctx->json ? print_json(all, err) : finish_output(err);
}

const struct command command_stats = {
	.name = "stats",
	.operands = "NAME",
	.summary = "Draw what a container used in the last hour, day and month",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = stats_options,
	.run = run_stats,
};
