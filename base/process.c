/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External programs.
 *
 * fork(2) copies page tables: 17 ms from a process of 1 GB. The child here is made by clone(2) with CLONE_VM
 * | CLONE_VFORK: it borrows our memory, on a stack of its own, while we stand still until it has executed the
 * program or given up. So the cost does not depend on our size, and the reason of a failed exec is simply a
 * variable. CLONE_PIDFD (Linux 5.2) gives the pidfd in the same call, before anybody could reap the child.
 *
 * What the child does between is therefore limited: system calls, no allocation, no locks, no stdio. All
 * signals are blocked across the clone, so that no handler of ours runs in the child on our data; the child
 * puts all of them back to their defaults (an ignored one would stay ignored across exec) and starts with an
 * empty mask.
 *
 * It borrows our table of descriptors as well, and takes as its first step a copy of those up to the highest
 * that it needs (close_range(2) with CLOSE_RANGE_UNSHARE): to copy all of a daemon that has eight for each of
 * a thousand containers, and to close them again, costs more than the rest. So descriptors that stay are kept
 * out of the low numbers (fd_set_aside).
 *
 * The child gets 0, 1, 2 and the fds that were asked for. Everything else is closed by number
 * (close_range(2), Linux 5.9), not by trusting that every library sets CLOEXEC: a host fd in a program that a
 * tenant may attack is the way out.
 *
 * The sanitizers must leave the child alone: it runs on a stack that they do not know, and never returns to
 * clean up the marks that they would leave in our memory.
 */

#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define STACK_SIZE (64UL * 1024)

#define NOT_INSTRUMENTED __attribute__((no_sanitize_address))

/* What the child needs, made ready by the parent. */
struct spawn {
	const char *path;
	const char *const *argv;
	const char *const *env;
	int fds[3];
	int cwd_fd;
	const int *keep; /* ascending */
	size_t n_keep;
	int death_signal;
	pid_t parent;
	sigset_t no_signals;
	int error; /* negative errno, written by the child */
};

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

int process_path(const char *name, char **ret)
{
	if (str_empty(name))
		return -ENOENT;

	if (strchr(name, '/')) {
		*ret = strdup(name);
		return *ret ? 0 : -ENOMEM;
	}

	for (const char *dir = PROCESS_SEARCH_PATH; *dir;) {
		size_t len = strcspn(dir, ":");

		_cleanup_free_ char *path = str_printf("%.*s/%s", (int)len, dir, name);
		if (!path)
			return -ENOMEM;
		if (is_program(path)) {
			*ret = TAKE_PTR(path);
			return 0;
		}

		dir += len + (dir[len] == ':');
	}

	return -ENOENT;
}

int process_find(const char *name)
{
	_cleanup_free_ char *path = NULL;

	int r = process_path(name, &path);
	if (r < 0)
		return r;

	return is_program(path) ? 0 : -ENOENT;
}

NOT_INSTRUMENTED static int child_signals(const struct spawn *s)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	for (int i = 1; i < _NSIG; i++)
		(void)sigaction(
		        i, &action, NULL); /* fails for KILL, STOP and libc's own, which have no handler */

	if (s->death_signal && prctl(PR_SET_PDEATHSIG, s->death_signal) < 0)
		return -errno;
	if (s->death_signal && getppid() != s->parent)
		return -ESRCH; /* it died before the line above */

	return sigprocmask(SIG_SETMASK, &s->no_signals, NULL) < 0 ? -errno : 0;
}

/* Numbers 0..2 are at once sources and targets: sources are lifted out of the way before the first target is
 * written. */
