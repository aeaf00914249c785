/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Native directories, of both drivers: which become native, that they are the same tree with and without, and
 * what a hostile upper layer does to it. Needs root and loop devices. */
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
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/disk.h"
#include "quota/extract.h"
#include "quota/probe.h"
#include "quota/test-store.h"

#define BASE       1000000
#define MIB        (1ULL << 20)
#define EXT4_MAGIC 0xef53

static const char *const wanted[] = { "/home", "/srv", "/var/tmp", "/data", "/etc", "/missing", "/own/db",
	NULL };
static const char *const nothing[] = { NULL };

static const struct disk_spec specs[] = {
	{ .ctid = "c0ffee-1", .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST, .natives = wanted },
	{ .ctid = "c0ffee-2",
	        .driver = DISK_DRIVER_IMAGE,
	        .template_digest = TEST_DIGEST,
	        .bytes = 32 * MIB,
	        .natives = wanted },
};

struct run {
	const struct disk_spec *spec;
	int root;
	struct disk_natives natives;
};

static void begin(struct run *run, struct test_store *t, const struct disk_spec *spec)
{
	_cleanup_close_ int userns = probe_userns_new(BASE);
	struct ct_error err = { 0 };

	run->spec = spec;
	run->root = disk_mount_native(t->store, spec, userns, &run->natives, &err);
	if (run->root < 0)
		fail_msg("%s", err.text);
}

static void end(struct run *run)
{
	disk_natives_done(&run->natives);
	assert_int_equal(close(run->root), 0);
}

/* Its fd, -1 if it is not native. */
static int native(const struct run *run, const char *path)
{
	for (size_t i = 0; i < run->natives.n; i++)
		if (str_eq(run->natives.items[i].path, path))
			return run->natives.items[i].fd;
	return -1;
}

static void template_directory(struct test_store *t, const char *path, unsigned int mode, uid_t owner)
{
	_cleanup_free_ char *full = str_printf("templates/" TEST_DIGEST "/root/%s", path);
	_cleanup_close_ int fd = mkdirs_in_root(disk_store_fd(t->store), full, 0755);

	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, owner, owner), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void created(struct test_store *t, const struct disk_spec *spec)
{
	struct ct_error err = { 0 };

	template_directory(t, "home", 0755, 0);
	template_directory(t, "srv", 02775, 8);
	template_directory(t, "var", 0711, 0);
	template_directory(t, "var/tmp", 01777, 0);
	test_write(disk_store_fd(t->store), "templates/" TEST_DIGEST "/root/var/lib/file", "lower\n", 0644);
	if (disk_create(t->store, spec, &err) < 0)
		fail_msg("%s", err.text);
}

static void read_is(int dirfd, const char *path, const char *want)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(read_file_at(dirfd, path, 4096, &text, NULL), 0);
	assert_string_equal(text, want);
}

