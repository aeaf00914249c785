/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The name of a tree: SHA-256 over a canonical listing.
 *
 * One record for each object, in the order of tree_walk. A record is a line of numbers, then byte strings,
 * each written as its length, a colon and the bytes, so no two trees have the same listing:
 *
 *     TYPE MODE UID GID SIZE RDEV NXATTRS LF path target (name value)* content
 *
 * TYPE is one of d f l p c b s h. target is that of a symbolic link, and for h (hard link) the path at which
 * the inode came first; content is the SHA-256 of a regular file's bytes, else empty. SIZE is 0 but for f.
 * In the lasting kind, of content there counts what is not zero, in blocks with their places: a file may
 * claim terabytes of holes, which are not read, and whether zeros are a hole is nobody's business. Times are
 * left out: the same packages unpacked twice are the same template. Which attributes count says xattr.h.
 *
 * The lasting kind is a SHA-256 over those of the records, so that a record's that is known need not be made
 * again (manifest.c).
 */
#include "quota/digest.h"

#include <endian.h>
#include <errno.h>
#include <gcrypt.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "quota/walk.h"
#include "quota/xattr.h"

#define DIGEST_CHUNK (256 * 1024)

static void digest_close(gcry_md_hd_t *md)
{
	if (*md)
		gcry_md_close(*md);
}

struct digest {
	gcry_md_hd_t listing, content, total;
	unsigned char *chunk; /* DIGEST_CHUNK bytes */
	bool lasting;         /* leave out what archives leave out */
	const char *without;  /* leave out this directory, if not NULL */
};

static void digest_done(struct digest *digest)
{
	digest_close(&digest->listing);
	digest_close(&digest->content);
	digest_close(&digest->total);
	free(digest->chunk);
}

