/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading an archive that somebody else made.
 *
 * libarchive only takes the bytes apart: formats and decompressors are named one by one, so that none is
 * among them that runs an external program or that nobody asked for. What is written, and where, is decided
 * by unpack.c. Every number out of the archive is checked before it is used: ids, sizes, offsets, counts.
 *
 * Bombs: each file is charged with the size it claims (a hole costs the digest and every backup as much as
 * data) and every entry is counted. What the decompressor delivers is bounded as well, so that bytes between
 * the entries are not free. A disk of a container that moves (own_disk) may have what its limits allow,
 * however large a file of holes claims to be; there only data are charged. The process that calls this is
 * expected to have a memory limit and nobody's trust.
 *
 * Any oddity ends it. A name that is no UTF-8 where the archive says it is, is one: libarchive would guess.
 */
#include "quota/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/unit.h"
#include "quota/unpack.h"
#include "quota/xattr.h"

#define EXTRACT_MAX_BYTES    (64ULL << 30)
#define EXTRACT_MAX_ENTRIES  2000000ULL
#define EXTRACT_MAX_ID       65535
#define EXTRACT_HEADER_BYTES 8192ULL       /* what an entry's headers may take on average */
#define EXTRACT_HEADER_SLACK (16ULL << 20) /* and what a small archive may have above that */
/* Of a disk of one's own an entry may have two long paths and large attributes, and a file a map of what it
 * has written, two numbers for each piece. */
#define EXTRACT_OWN_HEADER_BYTES (128ULL << 10)
#define EXTRACT_PIECE_BYTES      48ULL
#define EXTRACT_MAX_XATTRS       64
#define EXTRACT_PROGRESS_STEP    (8ULL << 20)

struct extraction {
	struct archive *archive;
	struct unpack unpack;
	struct extract_options options;
	uint64_t bytes, entries, pieces, reported;
	locale_t locale_before;
};

/* Names in pax headers are UTF-8, and libarchive hands them out in the thread's locale. */
static locale_t locale_enter_utf8(void)
{
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);

	return utf8 ? uselocale(utf8) : (locale_t)0;
}

static void locale_leave(locale_t before)
{
	if (before)
		freelocale(uselocale(before));
}

static void extraction_done(struct extraction *x)
{
	if (x->archive)
		(void)archive_read_free(x->archive); /* read only: nothing is lost */
	unpack_done(&x->unpack);
	locale_leave(x->locale_before);
}

static int read_failed(struct archive *a, int status, struct ct_error *err)
{
	const char *text = archive_error_string(a);
	int code = archive_errno(a);
	char shown[256];

	/* libarchive has numbers of its own (EFTYPE) where it means "not that format". */
	code = code == ENOMEM || code == EIO || code == ENOSPC ? -code : -EBADMSG;
	return ct_error_kind_set(err, code == -EBADMSG ? CT_ERROR_REFUSED : CT_ERROR_FAILED, code,
	        "cannot read the archive%s: %s", status == ARCHIVE_WARN ? " for sure" : "",
	        str_escape_to(
	                shown, sizeof(shown), text ? text : "damaged", strlen(text ? text : "damaged")));
}

__attribute__((format(printf, 4, 5))) static int refuse(
        struct ct_error *err, int code, const char *path, const char *format, ...)
{
	_cleanup_strbuf_ struct strbuf why = STRBUF_INIT;
	char shown[160];
	va_list ap;

	va_start(ap, format);
	(void)strbuf_vprintf(&why, format, ap);
	va_end(ap);

	return ct_error_kind_set(err, CT_ERROR_REFUSED, code, "the archive's \"%s\" %s; this is refused",
	        str_escape_to(shown, sizeof(shown), path, strlen(path)), why.error < 0 ? "is bad" : why.data);
}

