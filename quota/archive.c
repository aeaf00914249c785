/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tree as a tar: pax where plain ustar cannot say it, compressed with zstd.
 *
 * Names are bytes here: whatever is no UTF-8 goes out as it is, marked hdrcharset=BINARY, instead of being
 * mangled by a locale. Owners are numbers only. Attributes are written raw (SCHILY.xattr.*), ACLs among them,
 * so what comes back is what was there. Holes are kept. Device nodes and sockets are left out: no container
 * may have the first, and the second are dead without their process.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "quota/difference.h"
#include "quota/extract.h"
#include "quota/walk.h"
#include "quota/xattr.h"

#define ARCHIVE_CHUNK (256 * 1024)
/* libarchive steps over a hole without a look at the bytes, but has to be called for it, and takes no more
 * than INT_MAX of them at a time: a file that claims 16 TiB in steps of a chunk would take seconds, and costs
 * its owner one inode. Address space only. */
#define ARCHIVE_HOLE (1ULL << 30)
/* What is written of a file between holes. The map of them stands in memory, some 150 bytes for each here and
 * 50 where it is read, and a tenant can have one for every other block of its disk. */
#define ARCHIVE_PIECES (1U << 20)

static void entry_freep(struct archive_entry **entry)
{
	if (*entry)
		archive_entry_free(*entry);
}

struct archiving {
	struct archive *archive;
	char *chunk; /* ARCHIVE_CHUNK bytes */
	void *zeros; /* ARCHIVE_HOLE of them, never touched */
	walk_wanted_fn wanted;
	void *userdata;
	bool live;    /* the tree is in use */
	bool partial; /* and an attribute of this entry was left out */
};

static void archiving_done(struct archiving *a)
{
	if (a->archive)
		(void)archive_write_free(a->archive); /* what mattered was said by archive_write_close */
	free(a->chunk);
	if (a->zeros)
		(void)munmap(a->zeros, ARCHIVE_HOLE); /* it is one: cannot fail */
}

/* What it says of a failed write is that it failed. */
static int archive_failed(struct archive *a, const char *what, struct ct_error *err)
{
	int code = archive_errno(a) > 0 ? -archive_errno(a) : -EIO;
	const char *text = archive_error_string(a);

	if (!text || str_eq(text, "Write error"))
		text = strerror(-code);
	return ct_error_set(err, code, "archive", "cannot %s: %s", what, text);
}

static bool may_have_holes(const struct walk_entry *entry)
{
	return (uint64_t)entry->st.st_blocks * 512 < (uint64_t)entry->st.st_size;
}

/* Where there are data again; a file system that does not know says everywhere. */
static uint64_t next_data(const struct walk_entry *entry, int fd, uint64_t at)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? (uint64_t)entry->st.st_size : at;
	return (uint64_t)data;
}

static int read_at(int fd, uint64_t at, char *chunk, size_t want)
{
	ssize_t n = lseek(fd, (off_t)at, SEEK_SET) < 0 ? -errno : read_all(fd, chunk, want);

	if (n < 0)
		return (int)n;
	if ((size_t)n < want)
		memset(chunk + n, 0, want - (size_t)n);
	return 0;
}

