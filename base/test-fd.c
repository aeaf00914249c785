/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

struct fixture {
	char path[32];
	int dir;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "/tmp/test-fd-XXXXXX");
	if (!mkdtemp(f->path))
		return -1;
	f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return f->dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fd_close(f->dir);
	int r = remove_tree_at(AT_FDCWD, f->path);
	free(f);
	return r;
}

static int count_fds(void)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	return n;
}

static void put(struct fixture *f, const char *name, const void *data, size_t len)
{
	_cleanup_close_ int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, data, len), 0);
}

static void test_close_and_dup(void **state)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC), dup_fd = -1;

	dup_fd = fd_dup_cloexec(fd);
	assert_true(dup_fd >= 3);
	assert_int_equal(fcntl(dup_fd, F_GETFD), FD_CLOEXEC);

	int high = fd_move_above(dup_fd, 200);
	assert_true(high >= 200);
	assert_int_equal(fcntl(high, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(dup_fd, F_GETFD), -1);
	assert_int_equal(fd_move_above(high, 100), high);
	dup_fd = -1;

	errno = EXDEV;
	high = fd_close(high);
	assert_int_equal(high, -1);
	assert_int_equal(fd_close(-1), -1);
	assert_int_equal(fd_close(100000), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fd_dup_cloexec(-1), -EBADF);
	assert_int_equal(fd_move_above(-1, 3), -EBADF);
}

static void test_set_aside(void **state)
{
	struct rlimit old, low = { 100, 0 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int aside = fd_set_aside(fd);

	assert_true(aside > fd);
	assert_int_equal(fcntl(aside, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(fd_set_aside(aside), aside);
	(void)fd_close(aside);
	assert_int_equal(fd_set_aside(-1), -1);
	assert_int_equal(fd_set_aside(-ENOENT), -ENOENT);

	/* where there is no room it stays what it is */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(fd_set_aside(fd), fd);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	(void)fd_close(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void test_nonblock(void **state)
{
	int p[2];
	char c;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_set_nonblock(p[0], true), 0);
	assert_int_equal(read_all(p[0], &c, 1), -EAGAIN);
	assert_int_equal(fd_set_nonblock(p[0], false), 0);
	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
	fd_close(p[0]);
	fd_close(p[1]);
}

static void test_whole_transfers(void **state)
{
	static char out[300000], in[300001];
	int p[2];

	/* More than a pipe holds, so both sides see partial transfers. */
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(write_all(p[1], out, sizeof(out)) == 0 ? 0 : 1);
	fd_close(p[1]);

	assert_int_equal(read_all(p[0], in, sizeof(in)), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	fd_close(p[0]);

	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_read_file(void **state)
{
	struct fixture *f = *state;
	static char big[70000];
	char *text = NULL;
	size_t len;

	memset(big, 'b', sizeof(big));
	put(f, "big", big, sizeof(big));
	put(f, "empty", "", 0);
	put(f, "nul", "a\0b", 3);

	assert_int_equal(read_file_at(f->dir, "big", sizeof(big), &text, &len), 0);
	assert_int_equal(len, sizeof(big));
	assert_memory_equal(text, big, len);
	assert_int_equal(text[len], 0);
	cleanup_freep(&text);

	assert_int_equal(read_file_at(f->dir, "empty", 0, &text, NULL), 0);
	assert_string_equal(text, "");
	cleanup_freep(&text);

	assert_int_equal(read_file_at(f->dir, "nul", 3, &text, &len), 0);
	assert_int_equal(len, 3);
	cleanup_freep(&text);

	text = NULL;
	assert_int_equal(read_file_at(f->dir, "big", sizeof(big) - 1, &text, &len), -E2BIG);
	assert_int_equal(read_file_at(f->dir, "nul", 0, &text, &len), -E2BIG);
	assert_int_equal(read_file_at(f->dir, "absent", 10, &text, &len), -ENOENT);
	assert_int_equal(read_file_at(f->dir, ".", 10, &text, &len), -EISDIR);
	assert_null(text);

	/* A kernel file says that its size is 0. */
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/status", SIZE_MAX, &text, &len), 0);
	assert_true(len > 100 && str_has_prefix(text, "Name:"));
	cleanup_freep(&text);
}

static void test_write_file(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL, *big = malloc(5000);

	assert_int_equal(write_file_at(f->dir, "value", "x"), -ENOENT);
	put(f, "value", "12345", 5);
	assert_int_equal(write_file_at(f->dir, "value", "ab"), 0);
	assert_int_equal(read_file_at(f->dir, "value", 100, &text, NULL), 0);
	assert_string_equal(text, "ab345");

	assert_int_equal(write_file_printf_at(f->dir, "value", "%d:%s", 7, "q"), 0);
	cleanup_freep(&text);
	assert_int_equal(read_file_at(f->dir, "value", 100, &text, NULL), 0);
	assert_string_equal(text, "7:q45");

	assert_non_null(big);
	memset(big, 'x', 4999);
	big[4999] = '\0';
	assert_int_equal(write_file_printf_at(f->dir, "value", "%s", big), -E2BIG);
	assert_int_equal(write_file_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
}

static void check_u64(struct fixture *f, const char *content, int expected, uint64_t value)
{
	uint64_t n = 7;

	put(f, "number", content, strlen(content));
	assert_int_equal(read_u64_at(f->dir, "number", &n), expected);
	assert_true(n == (expected < 0 ? 7 : value));
}

static void test_read_u64(void **state)
{
	struct fixture *f = *state;
	uint64_t n;

	check_u64(f, "42\n", 0, 42);
	check_u64(f, "42", 0, 42);
	check_u64(f, "max\n", 0, UINT64_MAX);
	check_u64(f, "18446744073709551615\n", 0, UINT64_MAX);
	check_u64(f, "18446744073709551616\n", -ERANGE, 0);
	check_u64(f, "", -EINVAL, 0);
	check_u64(f, "42\n\n", -EINVAL, 0);
	check_u64(f, "42 43\n", -EINVAL, 0);
	check_u64(f, "-1\n", -EINVAL, 0);
	assert_int_equal(read_u64_at(f->dir, "absent", &n), -ENOENT);
}

static void test_memfd(void **state)
{
	_cleanup_close_ int fd = memfd_sealed("test", "hello", 5), empty = memfd_sealed("test", NULL, 0);
	char buf[8] = "";

	assert_true(fd >= 0 && empty >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(read_all(fd, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(write_all(fd, "x", 1), -EPERM);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 100), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_true(mmap(NULL, 5, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	assert_int_equal(read_all(empty, buf, sizeof(buf)), 0);
}

static void test_memfd_runs(void **state)
{
	_cleanup_free_ char *program = NULL;
	_cleanup_close_ int fd = -1;
	char *argv[] = { (char *)"true", NULL };
	size_t len;
	int status;

	assert_int_equal(read_file_at(AT_FDCWD, "/bin/true", 1 << 24, &program, &len), 0);
	fd = memfd_sealed("true", program, len);
	assert_true(fd >= 0);

	pid_t pid = fork();
	if (pid == 0) {
		fexecve(fd, argv, environ);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void make_pair(int type, int *s)
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, s), 0);
}

static void test_pass_fds(void **state)
{
	int s[2], got[4] = { -1, -1, -1, -1 };
	struct stat a, b;
	char buf[16];

	make_pair(SOCK_SEQPACKET, s);
	assert_int_equal(send_fds(s[0], "hello", 5, (int[]){ s[0], s[1] }, 2), 0);
	assert_int_equal(send_fds(s[0], "plain", 5, NULL, 0), 0);

	size_t n = ARRAY_SIZE(got);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), 5);
	assert_int_equal(n, 2);
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(got[1], &a), 0);
	assert_int_equal(fstat(s[1], &b), 0);
	assert_true(a.st_ino == b.st_ino);
	fd_close(got[0]);
	fd_close(got[1]);

	n = ARRAY_SIZE(got);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), 5);
	assert_int_equal(n, 0);

	fd_close(s[0]);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), NULL, NULL), 0);
	assert_int_equal(send_fds(s[1], "x", 1, NULL, 0), -EPIPE);
	fd_close(s[1]);
}

static void test_refused_messages_leak_nothing(void **state)
{
	int s[2], many[253], got[253];
	char buf[4];
	size_t n;

	make_pair(SOCK_SEQPACKET, s);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = s[0];
	int before = count_fds();

	/* More fds than there is room for, none wanted at all, data too long, and the most that can be sent.
	 */
	assert_int_equal(send_fds(s[0], "x", 1, many, 5), 0);
	n = 4;
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(send_fds(s[0], "x", 1, many, 1), 0);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), NULL, NULL), -EMSGSIZE);
	assert_int_equal(send_fds(s[0], "too long", 8, many, 3), 0);
	n = 4;
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(send_fds(s[0], "x", 1, many, 253), 0);
	n = 4;
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(count_fds(), before);

	assert_int_equal(send_fds(s[0], "x", 1, many, 253), 0);
	n = ARRAY_SIZE(got);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), got, &n), 1);
	assert_int_equal(n, 253);
	while (n > 0)
		fd_close(got[--n]);

	assert_int_equal(send_fds(s[0], "x", 1, many, 254), -EINVAL);
	assert_int_equal(send_fds(s[0], "", 0, many, 1), -EINVAL);
	fd_set_nonblock(s[1], true);
	assert_int_equal(recv_fds(s[1], buf, sizeof(buf), NULL, NULL), -EAGAIN);
	fd_close(s[0]);
	fd_close(s[1]);
	assert_int_equal(count_fds(), before - 2);
}

