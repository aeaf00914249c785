/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl fsck: differences between what is recorded and what is. The exit status is 0 only if none is left.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

struct fsck_values {
	bool repair;
};

static const struct option_row fsck_options[] = {
	{ "repair", 'r', OPTION_FLAG, NULL, "mend every difference", offsetof(struct fsck_values, repair) },
	{ 0 },
};

static int print_differences(const json_t *differences, struct ct_error *err)
{
	static const char *const headings[] = { "KIND", "OBJECT", "REPAIRED", "DIFFERENCE", NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *d;
	size_t i;

	if (json_array_size(differences) == 0) {
		(void)puts("no differences"); /* finish_output looks at the stream's state */
		return finish_output(err);
	}

	table_init(&t, headings);
	json_array_foreach(differences, i, d)
	{
		table_add_json(&t, json_object_get(d, "kind"));
		table_add_json(&t, json_object_get(d, "object"));
		table_add_json(&t, json_object_get(d, "repaired"));
		table_add_json(&t, json_object_get(d, "text"));
	}

	return table_print(&t, err);
}

static bool all_repaired(const json_t *differences)
{
	const json_t *d;
	size_t i;

	json_array_foreach(differences, i, d) if (!json_is_true(json_object_get(d, "repaired"))) return false;

	return true;
}

static int run_fsck(struct context *ctx, struct ct_error *err)
{
	struct fsck_values v = { 0 };
	_cleanup_json_ json_t *body = NULL, *answer = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	body = json_pack("{s:b}", "repair", (int)v.repair);
	if (!body)
		return -ENOMEM;
	r = client_call(&ctx->client, "POST", "/v1/fsck", body, &answer, err);
	if (r < 0)
		return r;

	const json_t *differences = json_object_get(answer, "differences");
	ctx->exit_status = all_repaired(differences) ? 0 : 1;
	return ctx->json ? print_json(answer, err) : print_differences(differences, err);
}

const struct command command_fsck = {
	.name = "fsck",
	.operands = "",
	.summary = "Compare records with what is there, and mend",
	.options = fsck_options,
	.run = run_fsck,
};
