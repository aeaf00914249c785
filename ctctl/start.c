/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl start: starts containers, and with --trace says where the time of each start went.
 *
 * ctd counts from the recording of the job to the moment that init has been executed; the rest of what the
 * call took is the way there and back, and stands in a line of its own, so the lines add up to what the user
 * waited.
 */

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

struct start_values {
	bool trace;
};

static const struct option_row start_options[] = {
	{ "trace", 0, OPTION_FLAG, NULL, "say where the time of the start went",
	        offsetof(struct start_values, trace) },
	{ 0 },
};

static void add_row(struct table *t, const char *name, uint64_t usec, uint64_t whole, const char *what)
{
	table_add(t, name);
	table_add_format(t, "%.3f ms", (double)usec / USEC_PER_MSEC);
	table_add_format(t, "%.0f %%", whole ? 100 * (double)usec / (double)whole : 0);
	table_add(t, what);
}

static int print_trace(const char *name, const json_t *answer, uint64_t usec, struct ct_error *err)
{
	static const char *const headings[] = { "PHASE", "TIME", "SHARE", "WHAT", NULL };
	const json_t *trace = json_object_get(answer, "trace"), *phase;
	const uint64_t inside = (uint64_t)json_integer_value(json_object_get(trace, "total_us"));
	const uint64_t whole = usec > inside ? usec : inside;
	_cleanup_table_ struct table t = { 0 };
	size_t i;

	if (!trace) {
		(void)printf("\"%s\" was running already\n", name); /* finish_output looks at the stream */
		return finish_output(err);
	}

	table_init(&t, headings);
	json_array_foreach(json_object_get(trace, "phases"), i, phase)
	{
		add_row(&t, json_string_value(json_object_get(phase, "name")),
		        (uint64_t)json_integer_value(json_object_get(phase, "us")), whole,
		        json_string_value(json_object_get(phase, "what")));
	}
	add_row(&t, "call", whole - inside, whole, "ctctl's call, recording the end of the job, the answer");
	add_row(&t, "all", whole, whole, name);
	return table_print(&t, err);
}

static int run_start(struct context *ctx, struct ct_error *err)
{
	struct start_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.trace) {
		body = json_pack("{s:b}", "trace", 1);
		if (!body)
			return -ENOMEM;
	}

	return command_each_container(ctx, "POST", "start", body, v.trace ? print_trace : NULL, err);
}

const struct command command_start = {
	.name = "start",
	.operands = "NAME...",
	.summary = "Start containers",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = start_options,
	.run = run_start,
};
