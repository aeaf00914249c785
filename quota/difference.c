/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The difference of two trees, by what is seen of them.
 *
 * An overlay's upper layer is nearly that difference, but says it in marks (whiteouts, redirects, origins)
 * that only its own kernel and file system understand, and lies inside an image with one of the drivers. So
 * both trees are read. Files of the same size and time are compared byte by byte: a tenant can set times as
 * it likes.
 *
 * Both must be at rest. The tree may be a tenant's: it is walked by descriptors (walk.c), and the other one
 * is only looked up, beneath its root and without links.
 */
#include "quota/difference.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "quota/xattr.h"

#define CHUNK ((ssize_t)(DIFFERENCE_CHUNKS / 2))

/* ---- what is gone */

struct removal {
	int root_fd;
	struct strbuf *removed;
	size_t last; /* where the last path begins in removed */
	bool any;
};

static bool is_below_last(const struct removal *r, const char *path)
{
	const char *last = r->any ? r->removed->data + r->last : NULL;

	return last && str_has_prefix(path, last) && path[strlen(last)] == '/';
}

/* An O_PATH fd of the object itself; -ENOENT also where something above it is no directory. */
static int look_up(int root_fd, const char *path, struct stat *ret)
{
	_cleanup_close_ int fd = open_beneath(root_fd, path, O_PATH | O_NOFOLLOW, 0);

	if (fd == -ENOTDIR || fd == -ELOOP)
		return -ENOENT;
	if (fd < 0)
		return fd;
	return fstat(fd, ret) < 0 ? -errno : TAKE_FD(fd);
}

static int note_removed(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	struct removal *r = userdata;
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (is_below_last(r, entry->path))
		return 0;
	fd = look_up(r->root_fd, entry->path, &st);
	if (fd < 0 && fd != -ENOENT)
		return walk_error(entry, fd, "look up", err);
	/* Only between a directory and anything else does unpacking not write over what is there; device
	 * nodes and sockets are not unpacked. */
	if (fd >= 0 && S_ISDIR(st.st_mode) == S_ISDIR(entry->st.st_mode) && !S_ISCHR(st.st_mode) &&
	        !S_ISBLK(st.st_mode) && !S_ISSOCK(st.st_mode))
		return 0;

	r->last = r->removed->len;
	r->any = true;
	if (strbuf_add(r->removed, entry->path, strlen(entry->path) + 1) < 0)
		return walk_error(entry, -ENOMEM, "remember", err);
	return 0;
}

int difference_removed(int root_fd, int base_fd, struct strbuf *removed, struct ct_error *err)
{
	struct removal removal = { .root_fd = root_fd, .removed = removed };

	return tree_walk(base_fd, note_removed, &removal, err);
}

static int remove_one(int root_fd, const char *path, struct ct_error *err)
{
	char shown[128];
	int r = path[0] == '/' ? -EINVAL : remove_tree_at(root_fd, path);

	if (r < 0)
		return ct_error_set(err, r, "difference", "cannot take away \"%s\": %s",
		        str_escape_to(shown, sizeof(shown), path, strlen(path)), strerror(-r));
	return 0;
}

