/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program that is started is this one again, with an argument: it then looks at itself (fds, signals,
 * directory, environment) and tells on stdout.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"

static char self[512];

/* The open fds but that of the listing itself. */
static void tell_fds(void)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");

	for (int fd = 0; fd < 1024; fd++)
		if (d && fd != dirfd(d) && fcntl(fd, F_GETFD) >= 0)
			printf("fd %d\n", fd);
}

static void tell_signals(void)
{
	sigset_t mask;
	int blocked = 0, changed = 0;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int i = 1; i < NSIG; i++) {
		struct sigaction a;
		blocked += sigismember(&mask, i) == 1;
		/* The sanitizers have handlers of their own for the faults. */
		if (i != SIGSEGV && i != SIGBUS && i != SIGFPE && sigaction(i, NULL, &a) == 0)
			changed += a.sa_handler != SIG_DFL;
	}
	printf("blocked %d changed %d\n", blocked, changed);
}

static int tell(const char *what)
{
	char buf[512];
	int sig = 0;

	if (str_eq(what, "fds"))
		tell_fds();
	else if (str_eq(what, "signals"))
		tell_signals();
	else if (str_eq(what, "cwd"))
		printf("%s\n", getcwd(buf, sizeof(buf)));
	else if (str_eq(what, "env"))
		for (char **e = environ; *e; e++)
			printf("%s\n", *e);
	else if (str_eq(what, "death"))
		printf("%d\n", prctl(PR_GET_PDEATHSIG, &sig) == 0 ? sig : -1);
	else if (str_eq(what, "streams"))
		return write_all(1, "out", 3) < 0 || write_all(2, "err", 3) < 0 || read_all(0, buf, 8) != 2;
	else if (str_eq(what, "flood"))
		for (;;)
			if (write_all(1, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", 32) < 0)
				return 1;

	return fflush(stdout) == 0 ? 0 : 1;
}

static int memory_file(void)
{
	int fd = memfd_create("out", MFD_CLOEXEC);

	assert_true(fd >= 3);
	return fd;
}

static char *content(int fd)
{
	static char buf[4096];

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	ssize_t n = read_all(fd, buf, sizeof(buf) - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
	return buf;
}

/* What the program says about itself when started with these options (stdout is ours). */
static const char *told(const char *what, struct process_options o)
{
	const char *const argv[] = { self, what, NULL };
	_cleanup_close_ int out = memory_file(), pidfd = -1;

	o.stdout_fd = out;
	pidfd = process_spawn(argv, &o, NULL);
	assert_true(pidfd >= 0);
	assert_int_equal(process_wait(pidfd, 20 * USEC_PER_SEC), 0);
	return content(out);
}

static void test_fds(void **state)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	int leak = open("/dev/null", O_RDONLY),
	    high = fcntl(leak, F_DUPFD, 300); /* without CLOEXEC on purpose */
	int keep = fcntl(leak, F_DUPFD_CLOEXEC, 100), low = fcntl(leak, F_DUPFD_CLOEXEC, 3);
	char expected[128];

	assert_true(leak >= 0 && high >= 300 && keep >= 100 && low >= 3);
	assert_string_equal(told("fds", o), "fd 0\nfd 1\nfd 2\n");

	o.keep_fds = (int[]){ keep, low, keep };
	o.n_keep = 3;
	(void)snprintf(expected, sizeof(expected), "fd 0\nfd 1\nfd 2\nfd %d\nfd %d\n", low, keep);
	assert_string_equal(told("fds", o), expected);
	assert_int_equal(fcntl(keep, F_GETFD), FD_CLOEXEC); /* ours is as it was */

	o.keep_fds = (int[]){ 2, 1000 };
	o.n_keep = 2;
	assert_int_equal(process_spawn((const char *const[]){ self, "fds", NULL }, &o, NULL), -EBADF);

	fd_close(leak);
	fd_close(high);
	fd_close(keep);
	fd_close(low);
}

static void test_streams(void **state)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	const char *const argv[] = { self, "streams", NULL };
	_cleanup_close_ int in = memory_file(), out = memory_file(), err = memory_file(), pidfd = -1;
	pid_t pid = 0;

	assert_int_equal(write_all(in, "ab", 2), 0);
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	o.stdin_fd = in;
	o.stdout_fd = out;
	o.stderr_fd = err;
	pidfd = process_spawn(argv, &o, &pid);
	assert_true(pidfd >= 0 && pid > 0);
	assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(process_wait(pidfd, UINT64_MAX), 0);
	assert_string_equal(content(out), "out");
	assert_string_equal(content(err), "err");
	assert_int_equal(waitpid(pid, NULL, 0), -1); /* reaped */
}

/* Our own 1 and 2 crosswise as the program's 2 and 1. */
static void test_crossed_streams(void **state)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	const char *const argv[] = { self, "streams", NULL };
	_cleanup_close_ int in = memory_file(), one = memory_file(), two = memory_file(), pidfd = -1;
	int saved1 = fd_dup_cloexec(1), saved2 = fd_dup_cloexec(2);

	assert_int_equal(write_all(in, "ab", 2), 0);
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	assert_true(dup2(one, 1) == 1 && dup2(two, 2) == 2);
	o.stdin_fd = in;
	o.stdout_fd = 2;
	o.stderr_fd = 1;
	pidfd = process_spawn(argv, &o, NULL);
	int status = pidfd < 0 ? pidfd : process_wait(pidfd, UINT64_MAX);
	assert_true(dup2(saved1, 1) == 1 && dup2(saved2, 2) == 2);
	fd_close(saved1);
	fd_close(saved2);

	assert_int_equal(status, 0);
	assert_string_equal(content(one), "err");
	assert_string_equal(content(two), "out");
}

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
	caught = sig;
}

