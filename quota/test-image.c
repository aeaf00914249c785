/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Driver image from making to discarding, with a real loop device. Needs root and loop devices. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "quota/disk.h"
#include "quota/image-file.h"
#include "quota/probe.h"
#include "quota/test-store.h"

#define BASE 1000000
#define MIB  (1ULL << 20)

static const struct disk_spec plain = {
	.ctid = "c0ffee-1",
	.driver = DISK_DRIVER_IMAGE,
	.template_digest = TEST_DIGEST,
	.bytes = 64 * MIB,
};

static int mounted(struct test_store *t, const struct disk_spec *spec)
{
	_cleanup_close_ int userns = probe_userns_new(BASE);
	struct ct_error err = { 0 };
	int fd;

	fd = disk_mount(t->store, spec, userns, &err);
	if (fd < 0)
		fail_msg("%s", err.text);

	return fd;
}

static void created(struct test_store *t, const struct disk_spec *spec)
{
	struct ct_error err = { 0 };

	if (disk_create(t->store, spec, &err) < 0)
		fail_msg("%s", err.text);
}

static struct disk_usage usage_of(struct test_store *t, const struct disk_spec *spec)
{
	struct disk_usage usage;
	struct ct_error err = { 0 };

	if (disk_usage(t->store, spec, &usage, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(usage.exact);

	return usage;
}

static uint64_t file_blocks(struct test_store *t)
{
	struct stat st;

	assert_int_equal(fstatat(disk_store_fd(t->store), "containers/c0ffee-1/disk.img", &st, 0), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Writes until nothing more goes in; bytes written. */
static uint64_t fill(int root, const char *name)
{
	static char chunk[64 * 1024];
	_cleanup_close_ int fd = openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	uint64_t total = 0;
	ssize_t n;

	assert_true(fd >= 0);
	memset(chunk, 'x', sizeof(chunk));
	while ((n = write(fd, chunk, sizeof(chunk))) > 0)
		total += (uint64_t)n;
	assert_int_equal(n, -1);
	assert_int_equal(errno, ENOSPC);
	(void)fsync(fd); /* what cannot be written back any more was never counted */

	return total;
}

/* Loop devices attached to an image in this store; other tests run beside this one. */
static unsigned int attached(const struct test_store *t)
{
	_cleanup_closedir_ DIR *dir = opendir("/sys/block");
	const struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		_cleanup_free_ char *path = str_printf("/sys/block/%s/loop/backing_file", entry->d_name),
		                    *text = NULL;

		if (str_has_prefix(entry->d_name, "loop") &&
		        read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0 && strstr(text, t->dir))
			n++;
	}

	return n;
}

/* A device goes when its last user has gone, a moment later. */
static void assert_detached(const struct test_store *t)
{
	for (unsigned int i = 0; i < 6000 && attached(t) > 0; i++)
		(void)usleep(10000);
	assert_int_equal(attached(t), 0);
}

static void test_size_holds(void **state)
{
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;
	struct statvfs st;
	uint64_t in;

	created(t, &plain);
	assert_detached(t);
	root = mounted(t, &plain);
	assert_int_equal(attached(t), 1);

	assert_int_equal(fstatvfs(root, &st), 0);
	assert_in_range(st.f_blocks * st.f_frsize, 64 * MIB, 72 * MIB);
	assert_in_range(st.f_bavail * st.f_frsize, 64 * MIB, 70 * MIB);
	in = fill(root, "big");
	assert_in_range(in, 64 * MIB, 70 * MIB);
	assert_int_equal(close(TAKE_FD(root)), 0);
	assert_detached(t);

	/* A container with a full disk can be started, and its disk is writable. */
	root = mounted(t, &plain);
	assert_int_equal(unlinkat(root, "big", 0), 0);
	test_write(root, "small", "x", 0600);
}

static void test_full_of_inodes(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;
	char name[16];
	int r = 0;

	spec.inodes = 1000;
	created(t, &spec);
	root = mounted(t, &spec);
	for (unsigned int i = 0; r == 0 && i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		r = mknodat(root, name, S_IFREG | 0600, 0);
	}
	assert_int_equal(r, -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(close(TAKE_FD(root)), 0);
	assert_detached(t);

	root = mounted(t, &spec);
	assert_int_equal(unlinkat(root, "f0", 0), 0);
	test_write(root, "small", "x", 0600);
}

static void test_thin_and_discarding(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;
	uint64_t empty, full;

	spec.bytes = 100 * 1024 * MIB;
	created(t, &spec);
	empty = file_blocks(t);
	assert_in_range(empty, 0, 8 * MIB);

	root = mounted(t, &spec);
	{
		static char chunk[MIB];
		_cleanup_close_ int fd = openat(root, "data", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		memset(chunk, 'x', sizeof(chunk));
		for (unsigned int i = 0; i < 32; i++)
			assert_int_equal(write_all(fd, chunk, sizeof(chunk)), 0);
		assert_int_equal(syncfs(fd), 0);
	}
	full = file_blocks(t);
	assert_in_range(full, empty + 32 * MIB, empty + 48 * MIB);

	assert_int_equal(unlinkat(root, "data", 0), 0);
	{
		_cleanup_close_ int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		/* The discards follow the commit that frees the blocks. */
		for (unsigned int i = 0; i < 1500 && file_blocks(t) > full - 30 * MIB; i++) {
			assert_int_equal(syncfs(fd), 0);
			(void)usleep(20000);
		}
	}
	assert_in_range(file_blocks(t), 0, full - 30 * MIB);
}

static void test_ids_and_reuse(void **state)
{
	struct test_store *t = *state;
	struct ct_error err = { 0 };
	_cleanup_close_ int userns = probe_userns_new(2 * BASE);
	struct stat st;
	int root;

	created(t, &plain);
	root = mounted(t, &plain);
	assert_int_equal(fstatat(root, "etc/hostname", &st, 0), 0);
	assert_int_equal(st.st_uid, BASE);
	assert_int_equal(mkdirat(root, "made", 0755), 0);
	assert_int_equal(fchownat(root, "made", BASE + 7, BASE + 7, 0), 0);

	assert_int_equal(disk_mount(t->store, &plain, userns, &err), -EBUSY);
	assert_int_equal(attached(t), 1); /* the second did not get a device of its own */
	assert_int_equal(close(root), 0);

	/* Another run, another base id, the same owners. */
	root = disk_mount(t->store, &plain, userns, &err);
	assert_true(root >= 0);
	assert_int_equal(fstatat(root, "made", &st, 0), 0);
	assert_int_equal(st.st_uid, 2 * BASE + 7);
	assert_int_equal(faccessat(root, "lost+found", F_OK, 0), -1);
	assert_int_equal(close(root), 0);
}

static void test_inodes(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	struct disk_usage usage;
	struct ct_error err = { 0 };

	spec.inodes = 20000;
	created(t, &spec);
	usage = usage_of(t, &spec);
	assert_in_range(usage.inodes_limit, 20000, 20600);
	assert_in_range(usage.inodes_limit - usage.inodes_used, 20000, 20600);
	assert_in_range(usage.inodes_used, 11, 48);

	spec.inodes = 30000;
	assert_int_equal(disk_resize(t->store, &spec, &err), -EOPNOTSUPP);
	spec.inodes = 10000;
	assert_int_equal(disk_resize(t->store, &spec, &err), -EOPNOTSUPP);
	spec.inodes = 20000;
	assert_int_equal(disk_resize(t->store, &spec, &err), 0);
}

static void test_usage_stopped_and_running(void **state)
{
	struct test_store *t = *state;
	struct disk_usage before, running, after;
	int root, fd;

	created(t, &plain);
	before = usage_of(t, &plain);
	assert_in_range(before.bytes_used, 0, 2 * MIB);
	assert_in_range(before.bytes_limit, 64 * MIB, 72 * MIB);

	root = mounted(t, &plain);
	fd = openat(root, "data", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fallocate(fd, 0, 0, 10 * MIB), 0);
	assert_int_equal(close(fd), 0);
	running = usage_of(t, &plain);
	assert_in_range(running.bytes_used, before.bytes_used + 10 * MIB, before.bytes_used + 11 * MIB);
	assert_in_range(running.inodes_used, before.inodes_used + 1, before.inodes_used + 8);
	assert_int_equal(running.bytes_limit, before.bytes_limit);

	assert_int_equal(close(root), 0);
	assert_detached(t);
	after = usage_of(t, &plain);
	assert_int_equal(after.bytes_used, running.bytes_used);
	assert_int_equal(after.inodes_used, running.inodes_used);
	assert_int_equal(after.bytes_limit, running.bytes_limit);
}

static void test_grow(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	_cleanup_close_ int root = -1;
	struct ct_error err = { 0 };

	created(t, &plain);
	root = mounted(t, &plain);
	test_write(root, "kept", "kept", 0600);

	spec.bytes = 600 * MIB;
	if (image_has_cap_sys_resource()) {
		/* Live: the container sees it at once. */
		struct statvfs st;

		if (disk_resize(t->store, &spec, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(fstatvfs(root, &st), 0);
		assert_in_range(st.f_bavail * st.f_frsize, 599 * MIB, 625 * MIB);
	} else {
		assert_int_equal(disk_resize(t->store, &spec, &err), -EOPNOTSUPP);
		assert_non_null(strstr(err.text, "CAP_SYS_RESOURCE"));
		assert_in_range(usage_of(t, &plain).bytes_limit, 64 * MIB, 72 * MIB);
	}
	assert_int_equal(close(TAKE_FD(root)), 0);
	assert_detached(t);

	/* Stopped; where it grew already, once more. */
	spec.bytes = 1000 * MIB;
	if (disk_resize(t->store, &spec, &err) < 0)
		fail_msg("%s", err.text);
	assert_detached(t);
	assert_in_range(usage_of(t, &spec).bytes_limit, 1000 * MIB, 1050 * MIB);
	root = mounted(t, &spec);
	assert_int_equal(faccessat(root, "kept", F_OK, 0), 0);
	assert_in_range(fill(root, "big"), 998 * MIB, 1040 * MIB);
}

static void test_shrink(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	struct ct_error err = { 0 };
	int root, fd;

	spec.bytes = 800 * MIB;
	created(t, &spec);
	root = mounted(t, &spec);
	fd = openat(root, "data", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fallocate(fd, 0, 0, 100 * MIB), 0);
	assert_int_equal(close(fd), 0);
	test_write(root, "kept", "kept", 0600);

	spec.bytes = 200 * MIB;
	assert_int_equal(disk_resize(t->store, &spec, &err), -EBUSY);
	assert_int_equal(close(root), 0);
	assert_detached(t);

	spec.bytes = 64 * MIB;
	assert_int_equal(disk_resize(t->store, &spec, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "bytes)"));
	assert_in_range(usage_of(t, &spec).bytes_limit, 800 * MIB, 850 * MIB);

	spec.bytes = 200 * MIB;
	if (disk_resize(t->store, &spec, &err) < 0)
		fail_msg("%s", err.text);
	assert_in_range(usage_of(t, &spec).bytes_limit, 200 * MIB, 220 * MIB);
	assert_int_equal(faccessat(disk_store_fd(t->store), "containers/c0ffee-1/disk.img.new", F_OK, 0), -1);
	root = mounted(t, &spec);
	assert_int_equal(faccessat(root, "kept", F_OK, 0), 0);
	assert_int_equal(unlinkat(root, "data", 0), 0);
	assert_int_equal(unlinkat(root, "kept", 0), 0);
	assert_in_range(fill(root, "big"), 199 * MIB, 215 * MIB);
	assert_int_equal(close(root), 0);
}

/* The tenant's directories lie in all block groups; those of the last ones get other inodes. */
static void test_shrink_moves_inodes(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	struct ct_error err = { 0 };
	char name[32];
	int root;

	for (unsigned int i = 0; i < 8; i++) {
		spec.bytes = (500 + i) * MIB;
		created(t, &spec);
		root = mounted(t, &spec);
		for (unsigned int k = 0; k < 20; k++) {
			(void)snprintf(name, sizeof(name), "d%u/e/f", k);
			test_write(root, name, "x", 0600);
		}
		test_write(root, "etc/hostname", "changed\n", 0644);
		assert_int_equal(close(root), 0);
		assert_detached(t);

		spec.bytes = 100 * MIB;
		if (disk_resize(t->store, &spec, &err) < 0)
			fail_msg("%s", err.text);
		root = mounted(t, &spec);
		assert_int_equal(faccessat(root, "d19/e/f", F_OK, 0), 0);
		assert_int_equal(faccessat(root, "etc/motd", F_OK, 0), 0); /* of the template */
		assert_int_equal(close(root), 0);
		assert_int_equal(disk_discard(t->store, &spec, NULL), 0);
	}
}

static void test_refusals(void **state)
{
	struct disk_spec spec = plain;
	struct test_store *t = *state;
	struct ct_error err = { 0 };

	spec.bytes = 0;
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	assert_string_equal(err.field, "disk");
	spec.bytes = MIB;
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	spec.bytes = UINT64_MAX;
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	spec = plain;
	spec.inodes = UINT64_MAX;
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	assert_string_equal(err.field, "inodes");

	/* A store that is full or an image that is damaged is an error, and no container is left half made.
	 */
	created(t, &plain);
	test_write(disk_store_fd(t->store), "containers/c0ffee-1/disk.img", "no file system", 0600);
	assert_int_equal(disk_usage(t->store, &plain, &(struct disk_usage){ 0 }, &err), -EBADMSG);
	{
		_cleanup_close_ int userns = probe_userns_new(BASE);

		assert_true(disk_mount(t->store, &plain, userns, &err) < 0);
	}
	assert_int_equal(disk_discard(t->store, &plain, &err), 0);
	assert_detached(t);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_size_holds),
		STORE_TEST(test_full_of_inodes),
		STORE_TEST(test_thin_and_discarding),
		STORE_TEST(test_ids_and_reuse),
		STORE_TEST(test_inodes),
		STORE_TEST(test_usage_stopped_and_running),
		STORE_TEST(test_grow),
		STORE_TEST(test_shrink),
		STORE_TEST(test_shrink_moves_inodes),
		STORE_TEST(test_refusals),
	};

	if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) < 0) {
		(void)fprintf(stderr, "skipped: needs root and /dev/loop-control\n");
		return 77;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("cannot make a mount namespace");
		return 1;
	}

	return cmocka_run_group_tests(tests, NULL, NULL);
}
