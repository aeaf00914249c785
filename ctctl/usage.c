/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl usage: what containers used, from the daemon's ledger.
 *
 * The table is for people and rounds; --json is the answer of the API and --csv has the same whole numbers,
 * one line for each row, so that both can be added up without an error.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"
#include "ctctl/table.h"
#include "ctctl/times.h"

#define KIB_SECONDS_PER_GIB_HOUR (1048576.0 * 3600)
#define CLASSES_MAX              16

struct usage_values {
	const char *from, *to, *by;
	bool all, csv;
};

static const struct option_row usage_options[] = {
	{ "all", 'a', OPTION_FLAG, NULL, "of all containers, also destroyed ones (so without NAME)",
	        offsetof(struct usage_values, all) },
	{ "from", 'f', OPTION_STRING, "TIME", "rows that begin at this time or later",
	        offsetof(struct usage_values, from) },
	{ "to", 't', OPTION_STRING, "TIME", "rows that begin before this time",
	        offsetof(struct usage_values, to) },
	{ "by", 'b', OPTION_STRING, "ROWS", "interval, hour, day or period (default)",
	        offsetof(struct usage_values, by) },
	{ "csv", 0, OPTION_FLAG, NULL, "as comma-separated values", offsetof(struct usage_values, csv) },
	{ 0 },
};

static double number(const json_t *row, const char *key)
{
	return (double)json_integer_value(json_object_get(row, key));
}

static void add_size(struct table *t, const json_t *row, const char *key)
{
	char text[32];

	table_add(
	        t, format_size(text, sizeof(text), (uint64_t)json_integer_value(json_object_get(row, key))));
}

static void add_duration(struct table *t, double usec)
{
	char text[32];

	table_add(t, usec > 0 ? format_duration(text, sizeof(text), (uint64_t)usec) : NULL);
}

/* What went in and out in each class of traffic. */
static void add_classes(struct table *t, const json_t *row)
{
	const json_t *class;
	const char *name;

	json_object_foreach(json_object_get(row, "classes"), name, class)
	{
		add_size(t, class, "in_bytes");
		add_size(t, class, "out_bytes");
	}
}

static void add_counts(struct table *t, const json_t *row)
{
	add_duration(t, number(row, "cpu_user_usec") + number(row, "cpu_system_usec"));
	table_add_format(t, "%.3f", number(row, "memory_kib_seconds") / KIB_SECONDS_PER_GIB_HOUR);
	table_add_format(t, "%.3f", number(row, "disk_used_kib_seconds") / KIB_SECONDS_PER_GIB_HOUR);
	table_add_format(t, "%.3f", number(row, "disk_sold_kib_seconds") / KIB_SECONDS_PER_GIB_HOUR);
	add_size(t, row, "read_bytes");
	add_size(t, row, "write_bytes");
	add_size(t, row, "net_in_bytes");
	add_size(t, row, "net_out_bytes");
	add_duration(t, number(row, "running_usec"));
	add_duration(t, number(row, "gap_usec"));
	add_classes(t, row);
}

static void add_container(struct table *t, const json_t *c)
{
	const json_t *rows = json_object_get(c, "rows"), *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		table_add_json(t, json_object_get(c, "name"));
		table_add_json(t, json_object_get(row, "start"));
		add_counts(t, row);
	}
	if (json_array_size(rows) == 1)
		return;
	table_add_json(t, json_object_get(c, "name"));
	table_add(t, "sum");
	add_counts(t, json_object_get(c, "sum"));
}

#define COLUMNS 12

/* All rows have the same classes: two columns for each. */
static int add_headings(const char **headings, size_t max, char **names, const json_t *containers)
{
	const json_t *classes =
	        json_object_get(json_object_get(json_array_get(containers, 0), "total"), "classes");
	const json_t *class;
	const char *name;
	size_t n = 0;

	json_object_foreach((json_t *)classes, name, class)
	{
		if (COLUMNS + n + 2 >= max)
			break; /* more than a daemon can have */
		names[n] = str_printf("IN-%s", name);
		names[n + 1] = str_printf("OUT-%s", name);
		if (!names[n] || !names[n + 1])
			return -ENOMEM;
		headings[COLUMNS + n] = names[n];
		headings[COLUMNS + n + 1] = names[n + 1];
		n += 2;
	}
	return 0;
}

