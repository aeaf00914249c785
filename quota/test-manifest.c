/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Round after round one tree becomes another, and what was there already is neither read nor sent again; also
 * while somebody changes it. */
#include "quota/manifest.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "quota/difference.h"
#include "quota/extract.h"
#include "quota/test-store.h"

#define SLACK_USEC 20000ULL

struct trees {
	char dir[64];
	int root, copy;
	struct manifest last;
	struct walk_graft graft; /* of one in use; path NULL: none */
	uint64_t made_usec;      /* nothing in it is older */
};

static int setup(void **state)
{
	struct trees *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)snprintf(t->dir, sizeof(t->dir), "/var/tmp/ctd-test-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	_cleanup_close_ int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct timespec now;
	assert_int_equal(clock_gettime(CLOCK_REALTIME_COARSE, &now), 0); /* by which files have their times */
	t->made_usec = (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
	t->root = open_or_mkdir(dir, "root", 0755);
	t->copy = open_or_mkdir(dir, "copy", 0755);
	t->last = MANIFEST_INIT;
	test_write(t->root, "etc/one", "one", 0644);
	test_write(t->root, "etc/two", "two", 0600);
	test_write(t->root, "etc-too/x", "x", 0644); /* sorts between etc and etc/one as bytes */
	test_write(t->root, "usr/a/deep/file", "deep", 0644);
	assert_int_equal(linkat(t->root, "etc/one", t->root, "usr/link", 0), 0);
	assert_int_equal(symlinkat("etc/one", t->root, "soft"), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct trees *t = *state;

	(void)fd_close(t->root);
	(void)fd_close(t->copy);
	(void)fd_close(t->last.fd);
	assert_int_equal(remove_tree_at(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

/* Longer than slack: what was changed before is older than the manifest that is begun next. */
static void pass_a_tick(void)
{
	assert_int_equal(usleep(2 * SLACK_USEC), 0);
}

static struct manifest_result carry_over(struct trees *t, bool live, bool verify)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	_cleanup_close_ int tar = memfd_create("tar", MFD_CLOEXEC);
	const struct extract_options options = { .max_bytes = 64UL << 20, .own_disk = true };
	struct manifest_round round = { .root_fd = t->root,
		.base_fd = -1,
		.old = t->last.fd >= 0 ? &t->last : NULL,
		.slack_usec = SLACK_USEC,
		.live = live,
		.grafts = &t->graft,
		.n_grafts = live && t->graft.path,
		.verify = verify,
		.removed = &removed };
	struct manifest new = { .fd = memfd_create("manifest", MFD_CLOEXEC) };
	struct extract_result extracted;
	struct manifest_result found;
	struct ct_error err = { 0 };

	pass_a_tick();
	new.start_usec = now_realtime_usec();
	if (manifest_make(&round, &new, &found, &err) < 0 || manifest_archive(&round, &new, tar, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	if (difference_remove(t->copy, removed.data ?: "", removed.len, &err) < 0 ||
	        extract_archive(tar, t->copy, &options, &extracted, &err) < 0)
		fail_msg("%s", err.text);
	(void)fd_close(t->last.fd);
	t->last = new;
	return found;
}

static void assert_alike(const struct trees *t, const struct manifest_result *found)
{
	char digest[65];

	assert_int_equal(tree_digest_lasting(t->copy, digest, NULL), 0);
	assert_string_equal(found->digest, digest);
	assert_int_equal(tree_digest_lasting(t->root, digest, NULL), 0);
	assert_string_equal(found->digest, digest);
}

static void test_only_changes(void **state)
{
	struct trees *t = *state;
	struct manifest_result found = carry_over(t, false, false);
	struct stat ours, theirs;

	assert_alike(t, &found);
	assert_int_equal(found.n_objects, found.n_changed);

	found = carry_over(t, false, false);
	assert_int_equal(found.n_changed, 0);
	assert_alike(t, &found);

	test_write(t->root, "etc/two", "TWO", 0600); /* the directory keeps its time, there too */
	found = carry_over(t, false, false);
	assert_int_equal(found.n_changed, 1);
	assert_alike(t, &found);
	assert_int_equal(fstatat(t->root, "etc", &ours, 0), 0);
	assert_int_equal(fstatat(t->copy, "etc", &theirs, 0), 0);
	assert_int_equal(ours.st_mtim.tv_sec, theirs.st_mtim.tv_sec);
	assert_int_equal(ours.st_mtim.tv_nsec, theirs.st_mtim.tv_nsec);
}

static void test_all_kinds(void **state)
{
	struct trees *t = *state;
	struct manifest_result found;
	struct stat one, two;

	(void)carry_over(t, false, false);
	assert_int_equal(unlinkat(t->root, "etc/one", 0), 0); /* the other name is the file now */
	assert_int_equal(renameat(t->root, "usr/a", t->root, "moved"), 0);
	assert_int_equal(unlinkat(t->root, "etc-too/x", 0), 0);
	assert_int_equal(unlinkat(t->root, "etc-too", AT_REMOVEDIR), 0);
	test_write(t->root, "etc-too", "a file now", 0644);
	assert_int_equal(unlinkat(t->root, "soft", 0), 0);
	assert_int_equal(mkdirat(t->root, "soft", 0700), 0);
	assert_int_equal(linkat(t->root, "etc/two", t->root, "etc/again", 0), 0);
	found = carry_over(t, false, false);
	assert_alike(t, &found);
	assert_int_equal(fstatat(t->copy, "etc/two", &one, 0), 0);
	assert_int_equal(fstatat(t->copy, "etc/again", &two, 0), 0);
	assert_int_equal(one.st_ino, two.st_ino);
	assert_int_equal(one.st_nlink, 2);

	/* two directories change places: nothing in them has another time */
	assert_int_equal(mkdirat(t->root, "a", 0755), 0);
	assert_int_equal(mkdirat(t->root, "b", 0755), 0);
	test_write(t->root, "a/x", "1", 0644);
	test_write(t->root, "b/x", "2", 0644);
	(void)carry_over(t, false, false);
	assert_int_equal(renameat2(t->root, "a", t->root, "b", RENAME_EXCHANGE), 0);
	found = carry_over(t, false, false);
	assert_alike(t, &found);
}

static void test_slack(void **state)
{
	struct trees *t = *state;
	struct manifest_result found;

	(void)carry_over(t, false, false);
	t->last.start_usec = t->made_usec + SLACK_USEC; /* as if all had been made in its last moment */
	found = carry_over(t, false, false);
	assert_int_equal(found.n_changed, found.n_objects);
	assert_alike(t, &found);
}

/* What is not what was noted, though no time says so. */
static void test_verify(void **state)
{
	struct trees *t = *state;
	struct manifest_result found;
	static const char bad[] = "XXX";

	(void)carry_over(t, false, false);
	assert_int_equal(
	        pwrite(t->last.fd, bad, sizeof(bad) - 1, 48), sizeof(bad) - 1); /* in the first digest */
	found = carry_over(t, false, true);
	assert_int_equal(found.n_changed, 1);
	assert_alike(t, &found);
}

/* Makes, writes, links, renames and removes as fast as it can. */
__attribute__((noreturn)) static void disturb(int root)
{
	char from[64], to[64];

	for (unsigned i = 0;; i++) {
		(void)snprintf(from, sizeof(from), "busy/%u/f%u", i % 5, i % 11);
		(void)snprintf(to, sizeof(to), "busy/%u/g%u", (i + 1) % 5, i % 7);
		int fd = openat(root, from, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (fd >= 0) {
			(void)dprintf(fd, "%u", i);
			(void)close(fd);
		}
		(void)linkat(root, from, root, to, 0); /* each may fail: the others do something */
		if (i % 3 == 0)
			(void)unlinkat(root, from, 0);
		if (i % 17 == 0)
			(void)renameat2(root, "busy/0", root, "busy/1", RENAME_EXCHANGE);
		if (i % 23 == 0)
			(void)symlinkat("/etc/passwd", root, from);
		if (i % 29 == 0)
			(void)renameat(root, "busy/2", root, "busy/away");
		if (i % 31 == 0)
			(void)renameat(root, "busy/away", root, "busy/2");
	}
}

static void test_in_use(void **state)
{
	struct trees *t = *state;
	struct manifest_result found;
	pid_t pid;

	for (unsigned i = 0; i < 5; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "busy/%u/x", i);
		test_write(t->root, name, "x", 0644);
	}
	pid = fork();
	if (pid == 0)
		disturb(t->root);
	assert_true(pid > 0);
	for (unsigned i = 0; i < 30; i++)
		(void)carry_over(t, true, false);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	found = carry_over(t, false, false);
	assert_alike(t, &found);
}

static void assert_text(int root, const char *path, const char *text)
{
	_cleanup_free_ char *found = NULL;

	assert_int_equal(read_file_at(root, path, 100, &found, NULL), 0);
	assert_string_equal(found, text);
}

/* As a native directory: in use it is read aside, in the end where it is. */
static void test_graft(void **state)
{
	struct trees *t = *state;
	_cleanup_close_ int aside = open_or_mkdir(t->root, "../aside", 0755);
	_cleanup_close_ int dir = open_or_mkdir(aside, "a", 0700);
	struct manifest_result found;

	test_write(t->root, "usr/a-too/x", "x", 0644);
	test_write(dir, "one", "here", 0644);
	test_write(dir, "deep/two", "there", 0644);
	assert_int_equal(linkat(dir, "one", dir, "deep/link", 0), 0);
	t->graft = (struct walk_graft){ "usr/a", dir };
	(void)carry_over(t, true, false);
	assert_text(t->copy, "usr/a/one", "here");
	assert_text(t->copy, "usr/a/deep/link", "here");
	assert_text(t->copy, "usr/a-too/x", "x");
	assert_int_equal(faccessat(t->copy, "usr/a/deep/file", F_OK, 0), -1); /* covered */
	found = carry_over(t, true, false);
	assert_int_equal(found.n_changed, 0);
	test_write(dir, "deep/two", "elsewhere", 0644);
	found = carry_over(t, true, false);
	assert_in_range(found.n_changed, 1, 2); /* its directory as well, if it was made anew */
	assert_text(t->copy, "usr/a/deep/two", "elsewhere");

	assert_int_equal(remove_tree_at(t->root, "usr/a"), 0);
	assert_int_equal(renameat(aside, "a", t->root, "usr/a"), 0);
	found = carry_over(t, false, false);
	assert_alike(t, &found);
	assert_in_range(found.n_changed, 1, 4); /* not what is in it */
}

static void set_acl(int root, const char *path, uint32_t id)
{
	static const uint16_t tags[] = { ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER };
	struct posix_acl_xattr_header *header;
	char value[sizeof(*header) + ARRAY_SIZE(tags) * sizeof(struct posix_acl_xattr_entry)];
	struct posix_acl_xattr_entry *entries = (void *)(value + sizeof(*header));
	_cleanup_close_ int fd = openat(root, path, O_RDONLY | O_CLOEXEC);

	header = (void *)value;
	header->a_version = htole32(POSIX_ACL_XATTR_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
		entries[i] = (struct posix_acl_xattr_entry){ .e_tag = htole16(tags[i]),
			.e_perm = htole16(5),
			.e_id = htole32(tags[i] == ACL_USER ? id : UINT32_MAX) };
	assert_int_equal(fsetxattr(fd, "system.posix_acl_access", value, sizeof(value), 0), 0);
}

static bool has_acl(int root, const char *path)
{
	_cleanup_close_ int fd = openat(root, path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fgetxattr(fd, "system.posix_acl_access", NULL, 0) > 0;
}

/* An id that is none inside: in use the list is left out, and wanted again in the next round. */
static void test_access_lists_that_do_not_read(void **state)
{
	struct trees *t = *state;
	struct manifest_result found;

	set_acl(t->root, "etc", 70000);
	set_acl(t->root, "usr/a/deep/file", 70000);
	set_acl(t->root, "usr/a", 1000);
	(void)carry_over(t, true, false);
	assert_false(has_acl(t->copy, "etc"));
	assert_false(has_acl(t->copy, "usr/a/deep/file"));
	assert_true(has_acl(t->copy, "usr/a"));
	found = carry_over(t, true, false);
	assert_int_equal(found.n_changed, 2);

	set_acl(t->root, "etc", 1000);
	set_acl(t->root, "usr/a/deep/file", 1001);
	found = carry_over(t, false, false);
	assert_alike(t, &found);
	assert_true(has_acl(t->copy, "etc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_only_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slack, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_graft, setup, teardown),
		cmocka_unit_test_setup_teardown(test_access_lists_that_do_not_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
