/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

/* top/root is the tenant's tree; top/secret is what it must never reach. */
struct fixture {
	char path[32];
	int top, root;
};

static void put(int dirfd, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void check_file(int fd, const char *expected)
{
	char buf[64] = "";

	assert_true(fd >= 0);
	assert_true(read_all(fd, buf, sizeof(buf) - 1) >= 0);
	assert_string_equal(buf, expected);
	fd_close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "/tmp/test-path-XXXXXX");
	if (!mkdtemp(f->path))
		return -1;
	f->top = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f->root = open_or_mkdir(f->top, "root", 0700);
	put(f->top, "secret", "secret");
	put(f->root, "secret", "tenant");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fd_close(f->root);
	fd_close(f->top);
	int r = remove_tree_at(AT_FDCWD, f->path);
	free(f);
	return r;
}

static void test_in_root(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(symlinkat("../secret", f->root, "relative"), 0);
	assert_int_equal(symlinkat("/secret", f->root, "absolute"), 0);
	assert_int_equal(symlinkat("/proc/self/fd/0", f->root, "magic"), 0);
	assert_int_equal(symlinkat("loop", f->root, "loop"), 0);

	check_file(open_in_root(f->root, "secret", O_RDONLY, 0), "tenant");
	check_file(open_in_root(f->root, "/secret", O_RDONLY, 0), "tenant");
	check_file(open_in_root(f->root, "../secret", O_RDONLY, 0), "tenant");
	check_file(open_in_root(f->root, "../../../../secret", O_RDONLY, 0), "tenant");
	check_file(open_in_root(f->root, "relative", O_RDONLY, 0), "tenant");
	check_file(open_in_root(f->root, "absolute", O_RDONLY, 0), "tenant");
	assert_int_equal(open_in_root(f->root, "magic", O_RDONLY, 0), -ENOENT);
	assert_int_equal(open_in_root(f->root, "loop", O_RDONLY, 0), -ELOOP);
	assert_int_equal(open_in_root(f->root, "absent", O_RDONLY, 0), -ENOENT);
	assert_int_equal(open_in_root(f->root, "absolute", O_RDONLY | O_NOFOLLOW, 0), -ELOOP);
}

