/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a mounted disk is to its tenant: ids, writes, devices, handles; and that nothing is left on the host.
 * Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "quota/disk.h"
#include "quota/probe.h"
#include "quota/test-store.h"

#define BASE 1000000

static const struct disk_spec plain = {
	.ctid = "c0ffee-1", .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST
};

static int mounted(struct test_store *t, const struct disk_spec *spec)
{
	_cleanup_close_ int userns = probe_userns_new(BASE);
	struct ct_error err = { 0 };
	int fd;

	assert_true(userns >= 0);
	fd = disk_mount(t->store, spec, userns, &err);
	if (fd < 0)
		fail_msg("%s", err.text);

	return fd;
}

static unsigned int lines_of_mountinfo(void)
{
	_cleanup_free_ char *text = NULL;
	unsigned int n = 0;

	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &text, NULL), 0);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n++;

	return n;
}

static void test_ids_shift(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;
	struct stat st;

	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	root = mounted(t, &plain);

	assert_int_equal(fstat(root, &st), 0);
	assert_int_equal(st.st_uid, BASE);
	assert_int_equal(fstatat(root, "etc/hostname", &st, 0), 0);
	assert_int_equal(st.st_uid, BASE);

	/* A write to what the template has, as the tenant's user 33, lands in the upper layer with id 33. */
	assert_int_equal(fchownat(root, "etc/hostname", BASE + 33, BASE + 33, 0), 0);
	assert_int_equal(
	        fstatat(disk_store_fd(t->store), "containers/c0ffee-1/upper/etc/hostname", &st, 0), 0);
	assert_int_equal(st.st_uid, 33);
	assert_int_equal(st.st_gid, 33);
	assert_int_equal(
	        fstatat(disk_store_fd(t->store), "templates/" TEST_DIGEST "/root/etc/hostname", &st, 0), 0);
	assert_int_equal(st.st_uid, 0);
}

static void test_rename_of_a_lower_directory(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;

	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	root = mounted(t, &plain);
	assert_int_equal(renameat(root, "etc", root, "moved"), 0);
	assert_int_equal(faccessat(root, "moved/hostname", F_OK, 0), 0);
	assert_int_equal(faccessat(root, "etc", F_OK, 0), -1);
}

static void test_nothing_is_left(void **state)
{
	struct test_store *t = *state;
	unsigned int before = lines_of_mountinfo();
	int root, again;

	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	root = mounted(t, &plain);
	assert_int_equal(lines_of_mountinfo(), before);

	/* One disk, one mount. */
	{
		_cleanup_close_ int userns = probe_userns_new(BASE);
		struct ct_error err = { 0 };

		assert_int_equal(disk_mount(t->store, &plain, userns, &err), -EBUSY);
		assert_int_equal(err.kind, CT_ERROR_STATE);
	}
	assert_int_equal(close(root), 0);

	/* And the fd was all that held it: another base id, the same files. */
	again = mounted(t, &plain);
	assert_int_equal(close(again), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

static unsigned int open_fds(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}

static void test_no_fd_is_left(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int userns = probe_userns_new(BASE);
	struct disk_spec missing = plain;
	unsigned int before;
	int root;

	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	root = mounted(t, &plain); /* the view is made */
	before = open_fds();
	missing.template_digest = "00"; /* fails in the child */
	for (unsigned int i = 0; i < 20; i++) {
		assert_true(disk_mount(t->store, &plain, userns, NULL) < 0);
		assert_true(disk_mount(t->store, &missing, userns, NULL) < 0);
		assert_true(disk_mount(t->store, &plain, -2, NULL) < 0);
	}
	assert_int_equal(open_fds(), before);
	assert_int_equal(close(root), 0);
}

/* A device node in a layer must be dead, whatever the store's own mount says. */
static void test_no_devices(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;

	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	assert_int_equal(mknodat(disk_store_fd(t->store), "containers/c0ffee-1/upper/null", S_IFCHR | 0666,
	                         makedev(1, 3)),
	        0);
	root = mounted(t, &plain);
	assert_int_equal(openat(root, "null", O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EACCES);
}

static void test_handles(void **state)
{
	struct test_store *t = *state;
	struct disk_probe probe;

	assert_int_equal(disk_probe(t->store, &probe, NULL), 0);
	assert_true(probe.idmapped_layers);
	assert_true(probe.overlay_nfs_export);
	assert_true(probe.bytes_total > 0 && probe.bytes_free > 0);
}

/* Attached and entered the way a container does it. */
static void test_usable_as_root(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int root = -1, userns = -1;
	char mnt[96];
	int status;
	pid_t pid;

	(void)snprintf(mnt, sizeof(mnt), "%s/mnt", t->dir);
	assert_int_equal(mkdir(mnt, 0700), 0);
	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	root = mounted(t, &plain);
	userns = probe_userns_new(BASE);

	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct stat st;

		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		        move_mount(root, "", AT_FDCWD, mnt, MOVE_MOUNT_F_EMPTY_PATH) < 0 || chdir(mnt) < 0)
			_exit(1);
		if (setgid(BASE) < 0 || setuid(BASE) < 0)
			_exit(2);
		if (mkdir("home", 0750) < 0 || stat("home", &st) < 0 || st.st_uid != BASE)
			_exit(3);
		if (open("etc/hostname", O_WRONLY | O_APPEND) < 0)
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(faccessat(disk_store_fd(t->store), "containers/c0ffee-1/upper/home", F_OK, 0), 0);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_ids_shift),
		STORE_TEST(test_rename_of_a_lower_directory),
		STORE_TEST(test_nothing_is_left),
		STORE_TEST(test_no_fd_is_left),
		STORE_TEST(test_no_devices),
		STORE_TEST(test_handles),
		STORE_TEST(test_usable_as_root),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: needs root to mount\n");
		return 77;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("cannot make a mount namespace");
		return 1;
	}

	return cmocka_run_group_tests(tests, NULL, NULL);
}
