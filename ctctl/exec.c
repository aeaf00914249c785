/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl exec and ctctl shell.
 *
 * The program gets a terminal if we have one on both sides (-t and -T decide otherwise), else three pipes:
 * bytes arrive as they were sent, each end of file is passed on. Its exit status is ours. What keeps it from
 * being started is told as a shell does: 127 if there is no such program, 126 if it cannot be executed; all
 * other failures keep ctctl's own statuses.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/relay.h"
#include "ctctl/terminal.h"

#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND      127

struct exec_values {
	bool tty;
	bool no_tty;
	bool interactive;
	bool no_stdin;
	const char *user;
	const char *cwd;
	struct string_list env;
};

static const struct option_row exec_options[] = {
	{ "tty", 't', OPTION_FLAG, NULL, "give the program a terminal, even if we have none",
	        offsetof(struct exec_values, tty) },
	{ "no-tty", 'T', OPTION_FLAG, NULL, "give it pipes, even if we have a terminal",
	        offsetof(struct exec_values, no_tty) },
	{ "interactive", 'i', OPTION_FLAG, NULL, "pass standard input on; the default",
	        offsetof(struct exec_values, interactive) },
	{ "no-stdin", 'n', OPTION_FLAG, NULL, "leave standard input alone: the program reads an end of file",
	        offsetof(struct exec_values, no_stdin) },
	{ "user", 'u', OPTION_STRING, "USER[:GROUP]", "run as this user of the container (default: root)",
	        offsetof(struct exec_values, user) },
	{ "cwd", 'C', OPTION_STRING, "DIR", "run in this directory", offsetof(struct exec_values, cwd) },
	{ "env", 'e', OPTION_LIST, "NAME=VALUE", "set a variable; repeatable",
	        offsetof(struct exec_values, env) },
	{ 0 },
};

static const struct option_row shell_options[] = {
	{ "user", 'u', OPTION_STRING, "USER[:GROUP]", "run as this user of the container (default: root)",
	        offsetof(struct exec_values, user) },
	{ "env", 'e', OPTION_LIST, "NAME=VALUE", "set a variable; repeatable",
	        offsetof(struct exec_values, env) },
	{ 0 },
};

static int add_env(json_t *env, const char *assignment, struct ct_error *err)
{
	const char *equals = strchr(assignment, '=');
	if (!equals || equals == assignment)
		return ct_error_field(err, "env", "--env: \"%s\" is not NAME=VALUE", assignment);

	_cleanup_free_ char *name = strndup(assignment, (size_t)(equals - assignment));
	if (!name)
		return -ENOMEM;
	if (json_object_set_new(env, name, json_string(equals + 1)) < 0)
		return ct_error_field(err, "env", "--env: \"%s\" is not UTF-8", assignment);

	return 0;
}

static int build_env(const struct exec_values *v, bool tty, json_t *body, struct ct_error *err)
{
	json_t *env = json_object();
	const char *term = getenv("TERM");

	if (json_object_set_new(body, "env", env) < 0)
		return -ENOMEM;
	if (tty && !str_empty(term) && json_object_set_new(env, "TERM", json_string(term)) < 0)
		return ct_error_field(err, "env", "TERM is not UTF-8");

	for (size_t i = 0; i < v->env.n; i++) {
		int r = add_env(env, v->env.items[i], err);
		if (r < 0)
			return r;
	}

	return json_object_size(env) > 0 ? 0 : json_object_del(body, "env");
}

static int build_argv(char *const *argv, size_t n, json_t *body, struct ct_error *err)
{
	json_t *array = json_array();

	if (json_object_set_new(body, "argv", array) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(array, json_string(argv[i])) < 0)
			return ct_error_field(err, "argv", "argument %zu of the program is not UTF-8", i);

	return 0;
}

static int build_tty(json_t *body)
{
	unsigned short rows, columns;

	if (json_object_set_new(body, "tty", json_true()) < 0)
		return -ENOMEM;
	if (!terminal_size(STDIN_FILENO, &rows, &columns) && !terminal_size(STDOUT_FILENO, &rows, &columns))
		return 0;

	if (json_object_set_new(body, "rows", json_integer(rows)) < 0 ||
	        json_object_set_new(body, "columns", json_integer(columns)) < 0)
		return -ENOMEM;
	return 0;
}

