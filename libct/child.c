/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The child between fork and exec: what init and an executed command have in common.
 *
 * The child holds a copy of its parent's memory and fds while it is already inside the container's
 * namespaces. Until exec it is not dumpable, which the kernel asks in ptrace(2), pidfd_getfd(2) and most of
 * /proc/PID, against the user namespace of the memory's owner: root inside has no power over it. It gives the
 * fds away before it runs anything that a tenant could delay.
 *
 * The parent's death signal (PR_SET_PDEATHSIG) is forgotten by the kernel whenever credentials change, so it
 * is set after that; a parent that died before is noticed when GO does not come. It is cleared before exec:
 * containers outlive their keeper.
 *
 * Signals are blocked since before the fork and stay so until dispositions are at their defaults; ignored
 * ones would otherwise be inherited through exec.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "libct/child.h"
#include "libct/process.h"
#include "libct/sys.h"

int child_begin(int parent_fd, struct ct_error *err)
{
	fd_close(parent_fd);

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 || setsid() < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "process", "cannot detach the new process from its parent: %s",
		        sys_reason(r));
	}

	/* A session keyring of its own: possession of the parent's would give a right to its keys. A kernel
	 * without keys answers ENOSYS. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS) {
		int r = sys_error();
		return ct_error_set(err, r, "process", "cannot make a session keyring: %s", sys_reason(r));
	}

	(void)personality(PER_LINUX); /* cannot fail with this argument */
	umask(022);
	return 0;
}

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

int child_keep_fds(const int *fds, size_t n, struct ct_error *err)
{
	int sorted[CHILD_KEEP_MAX] = { 0 }, next = 0;

	assert(n <= CHILD_KEEP_MAX);
	for (size_t i = 0; i < n; i++)
		sorted[i] = fds[i];
	qsort(sorted, n, sizeof(sorted[0]), compare_ints);

	/* The gaps between them, and what is behind the last. */
	for (size_t i = 0; i <= n; i++) {
		unsigned int end = i < n ? (unsigned int)sorted[i] : ~0U;

		if (i < n && sorted[i] < next) /* -1, or one that is named twice */
			continue;
		if (end > (unsigned int)next &&
		        close_range((unsigned int)next, i < n ? end - 1 : end, 0) < 0) {
			int r = sys_error();
			return ct_error_set(
			        err, r, "process", "cannot close the parent's fds: %s", sys_reason(r));
		}
		next = i < n ? sorted[i] + 1 : next;
	}
	return 0;
}

int child_set_stdio(const int fds[3], int *status_fd, struct ct_error *err)
{
	int moved[4] = { fds[0], fds[1], fds[2], *status_fd };

	/* Out of the way first, or one would be overwritten before it is used. */
	for (int i = 0; i < 4; i++) {
		moved[i] = fcntl(moved[i], F_DUPFD_CLOEXEC, 4);
		if (moved[i] < 0)
			goto failed;
	}

	for (int i = 0; i < 4; i++)
		if (dup3(moved[i], i, i == 3 ? O_CLOEXEC : 0) < 0)
			goto failed;

	*status_fd = 3;
	if (close_range(4, ~0U, 0) < 0)
		goto failed;
	return 0;

failed:;
	int r = sys_error();
	return ct_error_set(err, r, "stdio", "cannot set up the standard streams: %s", sys_reason(r));
}

static rlim_t rlim_of(uint64_t value)
{
	return value == UINT64_MAX ? RLIM_INFINITY : (rlim_t)value;
}

int child_raise_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err)
{
	for (size_t i = 0; i < n; i++) {
		struct rlimit now;

		if (getrlimit((__rlimit_resource_t)rlimits[i].resource, &now) < 0)
			return ct_error_field(err, "rlimits", "%d is no resource limit of this kernel",
			        rlimits[i].resource);

		if (rlim_of(rlimits[i].hard) <= now.rlim_max)
			continue;

		unsigned long long have = now.rlim_max;
		now.rlim_max = rlim_of(rlimits[i].hard);
		if (setrlimit((__rlimit_resource_t)rlimits[i].resource, &now) < 0) {
			int r = sys_error();
			return ct_error_set(err, r, "rlimits",
			        "cannot raise the hard limit of resource %d from %llu to %llu: %s (CAP_SYS_RESOURCE is needed; for the number of files also fs.nr_open)",
			        rlimits[i].resource, have, (unsigned long long)rlimits[i].hard,
			        sys_reason(r));
		}
	}
	return 0;
}

int child_set_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err)
{
	for (size_t i = 0; i < n; i++) {
		struct rlimit want = { .rlim_cur = rlim_of(rlimits[i].soft),
			.rlim_max = rlim_of(rlimits[i].hard) };

		if (setrlimit((__rlimit_resource_t)rlimits[i].resource, &want) < 0) {
			int r = sys_error();
			return ct_error_set(err, r, "rlimits", "cannot set resource limit %d: %s",
			        rlimits[i].resource, sys_reason(r));
		}
	}
	return 0;
}

