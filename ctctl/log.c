/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl log: what was printed on the console, as far as its ring reaches.
 *
 * These are the tenant's bytes. On a terminal, control characters other than newline and tab are escaped, so
 * that an old log plays no tricks with it; into a pipe or a file they go as they are.
 */

#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

struct log_values {
	bool raw;
};

static const struct option_row log_options[] = {
	{ "raw", 0, OPTION_FLAG, NULL, "unchanged bytes, on a terminal too",
	        offsetof(struct log_values, raw) },
	{ 0 },
};

/* One line without its end; a carriage return before the newline is the terminal's and goes. */
static int print_line(const char *line, size_t len)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;

	_cleanup_free_ char *shown = malloc(4 * len + 1);
	if (!shown)
		return -ENOMEM;

	for (size_t at = 0; at <= len; at++) {
		size_t n = 0;
		while (at + n < len && line[at + n] != '\t')
			n++;
		(void)fputs(str_escape_to(shown, 4 * len + 1, line + at, n),
		        stdout); /* finish_output looks at the stream's state */
		at += n;
		(void)putchar(at < len ? '\t' : '\n');
	}

	return 0;
}

static int print_escaped(const char *text, size_t len, struct ct_error *err)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		int r = print_line(text, n);
		if (r < 0)
			return r;
		n += end != NULL;
		text += n;
		len -= n;
	}

	return finish_output(err);
}

/* Bytes that are no UTF-8 become U+FFFD, and what follows a zero byte is lost: JSON has neither. */
static int print_log_json(const struct response *response, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	(void)strbuf_puts(&text, "{\"log\":"); /* failures are kept in the buffer */
	(void)strbuf_json_string(&text, response->body.data);
	(void)strbuf_puts(&text, "}");
	if (text.error < 0)
		return text.error;

	_cleanup_json_ json_t *value = json_loadb(text.data, text.len, 0, NULL);
	return value ? print_json(value, err) : -ENOMEM;
}

static int run_log(struct context *ctx, struct ct_error *err)
{
	struct log_values v = { 0 };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_response_ struct response response = RESPONSE_INIT;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctx->operands[0]);
	(void)path_add_segment(&path, "log");
	if (path.error < 0)
		return path.error;

	r = client_fetch(&ctx->client, path.data, &response, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_log_json(&response, err);
	if (isatty(STDOUT_FILENO) && !v.raw)
		return print_escaped(response.body.data ? response.body.data : "", response.body.len, err);

	r = write_all(STDOUT_FILENO, response.body.data, response.body.len);
	return r < 0 ? ct_error_kind_set(
	                       err, CT_ERROR_FAILED, r, "cannot write to standard output: %s", strerror(-r))
	             : 0;
}

const struct command command_log = {
	.name = "log",
	.operands = "NAME",
	.summary = "Print what the console showed, also of a stopped container",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = log_options,
	.run = run_log,
};