int difference_remove(int root_fd, const char *removed, size_t len, struct ct_error *err)
{
	if (len > 0 && removed[len - 1] != '\0')
		return ct_error_set(err, -EINVAL, "difference", "the list of what is gone is cut short");
	for (const char *path = removed; path < removed + len; path += strlen(path) + 1) {
		int r = remove_one(root_fd, path, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what is new */

static bool same_xattrs(const struct xattrs *a, const struct xattrs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->items[i].name, b->items[i].name) || a->items[i].size != b->items[i].size ||
		        memcmp(a->items[i].value, b->items[i].value, a->items[i].size) != 0)
			return false;
	return true;
}

static int compare_xattrs(int a_fd, int b_fd)
{
	CLEANUP(xattrs_done) struct xattrs a = { 0 };
	CLEANUP(xattrs_done) struct xattrs b = { 0 };
	int r;

	r = xattrs_read(a_fd, &a);
	if (r >= 0)
		r = xattrs_read(b_fd, &b);
	return r < 0 ? r : same_xattrs(&a, &b);
}

static int compare_bytes(const struct difference *d, int a_fd, int b_fd)
{
	for (;;) {
		ssize_t a = read_all(a_fd, d->chunks, CHUNK), b = read_all(b_fd, d->chunks + CHUNK, CHUNK);

		if (a < 0 || b < 0)
			return a < 0 ? (int)a : (int)b;
		if (a != b || memcmp(d->chunks, d->chunks + CHUNK, (size_t)a) != 0)
			return 0;
		if (a < CHUNK)
			return 1;
	}
}

/* Regular files and directories: what only shows when they are open. */
static int compare_open(const struct difference *d, const struct walk_entry *entry, struct ct_error *err)
{
	const bool regular = S_ISREG(entry->st.st_mode);
	_cleanup_close_ int ours = walk_open(entry, err), theirs = -1;
	int r;

	if (ours < 0)
		return ours;
	theirs = open_beneath(
	        d->base_fd, entry->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (regular ? 0 : O_DIRECTORY), 0);
	r = theirs < 0 ? theirs : compare_xattrs(ours, theirs);
	if (r == 1 && regular)
		r = compare_bytes(d, ours, theirs);
	return r < 0 ? walk_error(entry, r, "compare", err) : r;
}

static int compare_link(int base, const struct walk_entry *entry, struct ct_error *err)
{
	_cleanup_free_ char *target = NULL, *theirs = malloc(4097);
	ssize_t n = theirs ? readlinkat(base, "", theirs, 4096) : -1;
	int r = walk_readlink(entry, &target, err);

	if (r < 0)
		return r;
	if (!theirs || n < 0)
		return walk_error(entry, theirs ? -errno : -ENOMEM, "compare", err);
	theirs[n] = '\0';
	return str_eq(target, theirs);
}

/* Whether base has the same two names for one file. */
static int compare_names(const struct difference *d, const struct walk_entry *entry, const struct stat *base)
{
	_cleanup_close_ int fd = -1;
	struct stat first;

	if (!entry->first)
		return 1;
	fd = look_up(d->base_fd, entry->first, &first);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return first.st_ino == base->st_ino;
}

int difference_is_new(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	const struct difference *d = userdata;
	const struct stat *st = &entry->st;
	_cleanup_close_ int fd = -1;
	struct stat base;
	int r;

	fd = look_up(d->base_fd, entry->path, &base);
	if (fd == -ENOENT)
		return 1;
	if (fd < 0)
		return walk_error(entry, fd, "look up", err);
	if (st->st_mode != base.st_mode || st->st_uid != base.st_uid || st->st_gid != base.st_gid ||
	        st->st_mtim.tv_sec != base.st_mtim.tv_sec || st->st_mtim.tv_nsec != base.st_mtim.tv_nsec ||
	        (S_ISREG(st->st_mode) && st->st_size != base.st_size))
		return 1;
	/* A name that was taken out of a set of links (an overlay does that when it copies a file up). */
	if (!S_ISDIR(st->st_mode) && st->st_nlink != base.st_nlink)
		return 1;

	r = compare_names(d, entry, &base);
	if (r < 0)
		return walk_error(entry, r, "look up", err);
	if (r == 1 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)))
		r = compare_open(d, entry, err);
	else if (r == 1 && S_ISLNK(st->st_mode))
		r = compare_link(fd, entry, err);
	return r < 0 ? r : !r;
}

int difference_archive(int root_fd, int base_fd, int archive_fd, struct ct_error *err)
{
	_cleanup_free_ char *chunks = malloc(DIFFERENCE_CHUNKS);
	struct difference d = { .base_fd = base_fd, .chunks = chunks };

	if (!chunks)
		return ct_error_set(err, -ENOMEM, "difference", "out of memory");
	return archive_tree_wanted(root_fd, difference_is_new, &d, archive_fd, err);
}