/* Libgcrypt wants to be told once per process; secure memory is for keys, of which there are none. */
static void digest_library(void)
{
	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return;

	(void)gcry_check_version(NULL);
	(void)gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	(void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static int digest_init(struct digest *digest)
{
	digest_library();
	digest->chunk = malloc(DIGEST_CHUNK);
	if (!digest->chunk || gcry_md_open(&digest->listing, GCRY_MD_SHA256, 0) ||
	        gcry_md_open(&digest->content, GCRY_MD_SHA256, 0) ||
	        gcry_md_open(&digest->total, GCRY_MD_SHA256, 0))
		return -ENOMEM;

	return 0;
}

static void put_bytes(struct digest *digest, const void *data, size_t len)
{
	char head[24];

	(void)snprintf(head, sizeof(head), "%zu:", len);
	gcry_md_write(digest->listing, head, strlen(head));
	gcry_md_write(digest->listing, data, len);
}

static char type_of(const struct walk_entry *entry)
{
	if (entry->first)
		return 'h';

	switch (entry->st.st_mode & S_IFMT) {
	case S_IFDIR: return 'd';
	case S_IFREG: return 'f';
	case S_IFLNK: return 'l';
	case S_IFIFO: return 'p';
	case S_IFCHR: return 'c';
	case S_IFBLK: return 'b';
	}

	return 's';
}

static void put_head(struct digest *digest, const struct walk_entry *entry, char type, size_t n_xattrs)
{
	const struct stat *st = &entry->st;
	char head[128];

	(void)snprintf(head, sizeof(head), "%c %o %u %u %llu %u:%u %zu\n", type,
	        (unsigned)(type == 'l' ? 0777 : st->st_mode & 07777), (unsigned)st->st_uid,
	        (unsigned)st->st_gid, (unsigned long long)(type == 'f' ? st->st_size : 0),
	        type == 'c' || type == 'b' ? major(st->st_rdev) : 0,
	        type == 'c' || type == 'b' ? minor(st->st_rdev) : 0, n_xattrs);
	gcry_md_write(digest->listing, head, strlen(head));
	put_bytes(digest, entry->path, strlen(entry->path));
}

static int put_target(struct digest *digest, const struct walk_entry *entry, char type, struct ct_error *err)
{
	_cleanup_free_ char *target = NULL;
	int r;

	if (type == 'h') {
		put_bytes(digest, entry->first, strlen(entry->first));
		return 0;
	}

	if (type == 'l') {
		r = walk_readlink(entry, &target, err);
		if (r < 0)
			return r;
	}

	put_bytes(digest, target ? target : "", target ? strlen(target) : 0);
	return 0;
}

static bool is_zero(const unsigned char *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static int put_block(struct digest *digest, int fd, off_t at, size_t len)
{
	const uint64_t place = htole64((uint64_t)at);
	ssize_t n = lseek(fd, at, SEEK_SET) < 0 ? -errno : read_all(fd, digest->chunk, len);

	if (n < 0)
		return (int)n;
	if ((size_t)n != len)
		return -ESTALE;
	if (!is_zero(digest->chunk, len)) {
		gcry_md_write(digest->content, &place, sizeof(place));
		gcry_md_write(digest->content, digest->chunk, len);
	}
	return 0;
}

static int put_lasting_content(
        struct digest *digest, const struct walk_entry *entry, int fd, struct ct_error *err)
{
	const uint64_t size = (uint64_t)entry->st.st_size;

	gcry_md_reset(digest->content);
	for (uint64_t at = 0; at < size;
	        at += DIGEST_CHUNK) { /* past 2^63 at the end of a file of that size */
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		uint64_t left;
		int r;

		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		if (data > (off_t)at)
			at = (uint64_t)(data - data % DIGEST_CHUNK);
		left = size - at;
		r = put_block(digest, fd, (off_t)at, left < DIGEST_CHUNK ? (size_t)left : DIGEST_CHUNK);
		if (r < 0)
			return walk_error(entry, r, "read", err);
	}

	put_bytes(digest, gcry_md_read(digest->content, GCRY_MD_SHA256), DIGEST_SIZE);
	return 0;
}

static int put_content(struct digest *digest, const struct walk_entry *entry, int fd, struct ct_error *err)
{
	uint64_t total = 0;
	ssize_t n;

	gcry_md_reset(digest->content);
	while ((n = read_all(fd, digest->chunk, DIGEST_CHUNK)) > 0) {
		gcry_md_write(digest->content, digest->chunk, (size_t)n);
		total += (uint64_t)n;
	}
	if (n < 0)
		return walk_error(entry, (int)n, "read", err);
	if (total != (uint64_t)entry->st.st_size)
		return walk_error(entry, -ESTALE, "read", err);

	put_bytes(digest, gcry_md_read(digest->content, GCRY_MD_SHA256), DIGEST_SIZE);
	return 0;
}

static bool is_left_out(const struct digest *digest, const struct walk_entry *entry)
{
	const size_t len = digest->without ? strlen(digest->without) : 0;

	return len > 0 && strncmp(entry->path, digest->without, len) == 0 &&
	       (entry->path[len] == '/' || entry->path[len] == '\0');
}

static int digest_entry(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	CLEANUP(xattrs_done) struct xattrs xattrs = { 0 };
	_cleanup_close_ int fd = -1;
	struct digest *digest = userdata;
	const char type = type_of(entry);
	int r;

	if (is_left_out(digest, entry))
		return 0;
	if (type == 'f' || type == 'd') {
		fd = walk_open(entry, err);
		if (fd < 0)
			return fd;

		r = xattrs_read(fd, &xattrs);
		if (r < 0)
			return walk_error(entry, r, "read the attributes of", err);
	}

	put_head(digest, entry, type, xattrs.n);
	r = put_target(digest, entry, type, err);
	if (r < 0)
		return r;

	for (size_t i = 0; i < xattrs.n; i++) {
		put_bytes(digest, xattrs.items[i].name, strlen(xattrs.items[i].name));
		put_bytes(digest, xattrs.items[i].value, xattrs.items[i].size);
	}

	if (type == 'f' && digest->lasting)
		return put_lasting_content(digest, entry, fd, err);
	if (type == 'f')
		return put_content(digest, entry, fd, err);

	put_bytes(digest, "", 0);
	return 0;
}

static int digest_tree(int root_fd, const char *without, char digest[static 65], struct ct_error *err)
{
	CLEANUP(digest_done) struct digest state = { .without = without };
	int r;

	r = digest_init(&state);
	if (r < 0)
		return ct_error_set(err, r, "digest", "cannot compute a digest: out of memory");

	r = tree_walk(root_fd, digest_entry, &state, err);
	if (r < 0)
		return r;

	hex_encode(digest, gcry_md_read(state.listing, GCRY_MD_SHA256), DIGEST_SIZE);
	return 0;
}

int tree_digest(int root_fd, char digest[static 65], struct ct_error *err)
{
	return digest_tree(root_fd, NULL, digest, err);
}

int tree_digest_without(int root_fd, const char *name, char digest[static 65], struct ct_error *err)
{
	return digest_tree(root_fd, name, digest, err);
}

int digest_new(struct digest **ret, struct ct_error *err)
{
	CLEANUP(digest_freep) struct digest *digest = calloc(1, sizeof(*digest));
	int r = digest ? digest_init(digest) : -ENOMEM;

	if (r < 0)
		return ct_error_set(err, r, "digest", "cannot compute a digest: out of memory");
	digest->lasting = true;
	*ret = TAKE_PTR(digest);
	return 0;
}

void digest_free(struct digest *digest)
{
	if (digest)
		digest_done(digest);
	free(digest);
}

int digest_record(struct digest *digest, const struct walk_entry *entry,
        unsigned char record[static DIGEST_SIZE], struct ct_error *err)
{
	int r;

	gcry_md_reset(digest->listing);
	r = digest_entry(entry, digest, err);
	if (r < 0)
		return r;
	memcpy(record, gcry_md_read(digest->listing, GCRY_MD_SHA256), DIGEST_SIZE);
	return 0;
}

void digest_add(struct digest *digest, const unsigned char record[static DIGEST_SIZE])
{
	gcry_md_write(digest->total, record, DIGEST_SIZE);
}

void digest_total(struct digest *digest, char hex[static 65])
{
	hex_encode(hex, gcry_md_read(digest->total, GCRY_MD_SHA256), DIGEST_SIZE);
}

static int add_lasting(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	unsigned char record[DIGEST_SIZE];
	int r;

	if (!walk_lasts(entry))
		return 0;
	r = digest_record(userdata, entry, record, err);
	if (r >= 0)
		digest_add(userdata, record);
	return r;
}

int tree_digest_lasting(int root_fd, char digest[static 65], struct ct_error *err)
{
	CLEANUP(digest_freep) struct digest *state = NULL;
	int r;

	r = digest_new(&state, err);
	if (r >= 0)
		r = tree_walk(root_fd, add_lasting, state, err);
	if (r >= 0)
		digest_total(state, digest);
	return r;
}
