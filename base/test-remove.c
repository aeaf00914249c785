/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a hostile tenant can do to the removal of its tree: depth, renames while it runs, mounts, a disk on
 * which nothing can be renamed. Each test works in a directory of its own and with few fds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

struct fixture {
	char path[40];
	int top;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	/* In memory if there is such a place: a disk takes minutes to make 100,000 directories. */
	(void)snprintf(f->path, sizeof(f->path), "%s/test-remove-XXXXXX",
	        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(f->path))
		return -1;
	f->top = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return f->top < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fd_close(f->top);
	int r = remove_tree_at(AT_FDCWD, f->path);
	free(f);
	return r;
}

static int make_dir(int dirfd, const char *name)
{
	int fd = open_or_mkdir(dirfd, name, 0700);

	assert_true(fd >= 0);
	return fd;
}

static void make_file(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	fd_close(fd);
}

static bool exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_all_kinds(void **state)
{
	struct fixture *f = *state;
	int outside = make_dir(f->top, "outside"), tree = make_dir(f->top, "tree"),
	    sub = make_dir(tree, "sub");

	make_file(outside, "kept");
	make_file(sub, "file");
	make_file(sub, ".hidden");
	make_file(sub, "\xff\n name");
	assert_int_equal(symlinkat("../outside", tree, "link"), 0);
	assert_int_equal(symlinkat("/nowhere", sub, "dangling"), 0);
	assert_int_equal(linkat(outside, "kept", sub, "hard", 0), 0);
	assert_int_equal(mkfifoat(sub, "fifo", 0600), 0);
	for (int i = 0; i < 300; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "d%d", i);
		fd_close(make_dir(sub, name));
	}
	fd_close(tree);
	fd_close(sub);

	assert_int_equal(remove_tree_at(f->top, "tree"), 0);
	assert_false(exists(f->top, "tree"));
	assert_true(exists(outside, "kept"));
	fd_close(outside);
}

static void test_arguments(void **state)
{
	struct fixture *f = *state;
	int a = make_dir(f->top, "a"), b = make_dir(a, "b");
	char path[64];

	make_file(b, "x");
	make_file(a, "y");
	assert_int_equal(symlinkat("a", f->top, "link"), 0);

	assert_int_equal(remove_tree_at(f->top, "absent"), 0);
	assert_int_equal(remove_tree_at(f->top, "absent/too"), 0);
	assert_int_equal(remove_tree_at(f->top, ""), -EINVAL);
	assert_int_equal(remove_tree_at(f->top, "."), -EINVAL);
	assert_int_equal(remove_tree_at(f->top, ".."), -EINVAL);
	assert_int_equal(remove_tree_at(f->top, "a/.."), -EINVAL);
	assert_int_equal(remove_tree_at(f->top, "/"), -EINVAL);
	assert_int_equal(remove_tree_at(f->top, "link/b"), -ELOOP);
	assert_int_equal(remove_tree_at(f->top, "../escape"), -EXDEV);
	assert_true(exists(b, "x"));

	assert_int_equal(remove_tree_at(f->top, "a/b/"), 0);
	assert_false(exists(a, "b"));
	assert_int_equal(remove_tree_at(f->top, "link"), 0); /* the link itself */
	assert_true(exists(a, "y"));
	assert_false(exists(f->top, "link"));
	(void)snprintf(path, sizeof(path), "%s/a", f->path);
	assert_int_equal(remove_tree_at(-1, path), 0);
	assert_false(exists(f->top, "a"));
	make_file(f->top, "file");
	assert_int_equal(remove_tree_at(f->top, "file"), 0);
	assert_false(exists(f->top, "file"));
	fd_close(a);
	fd_close(b);
}