static size_t min_size(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

/* Bytes that the tree says are there: holes are zeros to libarchive, which leaves them out again (and they
 * are not read: a file may claim terabytes of them); a file that became shorter is filled. */
static int archive_content(struct archiving *a, const struct walk_entry *entry, int fd, struct ct_error *err)
{
	const uint64_t size = (uint64_t)entry->st.st_size;
	const bool holes = may_have_holes(entry);
	uint64_t data = 0;

	for (uint64_t at = 0; at < size;) {
		uint64_t left = size - at;
		bool hole;
		size_t want;
		int r = 0;

		if (at >= data)
			data = holes ? next_data(entry, fd, at) : at;
		hole = data > at;
		if (hole)
			left = data - at;
		want = min_size(left, hole ? ARCHIVE_HOLE : ARCHIVE_CHUNK);
		if (!hole)
			r = read_at(fd, at, a->chunk, want);
		if (r < 0)
			return walk_error(entry, r, "read", err);
		if (archive_write_data(a->archive, hole ? a->zeros : a->chunk, want) < 0)
			return archive_failed(a->archive, "write the archive", err);
		at += want;
	}

	return 0;
}

static int archive_holes(struct archive_entry *to, const struct walk_entry *entry, int fd)
{
	off_t data = 0, hole;
	unsigned pieces = 0;

	if (!may_have_holes(entry))
		return 0;

	while (data < entry->st.st_size) {
		data = lseek(fd, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		if (data < 0)
			return errno == EINVAL ? 0 : -errno;

		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if (++pieces > ARCHIVE_PIECES)
			return -E2BIG;
		archive_entry_sparse_add_entry(to, data, hole - data);
		data = hole;
	}
	if (archive_entry_sparse_count(to) == 0)
		archive_entry_sparse_add_entry(to, entry->st.st_size, 0);

	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int archive_too_scattered(const struct walk_entry *entry, struct ct_error *err)
{
	char shown[160];

	return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
	        "\"%s\" has more than %u pieces between holes; cp --sparse=never makes one of them",
	        str_escape_to(shown, sizeof(shown), entry->path, strlen(entry->path)), ARCHIVE_PIECES);
}

/* In use it is read as it is inside, and there Linux 6.1 may show an access list's ids as none at all, -1. */
static int archive_attributes(struct archiving *a, struct archive_entry *to, const struct walk_entry *entry,
        int fd, struct ct_error *err)
{
	CLEANUP(xattrs_done) struct xattrs xattrs = { 0 };
	int r;

	r = xattrs_read(fd, &xattrs);
	if (r < 0)
		return walk_error(entry, r, "read the attributes of", err);

	for (size_t i = 0; i < xattrs.n; i++) {
		const struct xattr *x = &xattrs.items[i];

		if (a->live && xattr_check_value(x->name, x->value, x->size) < 0)
			a->partial = true;
		else
			archive_entry_xattr_add_entry(to, x->name, x->value, x->size);
	}

	if (S_ISREG(entry->st.st_mode)) {
		r = archive_holes(to, entry, fd);
		if (r == -E2BIG)
			return archive_too_scattered(entry, err);
		if (r < 0)
			return walk_error(entry, r, "find the holes of", err);
	}

	return 0;
}

static int archive_links(struct archive_entry *to, const struct walk_entry *entry, struct ct_error *err)
{
	_cleanup_free_ char *target = NULL, *first = NULL;
	int r;

	if (entry->first) {
		first = str_printf("./%s", entry->first);
		if (!first)
			return walk_error(entry, -ENOMEM, "archive", err);
		archive_entry_copy_hardlink(to, first);
	} else if (S_ISLNK(entry->st.st_mode)) {
		r = walk_readlink(entry, &target, err);
		if (r < 0)
			return r;
		archive_entry_copy_symlink(to, target);
	}

	return 0;
}

static int archive_header(struct archive_entry *to, const struct walk_entry *entry, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf(str_eq(entry->path, ".") ? "./" : "./%s", entry->path);

	if (!path)
		return walk_error(entry, -ENOMEM, "archive", err);

	archive_entry_copy_pathname(to, path);
	archive_entry_set_mode(to, entry->st.st_mode);
	archive_entry_set_uid(to, entry->st.st_uid);
	archive_entry_set_gid(to, entry->st.st_gid);
	archive_entry_set_mtime(to, entry->st.st_mtim.tv_sec, entry->st.st_mtim.tv_nsec);
	archive_entry_set_size(to, S_ISREG(entry->st.st_mode) && !entry->first ? entry->st.st_size : 0);

	return archive_links(to, entry, err);
}

static int archive_one(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	CLEANUP(entry_freep) struct archive_entry *to = NULL;
	const bool regular = S_ISREG(entry->st.st_mode) && !entry->first;
	struct archiving *a = userdata;
	_cleanup_close_ int fd = -1;
	int r;

	if (!walk_lasts(entry))
		return 0;
	r = a->wanted ? a->wanted(entry, a->userdata, err) : 1;
	if (r <= 0)
		return r;

	to = archive_entry_new();
	if (!to)
		return walk_error(entry, -ENOMEM, "archive", err);

	r = archive_header(to, entry, err);
	if (r < 0)
		return r;

	if (regular || S_ISDIR(entry->st.st_mode)) {
		fd = walk_open(entry, err);
		if (fd < 0)
			return fd;
		r = archive_attributes(a, to, entry, fd, err);
		if (r < 0)
			return r;
	}

	if (archive_write_header(a->archive, to) < ARCHIVE_OK)
		return archive_failed(a->archive, "write the archive", err);

	return regular ? archive_content(a, entry, fd, err) : 0;
}

/* exact: times to the nanosecond, at a header more for each. */
static int archive_start(struct archiving *a, bool exact, int archive_fd, struct ct_error *err)
{
	a->archive = archive_write_new();
	a->chunk = malloc(ARCHIVE_CHUNK);
	a->zeros = mmap(NULL, ARCHIVE_HOLE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->zeros == MAP_FAILED)
		a->zeros = NULL;
	if (!a->archive || !a->chunk || !a->zeros)
		return ct_error_set(err, -ENOMEM, "archive", "out of memory");

	if ((exact ? archive_write_set_format_pax(a->archive)
	           : archive_write_set_format_pax_restricted(a->archive)) < ARCHIVE_OK ||
	        archive_write_add_filter_zstd(a->archive) < ARCHIVE_OK ||
	        archive_write_set_options(a->archive, "hdrcharset=BINARY,xattrheader=SCHILY") < ARCHIVE_OK ||
	        archive_write_open_fd(a->archive, archive_fd) < ARCHIVE_OK)
		return archive_failed(a->archive, "start the archive", err);

	return 0;
}

static int archive_note(struct archiving *a, const struct archive_note *note, struct ct_error *err)
{
	CLEANUP(entry_freep) struct archive_entry *to = archive_entry_new();
	_cleanup_free_ char *path = str_printf("./%s", note->name);
	size_t len = strlen(note->text);

	if (!to || !path)
		return ct_error_set(err, -ENOMEM, "archive", "out of memory");
	archive_entry_copy_pathname(to, path);
	archive_entry_set_mode(to, S_IFREG | 0600);
	archive_entry_set_size(to, (la_int64_t)len);

	if (archive_write_header(a->archive, to) < ARCHIVE_OK ||
	        archive_write_data(a->archive, note->text, len) < 0)
		return archive_failed(a->archive, "write the archive", err);

	return 0;
}

static int archive_run(struct archiving *a, int root_fd, const struct archive_note *note, int archive_fd,
        struct ct_error *err)
{
	int r;

	r = archive_start(a, false, archive_fd, err);
	if (r >= 0 && note)
		r = archive_note(a, note, err);
	if (r < 0)
		return r;

	r = tree_walk(root_fd, archive_one, a, err);
	if (r < 0)
		return r;

	if (archive_write_close(a->archive) < ARCHIVE_OK)
		return archive_failed(a->archive, "finish the archive", err);

	return 0;
}

int archive_tree_noted(int root_fd, const struct archive_note *note, int archive_fd, struct ct_error *err)
{
	CLEANUP(archiving_done) struct archiving a = { 0 };

	return archive_run(&a, root_fd, note, archive_fd, err);
}

int archive_tree_wanted(
        int root_fd, walk_wanted_fn wanted, void *userdata, int archive_fd, struct ct_error *err)
{
	CLEANUP(archiving_done) struct archiving a = { .wanted = wanted, .userdata = userdata };

	return archive_run(&a, root_fd, NULL, archive_fd, err);
}

int archive_tree(int root_fd, int archive_fd, struct ct_error *err)
{
	return archive_tree_noted(root_fd, NULL, archive_fd, err);
}

int archive_listed(const struct archive_list *list, int archive_fd, struct ct_error *err)
{
	CLEANUP(archiving_done) struct archiving a = { .live = list->gone };
	struct walk_entry entry;
	int r;

	r = archive_start(&a, true, archive_fd, err);
	while (r >= 0 && (r = list->next(&entry, list->userdata, err)) > 0) {
		struct ct_error error = { 0 };

		a.partial = false;
		r = archive_one(&entry, &a, &error);
		if (list->gone && (r < 0 ? walk_is_gone(r) || r == -EINVAL : a.partial))
			r = list->gone(&entry, list->userdata);
		else if (r < 0 && err)
			*err = error;
	}
	if (r < 0)
		return r;

	if (archive_write_close(a.archive) < ARCHIVE_OK)
		return archive_failed(a.archive, "finish the archive", err);
	return 0;
}
