/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting a container.
 *
 * Three tasks take part. The caller prepares fds and then waits, a few hundred microseconds, for a helper
 * (helper.c) that enters the container's network and user namespaces and clones the child into all others and
 * into its cgroup at once: with CLONE_INTO_CGROUP no write to cgroup.procs is needed, which waits 20 ms for a
 * grace period, and with CLONE_PARENT the child is the caller's. The helper keeps the host's uid 0 until
 * then: the kernel checks write access to the common ancestor of both cgroups, by file ownership. The child
 * becomes root of the user namespace, makes the mounts (mounts.c), has the caller lock them (lock.c, from
 * ct_start_result), and executes init.
 *
 * All namespaces but user and net are new and owned by the container's user namespace; the cgroup namespace
 * has the container's cgroup as its root since the child is in it when it is made.
 *
 * The child must come to rest by itself: it dies with the caller (PDEATHSIG, and no GO), and failing it exits
 * after it has sent its error. Namespaces and mounts go with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "libct/caps.h"
#include "libct/child.h"
#include "libct/ct.h"
#include "libct/mounts.h"
#include "libct/process.h"
#include "libct/sys.h"

struct start {
	const struct ct_spec *spec;
	int root_fd;
	int bind_fds[CT_BINDS_MAX];
	int status_parent, status_child;
	int pidfd;
	pid_t pid;
	struct ct_stamps stamps;
	struct ct_error *err;
};

/* ---- in the child ---- */

static int set_names(const struct ct_spec *spec, struct ct_error *err)
{
	if (sethostname(spec->hostname, strlen(spec->hostname)) < 0 || setdomainname("(none)", 6) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "hostname", "cannot set the hostname \"%s\": %s", spec->hostname,
		        sys_reason(r));
	}
	return 0;
}

/* The standard streams of init are its /dev/console: a terminal, or the null device. It does not become the
 * controlling terminal: Ctrl-C would go to init, and no getty could have it. */
static int set_stdio(struct mounts *m, int *status_fd, struct ct_error *err)
{
	const char *path = m->console_master < 0 ? "/dev/null" : "/dev/console";
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "stdio", "cannot open \"%s\": %s", path, sys_reason(r));
	}

	int r = m->console_master < 0 ? 0 : status_send(*status_fd, STATUS_CONSOLE, m->console_master);
	if (r < 0)
		return ct_error_set(err, r, "stdio", "cannot hand over the console: %s", sys_reason(r));

	const int fds[3] = { fd, fd, fd };
	return child_set_stdio(fds, status_fd, err);
}

/* Looks init up in the new overlay, which knows nothing yet: a third of a millisecond that execve would take
 * later. A program that cannot be opened is execve's to explain. O_NONBLOCK: it may be a fifo. */
static void warm_up(const struct ct_spec *spec, const struct mounts *m)
{
	_cleanup_close_ int fd = open_in_root(m->root_fd, spec->argv[0], O_RDONLY | O_NONBLOCK, 0);
	char head[256];

	if (fd >= 0)
		(void)pread(fd, head, sizeof(head), 0);
}

static int load_seccomp(struct start *s, struct ct_error *err)
{
	if (s->spec->unconfined)
		return 0;

	uint64_t begin = now_realtime_usec();
	int r = child_load_seccomp(&s->spec->seccomp, err);
	s->stamps.seccomp_usec = now_realtime_usec() - begin;
	return r;
}

/* Between sending the tree and getting it back locked there are some hundred microseconds, in which the
 * parent is at work and the child does what depends on no mount. */
