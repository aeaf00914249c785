/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that was started, as its parent sees it, and the status socket between the two.
 *
 * The socket is a sequenced-packet pair that is closed by exec. The child sends CONSOLE, with the master fd
 * of its terminal, if it has one; READY, immediately before it calls execve; and FAILED, with a struct
 * ct_error, when a step went wrong. The end of the stream after READY means that the program runs; the end
 * without READY, that the child was killed on the way. The parent sends GO once, when it has done what it has
 * to do to the child from outside: an executed command gets it at once; a container's init asks for it, with
 * TREE, and gets its mount namespace by it. A child whose parent dies before that reads the end of the stream
 * and exits.
 *
 * The parent's end is non-blocking, and the parent acts only when something has arrived: a tenant that stops
 * or freezes the child keeps nobody waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "libct/mounts.h"
#include "libct/process.h"
#include "libct/sys.h"

void ct_process_done(struct ct_process *process)
{
	if (!process)
		return;

	process->pidfd = fd_close(process->pidfd);
	process->status_fd = fd_close(process->status_fd);
	process->console_fd = fd_close(process->console_fd);
}

int status_pair(int *ret_parent, int *ret_child, struct ct_error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "status", "cannot make a socket pair: %s", sys_reason(r));
	}

	int r = fd_set_nonblock(pair[0], true);
	if (r < 0) {
		fd_close(pair[0]);
		fd_close(pair[1]);
		return ct_error_set(err, r, "status", "cannot make a socket non-blocking: %s", sys_reason(r));
	}

	*ret_parent = pair[0];
	*ret_child = pair[1];
	return 0;
}

int status_send_go(int parent_fd, int fd)
{
	return send_fds(parent_fd, "g", 1, &fd, fd >= 0 ? 1 : 0);
}

int status_await_go(int child_fd, int *ret_fd)
{
	size_t n_fds = ret_fd ? 1 : 0;
	char go;

	ssize_t n = recv_fds(child_fd, &go, 1, ret_fd, &n_fds);
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -EPIPE;
	return ret_fd && n_fds == 0 ? -EBADMSG : 0;
}

int status_send(int child_fd, enum status_type type, int fd)
{
	struct status_message m = { .type = type };

	return send_fds(child_fd, &m, sizeof(m), &fd, fd >= 0 ? 1 : 0);
}

int status_send_ready(int child_fd, const struct ct_stamps *stamps)
{
	struct status_message m = { .type = STATUS_READY };

	if (stamps)
		m.stamps = *stamps;
	return send_fds(child_fd, &m, sizeof(m), NULL, 0);
}

void status_send_failed(int child_fd, const struct ct_error *error)
{
	struct status_message m = { .type = STATUS_FAILED, .error = *error };

	(void)send_fds(child_fd, &m, sizeof(m), NULL, 0); /* nobody is left to be told */
}

static int finish(struct ct_process *process, int result)
{
	process->status_fd = fd_close(process->status_fd);
	if (result < 0)
		process->console_fd = fd_close(process->console_fd);
	return result;
}

static int take_failure(const struct status_message *m, struct ct_error *err)
{
	int code = m->error.code < 0 ? m->error.code : -EIO;

	if (err) {
		*err = m->error;
		err->code = code;
	}
	return code;
}

static int killed(struct ct_error *err)
{
	return ct_error_set(
	        err, -ECANCELED, "start", "the process was killed before it could execute its program");
}

/* The child waits for its mounts, or for its end. */
static int lock_tree(struct ct_process *process, int tree_fd, struct ct_error *err)
{
	_cleanup_close_ int mntns = lock_mounts(tree_fd, process->pidfd, err);

	int r = mntns < 0 ? mntns : status_send_go(process->status_fd, mntns);
	if (r == -ESRCH || r == -EPIPE || r == -ECONNRESET)
		return killed(err);

	if (r < 0)
		(void)pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0); /* it may be dead by now */
	if (r < 0 && mntns >= 0)
		return ct_error_set(err, r, "mount", "cannot hand over a mount namespace: %s", sys_reason(r));
	return r;
}

/* The caller's own are kept. */
static int take_stamps(struct ct_process *process, const struct ct_stamps *child)
{
	uint64_t asked_usec = process->stamps.asked_usec;

	process->stamps = *child;
	process->stamps.asked_usec = asked_usec;
	return 0;
}