static void report(struct extraction *x, bool now)
{
	if (!x->options.progress ||
	        (!now && x->bytes - x->reported < EXTRACT_PROGRESS_STEP && x->entries % 1024 != 0))
		return;

	x->reported = x->bytes;
	x->options.progress(x->bytes, x->entries, x->options.userdata);
}

static int read_meta(
        struct archive_entry *entry, const char *path, struct unpack_meta *ret, struct ct_error *err)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid < 0 || uid > EXTRACT_MAX_ID || gid < 0 || gid > EXTRACT_MAX_ID)
		return refuse(err, -EINVAL, path, "belongs to %lld:%lld, and ids must be 0 to %d",
		        (long long)uid, (long long)gid, EXTRACT_MAX_ID);

	*ret = (struct unpack_meta){
		.mode = archive_entry_filetype(entry) | (archive_entry_perm(entry) & 07777),
		.uid = (uint32_t)uid,
		.gid = (uint32_t)gid,
		.mtime = { .tv_nsec = UTIME_OMIT },
	};
	if (archive_entry_mtime_is_set(entry))
		ret->mtime = (struct timespec){ .tv_sec = archive_entry_mtime(entry),
			.tv_nsec = archive_entry_mtime_nsec(entry) };

	return 0;
}

static int charge(struct extraction *x, const char *path, int64_t size, struct ct_error *err)
{
	char limit[24];

	if (size < 0 || (uint64_t)size > x->options.max_bytes - x->bytes)
		return refuse(err, -E2BIG, path, "makes it larger than %s unpacked",
		        format_size(limit, sizeof(limit), x->options.max_bytes));

	x->bytes += (uint64_t)size;
	return 0;
}

static int write_block(
        int fd, const char *path, const void *data, size_t len, off_t offset, struct ct_error *err)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return unpack_error(path, -errno, "write", err);
		data = (const char *)data + n;
		len -= (size_t)n;
		offset += n;
	}

	return 0;
}

static int write_content(
        struct extraction *x, struct archive_entry *entry, const char *path, int fd, struct ct_error *err)
{
	const int64_t size = archive_entry_size(entry);
	const void *data;
	int64_t offset;
	size_t len;
	int r, status;

	r = size < 0 || !x->options.own_disk ? charge(x, path, size, err) : 0;
	if (r < 0)
		return r;

	while ((status = archive_read_data_block(x->archive, &data, &len, &offset)) == ARCHIVE_OK) {
		if (offset < 0 || offset > size || len > (uint64_t)(size - offset))
			return refuse(err, -EBADMSG, path, "has data beyond its size");
		r = x->options.own_disk ? charge(x, path, (int64_t)len, err) : 0;
		if (r >= 0)
			r = write_block(fd, path, data, len, offset, err);
		if (r < 0)
			return r;
		report(x, false);
	}
	if (status != ARCHIVE_EOF)
		return read_failed(x->archive, status, err);

	if (ftruncate(fd, size) < 0)
		return unpack_error(path, -errno, "set the size of", err);

	return 0;
}

static int set_xattr(
        int fd, const char *path, const char *name, const void *value, size_t size, struct ct_error *err)
{
	char shown[80];

	(void)str_escape_to(shown, sizeof(shown), name, strlen(name));
	switch (xattr_judge(name)) {
	case XATTR_SKIP: return 0;
	case XATTR_REFUSE:
		return refuse(err, -EPERM, path, "has the attribute %s, which only a host sets", shown);
	case XATTR_KEEP: break;
	}

	if (xattr_check_value(name, value, size) < 0)
		return refuse(err, -EINVAL, path,
		        "has an attribute %s that is malformed or names an id above %d", shown,
		        EXTRACT_MAX_ID);

	if (fsetxattr(fd, name, value, size, 0) < 0)
		return unpack_error(path, -errno, "set an attribute of", err);

	return 0;
}

static int set_acl(struct archive_entry *entry, int fd, const char *path, int type, const char *name,
        struct ct_error *err)
{
	CLEANUP(strbuf_done) struct strbuf value = STRBUF_INIT;
	int r;