static void test_signals(void **state)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, handle = { .sa_handler = on_signal }, a;
	sigset_t block, mask;

	sigemptyset(&block);
	sigaddset(&block, SIGUSR2);
	sigaddset(&block, SIGTERM);
	assert_int_equal(sigprocmask(SIG_BLOCK, &block, NULL), 0);
	assert_int_equal(sigaction(SIGPIPE, &ignore, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &handle, NULL), 0);

	assert_string_equal(told("signals", PROCESS_OPTIONS_INIT), "blocked 0 changed 0\n");

	/* Ours are untouched, though the child shared our memory. */
	assert_int_equal(sigaction(SIGPIPE, NULL, &a), 0);
	assert_true(a.sa_handler == SIG_IGN);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(caught, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &block, &mask), 0);
	assert_true(
	        sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGINT));
	ignore.sa_handler = SIG_DFL;
	assert_int_equal(sigaction(SIGPIPE, &ignore, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &ignore, NULL), 0);
}

static void test_directory_and_environment(void **state)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int dir = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_string_equal(told("cwd", o), "/\n");
	assert_string_equal(told("env", o),
	        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C.UTF-8\n");
	o.cwd_fd = dir;
	assert_string_equal(told("cwd", o), "/proc\n");
	o.env = (const char *const[]){ "A=b c", "D=", NULL };
	assert_string_equal(told("env", o), "A=b c\nD=\n");
	assert_string_equal(told("death", o), "0\n");
	o.death_signal = SIGTERM;
	assert_string_equal(told("death", o), "15\n");
}

static int count_fds(void)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	return n;
}

static void test_failures(void **state)
{
	struct process_options o = PROCESS_OPTIONS_INIT;
	char script[] = "/tmp/test-process-XXXXXX";
	int before = count_fds();

	assert_int_equal(
	        process_spawn((const char *const[]){ "no-such-program-here", NULL }, &o, NULL), -ENOENT);
	assert_int_equal(process_spawn((const char *const[]){ "/no/such", NULL }, &o, NULL), -ENOENT);
	assert_int_equal(process_spawn((const char *const[]){ "/proc", NULL }, &o, NULL), -EACCES);
	assert_int_equal(process_spawn((const char *const[]){ "", NULL }, &o, NULL), -ENOENT);
	assert_int_equal(process_spawn((const char *const[]){ NULL }, &o, NULL), -ENOENT);

	int fd = mkstemp(script);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, "exit 0\n", 7), 0);
	fd_close(fd);
	assert_int_equal(process_spawn((const char *const[]){ script, NULL }, &o, NULL), -EACCES);
	assert_int_equal(chmod(script, 0700), 0);
	assert_int_equal(process_spawn((const char *const[]){ script, NULL }, &o, NULL), -ENOEXEC);
	assert_int_equal(unlink(script), 0);

	o.cwd_fd = 0;
	o.stdin_fd = 1000;
	assert_int_equal(process_spawn((const char *const[]){ "true", NULL }, &o, NULL), -EBADF);

	/* No zombie, no fd. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(count_fds(), before);
}

static void test_wait(void **state)
{
	_cleanup_close_ int pidfd = process_spawn((const char *const[]){ "sleep", "60", NULL }, NULL, NULL);
	int again;

	assert_true(pidfd >= 0);
	uint64_t start = now_monotonic_usec();
	assert_int_equal(process_wait(pidfd, 20000), -ETIMEDOUT);
	assert_true(now_monotonic_usec() - start >= 20000);
	assert_int_equal(process_wait(pidfd, 0), -ETIMEDOUT);
	assert_int_equal(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0), 0);
	assert_int_equal(process_wait(pidfd, 20 * USEC_PER_SEC), 128 + SIGTERM);
	assert_int_equal(process_wait(pidfd, UINT64_MAX), -ECHILD);

	again = process_spawn((const char *const[]){ "false", NULL }, NULL, NULL);
	assert_true(again >= 0);
	assert_int_equal(process_wait(again, UINT64_MAX), 1);
	fd_close(again);
}

static void test_run(void **state)
{
	_cleanup_free_ char *out = NULL;

	assert_int_equal(
	        process_run((const char *const[]){ "echo", "a b", "$HOME", NULL }, UINT64_MAX, 100, &out), 0);
	assert_string_equal(out, "a b $HOME\n");
	cleanup_freep(&out);
	assert_int_equal(
	        process_run((const char *const[]){ "echo", "abcdef", NULL }, UINT64_MAX, 3, &out), 0);
	assert_string_equal(out, "abc");
	cleanup_freep(&out);
	assert_int_equal(process_run((const char *const[]){ "true", NULL }, UINT64_MAX, 0, &out), 0);
	assert_string_equal(out, "");
	cleanup_freep(&out);

	/* More than a pipe holds. */
	assert_int_equal(process_run((const char *const[]){ "head", "-c", "500000", "/dev/zero", NULL },
	                         20 * USEC_PER_SEC, 1 << 20, &out),
	        0);
	cleanup_freep(&out);
	out = NULL;
	assert_int_equal(process_run((const char *const[]){ "false", NULL }, UINT64_MAX, 10, NULL), 1);
	assert_int_equal(
	        process_run((const char *const[]){ "no-such-program", NULL }, UINT64_MAX, 10, &out), -ENOENT);
}

