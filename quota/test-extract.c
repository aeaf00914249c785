/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Archives, good and hostile, written entry by entry with libarchive and taken apart by extract_archive.
 * Without root the ids in them are our own, and what only root may set is left out. */
#include "quota/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"

struct item {
	const char *path;
	mode_t mode;
	const char *data; /* file: content; link: target */
	const char *hardlink;
	int64_t uid;  /* 0: ours */
	int64_t size; /* file: size claimed, 0: of data */
	const char *xattr, *value;
	size_t value_size;
	const char *acl; /* SCHILY.acl.access */
};

struct box {
	char dir[64];
	int fd;
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));

	assert_non_null(box);
	(void)snprintf(box->dir, sizeof(box->dir), "/var/tmp/ctd-test-XXXXXX");
	assert_non_null(mkdtemp(box->dir));
	assert_int_equal(mkdirat(AT_FDCWD, box->dir, 0700), -1);
	box->fd = open_or_mkdir(AT_FDCWD, box->dir, 0700);
	assert_true(box->fd >= 0);
	assert_int_equal(mkdirat(box->fd, "root", 0755), 0);
	assert_int_equal(mkdirat(box->fd, "outside", 0755), 0);
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	assert_int_equal(close(box->fd), 0);
	assert_int_equal(remove_tree_at(AT_FDCWD, box->dir), 0);
	free(box);
	return 0;
}

static int root_of(const struct box *box)
{
	int fd = openat(box->fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void add_item(struct archive *a, const struct item *item)
{
	struct archive_entry *entry = archive_entry_new();
	const size_t len = item->data && S_ISREG(item->mode) ? strlen(item->data) : 0;

	archive_entry_set_pathname(entry, item->path);
	archive_entry_set_mode(entry, item->mode);
	archive_entry_set_uid(entry, item->uid ? item->uid : (int64_t)geteuid());
	archive_entry_set_gid(entry, (int64_t)getegid());
	archive_entry_set_mtime(entry, 1000000000, 0);
	archive_entry_set_size(entry, item->size ? item->size : (int64_t)len);
	if (S_ISCHR(item->mode) || S_ISBLK(item->mode))
		archive_entry_set_rdev(entry, makedev(1, 3));
	if (item->hardlink)
		archive_entry_set_hardlink(entry, item->hardlink);
	else if (S_ISLNK(item->mode))
		archive_entry_set_symlink(entry, item->data);
	if (item->size > (int64_t)len)
		archive_entry_sparse_add_entry(entry, 0, (int64_t)len);
	if (item->xattr)
		archive_entry_xattr_add_entry(entry, item->xattr, item->value,
		        item->value_size ? item->value_size : strlen(item->value));
	if (item->acl)
		assert_true(archive_entry_acl_from_text(entry, item->acl, ARCHIVE_ENTRY_ACL_TYPE_ACCESS) >=
		            ARCHIVE_WARN);

	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	if (len > 0)
		assert_int_equal(archive_write_data(a, item->data, len), len);
	archive_entry_free(entry);
}

static int pack(const struct item *items, size_t n)
{
	struct archive *a = archive_write_new();
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(archive_write_set_format_pax(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_options(a, "hdrcharset=BINARY"), ARCHIVE_OK);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++)
		add_item(a, &items[i]);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);

	return fd;
}

static int extract_with(struct box *box, const struct item *items, size_t n,
        const struct extract_options *options, struct extract_result *ret, struct ct_error *err)
{
	_cleanup_close_ int archive = pack(items, n), root = root_of(box);

	return extract_archive(archive, root, options, ret, err);
}

#define EXTRACT(box, items, err)                                                                             \
	extract_with(box, items, ARRAY_SIZE(items), &(struct extract_options){ 0 },                          \
	        &(struct extract_result){ 0 }, err)

static void assert_content(const struct box *box, const char *path, const char *want)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(read_file_at(box->fd, path, 4096, &text, NULL), 0);
	assert_string_equal(text, want);
}