/* One message. fd is consumed. 0, or a negative errno that ends it all. */
static int take_message(
        struct ct_process *process, const struct status_message *m, int fd_arg, struct ct_error *err)
{
	_cleanup_close_ int fd = fd_arg;

	switch ((enum status_type)m->type) {
	case STATUS_READY: process->ready = true; return take_stamps(process, &m->stamps);
	case STATUS_CONSOLE:
		fd_close(process->console_fd);
		process->console_fd = TAKE_FD(fd);
		return 0;
	case STATUS_TREE: return lock_tree(process, fd, err);
	case STATUS_FAILED: return take_failure(m, err);
	}
	return ct_error_set(
	        err, -EBADMSG, "status", "the starting process sent a message of unknown type %u", m->type);
}

int ct_start_result(struct ct_process *process, struct ct_error *err)
{
	if (!process || process->status_fd < 0)
		return ct_error_set(
		        err, -EINVAL, "status", "the outcome of this process has been read already");

	for (;;) {
		struct status_message m = { 0 };
		size_t n_fds = 1;
		int fd = -1;

		ssize_t n = recv_fds(process->status_fd, &m, sizeof(m), &fd, &n_fds);
		if (n == -EAGAIN)
			return 0;
		if (n == -ECONNRESET) /* it failed before it read GO; reported once, its message is still
		                         there */
			continue;
		if (n < 0)
			return finish(process,
			        ct_error_set(err, (int)n, "status", "cannot read the outcome of a start: %s",
			                sys_reason((int)n)));
		if (n == 0 && process->ready) {
			if (process->stamps.ready_usec)
				process->stamps.executed_usec = now_realtime_usec();
			return finish(process, 1);
		}
		if (n == 0)
			return finish(process, killed(err));

		int r = take_message(process, &m, fd, err);
		if (r < 0)
			return finish(process, r);
	}
}

/* Children inherit the score of their parent, which for a daemon that must survive is low, and may lower
 * theirs again as far as the one who set it last could: so it is set from here, with the parent's privilege.
 * EACCES: it would be lowered, which only CAP_SYS_RESOURCE may; a container that is killed sooner than others
 * harms nobody. */
static int reset_oom_score(pid_t pid)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	int r = write_file_at(AT_FDCWD, path, "0");
	return r == -EACCES ? 0 : r;
}

int process_adopt(
        pid_t pid, int *pidfd, int *status_parent, bool with_go, struct ct_process *ret, struct ct_error *err)
{
	uint64_t start_time = 0;

	int r = reset_oom_score(pid);
	if (r == 0)
		r = process_start_time(pid, &start_time);
	if (r == 0 && with_go)
		r = status_send_go(*status_parent, -1);
	if (r == -EPIPE || r == -ECONNRESET) /* it has failed already: ct_start_result will say how */
		r = 0;
	if (r < 0) {
		(void)pidfd_send_signal(*pidfd, SIGKILL, NULL, 0); /* an unreaped child: it is there */
		while (waitid(P_PIDFD, (id_t)*pidfd, &(siginfo_t){ 0 }, WEXITED) < 0 && errno == EINTR)
			;
		return ct_error_set(
		        err, r, "process", "cannot set up the new process from outside: %s", sys_reason(r));
	}

	*ret = (struct ct_process){
		.pid = pid,
		.start_time = start_time,
		.pidfd = TAKE_FD(*pidfd),
		.status_fd = TAKE_FD(*status_parent),
		.console_fd = -1,
	};
	return 0;
}

int ct_process_namespace(pid_t pid, int clone_flag)
{
	static const struct {
		int flag;
		const char *name;
	} kinds[] = {
		{ CLONE_NEWNET, "net" },
		{ CLONE_NEWUSER, "user" },
		{ CLONE_NEWNS, "mnt" },
		{ CLONE_NEWPID, "pid" },
		{ CLONE_NEWIPC, "ipc" },
		{ CLONE_NEWUTS, "uts" },
		{ CLONE_NEWCGROUP, "cgroup" },
	};
	char path[48];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].flag != clone_flag)
			continue;

		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[i].name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd >= 0 ? fd : errno == ENOENT ? -ESRCH : sys_error();
	}
	return -EINVAL;
}