	r = xattr_from_acl(entry, type, &value);
	if (r < 0)
		return refuse(err, r, path, "has an access list that is malformed or names an id above %d",
		        EXTRACT_MAX_ID);
	if (value.len == 0)
		return 0;

	return set_xattr(fd, path, name, value.data, value.len, err);
}

/* What the template's directory has, or a default access list gave to what was made in it. */
static int clear_attributes(int fd, const char *path, struct ct_error *err)
{
	CLEANUP(xattrs_done) struct xattrs xattrs = { 0 };
	int r = xattrs_read(fd, &xattrs);

	for (size_t i = 0; r >= 0 && i < xattrs.n; i++)
		r = fremovexattr(fd, xattrs.items[i].name) < 0 ? -errno : 0;
	return r < 0 ? unpack_error(path, r, "remove an attribute of", err) : 0;
}

static int set_attributes(
        struct extraction *x, struct archive_entry *entry, int fd, const char *path, struct ct_error *err)
{
	const void *value;
	const char *name;
	size_t size;
	int r;

	if (x->options.own_disk) {
		r = clear_attributes(fd, path, err);
		if (r < 0)
			return r;
	} else if (archive_entry_xattr_count(entry) > EXTRACT_MAX_XATTRS) {
		return refuse(err, -E2BIG, path, "has more than %d attributes", EXTRACT_MAX_XATTRS);
	}

	(void)archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
		r = set_xattr(fd, path, name, value, size, err);
		if (r < 0)
			return r;
	}

	r = set_acl(entry, fd, path, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", err);
	if (r < 0 || !S_ISDIR(archive_entry_filetype(entry)))
		return r;

	return set_acl(entry, fd, path, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", err);
}

static int extract_open(struct extraction *x, struct archive_entry *entry, const char *path,
        const struct unpack_meta *meta, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (S_ISDIR(meta->mode)) {
		r = unpack_directory(&x->unpack, path, &fd, err);
	} else {
		r = unpack_file(&x->unpack, path, &fd, err);
		if (r == 0)
			r = write_content(x, entry, path, fd, err);
	}
	if (r < 0 || (r = unpack_own(fd, path, meta, err)) < 0 ||
	        (r = set_attributes(x, entry, fd, path, err)) < 0)
		return r;

	return unpack_seal(&x->unpack, fd, path, meta, err);
}

static int extract_symlink(struct extraction *x, struct archive_entry *entry, const char *path,
        const struct unpack_meta *meta, struct ct_error *err)
{
	const char *target = archive_entry_symlink(entry);

	if (str_empty(target))
		return refuse(err, -EINVAL, path, "is a symbolic link to nothing, or its target is no UTF-8");

	return unpack_symlink(&x->unpack, path, target, meta, err);
}

static int extract_hardlink(
        struct extraction *x, struct archive_entry *entry, const char *path, struct ct_error *err)
{
	_cleanup_free_ char *target = NULL;
	int r;

	r = unpack_normalize(archive_entry_hardlink(entry), &target, err);
	if (r < 0)
		return r;

	return unpack_hardlink(&x->unpack, path, target, err);
}

static int extract_entry(struct extraction *x, struct archive_entry *entry, struct ct_error *err)
{
	_cleanup_free_ char *path = NULL;
	struct unpack_meta meta;
	int r;

	r = unpack_normalize(archive_entry_pathname(entry), &path, err);
	if (r < 0)
		return r;

	/* Data that comes with anything but a file is read and thrown away. It is not free. */
	if (!S_ISREG(archive_entry_filetype(entry)) || archive_entry_hardlink(entry)) {
		r = charge(x, path, archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0, err);
		if (r < 0)
			return r;
	}

	if (archive_entry_hardlink(entry))
		return extract_hardlink(x, entry, path, err);

	r = read_meta(entry, path, &meta, err);
	if (r < 0)
		return r;

	switch (meta.mode & S_IFMT) {
	case S_IFDIR:
	case S_IFREG: return extract_open(x, entry, path, &meta, err);
	case S_IFLNK: return extract_symlink(x, entry, path, &meta, err);
	case S_IFIFO: return unpack_fifo(&x->unpack, path, &meta, err);
	case S_IFCHR:
	case S_IFBLK:
		if (x->options.skip_devices)
			return 0;
		return refuse(err, -EPERM, path, "is a device node");
	}

	return refuse(err, -EPERM, path, "is neither file, directory, link nor fifo");
}

static int extract_start(struct extraction *x, int archive_fd, struct ct_error *err)
{
	struct archive *a;

	a = x->archive = archive_read_new();
	if (!a)
		return ct_error_set(err, -ENOMEM, "extract", "out of memory");

	/* ARCHIVE_WARN of a filter means that it would run an external program. */
	if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
	        archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
	        archive_read_support_filter_bzip2(a) != ARCHIVE_OK ||
	        archive_read_support_filter_xz(a) != ARCHIVE_OK ||
	        archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
	        archive_read_support_filter_lz4(a) != ARCHIVE_OK)
		return ct_error_set(err, -EOPNOTSUPP, "extract", "libarchive lacks a decompressor: %s",
		        archive_error_string(a));

	if (archive_read_open_fd(a, archive_fd, 64 * 1024) != ARCHIVE_OK)
		return read_failed(a, ARCHIVE_FATAL, err);

	return 0;
}