/* depth directories in each other, a file and an empty directory beside each. Consumes top. */
static void make_deep(int top, int depth)
{
	for (int i = 0; i < depth; i++) {
		assert_int_equal(mkdirat(top, "d", 0700), 0);
		if (i % 8 == 0) {
			make_file(top, "a");
			assert_int_equal(mkdirat(top, "z", 0700), 0);
		}
		int next = openat(top, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		fd_close(top);
		top = next;
	}
	fd_close(top);
}

static void limit_fds(rlim_t n, struct rlimit *ret_old)
{
	assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_old), 0);
	struct rlimit few = { n, ret_old->rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

static void test_depth(void **state)
{
	struct fixture *f = *state;
	struct rlimit old;

	limit_fds(64, &old);
	make_deep(make_dir(f->top, "tree"), 100000);
	int r = remove_tree_at(f->top, "tree");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, 0);
	assert_false(exists(f->top, "tree"));
}

/* Many directories below the level where moving up begins. */
static void test_wide_and_deep(void **state)
{
	struct fixture *f = *state;
	int fd = make_dir(f->top, "tree");

	for (int i = 0; i < 40; i++) {
		int next = make_dir(fd, "d");
		fd_close(fd);
		fd = next;
	}
	for (int i = 0; i < 500; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "w%d", i);
		int sub = make_dir(fd, name);
		make_file(sub, "x");
		fd_close(make_dir(sub, "y"));
		fd_close(sub);
	}
	fd_close(fd);

	assert_int_equal(remove_tree_at(f->top, "tree"), 0);
	assert_false(exists(f->top, "tree"));
}

/* Leftovers of an earlier try, with the names that this one would make. */
static void test_interrupted_before(void **state)
{
	struct fixture *f = *state;
	int tree = make_dir(f->top, "tree");

	for (int i = 0; i < 4; i++) {
		char name[32];
		(void)snprintf(name, sizeof(name), ".removed-%08x", i);
		make_file(tree, name);
	}
	make_deep(tree, 200);
	assert_int_equal(remove_tree_at(f->top, "tree"), 0);
	assert_false(exists(f->top, "tree"));
}

