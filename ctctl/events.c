/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl events and ctctl audit: one line for each row, oldest first.
 *
 * --follow is a long poll from the last id that was seen; over a restart of the daemon it waits for the new
 * one and goes on where it was, because ids are never used twice. With --json each row is an object on a line
 * of its own while following.
 */

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"
#include "ctctl/times.h"

#define WAIT_SEC      30
#define RECONNECT_SEC 30

struct events_values {
	int64_t after;
	int64_t limit;
	const char *type, *from, *to;
	bool follow;
};

#define TIMES_ROWS                                                                                           \
	{ "from", 0, OPTION_STRING, "TIME", "only what was at this time or later",                           \
		offsetof(struct events_values, from) },                                                      \
	{                                                                                                    \
		"to", 0, OPTION_STRING, "TIME", "only what was before this time",                            \
		        offsetof(struct events_values, to)                                                   \
	}

static const struct option_row events_options[] = {
	{ "after", 'a', OPTION_INT, "ID", "only what came after this one",
	        offsetof(struct events_values, after) },
	{ "type", 't', OPTION_STRING, "TYPE", "only this type, or with a dot at its end all that begin so",
	        offsetof(struct events_values, type) },
	TIMES_ROWS,
	{ "limit", 'n', OPTION_INT, "N", "at most this many", offsetof(struct events_values, limit) },
	{ "follow", 'f', OPTION_FLAG, NULL, "go on with what happens from now",
	        offsetof(struct events_values, follow) },
	{ 0 },
};

static const struct option_row audit_options[] = {
	{ "after", 'a', OPTION_INT, "ID", "only what came after this one",
	        offsetof(struct events_values, after) },
	{ "operation", 'o', OPTION_STRING, "OPERATION", "only this operation, such as containerStart",
	        offsetof(struct events_values, type) },
	TIMES_ROWS,
	{ "limit", 'n', OPTION_INT, "N", "at most this many", offsetof(struct events_values, limit) },
	{ 0 },
};

static void add_number(struct strbuf *path, const char *key, int64_t value)
{
	char number[32];

	(void)snprintf(number, sizeof(number), "%lld", (long long)value);
	if (value >= 0)
		(void)path_add_query(path, key, number); /* failures are kept in the buffer */
}

/* What the API calls the operand and the type. */
struct events_names {
	const char *path, *of, *type;
};

static const struct events_names events_names = { "/v1/events", "container", "type" };
static const struct events_names audit_names = { "/v1/audit", "object", "operation" };

static int build_path(struct strbuf *path, const struct context *ctx, const struct events_names *names,
        const struct events_values *v, bool wait, struct ct_error *err)
{
	int r;

	(void)strbuf_puts(path, names->path);
	add_number(path, "after", v->after);
	add_number(path, "limit", v->limit);
	if (ctx->n_operands > 0)
		(void)path_add_query(path, names->of, ctx->operands[0]);
	if (v->type)
		(void)path_add_query(path, names->type, v->type);
	r = path_add_time(path, "from", v->from, err);
	if (r >= 0)
		r = path_add_time(path, "to", v->to, err);
	if (wait)
		add_number(path, "wait", WAIT_SEC);
	return r < 0 ? r : path->error;
}

static int get_rows(struct context *ctx, const struct events_names *names, const struct events_values *v,
        bool wait, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	int r = build_path(&path, ctx, names, v, wait, err);
	if (r < 0)
		return r;

	return client_call(&ctx->client, "GET", path.data, NULL, ret, err);
}

static void print_escaped(const char *text, const char *after)
{
	char shown[1024];

	(void)printf("%s%s", str_escape_to(shown, sizeof(shown), text, strlen(text)),
	        after); /* finish_output looks at the stream's state */
}

static void print_json_field(const json_t *value, const char *after)
{
	_cleanup_free_ char *text = json_to_text(value);

	print_escaped(str_empty(text) ? "-" : text, after);
}

/* detail as key=value words. */
static void print_detail(const json_t *detail)
{
	const char *key;
	const json_t *value;

	if (!json_is_object(detail)) {
		if (detail && !json_is_null(detail)) {
			(void)putchar(' ');
			print_json_field(detail, "");
		}
		return;
	}

	json_object_foreach((json_t *)detail, key, value)
	{
		(void)putchar(' ');
		print_escaped(key, "=");
		print_json_field(value, "");
	}
}

