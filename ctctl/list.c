/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl list.
 */

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

struct list_values {
	const char *state;
	bool quiet;
};

static const struct option_row list_options[] = {
	{ "state", 's', OPTION_STRING, "STATE", "only those in this state: stopped, running, frozen ...",
	        offsetof(struct list_values, state) },
	{ "quiet", 'q', OPTION_FLAG, NULL, "names only", offsetof(struct list_values, quiet) },
	{ 0 },
};

/* The state with its marks: "stopped (disabled)". */
static void add_state(struct table *t, const json_t *container)
{
	const json_t *marks = json_object_get(container, "marks");
	_cleanup_free_ char *state = json_to_text(json_object_get(container, "state"));
	_cleanup_free_ char *text = json_to_text(marks);

	if (!state || !text)
		t->error = -ENOMEM;
	else if (*text)
		table_add_format(t, "%s (%s)", state, text);
	else
		table_add(t, state);
}

static void add_container(struct table *t, const json_t *c, uint64_t now)
{
	const json_t *config = json_object_get(c, "config");
	char age[32];

	table_add_json(t, json_object_get(c, "name"));
	add_state(t, c);
	table_add_json(t, json_object_get(json_object_get(c, "template"), "name"));
	table_add_json(t, json_object_get(c, "addresses"));
	table_add(t, json_is_true(json_object_get(config, "autostart")) ? "yes" : "no");
	table_add(t, age_of(age, sizeof(age), json_string_value(json_object_get(c, "created")), now));
}

static int print_table(const json_t *containers, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "STATE", "TEMPLATE", "ADDRESSES", "AUTOSTART", "AGE",
		NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *c;
	size_t i;

	table_init(&t, headings);
	json_array_foreach(containers, i, c) add_container(&t, c, now_realtime_usec());

	return table_print(&t, err);
}

static int print_names(const json_t *containers, struct ct_error *err)
{
	const json_t *c;
	size_t i;

	json_array_foreach(containers, i, c)
	{
		const char *name = json_string_value(json_object_get(c, "name"));
		char text[256];

		if (name)
			(void)puts(str_escape_to(text, sizeof(text), name,
			        strlen(name))); /* finish_output looks at the stream */
	}

	return finish_output(err);
}

static int run_list(struct context *ctx, struct ct_error *err)
{
	struct list_values v = { 0 };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	if (v.state)
		(void)path_add_query(&path, "state", v.state);
	if (path.error < 0)
		return path.error;

	r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	const json_t *containers = json_object_get(answer, "containers");
	return v.quiet ? print_names(containers, err) : print_table(containers, err);
}

const struct command command_list = {
	.name = "list",
	.operands = "",
	.summary = "List containers",
	.options = list_options,
	.run = run_list,
};