static int exit_status(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* From now on renameat2 answers EXDEV, as between project quotas. */
static int forbid_renames(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

static void test_without_renames(void **state)
{
	struct fixture *f = *state;

	make_deep(make_dir(f->top, "tree"), 3000);
	pid_t pid = fork();
	if (pid == 0) {
		int r = forbid_renames();
		if (r == 0 && renameat2(f->top, "tree", f->top, "other", RENAME_NOREPLACE) == 0)
			_exit(98);
		_exit(r < 0 ? 99 : -remove_tree_at(f->top, "tree"));
	}

	assert_int_equal(exit_status(pid), 0);
	assert_false(exists(f->top, "tree"));
}

/* A tree with a mount deep inside it and one beside: all else goes, what is mounted stays whole. In
 * namespaces of its own. */
static int remove_around_mounts(struct fixture *f)
{
	char path[128], uids[32], gids[32];

	(void)snprintf(uids, sizeof(uids), "0 %u 1", geteuid());
	(void)snprintf(gids, sizeof(gids), "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return 77;
	if (write_file_at(AT_FDCWD, "/proc/self/uid_map", uids) < 0 ||
	        write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny") < 0 ||
	        write_file_at(AT_FDCWD, "/proc/self/gid_map", gids) < 0)
		return 77;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;

	(void)snprintf(path, sizeof(path), "%s/tree/sub/mnt", f->path);
	if (mount("tmpfs", path, "tmpfs", 0, NULL) < 0)
		return 77;
	(void)snprintf(path, sizeof(path), "%s/tree/sub/mnt/kept", f->path);
	if (mkdir(path, 0700) < 0)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/tree/bound", f->path);
	if (mount(f->path, path, NULL, MS_BIND, NULL) < 0) /* the same filesystem, and a loop */
		return 2;

	if (remove_tree_at(f->top, "tree") != -EBUSY)
		return 3;
	(void)snprintf(path, sizeof(path), "%s/tree/sub/mnt/kept", f->path);
	if (access(path, F_OK) < 0)
		return 4;
	if (!exists(f->top, "outside") || exists(f->top, "tree/a") || exists(f->top, "tree/sub/x/y"))
		return 5;

	(void)snprintf(path, sizeof(path), "%s/tree/sub/mnt", f->path);
	return remove_tree_at(AT_FDCWD, path) == -EBUSY ? 0 : 6;
}

static void test_mounts(void **state)
{
	struct fixture *f = *state;
	int tree = make_dir(f->top, "tree"), sub = make_dir(tree, "sub"), x = make_dir(sub, "x");

	make_file(f->top, "outside");
	make_file(tree, "a");
	make_file(x, "y");
	fd_close(make_dir(sub, "mnt"));
	fd_close(make_dir(tree, "bound"));
	fd_close(tree);
	fd_close(sub);
	fd_close(x);

	pid_t pid = fork();
	if (pid == 0)
		_exit(remove_around_mounts(f));
	int status = exit_status(pid);
	if (status == 77) {
		print_message("no user namespaces with mounts for us here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* Swaps directories for links outwards, and moves them up and down, as fast as it can. */
static void disturb(struct fixture *f)
{
	for (unsigned int i = 0;; i++) {
		(void)renameat2(f->top, "tree/a", f->top, "tree/link", RENAME_EXCHANGE);
		(void)renameat2(f->top, "tree/b/c", f->top, "tree/c", RENAME_NOREPLACE);
		(void)renameat2(f->top, "tree/c", f->top, "tree/b/c", RENAME_NOREPLACE);
		(void)renameat2(f->top, "tree/a", f->top, "moved", RENAME_NOREPLACE);
		(void)renameat2(f->top, "moved", f->top, "tree/a", RENAME_NOREPLACE);
	}
}

static void make_victim(int tree)
{
	int a = make_dir(tree, "a"), b = make_dir(tree, "b"), c = make_dir(b, "c");

	assert_true(symlinkat("../outside", tree, "link") == 0 || errno == EEXIST);
	for (int i = 0; i < 30; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "f%d", i);
		make_file(a, name);
		fd_close(make_dir(b, name));
		make_file(c, name);
	}
	fd_close(a);
	fd_close(b);
	fd_close(c);
}

static void test_renames_meanwhile(void **state)
{
	struct fixture *f = *state;
	int outside = make_dir(f->top, "outside"), sub = make_dir(outside, "sub");

	make_file(outside, "f1");
	make_file(sub, "f1");
	for (int i = 0; i < 20; i++) {
		int tree = make_dir(f->top, "tree");
		make_victim(tree);
		fd_close(tree);

		pid_t pid = fork();
		if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
			disturb(f);
		int r = remove_tree_at(f->top, "tree");
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);

		/* It may lose against somebody who puts things back; it may not touch what is outside. */
		if (r != 0 && r != -ENOTEMPTY)
			fail_msg("removal under renames gives %d", r);
		assert_true(exists(outside, "f1") && exists(sub, "f1"));
		assert_int_equal(remove_tree_at(f->top, "tree"), 0);
		assert_int_equal(remove_tree_at(f->top, "moved"), 0);
	}
	fd_close(outside);
	fd_close(sub);
}

/* What cannot be removed does not keep the rest, and is told. */
static void test_failure_leaves_only_itself(void **state)
{
	struct fixture *f = *state;
	int tree = make_dir(f->top, "tree"), closed = make_dir(tree, "m"), deep = make_dir(tree, "n");

	make_file(tree, "a");
	make_file(closed, "stays");
	make_file(deep, "z");
	fd_close(closed);
	fd_close(deep);
	assert_int_equal(fchmodat(tree, "m", 0500, 0), 0);

	pid_t pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 &&
		        (fchownat(f->top, ".", 65534, 65534, 0) < 0 ||
		                fchownat(f->top, "tree", 65534, 65534, 0) < 0 ||
		                fchownat(f->top, "tree/m", 65534, 65534, 0) < 0 ||
		                fchownat(f->top, "tree/n", 65534, 65534, 0) < 0 || setuid(65534) < 0))
			_exit(99);
		_exit(-remove_tree_at(f->top, "tree"));
	}
	assert_int_equal(exit_status(pid), EACCES);
	assert_true(exists(f->top, "tree/m/stays"));
	assert_false(exists(f->top, "tree/a"));
	assert_false(exists(f->top, "tree/n"));
	assert_int_equal(fchmodat(tree, "m", 0700, 0), 0);
	fd_close(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide_and_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_renames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renames_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_leaves_only_itself, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
