/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second disk is made like the first while that is in use, takes its place, and gives it back. Needs root.
 */
#include "quota/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "quota/disk.h"
#include "quota/extract.h"
#include "quota/test-store.h"

#define CTID "c0ffee-1"
#define NAME "c0ffee-1-17"

static const char *const natives[] = { "/srv", NULL };

struct rig {
	struct test_store *t;
	struct disk_spec spec;
	int root;           /* the disk, mounted */
	int from[2], to[2]; /* as disk_open_layers and disk_copy_new have them */
	struct layer_copy copy;
};

static void done(struct rig *r)
{
	layer_copy_done(&r->copy);
	(void)fd_close(r->copy.from_fd);
	(void)fd_close(r->copy.to_fd);
	for (int i = 0; i < 2; i++) {
		r->from[i] = fd_close(r->from[i]);
		r->to[i] = fd_close(r->to[i]);
	}
	r->copy.from_fd = r->copy.to_fd = -1;
}

static int mounted(const struct rig *r)
{
	CLEANUP(disk_natives_done) struct disk_natives shown = { 0 };
	struct ct_error err = { 0 };
	int fd = disk_mount_native(r->t->store, &r->spec, -1, &shown, &err);

	if (fd < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void lived(int root)
{
	test_write(root, "etc/own", "own", 0640);
	test_write(root, "usr/lib/x/own", "own", 0644);
	assert_int_equal(renameat(root, "opt/keep", root, "usr/moved"), 0); /* redirected, or copied */
	assert_int_equal(unlinkat(root, "etc/hostname", 0), 0);             /* a whiteout */
	assert_int_equal(unlinkat(root, "var/gone/file", 0), 0);
	assert_int_equal(unlinkat(root, "var/gone", AT_REMOVEDIR), 0);
	assert_int_equal(mkdirat(root, "var/gone", 0711), 0); /* opaque */
	assert_int_equal(linkat(root, "etc/own", root, "usr/link", 0), 0);
	assert_int_equal(symlinkat("etc/own", root, "soft"), 0);
	assert_int_equal(mknodat(root, "pipe", S_IFIFO | 0600, 0), 0);
	assert_int_equal(mknodat(root, "socket", S_IFSOCK | 0600, 0), 0);
	test_write(root, "srv/data", "native", 0600);
	test_write(root, "a/x", "one", 0644);
	test_write(root, "b/x", "two", 0644);
}

static void begin(struct rig *r, void **state, enum disk_driver driver)
{
	const char *const files[] = { "opt/keep/file", "var/gone/file", "usr/lib/x/y" };
	struct ct_error err = { 0 };

	*r = (struct rig){ .t = *state,
		.spec = { .ctid = CTID,
		        .driver = driver,
		        .template_digest = TEST_DIGEST,
		        .natives = natives,
		        .bytes = driver == DISK_DRIVER_IMAGE ? 64 << 20 : 0 },
		.copy = { .from_fd = -1, .to_fd = -1, .manifest = MANIFEST_INIT } };
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = NULL;

		assert_true(asprintf(&path, "templates/" TEST_DIGEST "/root/%s", files[i]) > 0);
		test_write(disk_store_fd(r->t->store), path, "template\n", 0644);
	}
	assert_int_equal(mkdirat(disk_store_fd(r->t->store), "templates/" TEST_DIGEST "/root/srv", 0755), 0);
	if (disk_create(r->t->store, &r->spec, &err) < 0)
		fail_msg("%s", err.text);
	r->root = mounted(r);
	lived(r->root);
	if ((r->from[1] = disk_open_layers(r->t->store, &r->spec, &r->from[0], &err)) < 0 ||
	        (r->to[1] = disk_copy_new(r->t->store, &r->spec, NAME, &r->to[0], &err)) < 0)
		fail_msg("%s", err.text);
	r->copy.from_fd = openat(r->from[1], "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r->copy.to_fd = openat(r->to[1], "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct layer_round copied(struct rig *r, bool live)
{
	int fd = openat(disk_store_fd(r->t->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct ct_error err = { 0 };
	struct layer_round round;

	if (layer_copy_round(&r->copy, fd, live, &round, &err) < 0)
		fail_msg("%s", err.text);
	return round;
}

static void digest_of(int root, char digest[static 65])
{
	_cleanup_close_ int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct ct_error err = { 0 };

	if (tree_digest_lasting(fd, digest, &err) < 0)
		fail_msg("%s", err.text);
}

/* The copy takes the disk's place, and is what that was; and back again. */
static void exchange_and_look(struct rig *r, const char *wanted)
{
	struct disk_store *store = r->t->store;
	char then[65], now[65];
	struct stat st;

	assert_int_equal(disk_copy_note(r->from, r->to, NULL), 0);
	done(r);
	test_write(r->root, "etc/newer", "newer", 0644);
	digest_of(r->root, then);
	r->root = fd_close(r->root);
	assert_int_equal(disk_copy_keep(store, NAME, NULL), 0);
	assert_false(disk_is_copy(store, CTID));

	assert_int_equal(disk_copy_exchange(store, CTID, NAME, NULL), 0);
	assert_true(disk_is_copy(store, CTID));
	r->root = mounted(r);
	digest_of(r->root, now);
	assert_string_equal(now, wanted);
	assert_int_equal(fstatat(r->root, "socket", &st, 0), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(faccessat(r->root, "etc/hostname", F_OK, 0), -1);
	assert_int_equal(faccessat(r->root, "var/gone/file", F_OK, 0), -1);
	r->root = fd_close(r->root);

	assert_int_equal(disk_copy_exchange(store, CTID, NAME, NULL), 0);
	assert_false(disk_is_copy(store, CTID));
	r->root = mounted(r);
	digest_of(r->root, now);
	assert_string_equal(now, then);
	r->root = fd_close(r->root);

	assert_int_equal(disk_copy_exchange(store, CTID, NAME, NULL), 0);
	assert_int_equal(disk_copy_settle(store, CTID), 0);
	assert_false(disk_is_copy(store, CTID));
	assert_int_equal(disk_copy_discard(store, &r->spec, NAME, NULL), 0);
	assert_int_equal(disk_copy_discard(store, &r->spec, NAME, NULL), 0);
	assert_int_equal(faccessat(disk_store_fd(store), "checkpoints/" NAME, F_OK, 0), -1);
	r->root = mounted(r);
	digest_of(r->root, now);
	assert_string_equal(now, wanted);
	r->root = fd_close(r->root);
}

static void copy_in_rounds(void **state, enum disk_driver driver)
{
	struct rig r;
	char wanted[65];

	begin(&r, state, driver);
	assert_true(copied(&r, true).n_changed > 10);

	/* Two directories change places, and what is in them looks the same but for its number. */
	assert_int_equal(renameat2(r.root, "a", r.root, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(unlinkat(r.root, "soft", 0), 0);
	assert_int_equal(mkdirat(r.root, "soft", 0700), 0);
	test_write(r.root, "soft/inside", "x", 0600);
	(void)copied(&r, true);
	assert_int_equal(unlinkat(r.root, "soft/inside", 0), 0);
	assert_int_equal(unlinkat(r.root, "soft", AT_REMOVEDIR), 0);
	test_write(r.root, "soft", "a file now", 0444);
	test_write(r.root, "etc/own", "changed under both of its names", 0640);
	assert_int_equal(fchmodat(r.root, "var/gone", 01777, 0), 0);
	assert_int_equal(renameat(r.root, "usr/lib/x", r.root, "x"), 0);
	digest_of(r.root, wanted);
	(void)copied(&r, false);
	exchange_and_look(&r, wanted);
}

static void test_dir(void **state)
{
	copy_in_rounds(state, DISK_DRIVER_DIR);
}

static bool has_loop(void)
{
	if (access("/dev/loop-control", R_OK | W_OK) == 0)
		return true;
	print_message("needs /dev/loop-control\n");
	return false;
}

static void test_image(void **state)
{
	if (!has_loop())
		skip();
	copy_in_rounds(state, DISK_DRIVER_IMAGE);
}

static void test_attributes(void **state)
{
	char wanted[65], value[8];
	struct rig r;
	int fd;

	begin(&r, state, DISK_DRIVER_DIR);
	fd = openat(r.root, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "user.first", "1", 1, 0), 0);
	(void)copied(&r, true);
	assert_int_equal(fremovexattr(fd, "user.first"), 0);
	assert_int_equal(fsetxattr(fd, "user.second", "2", 1, 0), 0);
	assert_int_equal(close(fd), 0);
	digest_of(r.root, wanted);
	(void)copied(&r, false);
	fd = openat(r.copy.to_fd, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fgetxattr(fd, "user.second", value, sizeof(value)), 1);
	assert_int_equal(fgetxattr(fd, "user.first", value, sizeof(value)), -1);
	assert_int_equal(close(fd), 0);
	exchange_and_look(&r, wanted);
}

/* What has not changed is not written again, and holes stay holes. */
static void test_only_changes(void **state)
{
	struct layer_round round;
	char wanted[65];
	struct stat st;
	struct rig r;
	int fd;

	begin(&r, state, DISK_DRIVER_DIR);
	fd = openat(r.root, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 1LL << 30), 0);
	assert_int_equal(pwrite(fd, "end", 3, (1LL << 30) - 3), 3);
	assert_int_equal(usleep(LAYER_SLACK_USEC + 100000), 0);
	round = copied(&r, true);
	assert_true(round.bytes < 1 << 20);
	assert_int_equal(fstatat(r.copy.to_fd, "sparse", &st, 0), 0);
	assert_int_equal(st.st_size, 1LL << 30);
	assert_true(st.st_blocks < 2048);
	test_write(r.root, "b/new", "new", 0644);
	assert_int_equal(copied(&r, true).n_changed, 2); /* and its directory */
	digest_of(r.root, wanted);
	(void)copied(&r, false);
	assert_int_equal(close(fd), 0);
	exchange_and_look(&r, wanted);
}

/* Like a tenant at work, until it is ended. */
static _Noreturn void write_on(int root)
{
	for (unsigned int i = 0;; i++) {
		char name[32], other[32];
		int fd;

		(void)snprintf(name, sizeof(name), "a/%u", i % 50);
		(void)snprintf(other, sizeof(other), "%s/%u", i % 3 ? "b" : "srv", (i * 7) % 50);
		fd = openat(root, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		(void)!write(fd, name, sizeof(name));
		(void)close(fd);
		if (i % 4 == 0)
			(void)renameat(root, name, root, other);
		if (i % 5 == 0)
			(void)linkat(root, name, root, other, 0);
		if (i % 97 == 0)
			(void)renameat2(root, "a", root, "b", RENAME_EXCHANGE);
		if (i % 11 == 0)
			(void)unlinkat(root, other, 0);
	}
}

static void test_in_use(void **state)
{
	char wanted[65];
	struct rig r;
	pid_t pid;

	begin(&r, state, DISK_DRIVER_DIR);
	pid = fork();
	if (pid == 0)
		write_on(r.root);
	for (int i = 0; i < 20; i++)
		(void)copied(&r, true);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	digest_of(r.root, wanted);
	(void)copied(&r, false);
	exchange_and_look(&r, wanted);
}

static int refuse_it(uint64_t bytes, void *userdata, struct ct_error *err)
{
	return bytes > 0 ? ct_error_set(err, -ENOSPC, "test", "there is no room") : 0;
}

static void test_no_room(void **state)
{
	struct ct_error err = { 0 };
	struct layer_round round;
	struct rig r;
	int fd;

	begin(&r, state, DISK_DRIVER_DIR);
	r.copy.check = refuse_it;
	fd = openat(disk_store_fd(r.t->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* Where blocks are shared nothing is written. */
	if (layer_copy_round(&r.copy, fd, true, &round, &err) < 0)
		assert_string_equal(err.text, "there is no room");
	else
		assert_int_equal(round.bytes, 0);
	done(&r);
	assert_int_equal(disk_copy_discard(r.t->store, &r.spec, NAME, NULL), 0);
	assert_int_equal(faccessat(disk_store_fd(r.t->store), "tmp/" NAME, F_OK, 0), -1);
	r.root = fd_close(r.root);
}

static void test_names(void **state)
{
	struct test_store *t = *state;
	struct disk_spec spec = { .ctid = CTID, .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST };
	int dirfd;

	assert_int_equal(disk_copy_keep(t->store, "../x", NULL), -EINVAL);
	assert_int_equal(disk_copy_discard(t->store, &spec, "a/b", NULL), -EINVAL);
	assert_int_equal(disk_copy_exchange(t->store, CTID, "..", NULL), -EINVAL);
	assert_int_equal(disk_copy_new(t->store, &spec, ".", &dirfd, NULL), -EINVAL);
	assert_int_equal(disk_copy_keep(t->store, NAME, NULL), -ENOENT);
	assert_int_equal(disk_copy_exchange(t->store, CTID, NAME, NULL), -ENOENT);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_dir),
		STORE_TEST(test_image),
		STORE_TEST(test_attributes),
		STORE_TEST(test_only_changes),
		STORE_TEST(test_in_use),
		STORE_TEST(test_no_room),
		STORE_TEST(test_names),
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