static int build_body(const struct exec_values *v, bool tty, char *const *argv, size_t n, json_t *body,
        struct ct_error *err)
{
	int r = build_argv(argv, n, body, err);
	if (r < 0)
		return r;
	r = build_env(v, tty, body, err);
	if (r < 0)
		return r;

	if (v->cwd && json_object_set_new(body, "cwd", json_string(v->cwd)) < 0)
		return ct_error_field(err, "cwd", "--cwd: \"%s\" is not UTF-8", v->cwd);
	if (v->user && json_object_set_new(body, "user", json_string(v->user)) < 0)
		return ct_error_field(err, "user", "--user: \"%s\" is not UTF-8", v->user);

	return tty ? build_tty(body) : 0;
}

/* A program that cannot be started: the shell's statuses. True: *ret_status is set. */
static bool is_exec_failure(struct ct_error *err, int *ret_status)
{
	if (!str_eq(err->field, "argv") || err->kind == CT_ERROR_USAGE)
		return false;

	err->field[0] = '\0'; /* the sentence names the program; nobody wrote "argv" */
	*ret_status = err->kind == CT_ERROR_NOT_FOUND ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
	return true;
}

static int start_exec(struct context *ctx, const json_t *body, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctx->operands[0]);
	(void)path_add_segment(&path, "exec");
	if (path.error < 0)
		return path.error;

	return client_call(&ctx->client, "POST", path.data, body, ret, err);
}

static int run_program(struct context *ctx, const struct exec_values *v, bool tty, char *const *argv,
        size_t n, struct ct_error *err)
{
	_cleanup_json_ json_t *body = json_object(), *answer = NULL;

	if (!body)
		return -ENOMEM;
	int r = build_body(v, tty, argv, n, body, err);
	if (r < 0)
		return r;

	r = start_exec(ctx, body, &answer, err);
	if (r < 0 && is_exec_failure(err, &ctx->exit_status)) {
		tell_error(err);
		return 0;
	}
	if (r < 0)
		return r;

	const char *id = json_string_value(json_object_get(answer, "id"));
	if (!id)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer has no id");
	client_done(&ctx->client); /* a session may last for days: the daemon need not keep this connection */

	r = relay_run(
	        &(struct relay_setup){
	                .ctd_socket = ctx->client.socket_path, .id = id, .no_stdin = v->no_stdin },
	        &ctx->exit_status, err);
	return r < 0 ? r : 0;
}

static int run_exec(struct context *ctx, struct ct_error *err)
{
	struct exec_values v = { 0 };
	bool tty = false;

	int r = options_parse(ctx, &v, NULL, err);
	if (r == 0 && v.tty && v.no_tty)
		r = ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "exec: --tty and --no-tty exclude each other");
	if (r == 0 && v.interactive && v.no_stdin)
		r = ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "exec: --interactive and --no-stdin exclude each other");
	if (r == 0) {
		tty = v.tty || (!v.no_tty && !v.no_stdin && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
		r = run_program(ctx, &v, tty, ctx->operands + 1, ctx->n_operands - 1, err);
	}

	string_list_done(&v.env);
	return r;
}

/* bash if the container has it, else sh; as a login shell in the user's home. What is not there is found out
 * inside: nothing of the container is read from out here. */
static char *const shell_argv[] = { (char *)"/bin/sh", (char *)"-c",
	(char *)"cd 2>/dev/null; [ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l" };

static int run_shell(struct context *ctx, struct ct_error *err)
{
	struct exec_values v = { 0 };

	int r = options_parse(ctx, &v, NULL, err);
	if (r == 0)
		r = run_program(ctx, &v, isatty(STDIN_FILENO), shell_argv, ARRAY_SIZE(shell_argv), err);

	string_list_done(&v.env);
	return r;
}

const struct command command_exec = {
	.name = "exec",
	.operands = "NAME [--] PROGRAM [ARGUMENT...]",
	.summary = "Run a program in a container",
	.min_operands = 2,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = exec_options,
	.takes_command = true,
	.run = run_exec,
};

const struct command command_shell = {
	.name = "shell",
	.operands = "NAME",
	.summary = "Open a login shell in a container",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.options = shell_options,
	.run = run_shell,
};