static void test_run_deadline(void **state)
{
	_cleanup_free_ char *out = NULL;
	uint64_t start = now_monotonic_usec();

	assert_int_equal(
	        process_run((const char *const[]){ "sleep", "60", NULL }, 50000, 10, &out), -ETIMEDOUT);
	assert_int_equal(
	        process_run((const char *const[]){ self, "flood", NULL }, 50000, 10, &out), -ETIMEDOUT);
	assert_true(now_monotonic_usec() - start < 30 * USEC_PER_SEC);
	assert_null(out);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);

	/* What a program left behind holds the pipe: the program's end counts. */
	assert_int_equal(process_run((const char *const[]){ "sh", "-c", "sleep 3 & echo started", NULL },
	                         20 * USEC_PER_SEC, 100, &out),
	        0);
	assert_string_equal(out, "started\n");
	assert_true(now_monotonic_usec() - start < 30 * USEC_PER_SEC);
}

static uint64_t faults_of_writing(char *memory, size_t size)
{
	struct rusage before, after;

	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	for (size_t i = 0; i < size; i += 4096)
		memory[i]++;
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	return (uint64_t)(after.ru_minflt - before.ru_minflt);
}

/* A big process costs nothing extra: no page tables are copied, or each page would fault at the next write.
 */
static void test_cost_does_not_grow(void **state)
{
	const size_t size = 16UL << 20, pages = size / 4096;
	char *big = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_cleanup_close_ int pidfd = -1;

	assert_true(big != MAP_FAILED);
	(void)madvise(big, size, MADV_NOHUGEPAGE);
	assert_true(faults_of_writing(big, size) >= pages / 2);
	assert_true(faults_of_writing(big, size) < pages / 2);
	pidfd = process_spawn((const char *const[]){ "true", NULL }, NULL, NULL);
	assert_true(pidfd >= 0);
	assert_int_equal(process_wait(pidfd, UINT64_MAX), 0);
	assert_true(faults_of_writing(big, size) < pages / 2);
	munmap(big, size);
}

static void test_find(void **state)
{
	_cleanup_free_ char *path = NULL;

	assert_int_equal(process_path("sh", &path), 0);
	assert_int_equal(access(path, X_OK), 0);
	assert_string_equal(strrchr(path, '/'), "/sh");
	assert_int_equal(process_find("sh"), 0);
	assert_int_equal(process_find("/bin/sh"), 0);
	assert_int_equal(process_find("no-such-program-here"), -ENOENT);
	assert_int_equal(process_find("/etc/passwd"), -ENOENT);
	assert_int_equal(process_find("/bin"), -ENOENT);
	assert_int_equal(process_find(""), -ENOENT);
}

static void test_start_time(void **state)
{
	uint64_t a = 0, b = 0, init = 0;

	assert_int_equal(process_start_time(getpid(), &a), 0);
	assert_int_equal(process_start_time(1, &init), 0);
	assert_true(a >= init);

	/* A name that is made to confuse. */
	assert_int_equal(prctl(PR_SET_NAME, ") R 1 2\n3 (("), 0);
	assert_int_equal(process_start_time(getpid(), &b), 0);
	assert_true(a == b && a > 0);
	assert_int_equal(process_start_time(0x7ffffff0, &b), -ESRCH);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_crossed_streams),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_directory_and_environment),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_run_deadline),
		cmocka_unit_test(test_cost_does_not_grow),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_start_time),
	};

	if (argc == 2)
		return tell(argv[1]);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;

	return cmocka_run_group_tests(tests, NULL, NULL);
}