static int check_totals(struct extraction *x, struct ct_error *err)
{
	const uint64_t delivered = (uint64_t)archive_filter_bytes(x->archive, 0);
	const uint64_t header = x->options.own_disk ? EXTRACT_OWN_HEADER_BYTES : EXTRACT_HEADER_BYTES;

	if (x->entries > x->options.max_entries)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
		        "the archive has more than %llu entries; this is refused",
		        (unsigned long long)x->options.max_entries);

	if (delivered >
	        x->bytes + x->entries * header + x->pieces * EXTRACT_PIECE_BYTES + EXTRACT_HEADER_SLACK)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
		        "the archive is padded with data that belongs to no file; this is refused");

	return 0;
}

static int extract_all(struct extraction *x, struct ct_error *err)
{
	struct archive_entry *entry;
	int r, status;

	while ((status = archive_read_next_header(x->archive, &entry)) == ARCHIVE_OK) {
		x->entries++;
		if (x->options.own_disk)
			x->pieces += (uint64_t)archive_entry_sparse_count(entry);
		r = check_totals(x, err);
		if (r < 0)
			return r;

		r = extract_entry(x, entry, err);
		if (r < 0)
			return r;
		report(x, false);
	}
	if (status != ARCHIVE_EOF)
		return read_failed(x->archive, status, err);

	return unpack_finish(&x->unpack, err);
}

int extract_archive(int archive_fd, int root_fd, const struct extract_options *options,
        struct extract_result *ret, struct ct_error *err)
{
	CLEANUP(extraction_done)
	struct extraction x = {
		.unpack = UNPACK_INIT(root_fd), .options = *options, .locale_before = locale_enter_utf8()
	};
	int r;

	if (x.options.max_bytes == 0)
		x.options.max_bytes = EXTRACT_MAX_BYTES;
	if (x.options.max_entries == 0)
		x.options.max_entries = x.options.own_disk ? UINT64_MAX : EXTRACT_MAX_ENTRIES;

	*ret = (struct extract_result){ 0 };
	r = extract_start(&x, archive_fd, err);
	if (r < 0)
		return r;

	r = extract_all(&x, err);
	if (r < 0)
		return r;

	report(&x, true);
	ret->bytes = x.bytes;
	ret->entries = x.entries;
	return x.options.own_disk ? 0 : tree_digest(root_fd, ret->digest, err);
}
