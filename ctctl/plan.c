/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl plan: named sets of limits.
 *
 * create and set take the same options as for a container. A change of a plan prints a line for each
 * container that has it: what changed, or why it did not; with --dry-run what would.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/config.h"
#include "ctctl/properties.h"
#include "ctctl/table.h"

static int path_of(const struct context *ctx, struct strbuf *path)
{
	(void)strbuf_puts(path, "/v1/plans"); /* failures are kept in the buffer */
	if (ctx->n_operands > 0)
		(void)path_add_segment(path, ctx->operands[0]);
	return path->error;
}

static int run_list(struct context *ctx, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "CONTAINERS", "LIMITS", NULL };
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_table_ struct table t = { 0 };
	const json_t *plan;
	size_t i;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = client_call(&ctx->client, "GET", "/v1/plans", NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	table_init(&t, headings);
	json_array_foreach(json_object_get(answer, "plans"), i, plan)
	{
		_cleanup_strbuf_ struct strbuf limits = STRBUF_INIT;
		const char *key;
		json_t *value;

		json_object_foreach(json_object_get(plan, "config"), key, value)
		{
			_cleanup_free_ char *text = json_to_text(value);
			(void)strbuf_printf(&limits, "%s%s=%s", limits.len ? " " : "", key, text ? text : "");
		}
		table_add_json(&t, json_object_get(plan, "name"));
		table_add_format(&t, "%zu", json_array_size(json_object_get(plan, "containers")));
		table_add(&t, limits.data);
	}
	return table_print(&t, err);
}

static int run_show(struct context *ctx, struct ct_error *err)
{
	static const char *const order[] = { "name", "created", "containers", "config", NULL };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r >= 0)
		r = path_of(ctx, &path);
	if (r >= 0)
		r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;
	return ctx->json ? print_json(answer, err) : properties_print(answer, order, err);
}

static int run_create(struct context *ctx, struct ct_error *err)
{
	_cleanup_json_ json_t *config = json_object(), *body = NULL, *answer = NULL;

	int r = options_parse(ctx, NULL, config, err);
	if (r < 0)
		return r;
	for (size_t i = 1; i < ctx->n_operands; i++) {
		r = config_apply_assignment(config, ctx->operands[i], err);
		if (r < 0)
			return r;
	}
	body = json_pack("{s:s, s:O}", "name", ctx->operands[0], "config", config);
	if (!body)
		return -ENOMEM;
	r = client_call(&ctx->client, "POST", "/v1/plans", body, &answer, err);
	return r < 0 || !ctx->json ? r : print_json(answer, err);
}

struct set_values {
	bool dry_run;
};

static const struct option_row set_options[] = {
	{ "dry-run", 'n', OPTION_FLAG, NULL, "only say whom it would change, and how",
	        offsetof(struct set_values, dry_run) },
	{ 0 },
};

/* One line for each container; a failure among them is this command's. */
static int print_affected(const json_t *answer, struct ct_error *err)
{
	static const char *const headings[] = { "CONTAINER", "CHANGE", "RESULT", NULL };
	const json_t *affected = json_object_get(answer, "affected"), *line;
	_cleanup_table_ struct table t = { 0 };
	size_t i, failed = 0;

	if (json_array_size(affected) == 0)
		return 0;
	table_init(&t, headings);
	json_array_foreach(affected, i, line)
	{
		const char *error = json_string_value(json_object_get(line, "error"));

		table_add_json(&t, json_object_get(line, "name"));
		table_add_json(&t, json_object_get(line, "config"));
		table_add(&t, error ? error : "ok");
		failed += error != NULL;
	}
	int r = table_print(&t, err);
	if (r == 0 && failed > 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "%zu of %zu containers cannot have the plan's new limits", failed,
		        json_array_size(affected));
	return r;
}

static int run_set(struct context *ctx, struct ct_error *err)
{
	struct set_values v = { 0 };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *config = json_object(), *body = NULL, *answer = NULL;

	int r = options_parse(ctx, &v, config, err);
	if (r >= 0)
		r = path_of(ctx, &path);
	if (r < 0)
		return r;
	for (size_t i = 1; i < ctx->n_operands; i++) {
		r = config_apply_assignment(config, ctx->operands[i], err);
		if (r < 0)
			return r;
	}
	if (json_object_size(config) == 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "plan set: nothing to set; it takes: ctctl plan set %s", ctx->command->operands);
	body = json_pack("{s:O, s:b}", "config", config, "dry_run", v.dry_run);
	if (!body)
		return -ENOMEM;
	r = client_call(&ctx->client, "PATCH", path.data, body, &answer, err);
	if (r < 0)
		return r;
	return ctx->json ? print_json(answer, err) : print_affected(answer, err);
}

static int run_remove(struct context *ctx, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r >= 0)
		r = path_of(ctx, &path);
	if (r >= 0)
		r = client_call(&ctx->client, "DELETE", path.data, NULL, &answer, err);
	return r < 0 || !ctx->json ? r : print_json(answer, err);
}

const struct command command_plan_list = {
	.name = "plan list",
	.family = "plan",
	.operands = "",
	.summary = "List plans",
	.run = run_list,
};

const struct command command_plan_create = {
	.name = "plan create",
	.family = "plan",
	.operands = "NAME KEY=VALUE...|--OPTION...",
	.summary = "Make a named set of limits",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.takes_limits = true,
	.run = run_create,
};

const struct command command_plan_show = {
	.name = "plan show",
	.family = "plan",
	.operands = "NAME",
	.summary = "Show a plan and who has it",
	.min_operands = 1,
	.max_operands = 1,
	.run = run_show,
};

const struct command command_plan_set = {
	.name = "plan set",
	.family = "plan",
	.operands = "NAME KEY=VALUE...|--OPTION...",
	.summary = "Change a plan, and every container that has it",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.options = set_options,
	.takes_limits = true,
	.run = run_set,
};

const struct command command_plan_remove = {
	.name = "plan remove",
	.family = "plan",
	.operands = "NAME",
	.summary = "Remove a plan that no container has",
	.min_operands = 1,
	.max_operands = 1,
	.run = run_remove,
};