static struct stat stat_of(const struct box *box, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(box->fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void test_plain_tree(void **state)
{
	static const struct item items[] = {
		{ "./", S_IFDIR | 0751 },
		{ "./usr/", S_IFDIR | 0755 },
		{ "./usr/su", S_IFREG | 04755, "binary" },
		{ "usr//locked", S_IFREG | 0400, "secret", .xattr = "user.mime", .value = "text" },
		{ "./bin", S_IFLNK | 0777, "usr" },
		{ "./usr/again", S_IFREG | 04755, .hardlink = "./usr/su" },
		{ "./run/initctl", S_IFIFO | 0620 },
		{ "./usr/F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny", S_IFREG | 0644, "utf-8" },
		{ "./usr/\xff\xfe", S_IFREG | 0644, "bytes" },
		{ "./usr/ro", S_IFDIR | 0555 },
		{ "./usr/ro/in", S_IFREG | 0444, "x" },
	};
	struct box *box = *state;
	struct extract_result result;
	struct ct_error err = { 0 };
	char value[16];
	struct stat st;

	if (extract_with(box, items, ARRAY_SIZE(items), &(struct extract_options){ 0 }, &result, &err) < 0)
		fail_msg("%s", err.text);

	assert_int_equal(stat_of(box, "root").st_mode & 07777, 0751);
	assert_content(box, "root/usr/su", "binary");
	assert_int_equal(stat_of(box, "root/usr/su").st_mode & 07777, 04755);
	assert_int_equal(stat_of(box, "root/usr/su").st_nlink, 2);
	assert_int_equal(stat_of(box, "root/usr/su").st_ino, stat_of(box, "root/usr/again").st_ino);
	assert_int_equal(stat_of(box, "root/usr/locked").st_mode & 07777, 0400);
	assert_int_equal(stat_of(box, "root/usr/ro").st_mode & 07777, 0555);
	assert_content(box, "root/usr/\xff\xfe", "bytes");
	st = stat_of(box, "root/usr/F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny");
	assert_int_equal(st.st_size, 5);
	st = stat_of(box, "root/run/initctl");
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0620);
	assert_int_equal(stat_of(box, "root/run").st_mode & 07777, 0755); /* not in the archive */

	/* Times, of a directory too although files were made in it after its entry. */
	assert_int_equal(stat_of(box, "root/usr").st_mtime, 1000000000);
	assert_int_equal(stat_of(box, "root/usr/su").st_mtime, 1000000000);
	assert_int_equal(stat_of(box, "root/bin").st_mtime, 1000000000);

	{
		_cleanup_close_ int fd = openat(box->fd, "root/usr/su", O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(fgetxattr(fd, "user.mime", value, sizeof(value)), -1);
	}
	assert_int_equal(result.entries, ARRAY_SIZE(items));
	assert_int_equal(result.bytes, 6 + 6 + 5 + 5 + 1);
	assert_int_equal(strlen(result.digest), 64);
	assert_int_equal(
	        fchmodat(box->fd, "root/usr/ro", 0755, 0), 0); /* so that we can remove it without root */
}

/* Each of these must fail, must say why, and must not touch what is outside. */
static void test_hostile_names(void **state)
{
	static const struct {
		struct item items[3];
		const char *says;
	} cases[] = {
		{ { { "../outside/x", S_IFREG | 0644, "x" } }, "leads out" },
		{ { { "a/../../outside/x", S_IFREG | 0644, "x" } }, "leads out" },
		{ { { "a/..", S_IFDIR | 0755 } }, "leads out" },
		{ { { "/outside/x", S_IFREG | 0644, "x" } }, "absolute" },
		{ { { "//outside/x", S_IFREG | 0644, "x" } }, "absolute" },
		{ { { "l", S_IFLNK | 0777, "../outside" }, { "l/x", S_IFREG | 0644, "x" } },
		        "through a symbolic link" },
		{ { { "l", S_IFLNK | 0777, "../outside" }, { "l/d/x", S_IFREG | 0644, "x" } },
		        "through a symbolic link" },
		{ { { "l", S_IFLNK | 0777, "../outside" }, { "l/d", S_IFDIR | 0755 } },
		        "through a symbolic link" },
		{ { { "a/l", S_IFLNK | 0777, "../../outside" }, { "a/l/x", S_IFIFO | 0644 } },
		        "through a symbolic link" },
		{ { { "l", S_IFLNK | 0777, "." }, { "l/x", S_IFREG | 0644, "x" } },
		        "through a symbolic link" },
		{ { { "l", S_IFLNK | 0777, "/" }, { "l/x", S_IFLNK | 0777, "x" } },
		        "through a symbolic link" },
		{ { { "h", S_IFREG | 0644, .hardlink = "../outside/secret" } }, "leads out" },
		{ { { "h", S_IFREG | 0644, .hardlink = "/etc/passwd" } }, "absolute" },
		{ { { "l", S_IFLNK | 0777, "../outside" }, { "h", S_IFREG | 0644, .hardlink = "l/secret" } },
		        "through a symbolic link" },
		{ { { "h", S_IFREG | 0644, .hardlink = "h" } }, "itself" },
		{ { { "h", S_IFREG | 0644, .hardlink = "nothing" } }, "No such file" },
		{ { { "d", S_IFDIR | 0755 }, { "h", S_IFREG | 0644, .hardlink = "d" } },
		        "hard link to the directory" },
		{ { { "d/x", S_IFREG | 0644, "x" }, { "d", S_IFLNK | 0777, "../outside" } },
		        "cannot replace" },
		{ { { ".", S_IFLNK | 0777, "../outside" } }, "root is not a directory" },
		{ { { "f", S_IFREG | 0644, "x" }, { "f/x", S_IFREG | 0644, "x" } }, "Not a directory" },
		{ { { "null", S_IFCHR | 0666 } }, "device node" },
		{ { { "sda", S_IFBLK | 0666 } }, "device node" },
		{ { { "f", S_IFREG | 0644, "x", .xattr = "trusted.overlay.opaque", .value = "y" } },
		        "only a host sets" },
		{ { { "f", S_IFREG | 0644, "x", .uid = 65536 } }, "ids must be 0 to 65535" },
		{ { { "f", S_IFREG | 0644, "x", .uid = 4294967296 } }, "ids must be 0 to 65535" },
		{ { { "f", S_IFREG | 0644, "x", .xattr = "security.capability", .value = "x" } },
		        "malformed" },
		{ { { "f", S_IFREG | 0644, "x",
		          .acl = "user::rw-,user:joe:rw-:70000,group::r--,mask::rw-,other::r--" } },
		        "names an id above" },
	};
	struct box *box = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ct_error err = { 0 };
		_cleanup_close_ int secret = -1;
		size_t n = 0;
		int r;

		secret = openat(box->fd, "outside/secret", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_int_equal(write_all(secret, "keep", 4), 0);
		while (n < 3 && cases[i].items[n].path)
			n++;

		r = extract_with(box, cases[i].items, n, &(struct extract_options){ 0 },
		        &(struct extract_result){ 0 }, &err);
		if (r >= 0 || !strstr(err.text, cases[i].says))
			fail_msg("case %zu: %d, \"%s\", expected \"%s\"", i, r, err.text, cases[i].says);

		assert_content(box, "outside/secret", "keep");
		assert_int_equal(stat_of(box, "outside/secret").st_nlink, 1);
		assert_int_equal(stat_of(box, "outside").st_nlink, 2);
		assert_int_equal(faccessat(box->fd, "outside/x", F_OK, AT_SYMLINK_NOFOLLOW), -1);
		assert_int_equal(remove_tree_at(box->fd, "root"), 0);
		assert_int_equal(mkdirat(box->fd, "root", 0755), 0);
	}
}

static void test_names_with_control_bytes_are_escaped(void **state)
{
	static const struct item items[] = { { "../\x1b[31m\n", S_IFREG | 0644, "x" } };
	struct ct_error err = { 0 };

	assert_true(EXTRACT(*state, items, &err) < 0);
	assert_null(strpbrk(err.text, "\x1b\n"));
}

/* A link that is replaced by a file of its name is replaced, not written through; and a file that is linked
 * elsewhere stays as it was. */
static void test_replacing(void **state)
{
	static const struct item items[] = {
		{ "f", S_IFLNK | 0777, "../outside/secret" },
		{ "f", S_IFREG | 0644, "new" },
		{ "a", S_IFREG | 0644, "old" },
		{ "b", S_IFREG | 0644, .hardlink = "a" },
		{ "a", S_IFREG | 0644, "new" },
		{ "d", S_IFLNK | 0777, "../outside" },
		{ "d", S_IFDIR | 0700 },
		{ "d/x", S_IFREG | 0644, "x" },
		{ "d", S_IFDIR | 0711 },
	};
	struct box *box = *state;
	struct ct_error err = { 0 };

	if (EXTRACT(box, items, &err) < 0)
		fail_msg("%s", err.text);
	assert_content(box, "root/f", "new");
	assert_content(box, "root/a", "new");
	assert_content(box, "root/b", "old");
	assert_content(box, "root/d/x", "x");
	assert_int_equal(stat_of(box, "root/d").st_mode & 07777, 0711);
	assert_int_equal(faccessat(box->fd, "outside/secret", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void test_bounds(void **state)
{
	static const struct item three[] = {
		{ "a", S_IFREG | 0644, "0123456789" },
		{ "b", S_IFREG | 0644, "0123456789" },
		{ "c", S_IFREG | 0644, "0123456789" },
	};
	static const struct item sparse[] = { { "bomb", S_IFREG | 0644, "x", .size = 1LL << 50 } };
	struct box *box = *state;
	struct extract_options options = { .max_bytes = 29 };
	struct extract_result result;
	struct ct_error err = { 0 };

	assert_int_equal(extract_with(box, three, 3, &options, &result, &err), -E2BIG);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
	options = (struct extract_options){ .max_bytes = 30, .max_entries = 2 };
	assert_int_equal(extract_with(box, three, 3, &options, &result, &err), -E2BIG);
	options.max_entries = 3;
	assert_int_equal(extract_with(box, three, 3, &options, &result, &err), 0);

	/* A petabyte of hole in a few hundred bytes. */
	options = (struct extract_options){ 0 };
	assert_int_equal(extract_with(box, sparse, 1, &options, &result, &err), -E2BIG);
	assert_non_null(strstr(err.text, "64G"));
}

/* A header alone, as libarchive would not write it. */
static void raw_header(
        char block[static 512], const char *name, char type, const char *size, const char *link)
{
	unsigned int sum = 0;

	memset(block, 0, 512);
	(void)snprintf(block, 100, "%s", name);
	(void)snprintf(block + 100, 8, "%07o", 0644);
	(void)snprintf(block + 108, 8, "%07o", (unsigned)geteuid());
	(void)snprintf(block + 116, 8, "%07o", (unsigned)getegid());
	(void)snprintf(block + 124, 12, "%s", size);
	(void)snprintf(block + 136, 12, "%011o", 1);
	block[156] = type;
	(void)snprintf(block + 157, 100, "%s", link);
	memcpy(block + 257, "ustar\00000", 8);
	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (unsigned char)block[i];
	(void)snprintf(block + 148, 8, "%06o", sum);
}

/* Whatever comes with a huge size, refusing it must not take the time to read it all, nor the memory to hold
 * it. */
static void test_bombs(void **state)
{
	static const struct {
		char type;
		const char *size, *link;
		bool fine; /* no data by definition, whatever the header says, or skipped as far as there is
		              any */
	} cases[] = {
		{ '0', "77777777777", "" }, /* 8 GiB */
		{ '1', "77777777777", "a", .fine = true }, { '5', "77777777777", "", .fine = true },
		{ 'x', "77777777777", "" },                                           /* a pax header */
		{ 'g', "77777777777", "" }, { 'L', "77777777777", "" },               /* a long name */
		{ 'K', "77777777777", "" }, { 'V', "77777777777", "", .fine = true }, /* a volume's label */
		{ 'Z', "77777777777", "" },                                           /* what nobody knows */
	};
	const struct extract_options options = { .max_bytes = 1 << 20 };
	struct box *box = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC), root = root_of(box);
		struct extract_result result;
		struct ct_error err = { 0 };
		char blocks[2][512];

		raw_header(blocks[0], "a", '0', "00000000000", "");
		raw_header(blocks[1], "b", cases[i].type, cases[i].size, cases[i].link);
		assert_int_equal(write_all(fd, blocks, sizeof(blocks)), 0);
		assert_int_equal(ftruncate(fd, (8LL << 30) + 4096), 0); /* zeros, that cost nothing to have */
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		if (extract_archive(fd, root, &options, &result, &err) == 0 && !cases[i].fine)
			fail_msg("type %c is accepted", cases[i].type);
		if (lseek(fd, 0, SEEK_CUR) > 64 << 20)
			fail_msg("type %c is read to %lld", cases[i].type, (long long)lseek(fd, 0, SEEK_CUR));
	}
}

static void test_skip_devices(void **state)
{
	static const struct item items[] = {
		{ "dev/null", S_IFCHR | 0666 },
		{ "dev/sda", S_IFBLK | 0666 },
		{ "etc/x", S_IFREG | 0644, "x" },
	};
	struct extract_options options = { .skip_devices = true };
	struct box *box = *state;
	struct extract_result result;

	assert_int_equal(extract_with(box, items, 3, &options, &result, NULL), 0);
	assert_int_equal(faccessat(box->fd, "root/dev/null", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_content(box, "root/etc/x", "x");
}

static void test_no_archive(void **state)
{
	static const char *const bad[] = { "", "hello", "PK\x03\x04 is a zip" };
	struct box *box = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC), root = root_of(box);
		struct extract_result result;
		struct ct_error err = { 0 };

		assert_int_equal(write_all(fd, bad[i], strlen(bad[i])), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_true(extract_archive(fd, root, &(struct extract_options){ 0 }, &result, &err) < 0);
		assert_non_null(strstr(err.text, "cannot read the archive"));
	}
}

/* Cut anywhere, it is an error and never a shorter tree that passes for whole. */
static void test_cut_short(void **state)
{
	static const struct item items[] = {
		{ "a", S_IFREG | 0644, "0123456789" },
		{ "b", S_IFREG | 0644, "0123456789" },
	};
	struct box *box = *state;

	/* Up to where b's data lie: pax header, its data, header and data for each of the two. */
	for (off_t cut = 1; cut < 7 * 512 + 10; cut += 97) {
		_cleanup_close_ int archive = pack(items, 2), root = root_of(box);
		struct extract_result result;

		assert_int_equal(ftruncate(archive, cut), 0);
		if (extract_archive(archive, root, &(struct extract_options){ 0 }, &result, NULL) == 0)
			fail_msg("cut at %lld it passes", (long long)cut);
	}
}

static void test_sparse(void **state)
{
	static const struct item items[] = {
		{ "s", S_IFREG | 0644, "data", .size = 1 << 20 },
		{ "t", S_IFREG | 0644, "after" },
	};
	struct box *box = *state;
	struct ct_error err = { 0 };
	struct stat st;

	if (EXTRACT(box, items, &err) < 0)
		fail_msg("%s", err.text);
	st = stat_of(box, "root/s");
	assert_int_equal(st.st_size, 1 << 20);
	assert_true(st.st_blocks * 512 < 1 << 19);
	assert_content(box, "root/t", "after");
}

/* What archive_tree writes comes back as the same tree, holes, links, attributes, odd names and all. */
static void test_round_trip(void **state)
{
	static const struct item items[] = {
		{ "./", S_IFDIR | 0755 },
		{ "./bin", S_IFLNK | 0777, "usr/bin" },
		{ "./usr/bin/su", S_IFREG | 04755, "binary", .xattr = "user.one", .value = "a\0b",
		        .value_size = 3 },
		{ "./usr/bin/again", S_IFREG | 04755, .hardlink = "usr/bin/su" },
		{ "./usr/\xff\n", S_IFREG | 0600, "bytes" },
		{ "./usr/F\xc5\x91", S_IFREG | 0600, "utf-8" },
		{ "./s", S_IFREG | 0644, "data", .size = 3 << 20 },
		{ "./pipe", S_IFIFO | 0600 },
		{ "./empty", S_IFDIR | 01777 },
		{ "./acl", S_IFREG | 0640, "x",
		        .acl = "user::rw-,user:joe:rw-:1000,group::r--,mask::rw-,other::---" },
	};
	struct box *box = *state;
	_cleanup_close_ int root = root_of(box), tar = memfd_create("tar", MFD_CLOEXEC), copy = -1;
	struct extract_result first, second;
	struct ct_error err = { 0 };
	char digest[65];

	if (extract_with(box, items, ARRAY_SIZE(items), &(struct extract_options){ 0 }, &first, &err) < 0)
		fail_msg("%s", err.text);
	if (archive_tree(root, tar, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);

	copy = open_or_mkdir(box->fd, "copy", 0700);
	if (extract_archive(tar, copy, &(struct extract_options){ 0 }, &second, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(first.digest, second.digest);
	assert_content(box, "copy/usr/\xff\n", "bytes");
	assert_true(stat_of(box, "copy/s").st_blocks * 512 < 1 << 20);
	assert_int_equal(stat_of(box, "copy/usr/bin/su").st_mtime, 1000000000);
	assert_true(getxattr("/dev/null", "user.none", NULL, 0) < 0);
	{
		_cleanup_close_ int fd = openat(copy, "acl", O_RDONLY | O_CLOEXEC);

		assert_int_equal(fgetxattr(fd, "system.posix_acl_access", NULL, 0), 4 + 5 * 8);
	}

	assert_int_equal(tree_digest(copy, digest, NULL), 0);
	assert_string_equal(digest, first.digest);
}

/* The digest changes with each thing that it is of, and with nothing else. */
static void test_digest_tells_trees_apart(void **state)
{
	static const struct item base = { "f", S_IFREG | 0644, "x" };
	static const struct item others[] = {
		{ "g", S_IFREG | 0644, "x" },
		{ "f", S_IFREG | 0600, "x" },
		{ "f", S_IFREG | 0644, "y" },
		{ "f", S_IFREG | 0644, "" },
		{ "f", S_IFREG | 0644, "x", .size = 2 },
		{ "f", S_IFLNK | 0777, "x" },
		{ "f", S_IFDIR | 0755 },
		{ "f", S_IFIFO | 0644 },
		{ "f", S_IFREG | 0644, "x", .xattr = "user.a", .value = "b" },
		{ "f", S_IFREG | 04644, "x" },
	};
	struct box *box = *state;
	struct extract_options options = { 0 };
	struct extract_result first, result;

	assert_int_equal(extract_with(box, &base, 1, &options, &first, NULL), 0);
	assert_int_equal(remove_tree_at(box->fd, "root"), 0);
	assert_int_equal(mkdirat(box->fd, "root", 0755), 0);
	assert_int_equal(extract_with(box, &base, 1, &options, &result, NULL), 0);
	assert_string_equal(result.digest, first.digest); /* another time, other inodes */

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(remove_tree_at(box->fd, "root"), 0);
		assert_int_equal(mkdirat(box->fd, "root", 0755), 0);
		assert_int_equal(extract_with(box, &others[i], 1, &options, &result, NULL), 0);
		assert_string_not_equal(result.digest, first.digest);
	}
}

static void test_digest_of_an_empty_tree(void **state)
{
	struct box *box = *state;
	_cleanup_close_ int root = root_of(box);
	char a[65], b[65];

	assert_int_equal(tree_digest(root, a, NULL), 0);
	assert_int_equal(tree_digest(root, b, NULL), 0);
	assert_string_equal(a, b);
}

static uint64_t progress_entries;

static void note_progress(uint64_t bytes, uint64_t entries, void *userdata)
{
	progress_entries = entries;
	assert_true(bytes <= 3);
}

static void test_progress(void **state)
{
	static const struct item items[] = { { "a", S_IFREG | 0644, "abc" }, { "d", S_IFDIR | 0755 } };
	struct extract_options options = { .progress = note_progress };
	struct extract_result result;

	progress_entries = 0;
	assert_int_equal(extract_with(*state, items, 2, &options, &result, NULL), 0);
	assert_int_equal(progress_entries, 2);
}

/* As root: owners and capabilities as the archive says, in spite of the order in which the kernel clears
 * them. */
static void test_owners(void **state)
{
	static const char cap[20] = { 0, 0, 0, 2, 0, 0x20 }; /* version 2, cap_net_raw */
	static const struct item items[] = {
		{ "ping", S_IFREG | 0755, "x", .uid = 1, .xattr = "security.capability", .value = cap,
		        .value_size = sizeof(cap) },
		{ "su", S_IFREG | 06755, "x", .uid = 33 },
		{ "l", S_IFLNK | 0777, "x", .uid = 65535 },
	};
	struct box *box = *state;
	_cleanup_close_ int fd = -1;
	struct ct_error err = { 0 };
	char got[32];

	if (geteuid() != 0) {
		print_message("needs root to set owners\n");
		skip();
	}
	if (EXTRACT(box, items, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(stat_of(box, "root/su").st_uid, 33);
	assert_int_equal(stat_of(box, "root/su").st_mode & 07777, 06755);
	assert_int_equal(stat_of(box, "root/l").st_uid, 65535);
	fd = openat(box->fd, "root/ping", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fgetxattr(fd, "security.capability", got, sizeof(got)), sizeof(cap));
	assert_memory_equal(got, cap, sizeof(cap));
}

#define BOX_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOX_TEST(test_plain_tree),
		BOX_TEST(test_hostile_names),
		BOX_TEST(test_names_with_control_bytes_are_escaped),
		BOX_TEST(test_replacing),
		BOX_TEST(test_bounds),
		BOX_TEST(test_bombs),
		BOX_TEST(test_skip_devices),
		BOX_TEST(test_no_archive),
		BOX_TEST(test_cut_short),
		BOX_TEST(test_sparse),
		BOX_TEST(test_round_trip),
		BOX_TEST(test_digest_tells_trees_apart),
		BOX_TEST(test_digest_of_an_empty_tree),
		BOX_TEST(test_progress),
		BOX_TEST(test_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
