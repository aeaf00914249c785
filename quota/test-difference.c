/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One tree becomes another by what is gone and what is new, and nothing else is sent. */
#include "quota/difference.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/path.h"
#include "quota/extract.h"
#include "quota/test-store.h"

/* Makes files look as if every other block of them were a hole: a true one of such a size fills a disk. */
static bool scattered;

off_t lseek(int fd, off_t at, int whence)
{
	if (scattered && whence == SEEK_DATA)
		return (at + 8191) & ~(off_t)8191;
	if (scattered && whence == SEEK_HOLE)
		return at + 4096;
	return syscall(SYS_lseek, fd, at, whence);
}

struct trees {
	char dir[64];
	int base, root, copy;
};

/* base and copy are alike, times included. */
static void fill(int fd)
{
	const struct timespec then[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	static const char *const files[] = { "etc/kept", "etc/changed", "etc/gone", "usr/lib/a/one",
		"usr/lib/a/two", "was-file", "was-directory/x", "touched" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		test_write(fd, files[i], "old contents", 0644);
		assert_int_equal(utimensat(fd, files[i], then, 0), 0);
	}
	assert_int_equal(symlinkat("etc/kept", fd, "link"), 0);
	assert_int_equal(linkat(fd, "etc/kept", fd, "usr/kept-too", 0), 0);
	static const char *const others[] = { "link", "etc", "usr/lib/a", "usr/lib", "usr", "was-directory",
		"." };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(utimensat(fd, others[i], then, AT_SYMLINK_NOFOLLOW), 0);
}

static int setup(void **state)
{
	struct trees *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)snprintf(t->dir, sizeof(t->dir), "/var/tmp/ctd-test-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	_cleanup_close_ int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->base = open_or_mkdir(dir, "base", 0755);
	t->root = open_or_mkdir(dir, "root", 0755);
	t->copy = open_or_mkdir(dir, "copy", 0755);
	fill(t->base);
	fill(t->root);
	fill(t->copy);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct trees *t = *state;

	(void)fd_close(t->base);
	(void)fd_close(t->root);
	(void)fd_close(t->copy);
	assert_int_equal(remove_tree_at(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

static void carry_over(const struct trees *t, struct strbuf *removed, uint64_t *ret_entries)
{
	_cleanup_close_ int tar = memfd_create("tar", MFD_CLOEXEC);
	const struct extract_options options = { .max_bytes = 64UL << 20, .own_disk = true };
	char ours[65], theirs[65];
	struct extract_result extracted;
	struct ct_error err = { 0 };

	if (difference_removed(t->root, t->base, removed, &err) < 0 ||
	        difference_archive(t->root, t->base, tar, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	if (difference_remove(t->copy, removed->data ?: "", removed->len, &err) < 0 ||
	        extract_archive(tar, t->copy, &options, &extracted, &err) < 0)
		fail_msg("%s", err.text);

	assert_int_equal(tree_digest_lasting(t->root, ours, &err), 0);
	assert_int_equal(tree_digest_lasting(t->copy, theirs, &err), 0);
	assert_string_equal(ours, theirs);
	*ret_entries = extracted.entries;
}

static void test_nothing(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	uint64_t entries = 1;

	carry_over(*state, &removed, &entries);
	assert_int_equal(removed.len, 0);
	assert_int_equal(entries, 0);
}

static void test_all_kinds(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	const struct trees *t = *state;
	const struct timespec then[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	uint64_t entries = 0;

	/* of the same size and time: only the bytes tell */
	test_write(t->root, "etc/changed", "new contents", 0644);
	assert_int_equal(utimensat(t->root, "etc/changed", then, 0), 0);
	assert_int_equal(utimensat(t->root, "touched", NULL, 0), 0);
	assert_int_equal(unlinkat(t->root, "etc/gone", 0), 0);
	assert_int_equal(unlinkat(t->root, "usr/lib/a/one", 0), 0);
	assert_int_equal(unlinkat(t->root, "usr/lib/a/two", 0), 0);
	assert_int_equal(unlinkat(t->root, "usr/lib/a", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(t->root, "was-file", 0), 0);
	test_write(t->root, "was-file/is/directory", "x", 0600);
	assert_int_equal(unlinkat(t->root, "was-directory/x", 0), 0);
	assert_int_equal(unlinkat(t->root, "was-directory", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("etc", t->root, "was-directory"), 0);
	assert_int_equal(unlinkat(t->root, "link", 0), 0);
	assert_int_equal(symlinkat("etc/gone", t->root, "link"), 0);
	assert_int_equal(linkat(t->root, "etc/changed", t->root, "again", 0), 0);
	assert_int_equal(fchmodat(t->root, "usr", 0700, 0), 0);
	assert_int_equal(mkfifoat(t->root, "fifo", 0600), 0);

	carry_over(t, &removed, &entries);
	/* usr/lib/a once, not with what was in it */
	assert_null(memmem(removed.data, removed.len, "usr/lib/a/one", 13));
	assert_non_null(memmem(removed.data, removed.len, "usr/lib/a", 10));
	assert_int_equal(faccessat(t->copy, "was-directory", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	/* etc/kept and its second name were not sent */
	assert_true(entries < 16);

	struct stat one, two;

	assert_int_equal(fstatat(t->copy, "again", &one, 0), 0);
	assert_int_equal(fstatat(t->copy, "etc/changed", &two, 0), 0);
	assert_int_equal(one.st_ino, two.st_ino);
}

/* A name that only one side has linked; and attributes alone. */
static void test_links_and_attributes(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	const struct trees *t = *state;
	_cleanup_close_ int fd = openat(t->root, "usr/lib/a/two", O_RDONLY | O_CLOEXEC);
	uint64_t entries = 0;

	assert_int_equal(unlinkat(t->root, "usr/kept-too", 0), 0);
	test_write(t->root, "usr/kept-too", "old contents", 0644);
	assert_int_equal(linkat(t->root, "was-file", t->root, "one-more", 0), 0);
	assert_int_equal(fsetxattr(fd, "user.note", "x", 1, 0), 0);
	carry_over(t, &removed, &entries);
	fd = fd_close(fd);
	fd = openat(t->copy, "usr/lib/a/two", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fgetxattr(fd, "user.note", NULL, 0), 1);
}

/* Two names of one file became two files; all else of both is as it was, the times too. */
static void test_links_parted(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	const struct timespec then[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	const struct trees *t = *state;
	struct stat one, two;
	uint64_t entries = 0;

	assert_int_equal(unlinkat(t->root, "usr/kept-too", 0), 0);
	test_write(t->root, "usr/kept-too", "old contents", 0644);
	assert_int_equal(utimensat(t->root, "usr/kept-too", then, 0), 0);
	carry_over(t, &removed, &entries);
	assert_int_equal(fstatat(t->copy, "etc/kept", &one, 0), 0);
	assert_int_equal(fstatat(t->copy, "usr/kept-too", &two, 0), 0);
	assert_int_not_equal(one.st_ino, two.st_ino);
}

/* A file that claims to be larger than any disk is no reason to stay: its holes are neither read nor charged.
 */
static void test_holes(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	const off_t size = 2L << 40, place = 1L << 40;
	const struct trees *t = *state;
	_cleanup_close_ int fd = openat(t->root, "etc/huge", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	uint64_t entries = 0;
	char byte = 0;
	struct stat st;

	assert_int_equal(pwrite(fd, "x", 1, place), 1);
	assert_int_equal(ftruncate(fd, size), 0);
	carry_over(t, &removed, &entries);
	fd = fd_close(fd);
	fd = openat(t->copy, "etc/huge", O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_true(st.st_blocks < 4096);
	assert_int_equal(pread(fd, &byte, 1, place), 1);
	assert_int_equal(byte, 'x');

	/* where it is matters, and that zeros are written does not */
	char before[65], after[65];

	assert_int_equal(tree_digest_lasting(t->copy, before, NULL), 0);
	assert_int_equal(pwrite(fd, "", 1, 5), 1);
	assert_int_equal(tree_digest_lasting(t->copy, after, NULL), 0);
	assert_string_equal(before, after);
	assert_int_equal(pwrite(fd, "", 1, place), 1);
	assert_int_equal(pwrite(fd, "x", 1, place + 1), 1);
	assert_int_equal(tree_digest_lasting(t->copy, after, NULL), 0);
	assert_string_not_equal(before, after);
}

/* The map of a file's holes is kept in memory: a tenant cannot make it as large as it likes. */
static void test_scattered(void **state)
{
	_cleanup_close_ int tar = memfd_create("tar", MFD_CLOEXEC);
	const struct trees *t = *state;
	_cleanup_close_ int fd = openat(t->root, "etc/torn", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct ct_error err = { 0 };

	assert_int_equal(ftruncate(fd, (off_t)8192 << 10), 0);
	scattered = true;
	assert_int_equal(difference_archive(t->root, t->base, tar, &err), 0);
	assert_int_equal(ftruncate(fd, ((off_t)8192 << 20) + 1), 0);
	assert_int_equal(difference_archive(t->root, t->base, tar, &err), -E2BIG);
	scattered = false;
	assert_string_equal(err.text,
	        "\"etc/torn\" has more than 1048576 pieces between holes; cp --sparse=never makes one of them");
}

/* What the template's directory has and the container took away from it; and more than a template may have.
 */
static void test_attributes_gone(void **state)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	const struct trees *t = *state;
	const int trees[] = { t->base, t->copy };
	uint64_t entries = 0;
	int fd;

	for (size_t i = 0; i < 2; i++) {
		fd = openat(trees[i], "usr/lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(fsetxattr(fd, "user.note", "x", 1, 0), 0);
		assert_int_equal(fsetxattr(fd, "user.other", "x", 1, 0), 0);
		(void)fd_close(fd);
	}
	fd = openat(t->root, "usr/lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "user.other", "x", 1, 0), 0);
	(void)fd_close(fd);
	fd = openat(t->root, "etc/kept", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 70; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "user.%u", i);
		assert_int_equal(fsetxattr(fd, name, "", 0, 0), 0);
	}
	(void)fd_close(fd);

	carry_over(t, &removed, &entries);
	fd = openat(t->copy, "usr/lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fgetxattr(fd, "user.note", NULL, 0), -1);
	assert_int_equal(fgetxattr(fd, "user.other", NULL, 0), 1);
	(void)fd_close(fd);
}

static void test_hostile_lists(void **state)
{
	static const char outside[] = "../x", absolute[] = "/etc/passwd", cut[] = { 'a', 'b' }, root[] = ".",
	                  up[] = "etc/..", empty[] = "";
	const struct trees *t = *state;
	struct ct_error err;

	assert_true(difference_remove(t->copy, outside, sizeof(outside), &err) < 0);
	assert_true(difference_remove(t->copy, absolute, sizeof(absolute), &err) < 0);
	assert_true(difference_remove(t->copy, cut, sizeof(cut), &err) < 0);
	assert_true(difference_remove(t->copy, root, sizeof(root), &err) < 0);
	assert_true(difference_remove(t->copy, up, sizeof(up), &err) < 0);
	assert_true(difference_remove(t->copy, empty, sizeof(empty), &err) < 0);
	/* through a link: not followed */
	assert_int_equal(symlinkat("/etc", t->copy, "outside"), 0);
	assert_true(difference_remove(t->copy, "outside/passwd", sizeof("outside/passwd"), &err) < 0);
	assert_int_equal(faccessat(t->copy, "etc/kept", F_OK, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_and_attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_parted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scattered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attributes_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_lists, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