int child_load_seccomp(const struct ct_seccomp_program *program, struct ct_error *err)
{
	struct sock_fprog fprog = { .len = program->count, .filter = program->filter };

	/* Without no_new_privs, or su and sudo would not work inside: CAP_SYS_ADMIN in the own user namespace
	 * does. SPEC_ALLOW: a filter does not turn speculative store bypass off for all the container runs,
	 * which kernels from 5.16 do not by default either. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &fprog) == 0)
		return 0;

	int r = sys_error();
	if (r == -EINVAL)
		return ct_error_set(err, r, "seccomp",
		        "the kernel does not accept the seccomp program (%u instructions), or has no seccomp filters",
		        program->count);
	return ct_error_set(err, r, "seccomp", "cannot load the seccomp program: %s", sys_reason(r));
}

static bool is_pty_end(int fd, bool master)
{
	struct stat st;
	struct statfs fs;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return false;
	if (master ? st.st_rdev != makedev(5, 2) : major(st.st_rdev) < 136 || major(st.st_rdev) > 143)
		return false;
	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC;
}

int child_open_pty(int dir_fd, const char *path, int *ret_master, int *ret_slave, struct ct_error *err)
{
	_cleanup_close_ int master = -1, slave = -1;
	int unlock = 0, r;

	/* O_NONBLOCK: a tenant may have put a fifo there. */
	master = openat(dir_fd, path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (master < 0) {
		r = sys_error();
		if (r == -ENOSPC)
			return ct_error_set(err, r, "terminal", "the container has no pseudo-terminal left");
		return ct_error_set(err, r, "terminal", "cannot open \"%s\" inside: %s", path, sys_reason(r));
	}
	if (!is_pty_end(master, true))
		return ct_error_set(
		        err, -ENOTTY, "terminal", "\"%s\" inside is not the multiplexer of a devpts", path);

	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		goto failed;

	/* By the master, not by the name of the slave, which the tenant can replace (Linux 4.13). */
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		goto failed;
	if (!is_pty_end(slave, false))
		return ct_error_set(
		        err, -ENOTTY, "terminal", "the peer of a new pseudo-terminal is no terminal");
	if (fd_set_nonblock(master, false) < 0)
		goto failed;

	*ret_master = TAKE_FD(master);
	*ret_slave = TAKE_FD(slave);
	return 0;

failed:
	r = sys_error();
	return ct_error_set(err, r, "terminal", "cannot set up a pseudo-terminal inside: %s", sys_reason(r));
}

int child_set_window(int master, uint16_t rows, uint16_t columns, struct ct_error *err)
{
	struct winsize size = { .ws_row = rows ? rows : 24, .ws_col = columns ? columns : 80 };

	if (ioctl(master, TIOCSWINSZ, &size) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "terminal", "cannot set the size of a terminal: %s", sys_reason(r));
	}
	return 0;
}

/* Everything to its default. The raw call with the kernel's own struct, all zeros, so that libc's two
 * reserved signals are included. */
static void reset_signals(void)
{
	uint64_t empty = 0;
	char action[64] = { 0 };

	for (int sig = 1; sig <= 64; sig++)
		(void)syscall(SYS_rt_sigaction, sig, action, NULL, 8); /* fails for KILL and STOP only */

	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &empty, NULL, 8);
}

static const char *env_path(const char *const *env)
{
	for (; env && *env; env++)
		if (str_has_prefix(*env, "PATH="))
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* execvpe(3) without its fallback to a shell and with the given PATH instead of our own. Returns negative
 * errno. */
static int exec_search(const char *const *argv, const char *const *env)
{
	int result = -ENOENT;

	for (const char *dir = env_path(env), *end; dir; dir = *end ? end + 1 : NULL) {
		char path[4096];

		end = strchrnul(dir, ':');
		int n = snprintf(path, sizeof(path), "%.*s/%s", (int)(end - dir), dir, argv[0]);
		if (n < 0 || (size_t)n >= sizeof(path))
			continue;

		(void)execve(path, (char *const *)argv, (char *const *)env);
		if (errno == EACCES)
			result = -EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return sys_error();
	}
	return result;
}

static int explain_exec(const char *program, int code, struct ct_error *err)
{
	switch (-code) {
	case ENOENT:
		return ct_error_set(err, code, "exec",
		        "there is no program \"%s\" inside, or its interpreter is missing", program);
	case EACCES:
		return ct_error_set(err, code, "exec",
		        "\"%s\" inside may not be executed: it is no executable file", program);
	case ENOEXEC:
		return ct_error_set(err, code, "exec",
		        "\"%s\" inside is not a program this machine can execute", program);
	}
	return ct_error_set(err, code, "exec", "cannot execute \"%s\" inside: %s", program, sys_reason(code));
}

int child_await_go(int status_fd, int *ret_fd, struct ct_error *err)
{
	int r = status_await_go(status_fd, ret_fd);

	if (r < 0)
		return ct_error_set(err, r, "process", "the parent died before the start was complete");
	return 0;
}

int child_execute(const struct child_program *program, struct ct_error *err)
{
	if (program->stamps)
		program->stamps->ready_usec = now_realtime_usec();
	int r = status_send_ready(program->status_fd, program->stamps);
	if (r < 0)
		return ct_error_set(
		        err, r, "exec", "cannot tell the parent that all is ready: %s", sys_reason(r));

	(void)prctl(PR_SET_PDEATHSIG, 0);
	reset_signals();

	const char *name = program->argv[0];
	if (program->search && !strchr(name, '/'))
		r = exec_search(program->argv, program->env);
	else
		r = execve(name, (char *const *)program->argv, (char *const *)program->env) < 0 ? sys_error()
		                                                                                : 0;

	return explain_exec(name, r, err);
}
