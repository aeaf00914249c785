/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program of ctd's as a child of the keeper.
 *
 * CRIU makes the restored init a child of its own parent (clone(CLONE_PARENT)); so that this is the keeper,
 * the keeper starts CRIU, by way of the program that knows how (ct-worker). It runs in the mount namespace
 * that comes with the request, with /dev/null as its standard streams and the third fd as its fd 3, and is
 * told of like any child: RUNNING at once, since a failed exec is an exit like another, then EXITED.
 *
 * It ends with neither ctd nor the keeper: CRIU in the middle of its work holds the tasks. What it leaves
 * behind when a restore fails are dead children that the keeper knows nothing of; they are reaped when such a
 * program ends, and when it is forgotten. Nothing else makes such children: libct reaps its helpers before it
 * returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/keeper.h"

#define ARGUMENTS_MAX  8
#define CHILDREN_BYTES (1024 * 1024)
#define THIRD          3
#define ABOVE          10 /* fds are moved out of the way of 0 to 3 */

enum { FD_PROGRAM, FD_MOUNTS, FD_THIRD, N_FDS };

/* The arguments are what follows the request, each with its NUL. */
static int take_arguments(const struct keeper_message *m, const char *ret[ARGUMENTS_MAX + 1])
{
	const char *at = m->spec, *end = at + m->spec_len;
	size_t n = 0;

	if (m->spec_len == 0 || end[-1] != '\0')
		return -EBADMSG;
	for (; at < end; at += strlen(at) + 1) {
		if (n == ARGUMENTS_MAX)
			return -E2BIG;
		ret[n++] = at;
	}
	ret[n] = NULL;
	return 0;
}

static _Noreturn void execute(const struct keeper_message *m, const char *const argv[])
{
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL
	};
	const int program = fcntl(m->fds[FD_PROGRAM], F_DUPFD_CLOEXEC, ABOVE);
	const int third = fcntl(m->fds[FD_THIRD], F_DUPFD_CLOEXEC, ABOVE);
	int null;

	(void)signal(SIGPIPE, SIG_DFL);                                 /* cannot fail */
	(void)setsid();                                                 /* a new child leads no group */
	(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "0"); /* back from the keeper's */
	if (program < 0 || third < 0 || setns(m->fds[FD_MOUNTS], CLONE_NEWNS) < 0)
		_exit(127);
	null = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || dup2(third, THIRD) < 0)
		_exit(127);
	(void)syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
	_exit(127);
}

static int run_child(struct keeper *k, struct keeper_child *child, const struct keeper_message *m,
        const char *const argv[], struct ct_error *err)
{
	pid_t pid = fork();
	int r;

	if (pid < 0)
		return ct_error_set(err, -errno, "run", "cannot fork: %s", strerror(errno));
	if (pid == 0)
		execute(m, argv);

	child->info.pid = pid;
	child->info.state = KEEPER_PROCESS_RUNNING;
	child->pidfd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = child->pidfd.fd < 0 ? -errno : process_start_time(pid, &child->info.start_time);
	if (r >= 0)
		r = keeper_watch(k, &child->pidfd, EPOLLIN);
	if (r >= 0)
		return 0;
	(void)kill(pid, SIGKILL); /* not reaped yet: it is this one */
	(void)waitpid(pid, NULL, 0);
	return ct_error_set(err, r, "run", "cannot watch \"%s\": %s", argv[0], strerror(-r));
}

int keeper_handle_run(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_child *child;
	const char *argv[ARGUMENTS_MAX + 1];
	int r;

	r = m->n_fds == N_FDS ? take_arguments(m, argv) : -EBADMSG;
	if (r < 0)
		return ct_error_set(err, r, "run", "malformed request to run a program");
	r = keeper_child_renew(k, m->request.key, &child, err);
	if (r < 0)
		return r;
	r = run_child(k, child, m, argv, err);
	if (r < 0) {
		keeper_child_free(k, child);
		return r;
	}
	keeper_child_send(c, KEEPER_RUN, m->header.serial, child);
	return KEEPER_ANSWERED;
}

static bool is_known(const struct keeper *k, pid_t pid)
{
	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (const struct keeper_child *child = k->children[i]; child; child = child->next)
			if (child->info.pid == pid && keeper_child_is_alive(child))
				return true;
	return false;
}

void keeper_reap_strangers(const struct keeper *k, const char *key)
{
	_cleanup_free_ char *list = NULL;
	pid_t pid;

	if (!str_has_prefix(key, KEEPER_RUN_PREFIX) ||
	        read_file_at(AT_FDCWD, "/proc/thread-self/children", CHILDREN_BYTES, &list, NULL) < 0)
		return;
	for (char *at = list; (pid = (pid_t)strtol(at, &at, 10)) > 0;)
		if (!is_known(k, pid))
			(void)waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOHANG);
}
