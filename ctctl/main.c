/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl: the command line of ctd.
 *
 * It starts fast, because a whole `ctctl start` is what people wait for: nothing is read but what the command
 * names, one connection, no library beyond libc, jansson and http_parser. All it does is what the API offers;
 * there is no second way to do anything.
 *
 * Exit status: 0, or the class of the failure (design: 1 failed, 2 usage, 3 no such object, 4 wrong state, 5
 * refused, 6 not permitted, 7 no daemon); exec passes the program's status through.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

#define EXIT_NO_DAEMON 7

static int exit_status_of(enum ct_error_kind kind)
{
	switch (kind) {
	case CT_ERROR_FAILED: return 1;
	case CT_ERROR_USAGE: return 2;
	case CT_ERROR_NOT_FOUND: return 3;
	case CT_ERROR_STATE: return 4;
	case CT_ERROR_REFUSED: return 5;
	case CT_ERROR_PERMISSION: return 6;
	}
	return 1;
}

/* The exit status of a run that ended with r. */
static int finish(const struct context *ctx, int r, struct ct_error *err)
{
	if (ctx->help) {
		help_print_command(ctx->command);
		return finish_output(err) < 0 ? 1 : 0;
	}
	if (r >= 0)
		return ctx->exit_status;

	if (err->code == 0)
		(void)ct_error_kind_set(err, ct_error_kind_of(r), r, "%s", strerror(-r));
	if (err->text[0])
		tell_error(err);

	return ctx->client.unreachable ? EXIT_NO_DAEMON : exit_status_of(err->kind);
}

/* Finds the command behind the options that stand before it and runs it. */
static int dispatch(struct context *ctx, int argc, char **argv, struct ct_error *err)
{
	int words = 0;

	if (argc == 2 && str_eq(argv[1], "--version")) {
		(void)puts("ctctl " CTD_VERSION); /* finish_output looks at the stream's state */
		return finish_output(err);
	}

	int first = options_parse_global(ctx, argc, argv, err);
	if (first < 0)
		return first;
	if (first == argc && !ctx->help)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "a command is missing; \"ctctl help\" lists them");
	if (ctx->help)
		return 0;

	ctx->command = command_find(argc - first, argv + first, &words, err);
	if (!ctx->command)
		return -EINVAL;

	ctx->argc = argc - first - words + 1;
	ctx->argv = argv + first + words - 1;
	return ctx->command->run(ctx, err);
}

/* Somebody may have closed a standard fd; a socket of ours must not become it. */
static void fill_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", O_RDWR | O_CLOEXEC); /* the lowest free one, which is fd;
			                                    without /dev/null it stays closed */
}

int main(int argc, char **argv)
{
	struct context ctx = { .client = CLIENT_INIT };
	struct ct_error err = { 0 };

	fill_standard_fds();

	const char *socket_path = getenv("CTD_SOCKET");
	ctx.client.socket_path = str_empty(socket_path) ? CTD_SOCKET_DEFAULT : socket_path;
	(void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write; signal() knows SIGPIPE */

	int r = dispatch(&ctx, argc, argv, &err);
	int status = finish(&ctx, r, &err);

	client_done(&ctx.client);
	return status;
}
