/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct-keeper: the parent of every container's init. See ct-keeper(8).
 *
 * First of all the program executes itself again from a sealed memfd, before it has anything to lose. Then,
 * unless --foreground-fd is given, it forks: the child is the keeper, the parent stays until the child says
 * over a pipe that it listens, or why not, and so whoever has started us can simply wait. The keeper has no
 * terminal, no session of others, "/" for a working directory and /dev/null for its standard streams; it is
 * no child of ctd, so ctd need not reap it and it is not killed with it.
 *
 * It does not make itself a subreaper: inits are made with CLONE_PARENT and are its children anyway, and what
 * a helper leaves behind is no business of a process that must never be busy with strangers.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper-binary.h"
#include "ctd/keeper.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2
#define EXIT_HELD   4 /* another keeper holds the runtime directory */

struct arguments {
	const char *runtime_dir;
	int foreground_fd, state_fd, check_state_fd;
};

static int parse_fd(const char *option, const char *text)
{
	uint32_t fd;

	if (parse_u32(text, &fd) == 0 && fd <= INT32_MAX && fcntl((int)fd, F_GETFD) >= 0)
		return (int)fd;

	fprintf(stderr, "ct-keeper: --%s needs the number of an open file, not \"%s\"\n", option, text);
	return -EINVAL;
}

/* 0 to go on, else the exit status + 1. */
static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	enum {
		OPTION_RUNTIME = 1,
		OPTION_FOREGROUND,
		OPTION_STATE,
		OPTION_CHECK,
		OPTION_VERSION,
		OPTION_HELP
	};
	static const struct option options[] = {
		{ "runtime", required_argument, NULL, OPTION_RUNTIME },
		{ "foreground-fd", required_argument, NULL, OPTION_FOREGROUND },
		{ "state-fd", required_argument, NULL, OPTION_STATE },
		{ "check-state-fd", required_argument, NULL, OPTION_CHECK },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ 0 },
	};
	int *fds[] = {
		[OPTION_FOREGROUND] = &a->foreground_fd,
		[OPTION_STATE] = &a->state_fd,
		[OPTION_CHECK] = &a->check_state_fd,
	};

	for (;;) {
		int index = 0, option = getopt_long(argc, argv, "", options, &index);

		switch (option) {
		case -1:
			if (optind == argc && (a->runtime_dir || a->check_state_fd >= 0))
				return 0;
			fprintf(stderr, "ct-keeper: usage: ct-keeper --runtime DIR [--foreground-fd N]\n");
			return EXIT_USAGE + 1;
		case OPTION_RUNTIME: a->runtime_dir = optarg; break;
		case OPTION_FOREGROUND:
		case OPTION_STATE:
		case OPTION_CHECK:
			*fds[option] = parse_fd(options[index].name, optarg);
			if (*fds[option] < 0)
				return EXIT_USAGE + 1;
			break;
		case OPTION_VERSION: printf("ct-keeper " CTD_VERSION "\n"); return 1;
		case OPTION_HELP:
			printf("usage: ct-keeper --runtime DIR [--foreground-fd N]\nIt is started by ctd; see ct-keeper(8).\n");
			return 1;
		default: return EXIT_USAGE + 1; /* getopt_long has said why */
		}
	}
}

/* Becomes a copy that nobody can write to; returns only on failure, or when it already is one. */
static int become_sealed(char **argv, char *build_id, struct ct_error *err)
{
	_cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), sealed = -1;

	if (self < 0)
		return ct_error_set(err, -errno, "seal", "cannot open /proc/self/exe: %s", strerror(errno));

	if (keeper_binary_is_sealed(self)) {
		(void)keeper_binary_build_id(
		        self, build_id, KEEPER_BUILD_ID_SIZE); /* "" is what a binary without one says */
		return 0;
	}

	sealed = keeper_binary_seal(self, err);
	if (sealed < 0)
		return sealed;

	(void)execveat(sealed, "", argv, environ, AT_EMPTY_PATH); /* returns only on failure */
	return ct_error_set(err, -errno, "seal", "cannot execute the sealed copy: %s", strerror(errno));
}

/* Whatever else we were started with: it would be held open for as long as the machine runs. */
static void close_others(int keep)
{
	if (keep > 3)
		(void)close_range(
		        3, (unsigned int)keep - 1, 0); /* fails only for arguments that make no sense */
	(void)close_range(keep > 2 ? (unsigned int)keep + 1 : 3, ~0U, 0);
}

