/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl set: changes keys of a container's configuration, written as options or as KEY=VALUE.
 *
 * Lists are replaced whole. --ip alone changes the addresses of the present first interface, so that
 * interface is asked for first.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/config.h"
#include "ctctl/password.h"
#include "ctctl/table.h"

struct set_values {
	bool dry_run;
	bool password_stdin;
};

static const struct option_row set_options[] = {
	{ "dry-run", 'n', OPTION_FLAG, NULL, "only say what would change, and when",
	        offsetof(struct set_values, dry_run) },
	{ "password-stdin", 0, OPTION_FLAG, NULL, "root's password is one line on standard input",
	        offsetof(struct set_values, password_stdin) },
	{ 0 },
};

static int add_present_net(struct context *ctx, const char *path, json_t *config, struct ct_error *err)
{
	_cleanup_json_ json_t *container = NULL;

	int r = client_call(&ctx->client, "GET", path, NULL, &container, err);
	if (r < 0)
		return r;

	const json_t *net = json_object_get(json_object_get(container, "config"), "net");
	if (json_array_size(net) == 0 && json_object_get(config, "ip"))
		return ct_error_field(err, "ip",
		        "--ip: the container has the default interface; say --net nat or --net routed as well");

	return config_finish(config, net);
}

static int build_body(struct context *ctx, const struct set_values *v, const char *path, json_t *config,
        json_t *body, struct ct_error *err)
{
	int r = 0;

	for (size_t i = 1; i < ctx->n_operands && r == 0; i++)
		r = config_apply_assignment(config, ctx->operands[i], err);
	if (r < 0)
		return r;
	if (json_object_size(config) == 0 && !v->password_stdin)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "set: nothing to set; it takes: ctctl set %s", ctx->command->operands);

	r = config_needs_net(config) ? add_present_net(ctx, path, config, err) : config_finish(config, NULL);
	if (r < 0)
		return r;

	if (json_object_size(config) > 0 && json_object_set(body, "config", config) < 0)
		return -ENOMEM;
	if (v->dry_run && json_object_set_new(body, "dry_run", json_true()) < 0)
		return -ENOMEM;

	return v->password_stdin ? password_from_stdin(body, err) : 0;
}

static int print_changes(const json_t *changes, struct ct_error *err)
{
	static const char *const headings[] = { "KEY", "FROM", "TO", "WHEN", NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *c;
	size_t i;

	if (json_array_size(changes) == 0)
		return 0;

	table_init(&t, headings);
	json_array_foreach(changes, i, c) for (size_t k = 0; k < 4; k++) table_add_json(
	        &t, json_object_get(c, (const char *const[]){ "key", "from", "to", "when" }[k]));

	return table_print(&t, err);
}

static int run_set(struct context *ctx, struct ct_error *err)
{
	struct set_values v = { 0 };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *config = json_object(), *body = json_object(), *answer = NULL;

	if (!config || !body)
		return -ENOMEM;
	int r = options_parse(ctx, &v, config, err);
	if (r < 0)
		return r;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctx->operands[0]);
	if (path.error < 0)
		return path.error;

	r = build_body(ctx, &v, path.data, config, body, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "PATCH", path.data, body, &answer, err);
	if (r < 0)
		return r;

	return ctx->json ? print_json(answer, err) : print_changes(json_object_get(answer, "changes"), err);
}

const struct command command_set = {
	.name = "set",
	.operands = "NAME KEY=VALUE...|--OPTION...",
	.summary = "Change the configuration of a container",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = set_options,
	.takes_config = true,
	.run = run_set,
};