static int print_table(const json_t *containers, struct ct_error *err)
{
	const char *headings[COLUMNS + 2 * CLASSES_MAX + 1] = { "NAME", "FROM", "CPU", "MEMORY-GiBh",
		"DISK-GiBh", "SOLD-GiBh", "READ", "WRITTEN", "IN", "OUT", "RAN", "GAP" };
	char *names[2 * CLASSES_MAX + 2] = { NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *c;
	size_t i;
	int r;

	r = add_headings(headings, ARRAY_SIZE(headings), names, containers);
	if (r >= 0) {
		table_init(&t, headings);
		json_array_foreach(containers, i, c) add_container(&t, c);
		r = table_print(&t, err);
	} else {
		r = ct_error_set(err, r, "usage", "out of memory");
	}
	for (i = 0; i < ARRAY_SIZE(names); i++)
		free(names[i]);
	return r;
}

/* A line's part for one class: its heading, or its values. A class may be named like a part of another column
 * (net), so its own say what they are. */
static void print_csv_class(const char *name, const json_t *class, bool heading)
{
	const json_t *value;
	const char *key;

	json_object_foreach((json_t *)class, key, value)
	{
		if (heading)
			(void)printf(",class_%s_%s", name, key);
		else
			(void)printf(",%" JSON_INTEGER_FORMAT, json_integer_value(value));
	}
}

static void print_csv_row(const json_t *c, const json_t *row, bool heading)
{
	const char *key;
	const json_t *value;
	char name[256];
	const char *text = json_string_value(json_object_get(c, "name")) ?: "";

	if (heading)
		(void)printf("ctid,name"); /* finish_output looks at the stream, here and below */
	else
		(void)printf("%s,%s", json_string_value(json_object_get(c, "ctid")) ?: "",
		        str_escape_to(name, sizeof(name), text, strlen(text)));
	/* Times and numbers: nothing that would need quotes; a container's name has none of it either. */
	json_object_foreach((json_t *)row, key, value)
	{
		if (json_is_object(value))
			continue;
		if (heading)
			(void)printf(",%s", key);
		else if (json_is_string(value))
			(void)printf(",%s", json_string_value(value));
		else
			(void)printf(",%" JSON_INTEGER_FORMAT, json_integer_value(value));
	}
	json_object_foreach(json_object_get(row, "classes"), key, value) print_csv_class(key, value, heading);
	(void)putchar('\n');
}

static int print_csv(const json_t *containers, struct ct_error *err)
{
	bool heading = true;
	const json_t *c, *row;
	size_t i, k;

	json_array_foreach(containers, i, c) json_array_foreach(json_object_get(c, "rows"), k, row)
	{
		if (heading)
			print_csv_row(c, row, true);
		heading = false;
		print_csv_row(c, row, false);
	}

	return finish_output(err);
}

static int build_path(
        struct strbuf *path, const struct context *ctx, const struct usage_values *v, struct ct_error *err)
{
	int r;

	(void)strbuf_puts(path, "/v1/usage"); /* failures are kept in the buffer */
	if (ctx->n_operands > 0)
		(void)path_add_query(path, "container", ctx->operands[0]);
	if (v->by)
		(void)path_add_query(path, "by", v->by);
	r = path_add_time(path, "from", v->from, err);
	if (r >= 0)
		r = path_add_time(path, "to", v->to, err);
	return r < 0 ? r : path->error;
}

static int run_usage(struct context *ctx, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;
	struct usage_values v = { 0 };

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.all && ctx->n_operands > 0)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "--all and the name of a container exclude each other");
	if (v.csv && ctx->json)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "--csv and --json exclude each other");

	r = build_path(&path, ctx, &v, err);
	if (r >= 0)
		r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	const json_t *containers = json_object_get(answer, "containers");
	return v.csv ? print_csv(containers, err) : print_table(containers, err);
}

const struct command command_usage = {
	.name = "usage",
	.operands = "[NAME]",
	.summary = "Print what containers used, hour by hour or for an invoice",
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = usage_options,
	.run = run_usage,
};