static void test_in_root_flags(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	mode_t old = umask(0);
	int fd = open_in_root(f->root, "new", O_WRONLY | O_CREAT | O_EXCL, 0640);
	umask(old);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	fd_close(fd);

	/* A mode that means nothing does no harm, and O_PATH works. */
	fd = open_in_root(f->root, "new", O_RDONLY, 0640);
	assert_true(fd >= 0);
	fd_close(fd);
	fd = open_in_root(f->root, "new", O_PATH | O_NOFOLLOW, 0640);
	assert_true(fd >= 0);
	fd_close(fd);
	fd = open_in_root(f->root, "/", O_PATH | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	fd_close(fd);
}

static void test_magic_links(void **state)
{
	_cleanup_close_ int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(proc >= 0);
	assert_int_equal(open_in_root(proc, "root", O_RDONLY | O_DIRECTORY, 0), -ELOOP);
	assert_int_equal(open_in_root(proc, "cwd/.", O_RDONLY | O_DIRECTORY, 0), -ELOOP);
	assert_int_equal(open_in_root(proc, "exe", O_RDONLY, 0), -ELOOP);
}

static void test_in_mount(void **state)
{
	_cleanup_close_ int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct fixture *f = *state;

	assert_int_equal(symlinkat("/secret", f->root, "absolute"), 0);
	check_file(open_in_mount(f->root, "absolute", O_RDONLY, 0), "tenant");
	check_file(open_in_mount(f->root, "../secret", O_RDONLY, 0), "tenant");
	assert_int_equal(open_in_mount(f->root, "absent", O_RDONLY, 0), -ENOENT);

	assert_true(top >= 0);
	assert_int_equal(open_in_mount(top, "proc", O_PATH | O_DIRECTORY, 0), -EXDEV);
	assert_int_equal(open_in_mount(top, "/proc/meminfo", O_RDONLY, 0), -EXDEV);
	assert_int_equal(mkdirs_in_mount(top, "/proc/absent", 0700), -EXDEV);
	int fd = mkdirs_in_mount(f->root, "a/b", 0700);
	assert_true(fd >= 0);
	fd_close(fd);
}

static void test_beneath(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(symlinkat("secret", f->root, "link"), 0);
	assert_int_equal(symlinkat(".", f->root, "dir"), 0);
	check_file(open_beneath(f->root, "secret", O_RDONLY, 0), "tenant");
	assert_int_equal(open_beneath(f->root, "link", O_RDONLY, 0), -ELOOP);
	assert_int_equal(open_beneath(f->root, "dir/secret", O_RDONLY, 0), -ELOOP);
	assert_int_equal(open_beneath(f->root, "../secret", O_RDONLY, 0), -EXDEV);
	assert_int_equal(open_beneath(f->root, "/etc", O_RDONLY, 0), -EXDEV);
}

/* A name that flips between a file and a link outwards: whatever is opened is the tenant's. */
static void test_in_root_race(void **state)
{
	struct fixture *f = *state;
	int tenants = 0;

	assert_int_equal(symlinkat("../../secret", f->root, "a"), 0);
	put(f->root, "b", "tenant");
	assert_int_equal(mkdirat(f->root, "sub", 0700), 0);
	pid_t pid = fork();
	if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		for (;;)
			(void)renameat2(f->root, "a", f->root, "b", RENAME_EXCHANGE);

	for (int i = 0; i < 3000; i++) {
		int fd = open_in_root(f->root, "sub/../../a", O_RDONLY, 0);
		if (fd == -EAGAIN || fd == -ENOENT)
			continue;
		check_file(fd, "tenant");
		tenants++;
	}

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(tenants > 0);
}

static void check_dir(int root, int fd, const char *path)
{
	struct stat a, b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstatat(root, path, &b, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(a.st_mode) && a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	fd_close(fd);
}

static void test_mkdirs(void **state)
{
	struct fixture *f = *state;

	check_dir(f->root, mkdirs_in_root(f->root, "a/b/c", 0755), "a/b/c");
	check_dir(f->root, mkdirs_in_root(f->root, "a/b/c", 0755), "a/b/c");
	check_dir(f->root, mkdirs_in_root(f->root, "/a//b/d/", 0755), "a/b/d");
	check_dir(f->root, mkdirs_in_root(f->root, "/", 0755), ".");
	check_dir(f->root, mkdirs_in_root(f->root, "x/../y", 0755), "y");
	assert_int_equal(faccessat(f->root, "x", F_OK, 0), 0);
	assert_int_equal(mkdirs_in_root(f->root, "", 0755), -ENOENT);
	assert_int_equal(mkdirs_in_root(f->root, "secret/x", 0755), -ENOTDIR);
	assert_int_equal(mkdirs_in_root(f->root, "a/../secret", 0755), -ENOTDIR);

	/* Links: followed inside, never outwards, never created through. */
	assert_int_equal(symlinkat("/a/b", f->root, "in"), 0);
	assert_int_equal(symlinkat("../../up", f->root, "out"), 0);
	assert_int_equal(symlinkat("/nowhere", f->root, "dangling"), 0);
	check_dir(f->root, mkdirs_in_root(f->root, "in/e/f", 0755), "a/b/e/f");
	check_dir(f->root, mkdirs_in_root(f->root, "../../esc/g", 0755), "esc/g");
	assert_int_equal(mkdirs_in_root(f->root, "dangling/x", 0755), -ENOENT);
	assert_int_equal(mkdirs_in_root(f->root, "out/x", 0755), -ENOENT);
	assert_int_equal(faccessat(f->top, "up", F_OK, 0), -1);
	assert_int_equal(faccessat(f->top, "esc", F_OK, 0), -1);
	assert_int_equal(faccessat(f->root, "nowhere", F_OK, 0), -1);
}

static void test_open_or_mkdir(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	mode_t old = umask(077);
	int fd = open_or_mkdir(f->top, "state", 0751);
	umask(old);
	check_dir(f->top, fd, "state");
	assert_int_equal(fstatat(f->top, "state", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0751);

	check_dir(f->top, open_or_mkdir(f->top, "state", 0700), "state");
	assert_int_equal(fstatat(f->top, "state", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0751);

	assert_int_equal(symlinkat("state", f->top, "link"), 0);
	assert_int_equal(symlinkat("absent", f->top, "dangling"), 0);
	assert_int_equal(open_or_mkdir(f->top, "secret", 0700), -ENOTDIR);
	assert_true(open_or_mkdir(f->top, "link", 0700) < 0);
	assert_true(open_or_mkdir(f->top, "dangling", 0700) < 0);
	assert_int_equal(open_or_mkdir(f->top, "no/where", 0700), -ENOENT);
}

static int count_entries(int dirfd)
{
	_cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	return n - 2;
}

static void test_replace(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(replace_file_at(f->root, "new", "one", 3, 0644, false), 0);
	check_file(openat(f->root, "new", O_RDONLY | O_CLOEXEC), "one");
	assert_int_equal(fstatat(f->root, "new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);

	assert_int_equal(replace_file_at(f->root, "new", "second", 6, 0600, true), 0);
	check_file(openat(f->root, "new", O_RDONLY | O_CLOEXEC), "second");
	assert_int_equal(fstatat(f->root, "new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	assert_int_equal(replace_file_at(f->top, "root/new", "third", 5, 0600, true), 0);
	check_file(openat(f->root, "new", O_RDONLY | O_CLOEXEC), "third");

	/* A link is replaced, not followed; a failure leaves nothing beside. */
	assert_int_equal(symlinkat("../secret", f->root, "link"), 0);
	assert_int_equal(replace_file_at(f->root, "link", "mine", 4, 0600, false), 0);
	check_file(openat(f->top, "secret", O_RDONLY | O_CLOEXEC), "secret");
	check_file(openat(f->root, "link", O_RDONLY | O_CLOEXEC | O_NOFOLLOW), "mine");

	assert_int_equal(mkdirat(f->root, "dir", 0700), 0);
	int before = count_entries(f->root);
	assert_int_equal(replace_file_at(f->root, "dir", "x", 1, 0600, false), -EISDIR);
	assert_int_equal(replace_file_at(f->root, "no/where", "x", 1, 0600, false), -ENOENT);
	assert_int_equal(count_entries(f->root), before);
}

/* A reader sees the old or the new content, never a part. */
static void test_replace_is_atomic(void **state)
{
	struct fixture *f = *state;
	char a[4096], b[4096], buf[4096];

	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	assert_int_equal(replace_file_at(f->root, "file", a, sizeof(a), 0600, false), 0);
	pid_t pid = fork();
	if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		for (int i = 0;; i++)
			(void)replace_file_at(f->root, "file", i % 2 ? a : b, sizeof(a), 0600, false);

	for (int i = 0; i < 500; i++) {
		_cleanup_close_ int fd = open_beneath(f->root, "file", O_RDONLY, 0);
		assert_int_equal(read_all(fd, buf, sizeof(buf)), sizeof(buf));
		assert_memory_equal(buf, buf[0] == 'a' ? a : b, sizeof(buf));
	}

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_root_flags, setup, teardown),
		cmocka_unit_test(test_magic_links),
		cmocka_unit_test_setup_teardown(test_in_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(test_beneath, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_root_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mkdirs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_or_mkdir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace_is_atomic, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