static int build_mounts(struct start *s, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int tree = -1, mntns = -1;

	int r = mounts_build_locked(s->spec, s->root_fd, s->bind_fds, m, err);
	if (r < 0)
		return r;

	tree = mounts_take_tree(m, err);
	if (tree < 0)
		return tree;

	r = status_send(s->status_child, STATUS_TREE, tree);
	if (r < 0)
		return ct_error_set(err, r, "mount", "cannot hand over the mounts: %s", sys_reason(r));
	tree = fd_close(tree);

	r = mounts_make_open(s->spec, m, err);
	if (r < 0)
		return r;

	warm_up(s->spec, m);
	r = load_seccomp(s, err);
	if (r < 0)
		return r;

	r = child_await_go(s->status_child, &mntns, err);
	return r < 0 ? r : mounts_build_open(s->spec, mntns, m, err);
}

static int child_steps(struct start *s, struct ct_error *err)
{
	const struct ct_spec *spec = s->spec;
	struct mounts m = MOUNTS_INIT;

	s->stamps.cloned_usec = now_realtime_usec();
	int r = caps_become_root(err);
	if (r < 0)
		return r;

	r = child_begin(s->status_parent, err);
	if (r < 0)
		return r;

	r = set_names(spec, err);
	if (r < 0)
		return r;

	r = build_mounts(s, &m, err);
	if (r < 0)
		return r;

	s->stamps.mounted_usec = now_realtime_usec();
	r = set_stdio(&m, &s->status_child, err);
	if (r < 0)
		return r;

	r = child_set_rlimits(spec->rlimits, spec->n_rlimits, err);
	if (r < 0)
		return r;

	uint64_t caps = spec->capabilities ? spec->capabilities : ct_capabilities_default();
	r = caps_bound(caps, err);
	if (r < 0)
		return r;

	r = caps_limit(caps, err);
	if (r < 0)
		return r;

	const struct child_program program = {
		.argv = spec->argv, .env = spec->env, .status_fd = s->status_child, .stamps = &s->stamps
	};
	return child_execute(&program, err);
}

static _Noreturn void child_main(struct start *s)
{
	struct ct_error error = { 0 };

	(void)child_steps(s, &error); /* it returns only when a step has failed, and the error says how */
	status_send_failed(s->status_child, &error);
	_exit(127);
}

/* ---- in the helper ---- */

static int set_clocks(const struct ct_spec *spec, struct ct_error *err)
{
	if (unshare(CLONE_NEWTIME) < 0) {
		if (errno == EINVAL) /* a kernel without time namespaces: documented in ct.h */
			return 0;
		int r = sys_error();
		return ct_error_set(err, r, "clocks", "cannot make a time namespace: %s", sys_reason(r));
	}

	/* Still as uid 0 of the host, to whom /proc/self belongs while we are not dumpable. */
	int r = write_file_printf_at(AT_FDCWD, "/proc/self/timens_offsets",
	        "monotonic %lld 0\nboottime %lld 0\n", (long long)spec->monotonic_offset_sec,
	        (long long)spec->boottime_offset_sec);
	if (r < 0)
		return ct_error_set(err, r, "clocks",
		        "cannot set the clocks back by %lld s (monotonic) and %lld s (since boot): %s",
		        (long long)-spec->monotonic_offset_sec, (long long)-spec->boottime_offset_sec,
		        sys_reason(r));
	return 0;
}

static int explain_clone(int code, struct ct_error *err)
{
	switch (-code) {
	case EAGAIN:
		return ct_error_set(err, code, "clone",
		        "no process may be made: pids.max of the cgroup or the process limit is reached");
	case EBUSY:
		return ct_error_set(err, code, "clone",
		        "the cgroup takes no process: controllers are enabled in its cgroup.subtree_control");
	case ENOSPC:
		return ct_error_set(
		        err, code, "clone", "no more namespaces: a limit below /proc/sys/user is reached");
	case EOPNOTSUPP:
		return ct_error_set(
		        err, code, "clone", "the cgroup takes no process: it is threaded or its parent is");
	case EINVAL:
		return ct_error_set(err, code, "clone",
		        "the kernel lacks one of the pid, ipc, uts, cgroup and mount namespaces, or CLONE_INTO_CGROUP (Linux 5.7)");
	case EACCES:
	case ENOENT:
		return ct_error_set(err, code, "clone",
		        "the cgroup cannot be entered from here: its common ancestor with the caller's cgroup must belong to root");
	}
	return ct_error_set(
	        err, code, "clone", "cannot make the container's first process: %s", sys_reason(code));
}