/* Standard streams to /dev/null; those that were closed are opened, so that no other file takes their
 * numbers. */
static int detach_streams(void)
{
	int fd = open("/dev/null", O_RDWR | O_NOCTTY); /* style-ok: it may become a standard stream itself */

	if (fd < 0)
		return -errno;

	for (int i = 0; i < 3; i++)
		if (fd != i && dup2(fd, i) < 0)
			return -errno;
	if (fd > 2)
		(void)close(fd); /* nothing was written */
	return 0;
}

/* The sentence, or that all is well, to whoever waits. */
static void report(int fd, int r, const struct ct_error *error)
{
	const char *text = r < 0 ? error->text : "ready";

	if (fd >= 0)
		(void)dprintf(fd, "%s\n", text); /* if nobody listens, nobody wants to know */
}

/* As the keeper: from a bare process to the end. ready_fd is closed when the outcome is known. */
static int keep(const struct arguments *a, const char *build_id, int ready_fd)
{
	struct ct_error error = { 0 };
	struct keeper k;
	int r;

	r = keeper_init(&k, &error);
	memcpy(k.build_id, build_id, sizeof(k.build_id));
	if (r >= 0) {
		k.runtime_dir = strdup(a->runtime_dir);
		if (!k.runtime_dir)
			r = ct_error_set(&error, -ENOMEM, "keeper", "out of memory");
	}

	if (r >= 0 && a->state_fd >= 0) {
		keeper_setup_process();
		r = keeper_state_load(&k, a->state_fd, &error);
		(void)close(a->state_fd); /* only read */
		if (r >= 0)
			keeper_reexec_answer(&k);
	} else if (r >= 0) {
		r = keeper_setup(&k, a->runtime_dir, &error);
	}

	report(ready_fd, r, &error);
	(void)fd_close(ready_fd); /* always -1 */

	if (r >= 0)
		r = keeper_run(&k);
	if (k.quit)
		keeper_unlink_socket(&k);
	keeper_done(&k);
	return r >= 0 ? 0 : r == -EWOULDBLOCK ? EXIT_HELD : EXIT_FAILED;
}

/* The parent of the keeper: waits for what it says. */
static int await_keeper(pid_t pid, int ready_fd)
{
	char text[600];
	ssize_t n = read_all(ready_fd, text, sizeof(text) - 1);
	int status = 0;

	text[n > 0 ? n : 0] = '\0';
	if (str_eq(text, "ready\n"))
		return 0;

	fprintf(stderr, "ct-keeper: %s", n > 0 ? text : "the keeper died while it was starting\n");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

static int keep_in_background(const struct arguments *a, const char *build_id)
{
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "ct-keeper: cannot start: %s\n", strerror(errno));
		return EXIT_FAILED;
	}

	if (pid > 0) {
		(void)close(ready[1]); /* or the end of the stream would never come */
		return await_keeper(pid, ready[0]);
	}

	(void)close(ready[0]); /* the parent's */
	if (setsid() < 0 || detach_streams() < 0) {
		(void)dprintf(ready[1], "cannot detach: %s\n", strerror(errno)); /* as in report */
		return EXIT_FAILED;
	}
	return keep(a, build_id, ready[1]);
}

int main(int argc, char **argv)
{
	struct arguments a = { .foreground_fd = -1, .state_fd = -1, .check_state_fd = -1 };
	char build_id[KEEPER_BUILD_ID_SIZE] = "";
	struct ct_error error = { 0 };
	sigset_t none;
	int r;

	r = parse_arguments(argc, argv, &a);
	if (r > 0)
		return r - 1;

	if (a.check_state_fd >= 0)
		return keeper_state_load(NULL, a.check_state_fd, NULL) < 0 ? EXIT_FAILED : KEEPER_EXIT_SOUND;

	if (a.state_fd < 0)
		close_others(a.foreground_fd);
	r = become_sealed(argv, build_id, &error);
	if (r < 0) {
		fprintf(stderr, "ct-keeper: %s\n", error.text);
		return EXIT_FAILED;
	}

	(void)prctl(PR_SET_NAME, "ct-keeper"); /* after an exec by fd the kernel names us by a number */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL); /* valid arguments cannot fail */

	if (a.state_fd >= 0)
		return keep(&a, build_id, -1);
	if (a.foreground_fd < 0)
		return keep_in_background(&a, build_id);

	(void)fcntl(a.foreground_fd, F_SETFD, FD_CLOEXEC); /* it was found open */
	return keep(&a, build_id, a.foreground_fd);
}