static void print_event(const json_t *event)
{
	print_json_field(json_object_get(event, "time"), " ");
	print_json_field(json_object_get(event, "type"), " ");
	print_json_field(json_object_get(event, "name"), "");
	print_detail(json_object_get(event, "detail"));
	(void)putchar('\n');
}

/* after becomes what is to be asked after for more. */
static int print_events(
        struct context *ctx, const json_t *answer, struct events_values *v, struct ct_error *err)
{
	const json_int_t last = json_integer_value(json_object_get(answer, "last"));
	const json_t *event;
	size_t i;

	if (last > v->after)
		v->after = last;
	json_array_foreach(json_object_get(answer, "events"), i, event)
	{
		const json_int_t id = json_integer_value(json_object_get(event, "id"));
		if (id > v->after) /* of a daemon that does not tell the last */
			v->after = id;
		if (!ctx->json)
			print_event(event);
		else if (print_json_line(event) < 0)
			break;
	}

	return finish_output(err);
}

/* The daemon is gone: tries again each second, for as long as a restart may take. */
static int get_rows_again(
        struct context *ctx, const struct events_values *v, json_t **ret, struct ct_error *err)
{
	int r = -ECONNREFUSED;

	for (int i = 0; i < RECONNECT_SEC; i++) {
		*err = (struct ct_error){ 0 };
		ctx->client.unreachable = false;
		r = get_rows(ctx, &events_names, v, false, ret, err);
		if (r == 0 || !ctx->client.unreachable)
			return r;
		(void)nanosleep(
		        &(struct timespec){ .tv_sec = 1 }, NULL); /* cut short by a signal: we look earlier */
	}

	return r;
}

static int follow_events(struct context *ctx, struct events_values *v, struct ct_error *err)
{
	for (;;) {
		_cleanup_json_ json_t *answer = NULL;

		int r = get_rows(ctx, &events_names, v, true, &answer, err);
		if (r == -ECONNRESET || r == -EPIPE || ctx->client.unreachable)
			r = get_rows_again(ctx, v, &answer, err);
		if (r < 0)
			return r;

		r = print_events(ctx, answer, v, err);
		if (r < 0)
			return r;
	}
}

static int run_events(struct context *ctx, struct ct_error *err)
{
	struct events_values v = { .after = -1, .limit = -1 };
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	if (v.follow && v.to)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "--follow and --to exclude each other");

	r = get_rows(ctx, &events_names, &v, false, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json && !v.follow)
		return print_json(answer, err);

	r = print_events(ctx, answer, &v, err);
	if (r < 0 || !v.follow)
		return r;

	v.limit = -1;
	return follow_events(ctx, &v, err);
}

static int print_audit(const json_t *rows, struct ct_error *err)
{
	static const char *const headings[] = { "ID", "TIME", "UID", "PID", "OPERATION", "OBJECT", "STATUS",
		"MESSAGE", NULL };
	static const char *const keys[] = { "id", "time", "uid", "pid", "operation", "object", "status",
		"message" };
	_cleanup_table_ struct table t = { 0 };
	const json_t *row;
	size_t i;

	table_init(&t, headings);
	json_array_foreach(rows, i, row) for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
	        table_add_json(&t, json_object_get(row, keys[k]));

	return table_print(&t, err);
}

static int run_audit(struct context *ctx, struct ct_error *err)
{
	struct events_values v = { .after = -1, .limit = -1 };
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	r = get_rows(ctx, &audit_names, &v, false, &answer, err);
	if (r < 0)
		return r;

	return ctx->json ? print_json(answer, err) : print_audit(json_object_get(answer, "audit"), err);
}

const struct command command_events = {
	.name = "events",
	.operands = "[NAME]",
	.summary = "Print what happened",
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = events_options,
	.run = run_events,
};

const struct command command_audit = {
	.name = "audit",
	.operands = "[NAME]",
	.summary = "Print who changed what, with which result",
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = audit_options,
	.run = run_audit,
};
