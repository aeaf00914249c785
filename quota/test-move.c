/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store that was copied, as an administrator does it: every inode has another number, and every container
 * must be what it was. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "quota/disk.h"
#include "quota/probe.h"
#include "quota/test-store.h"

#define BASE 1000000

static const char *const template_files[] = { "etc/motd", "usr/bin/a", "usr/lib/x/y/z", "srv/keep/file",
	"opt/gone/file", "var/log/old" };

static int setup(void **state)
{
	struct test_store *t;

	if (test_store_setup(state) < 0)
		return -1;
	t = *state;
	for (size_t i = 0; i < ARRAY_SIZE(template_files); i++) {
		_cleanup_free_ char *path = NULL;

		assert_true(asprintf(&path, "templates/" TEST_DIGEST "/root/%s", template_files[i]) > 0);
		test_write(disk_store_fd(t->store), path, "template\n", 0644);
	}

	return 0;
}

static int mounted(struct disk_store *store, const struct disk_spec *spec)
{
	_cleanup_close_ int userns = probe_userns_new(BASE);
	struct ct_error err = { 0 };
	int fd;

	fd = disk_mount(store, spec, userns, &err);
	if (fd < 0)
		fail_msg("%s", err.text);

	return fd;
}

/* What tenants do to directories: add to one, deep; move one; move one within its parent; replace one; remove
 * one. */
static void live(int root)
{
	test_write(root, "etc/own", "own", 0644);
	test_write(root, "usr/lib/x/y/own", "own", 0644);
	assert_int_equal(mkdirat(root, "home", 0755), 0);
	assert_int_equal(renameat(root, "srv/keep", root, "home/moved"), 0);
	test_write(root, "home/moved/own", "own", 0644);
	assert_int_equal(renameat(root, "usr/bin", root, "usr/sbin"), 0);
	assert_int_equal(unlinkat(root, "opt/gone/file", 0), 0);
	assert_int_equal(unlinkat(root, "opt/gone", AT_REMOVEDIR), 0);
	assert_int_equal(mkdirat(root, "opt/gone", 0755), 0); /* opaque now */
	test_write(root, "opt/gone/own", "own", 0644);
	assert_int_equal(unlinkat(root, "var/log/old", 0), 0);
	test_write(root, "own/deep/er", "own", 0644);
}

static void assert_lived(int root)
{
	static const char *const there[] = { "etc/motd", "etc/hostname", "etc/own", "usr/lib/x/y/z",
		"usr/lib/x/y/own", "home/moved/file", "home/moved/own", "usr/sbin/a", "opt/gone/own",
		"own/deep/er" };
	static const char *const gone[] = { "srv/keep", "usr/bin", "opt/gone/file", "var/log/old" };

	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (faccessat(root, there[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			fail_msg("%s is not there: %s", there[i], strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		if (faccessat(root, gone[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			fail_msg("%s is there again", gone[i]);
}

static void assert_can_decode(int mount_fd)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = MAX_HANDLE_SZ };
	_cleanup_close_ int root = -1, fd = -1;
	int mount_id;

	root = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(name_to_handle_at(root, "etc", &u.handle, &mount_id, 0), 0);
	fd = open_by_handle_at(root, &u.handle, O_PATH | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(faccessat(fd, "motd", F_OK, 0), 0);
}

static void copy_of(struct test_store *t, struct disk_store **ret)
{
	char to[96];
	struct ct_error err = { 0 };

	(void)snprintf(to, sizeof(to), "%s/copy", t->dir);
	assert_int_equal(process_run((const char *const[]){ "cp", "-a", "--", t->path, to, NULL },
	                         60 * USEC_PER_SEC, 4096, NULL),
	        0);
	if (disk_store_open(to, ret, &err) < 0)
		fail_msg("%s", err.text);
}

static void move_and_look(struct test_store *t, const struct disk_spec *spec)
{
	struct disk_store *copy = NULL;
	struct ct_error err = { 0 };
	int root;

	if (disk_create(t->store, spec, &err) < 0)
		fail_msg("%s", err.text);
	root = mounted(t->store, spec);
	live(root);
	assert_lived(root);
	assert_int_equal(close(root), 0);

	copy_of(t, &copy);
	root = mounted(copy, spec);
	assert_lived(root);
	assert_can_decode(root);
	test_write(root, "usr/lib/x/y/after", "own", 0644);
	assert_int_equal(close(root), 0);
	root = mounted(copy, spec); /* and again, the quick way */
	assert_lived(root);
	assert_int_equal(close(root), 0);
	disk_store_close(copy);
}

static void test_dir(void **state)
{
	const struct disk_spec spec = {
		.ctid = "c0ffee-1", .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST
	};

	move_and_look(*state, &spec);
}

static void test_image(void **state)
{
	const struct disk_spec spec = { .ctid = "c0ffee-1",
		.driver = DISK_DRIVER_IMAGE,
		.template_digest = TEST_DIGEST,
		.bytes = 32 << 20 };

	if (access("/dev/loop-control", R_OK | W_OK) < 0) {
		print_message("needs /dev/loop-control\n");
		skip();
	}
	move_and_look(*state, &spec);
}

/* The root is marked and the rest is not: what is noted in the container's directory sees to it. */
static void test_interrupted(void **state)
{
	const struct disk_spec spec = {
		.ctid = "c0ffee-1", .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST
	};
	struct test_store *t = *state;
	struct disk_store *copy = NULL;
	int root;

	assert_int_equal(disk_create(t->store, &spec, NULL), 0);
	root = mounted(t->store, &spec);
	live(root);
	assert_int_equal(close(root), 0);
	copy_of(t, &copy);

	{
		_cleanup_close_ int upper = openat(
		        disk_store_fd(copy), "containers/c0ffee-1/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_int_equal(fremovexattr(upper, "trusted.overlay.origin"), 0);
		assert_int_equal(remove_tree_at(disk_store_fd(copy), "containers/c0ffee-1/work"), 0);
		assert_int_equal(mkdirat(disk_store_fd(copy), "containers/c0ffee-1/work", 0700), 0);
	}
	test_write(disk_store_fd(copy), "containers/c0ffee-1/moved", "", 0600);
	root = mounted(copy, &spec);
	assert_lived(root);
	assert_int_equal(close(root), 0);
	assert_int_equal(faccessat(disk_store_fd(copy), "containers/c0ffee-1/moved", F_OK, 0), -1);
	disk_store_close(copy);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, test_store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_dir),
		STORE_TEST(test_image),
		STORE_TEST(test_interrupted),
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