static void test_fds_beside_credentials(void **state)
{
	int s[2], got[2], on = 1;
	size_t n = 2;
	char c;

	make_pair(SOCK_SEQPACKET, s);
	assert_int_equal(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(send_fds(s[0], "x", 1, s, 1), 0);
	assert_int_equal(recv_fds(s[1], &c, 1, got, &n), 1);
	assert_int_equal(n, 1);
	fd_close(got[0]);
	fd_close(s[0]);
	fd_close(s[1]);
}

static void test_peer_cred(void **state)
{
	struct ucred cred;
	int s[2];

	make_pair(SOCK_STREAM, s);
	assert_int_equal(peer_cred(s[0], &cred), 0);
	assert_int_equal(cred.pid, getpid());
	assert_int_equal(cred.uid, geteuid());
	assert_int_equal(cred.gid, getegid());
	fd_close(s[0]);
	fd_close(s[1]);
	assert_int_equal(peer_cred(-1, &cred), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_close_and_dup),
		cmocka_unit_test(test_set_aside),
		cmocka_unit_test(test_nonblock),
		cmocka_unit_test(test_whole_transfers),
		cmocka_unit_test_setup_teardown(test_read_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_u64, setup, teardown),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_memfd_runs),
		cmocka_unit_test(test_pass_fds),
		cmocka_unit_test(test_refused_messages_leak_nothing),
		cmocka_unit_test(test_fds_beside_credentials),
		cmocka_unit_test(test_peer_cred),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