NOT_INSTRUMENTED static int child_stdio(const struct spawn *s)
{
	int from[3];

	for (int i = 0; i < 3; i++) {
		from[i] = s->fds[i] > 2 ? s->fds[i] : fcntl(s->fds[i], F_DUPFD_CLOEXEC, 3);
		if (from[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			return -errno;

	return 0;
}

NOT_INSTRUMENTED static int child_close(const struct spawn *s)
{
	unsigned int next = 3;

	for (size_t i = 0; i < s->n_keep; i++) {
		unsigned int fd = (unsigned int)s->keep[i];

		if (fcntl(s->keep[i], F_SETFD, 0) < 0)
			return -errno;
		if (fd > next && close_range(next, fd - 1, 0) < 0)
			return -errno;
		if (fd >= next)
			next = fd + 1;
	}

	return close_range(next, ~0U, 0) < 0 ? -errno : 0;
}

/* The highest that the child needs. */
NOT_INSTRUMENTED static int highest(const struct spawn *s)
{
	int fd = s->cwd_fd > 2 ? s->cwd_fd : 2;

	for (int i = 0; i < 3; i++)
		fd = s->fds[i] > fd ? s->fds[i] : fd;
	return s->n_keep > 0 && s->keep[s->n_keep - 1] > fd ? s->keep[s->n_keep - 1] : fd;
}

NOT_INSTRUMENTED static int child_prepare(const struct spawn *s)
{
	/* Before this nothing may be changed: the table is the parent's. */
	if (close_range((unsigned int)highest(s) + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return -errno;

	int r = child_stdio(s);
	if (r < 0)
		return r;

	if ((s->cwd_fd >= 0 ? fchdir(s->cwd_fd) : chdir("/")) < 0)
		return -errno;

	r = child_close(s);
	if (r < 0)
		return r;

	return child_signals(s);
}

NOT_INSTRUMENTED static int child_main(void *arg)
{
	struct spawn *s = arg;

	int r = child_prepare(s);
	if (r == 0) {
		execve(s->path, (char *const *)s->argv, (char *const *)s->env);
		r = -errno;
	}

	s->error = r;
	_exit(127);
}

/* The child, with all signals blocked until it has let go of our memory. A pidfd. */
static int clone_child(struct spawn *s, pid_t *ret_pid)
{
	sigset_t all, before;
	int pidfd = -1, r = 0;

	char *stack = mmap(
	        NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before); /* cannot fail with these arguments */
	pid_t pid = clone(child_main, stack + STACK_SIZE,
	        CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD | SIGCHLD, s, &pidfd);
	if (pid < 0)
		r = -errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)munmap(stack, STACK_SIZE);
	if (r < 0)
		return r;

	*ret_pid = pid;
	return pidfd;
}

static int compare_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int sort_keep(struct spawn *s, const struct process_options *o, int **ret)
{
	if (o->n_keep == 0)
		return 0;

	int *keep = calloc(o->n_keep, sizeof(*keep));
	if (!keep)
		return -ENOMEM;

	memcpy(keep, o->keep_fds, o->n_keep * sizeof(*keep));
	qsort(keep, o->n_keep, sizeof(*keep), compare_int);

	s->keep = *ret = keep;
	s->n_keep = o->n_keep;
	return 0;
}

/* Opens *ret_null if one of the three is missing. */
static int choose_stdio(struct spawn *s, const struct process_options *o, int *ret_null)
{
	const int wanted[3] = { o->stdin_fd, o->stdout_fd, o->stderr_fd };

	for (int i = 0; i < 3; i++) {
		s->fds[i] = wanted[i];
		if (s->fds[i] >= 0)
			continue;

		if (*ret_null < 0)
			*ret_null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (*ret_null < 0)
			return -errno;
		s->fds[i] = *ret_null;
	}

	return 0;
}

/* A relative path with a slash is taken from the program's working directory. */
int process_spawn(const char *const argv[], const struct process_options *options, pid_t *ret_pid)
{
	static const struct process_options defaults = {
		.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .cwd_fd = -1
	};
	static const char *const env[] = { "PATH=" PROCESS_SEARCH_PATH, "LANG=C.UTF-8", NULL };
	const struct process_options *o = options ? options : &defaults;
	struct spawn s = {
		.argv = argv,
		.env = o->env ? o->env : env,
		.cwd_fd = o->cwd_fd,
		.death_signal = o->death_signal,
		.parent = getpid(),
	};
	_cleanup_close_ int null = -1, pidfd = -1;
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ int *keep = NULL;
	pid_t pid = 0;

	int r = process_path(argv[0], &path);
	if (r < 0)
		return r;
	r = choose_stdio(&s, o, &null);
	if (r < 0)
		return r;
	r = sort_keep(&s, o, &keep);
	if (r < 0)
		return r;

	s.path = path;
	(void)sigemptyset(&s.no_signals);
	pidfd = clone_child(&s, &pid);
	if (pidfd < 0)
		return pidfd;

	if (s.error < 0) {
		(void)process_wait(pidfd, UINT64_MAX); /* it has exited; s.error says why */
		return s.error;
	}

	if (ret_pid)
		*ret_pid = pid;
	return TAKE_FD(pidfd);
}

/* False at the deadline. */
static bool remaining(uint64_t deadline, struct timespec *ret)
{
	uint64_t now = now_monotonic_usec();
	uint64_t left = deadline > now ? deadline - now : 0;

	ret->tv_sec = (time_t)(left / USEC_PER_SEC);
	ret->tv_nsec = (long)(left % USEC_PER_SEC) * 1000;
	return left > 0;
}

/* UINT64_MAX stays what it is. */
static uint64_t deadline_of(uint64_t timeout_usec)
{
	uint64_t deadline;

	return __builtin_add_overflow(now_monotonic_usec(), timeout_usec, &deadline) ? UINT64_MAX : deadline;
}

/* 1 when something is ready, 0 at the deadline. */
static int poll_until(struct pollfd *fds, nfds_t n, uint64_t deadline)
{
	for (;;) {
		struct timespec left;
		bool more = deadline == UINT64_MAX || remaining(deadline, &left);

		int r = ppoll(fds, n, deadline == UINT64_MAX ? NULL : &left, NULL);
		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (!more)
			return 0;
	}
}

int process_wait(int pidfd, uint64_t timeout_usec)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	siginfo_t info = { 0 };
	int r;

	if (timeout_usec != UINT64_MAX) {
		r = poll_until(&p, 1, deadline_of(timeout_usec));
		if (r < 0)
			return r;
		if (r == 0)
			return -ETIMEDOUT;
	}

	do {
		r = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;

	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* Reads what is there; beyond max it is thrown away, so that the program does not block. 0: end, 1: more may
 * come. */
static int drain(int fd, struct strbuf *out, size_t max)
{
	char buf[4096];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : -errno;
		if (n == 0)
			return 0;

		size_t room = max - out->len;
		int r = strbuf_add(out, buf, (size_t)n < room ? (size_t)n : room);
		if (r < 0)
			return r;
	}

	return 1;
}

/* Until the program has exited: one that it left behind may hold the pipe for ever. */
static int collect(int pidfd, int fd, uint64_t deadline, struct strbuf *out, size_t max)
{
	struct pollfd p[2] = {
		{ .fd = pidfd, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};

	for (;;) {
		int r = poll_until(p, ARRAY_SIZE(p), deadline);
		if (r < 0)
			return r;
		if (r == 0)
			return -ETIMEDOUT;

		r = p[1].fd >= 0 ? drain(fd, out, max) : 0;
		if (r < 0)
			return r;
		if (r == 0)
			p[1].fd = -1; /* the end: poll ignores it from now on */
		if (p[0].revents)
			return 0;
	}
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;

	*ret_read = fds[0];
	*ret_write = fds[1];
	return fd_set_nonblock(fds[0], true);
}

/* What exceeds max is dropped. On any failure after the start the program is killed. ret_stdout may be NULL.
 */
int process_run(const char *const argv[], uint64_t timeout_usec, size_t max, char **ret_stdout)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
	_cleanup_close_ int from = -1, to = -1, pidfd = -1;
	uint64_t deadline = timeout_usec == UINT64_MAX ? UINT64_MAX : deadline_of(timeout_usec);

	int r = make_pipe(&from, &to);
	if (r < 0)
		return r;

	o.stdout_fd = to;
	pidfd = process_spawn(argv, &o, NULL);
	if (pidfd < 0)
		return pidfd;
	to = fd_close(to);

	r = collect(pidfd, from, deadline, &out, max);
	if (r < 0)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* it may have exited by now */

	int status = process_wait(pidfd, UINT64_MAX);
	if (r < 0)
		return r;
	if (status < 0)
		return status;

	if (ret_stdout) {
		*ret_stdout = strbuf_take(&out);
		if (!*ret_stdout)
			return -ENOMEM;
	}
	return status;
}

int process_start_time(pid_t pid, uint64_t *ret_ticks)
{
	_cleanup_free_ char *text = NULL;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int r = read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;

	/* Field 2 is the name, which may hold anything, even blanks and parentheses. Field 3 is behind its
	 * last one. */
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EIO;

	p[1 + strcspn(p + 1, " \n")] = '\0';
	return parse_u64(p + 1, ret_ticks);
}