static int enter_shell(const struct ct_spec *spec, struct ct_error *err)
{
	if (setns(spec->netns_fd, CLONE_NEWNET) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "netns", "cannot enter the network namespace: %s", sys_reason(r));
	}
	if (setns(spec->userns_fd, CLONE_NEWUSER) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "userns", "cannot enter the user namespace: %s", sys_reason(r));
	}
	return 0;
}

static int start_helper(void *arg)
{
	struct start *s = arg;
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
		         CLONE_INTO_CGROUP | CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uintptr_t)&s->pidfd,
		.cgroup = (uint64_t)s->spec->cgroup_fd,
	};

	int r = child_raise_rlimits(s->spec->rlimits, s->spec->n_rlimits, s->err);
	if (r < 0)
		return r;

	r = enter_shell(s->spec, s->err);
	if (r < 0)
		return r;

	r = s->spec->set_clocks ? set_clocks(s->spec, s->err) : 0;
	if (r < 0)
		return r;

	s->pid = sys_clone3(&args);
	if (s->pid == 0)
		child_main(s);

	return s->pid < 0 ? explain_clone(sys_error(), s->err) : 0;
}

/* ---- in the caller ---- */

/* A detached mount that may be attached: a clone of what fd stands for, or, where it is a detached mount and
 * the kernel (before 6.15) does not clone those, fd's own. */
static int take_mount(int fd, const char *field, struct ct_error *err)
{
	int clone = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

	if (clone < 0 && errno == EINVAL)
		clone = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (clone < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "mount", "cannot take a mount (%s): %s", field, sys_reason(r));
	}
	return clone;
}

static int take_mounts(struct start *s)
{
	s->root_fd = take_mount(s->spec->root_fd, "root_fd", s->err);
	if (s->root_fd < 0)
		return s->root_fd;

	for (size_t i = 0; i < s->spec->n_binds; i++) {
		s->bind_fds[i] = take_mount(s->spec->binds[i].source_fd, s->spec->binds[i].target, s->err);
		if (s->bind_fds[i] < 0)
			return s->bind_fds[i];
	}
	return 0;
}

static void start_done(struct start *s)
{
	fd_close(s->root_fd);
	for (size_t i = 0; i < s->spec->n_binds; i++)
		fd_close(s->bind_fds[i]);
	fd_close(s->status_parent);
	fd_close(s->status_child);
	fd_close(s->pidfd);
}

static int start_run(struct start *s, struct ct_process *ret)
{
	int r = take_mounts(s);
	if (r < 0)
		return r;

	r = status_pair(&s->status_parent, &s->status_child, s->err);
	if (r < 0)
		return r;

	r = helper_run(start_helper, s, s->err);
	if (r < 0)
		return r;

	s->status_child = fd_close(s->status_child);
	r = process_adopt(s->pid, &s->pidfd, &s->status_parent, false, ret, s->err);
	if (r >= 0)
		ret->stamps.asked_usec = s->stamps.asked_usec;
	return r;
}

int ct_start(const struct ct_spec *spec, struct ct_process *ret, struct ct_error *err)
{
	if (!ret)
		return -EINVAL;

	int r = ct_spec_check(spec, err);
	if (r < 0)
		return r;

	struct start s = {
		.spec = spec,
		.root_fd = -1,
		.status_parent = -1,
		.status_child = -1,
		.pidfd = -1,
		.stamps.asked_usec = now_realtime_usec(),
		.err = err,
	};
	for (size_t i = 0; i < CT_BINDS_MAX; i++)
		s.bind_fds[i] = -1;

	r = start_run(&s, ret);
	start_done(&s);
	return r;
}