static void becomes_native(struct test_store *t, const struct disk_spec *spec)
{
	struct run run;
	struct statvfs vfs;
	struct statfs fs;
	struct stat st;

	created(t, spec);
	begin(&run, t, spec);
	assert_int_equal(run.natives.n, 3);
	assert_true(native(&run, "/home") >= 0);
	assert_true(native(&run, "/etc") < 0);

	/* As the overlay has them: owner, mode, file system, flags. */
	assert_int_equal(fstat(native(&run, "/srv"), &st), 0);
	assert_int_equal(st.st_uid, BASE + 8);
	assert_int_equal(st.st_mode & 07777, 02775);
	assert_int_equal(fstat(native(&run, "/var/tmp"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_int_equal(fstatfs(native(&run, "/home"), &fs), 0);
	assert_int_not_equal(fs.f_type, 0x794c7630); /* overlayfs */
	assert_int_equal(fstatvfs(native(&run, "/home"), &vfs), 0);
	assert_true(vfs.f_flag & ST_NODEV);
	assert_false(vfs.f_flag & (ST_NOSUID | ST_RDONLY));
	/* What is above was copied up as it was, and shows the template's as well. */
	assert_int_equal(fstatat(run.root, "var", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	read_is(run.root, "var/lib/file", "lower\n");

	test_write(native(&run, "/home"), "mine", "one\n", 0600);
	assert_int_equal(fchownat(native(&run, "/home"), "mine", BASE + 33, BASE + 33, 0), 0);
	end(&run);
}

/* With and without, in turn: one tree. */
static void is_one_tree(struct test_store *t, const struct disk_spec *spec)
{
	struct disk_spec off = *spec;
	struct run run;
	struct stat st;

	off.natives = nothing;
	becomes_native(t, spec);
	begin(&run, t, &off);
	assert_int_equal(run.natives.n, 0);
	read_is(run.root, "home/mine", "one\n");
	assert_int_equal(fstatat(run.root, "home/mine", &st, 0), 0);
	assert_int_equal(st.st_uid, BASE + 33);
	test_write(run.root, "home/deep/two", "two\n", 0600);
	assert_int_equal(unlinkat(run.root, "home/mine", 0), 0);
	end(&run);

	begin(&run, t, spec);
	assert_int_equal(run.natives.n, 3);
	read_is(native(&run, "/home"), "deep/two", "two\n");
	assert_int_equal(faccessat(native(&run, "/home"), "mine", F_OK, 0), -1);
	end(&run);
}

/* What a tenant makes where the template has nothing is native from the next start on. */
static void new_one(struct test_store *t, const struct disk_spec *spec)
{
	struct run run;

	created(t, spec);
	begin(&run, t, spec);
	assert_true(native(&run, "/data") < 0);
	test_write(run.root, "data/db/file", "rows\n", 0600);
	test_write(run.root, "own/db/file", "more\n", 0600); /* also below what is his */
	end(&run);

	begin(&run, t, spec);
	read_is(native(&run, "/data"), "db/file", "rows\n");
	read_is(native(&run, "/own/db"), "file", "more\n");
	end(&run);
}

/* A directory of the template that was moved in while it was overlaid has two halves. */
static void merged_below(struct test_store *t, const struct disk_spec *spec)
{
	struct disk_spec off = *spec;
	struct run run;

	off.natives = nothing;
	created(t, spec);
	begin(&run, t, spec); /* noted */
	assert_true(native(&run, "/home") >= 0);
	end(&run);

	begin(&run, t, &off);
	assert_int_equal(mkdirat(run.root, "home/a", 0755), 0);
	assert_int_equal(renameat(run.root, "var/lib", run.root, "home/a/lib"), 0);
	end(&run);

	begin(&run, t, spec);
	assert_true(native(&run, "/home") < 0);
	assert_true(native(&run, "/srv") >= 0);
	read_is(run.root, "home/a/lib/file", "lower\n");
	end(&run);
}

/* A mount keeps the directory that it is on from being moved, not the one above: what is at the path then was
 * never looked at. */
static void exchanged(struct test_store *t, const struct disk_spec *spec)
{
	struct run run;

	created(t, spec);
	begin(&run, t, spec); /* noted */
	assert_true(native(&run, "/var/tmp") >= 0);
	assert_int_equal(mkdirat(run.root, "new", 0755), 0);
	assert_int_equal(renameat(run.root, "etc", run.root, "new/etc"), 0);
	assert_int_equal(renameat(run.root, "var", run.root, "old"), 0);
	assert_int_equal(mkdirat(run.root, "var", 0755), 0);
	assert_int_equal(renameat(run.root, "new", run.root, "var/tmp"), 0);
	end(&run);

	begin(&run, t, spec);
	assert_true(native(&run, "/var/tmp") < 0);
	read_is(run.root, "var/tmp/etc/hostname", "template\n");
	end(&run);
}

/* Links, files, another's directory, one of the template in its place: overlaid, and nothing followed. */
static void replaced(struct test_store *t, const struct disk_spec *spec)
{
	struct disk_spec off = *spec;
	struct run run;

	off.natives = nothing;
	created(t, spec);
	begin(&run, t, &off);
	assert_int_equal(unlinkat(run.root, "home", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("../../../../../../../../../../etc", run.root, "home"), 0);
	assert_int_equal(unlinkat(run.root, "srv", AT_REMOVEDIR), 0);
	test_write(run.root, "srv", "a file\n", 0644);
	assert_int_equal(renameat(run.root, "var", run.root, "moved"), 0);
	assert_int_equal(symlinkat("moved", run.root, "var"), 0);
	assert_int_equal(renameat(run.root, "etc", run.root, "data"), 0);
	end(&run);

	begin(&run, t, spec);
	assert_int_equal(run.natives.n, 0);
	read_is(run.root, "data/hostname", "template\n");
	end(&run);
}

/* A whiteout that a tenant makes is a node to him, and nothing to the overlay; it hides nothing else. */
static void whiteout(struct test_store *t, const struct disk_spec *spec)
{
	struct ct_error err = { 0 };
	char digest[65];
	struct run run;

	created(t, spec);
	begin(&run, t, spec);
	assert_int_equal(mknodat(native(&run, "/home"), "white", S_IFCHR | 0600, makedev(0, 0)), 0);
	test_write(native(&run, "/home"), "black", "seen\n", 0600);
	end(&run);

	begin(&run, t, spec); /* noted: still native */
	assert_int_equal(faccessat(native(&run, "/home"), "white", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(faccessat(run.root, "home/white", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	read_is(run.root, "home/black", "seen\n");
	/* A move reads the overlay, which lists the name all the same. */
	if (tree_digest_lasting(run.root, digest, &err) < 0)
		fail_msg("%s", err.text);
	end(&run);
}

#define BOTH(name)                                                                                           \
	static void name##_dir(void **state)                                                                 \
	{                                                                                                    \
		name(*state, &specs[0]);                                                                     \
	}                                                                                                    \
	static void name##_image(void **state)                                                               \
	{                                                                                                    \
		name(*state, &specs[1]);                                                                     \
	}

BOTH(becomes_native)
BOTH(is_one_tree)
BOTH(new_one)
BOTH(merged_below)
BOTH(exchanged)
BOTH(replaced)
BOTH(whiteout)

static void names(void **state)
{
	static const char *const good[] = { "/home", "/var/lib/mysql", "/a", "/data.d/x" };
	static const char *const bad[] = { "/", "", "home", "/home/", "//home", "/home/../etc", "/home/.",
		"/etc", "/etc/x", "/usr/local", "/proc/x", "/root", "/run/x", "/with blank", "/dev" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(disk_native_may_be(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(disk_native_may_be(bad[i]));
	for (const char *const *path = disk_natives_default; *path; path++)
		assert_true(disk_native_may_be(*path));
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)
#define TWO(name)     STORE_TEST(name##_dir), STORE_TEST(name##_image)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		TWO(becomes_native),
		TWO(is_one_tree),
		TWO(new_one),
		TWO(merged_below),
		TWO(exchanged),
		TWO(replaced),
		TWO(whiteout),
	};

	if (geteuid() != 0 || access("/dev/loop-control", W_OK) < 0) {
		(void)fprintf(stderr, "skipped: needs root to mount, and loop devices\n");
		return 77;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("cannot make a mount namespace");
		return 1;
	}

	return cmocka_run_group_tests(tests, NULL, NULL);
}
