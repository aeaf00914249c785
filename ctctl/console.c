/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl console: what was printed while nobody looked comes first, then it is live.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/detach.h"
#include "ctctl/relay.h"
#include "ctctl/terminal.h"

static int open_console(struct context *ctx, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	unsigned short rows, columns;

	_cleanup_json_ json_t *body =
	        terminal_size(STDIN_FILENO, &rows, &columns)
	                ? json_pack("{s:i,s:i}", "rows", (int)rows, "columns", (int)columns)
	                : json_object();
	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctx->operands[0]);
	(void)path_add_segment(&path, "console");
	if (path.error < 0 || !body)
		return -ENOMEM;

	return client_call(&ctx->client, "POST", path.data, body, ret, err);
}

static void say(const char *format, const char *name)
{
	char shown[256];

	(void)fprintf(stderr, format,
	        str_escape_to(
	                shown, sizeof(shown), name, strlen(name))); /* nowhere to tell a failure of stderr */
}

static int run_console(struct context *ctx, struct ct_error *err)
{
	_cleanup_json_ json_t *answer = NULL;
	struct detach detach = { 0 };

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = open_console(ctx, &answer, err);
	if (r < 0)
		return r;

	const char *id = json_string_value(json_object_get(answer, "id"));
	if (!id)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer has no id");
	client_done(&ctx->client); /* a session may last for days: the daemon need not keep this connection */

	say("Console of %s. Ctrl-] q or Ctrl-a q leaves it.\n", ctx->operands[0]);
	r = relay_run(&(struct relay_setup){ .ctd_socket = ctx->client.socket_path,
	                      .id = id,
	                      .filter = isatty(STDIN_FILENO) ? detach_filter : NULL,
	                      .userdata = &detach,
	                      .leave = &detach.leave },
	        &ctx->exit_status, err);
	if (r == RELAY_DETACHED)
		say("\nLeft the console of %s.\n", ctx->operands[0]);
	else if (r == RELAY_CLOSED)
		say("\nThe console of %s was closed.\n", ctx->operands[0]);

	return r < 0 ? r : 0;
}

const struct command command_console = {
	.name = "console",
	.operands = "NAME",
	.summary = "Attach to the console of a container",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.run = run_console,
};
