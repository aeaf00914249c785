/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second upper layer over the same template.
 *
 * The layer is read as it lies in the store, not as the container sees it: nothing of it is hidden by a mount
 * there, native directories are a part of it, and overlayfs's own marks (whiteouts, opaque and redirected
 * directories, origins) are as true of the copy, since the template is the same one. Lost is the index in
 * work/, and with it which files of the template were hard links to one that was changed; overlayfs makes it
 * anew.
 *
 * Reading below a mounted overlay is allowed, writing would not be (overlayfs.rst, "Changes to underlying
 * filesystems"). What has changed since a round is told by the times of change: manifest.c.
 *
 * The tree is a tenant's: it is read by descriptors (walk.c), and written by the rules of unpack.c. A device
 * node would be there by the host's hand only, and is left out; number 0:0 is a whiteout.
 */
#include "quota/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "quota/difference.h"
#include "quota/unpack.h"

#define PIECE (8LL << 20)

void layer_copy_done(struct layer_copy *copy)
{
	copy->manifest.fd = fd_close(copy->manifest.fd);
}

struct applying {
	struct layer_copy *copy;
	struct unpack unpack;
	struct layer_round *round;
};

static void applying_done(struct applying *a)
{
	unpack_done(&a->unpack);
}

static int check(struct applying *a, uint64_t bytes, struct ct_error *err)
{
	a->round->bytes += bytes;
	return a->copy->check ? a->copy->check(bytes, a->copy->userdata, err) : 0;
}

/* ---- attributes */

/* All that a tenant or overlayfs has set; labels of the machine are its own. */
static bool is_kept(const char *name)
{
	return !str_has_prefix(name, "security.") || str_eq(name, "security.capability");
}

static ssize_t list_attributes(int fd, char **ret)
{
	_cleanup_free_ char *names = malloc(XATTR_LIST_MAX);
	ssize_t n = names ? flistxattr(fd, names, XATTR_LIST_MAX) : -1;

	if (!names)
		return -ENOMEM;
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	*ret = TAKE_PTR(names);
	return n;
}

/* Those that a directory has had since an earlier round, or a default access list gave. */
static int clear_attributes(int fd)
{
	_cleanup_free_ char *names = NULL;
	ssize_t n = list_attributes(fd, &names);

	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
		if (is_kept(name) && fremovexattr(fd, name) < 0 && errno != ENODATA)
			return -errno;
	return n < 0 ? (int)n : 0;
}

static int copy_attributes(int from, int to)
{
	_cleanup_free_ char *names = NULL, *value = malloc(XATTR_SIZE_MAX);
	ssize_t n = list_attributes(from, &names);
	int r = value ? clear_attributes(to) : -ENOMEM;

	if (n < 0 || r < 0)
		return n < 0 ? (int)n : r;
	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		ssize_t size;

		if (!is_kept(name))
			continue;
		size = fgetxattr(from, name, value, XATTR_SIZE_MAX);
		if (size < 0 && errno == ENODATA)
			continue; /* gone since: that has set its time of change */
		if (size < 0 || fsetxattr(to, name, value, (size_t)size, 0) < 0)
			return -errno;
	}
	return 0;
}

/* ---- content */

static int copy_piece(struct applying *a, const struct walk_entry *entry, const int fds[2], off_t at,
        off_t end, struct ct_error *err)
{
	if (lseek(fds[1], at, SEEK_SET) < 0)
		return walk_error(entry, -errno, "copy", err);
	while (at < end) {
		const off_t want = end - at < PIECE ? end - at : PIECE;
		ssize_t n;
		int r = check(a, (uint64_t)want, err);

		if (r < 0)
			return r;
		n = sendfile(fds[1], fds[0], &at, (size_t)want);
		if (n < 0)
			return walk_error(entry, -errno, "copy", err);
		if (n == 0)
			return 0; /* shorter than it was: that has set its time of change */
	}
	return 0;
}

/* Sharing its blocks where the file system can (xfs, btrfs). */
static int copy_content(
        struct applying *a, const struct walk_entry *entry, int from, int to, struct ct_error *err)
{
	const int fds[2] = { from, to };
	const off_t size = entry->st.st_size;
	off_t data = 0, hole;
	int r = 0;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (ftruncate(to, size) < 0)
		return walk_error(entry, -errno, "copy", err);
	for (; r >= 0 && data < size; data = hole) {
		data = lseek(from, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		hole = data < 0 ? data : lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return walk_error(entry, -errno, "copy", err);
		r = copy_piece(a, entry, fds, data, hole < size ? hole : size, err);
	}
	return r;
}

/* ---- objects */

static int apply_open(struct applying *a, const struct walk_entry *entry, const struct unpack_meta *meta,
        struct ct_error *err)
{
	const bool is_dir = S_ISDIR(meta->mode);
	_cleanup_close_ int from = walk_open(entry, err), to = -1;
	int r = from;

	if (r >= 0)
		r = is_dir ? unpack_directory(&a->unpack, entry->path, &to, err)
		           : unpack_file(&a->unpack, entry->path, &to, err);
	if (r >= 0 && !is_dir)
		r = copy_content(a, entry, from, to, err);
	if (r >= 0)
		r = unpack_own(to, entry->path, meta, err);
	if (r < 0)
		return r;
	r = copy_attributes(from, to);
	return r < 0 ? walk_error(entry, r, "copy the attributes of", err)
	             : unpack_seal(&a->unpack, to, entry->path, meta, err);
}

static int apply_symlink(struct applying *a, const struct walk_entry *entry, const struct unpack_meta *meta,
        struct ct_error *err)
{
	_cleanup_free_ char *target = NULL;
	int r = walk_readlink(entry, &target, err);

	return r < 0 ? r : unpack_symlink(&a->unpack, entry->path, target, meta, err);
}

static int apply(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	struct applying *a = userdata;
	const struct stat *st = &entry->st;
	const struct unpack_meta meta = {
		.mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid, .mtime = st->st_mtim
	};
	int r;

	if (S_ISBLK(st->st_mode) || (S_ISCHR(st->st_mode) && st->st_rdev != 0))
		return 0;
	r = check(a, 0, err);
	if (r < 0)
		return r;
	a->round->n_changed++;
	if (entry->first && !S_ISDIR(st->st_mode))
		return unpack_hardlink(&a->unpack, entry->path, entry->first, err);
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
	case S_IFREG: return apply_open(a, entry, &meta, err);
	case S_IFLNK: return apply_symlink(a, entry, &meta, err);
	case S_IFIFO: return unpack_fifo(&a->unpack, entry->path, &meta, err);
	}
	return unpack_node(&a->unpack, entry->path, &meta, err);
}

int layer_copy_round(struct layer_copy *copy, int consume_manifest_fd, bool live, struct layer_round *ret,
        struct ct_error *err)
{
	CLEANUP(applying_done)
	struct applying a = { .copy = copy, .unpack = UNPACK_INIT(copy->to_fd), .round = ret };
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	struct manifest new = { .fd = consume_manifest_fd, .start_usec = now_realtime_usec() };
	const struct manifest_round round = {
		.root_fd = copy->from_fd,
		.base_fd = -1,
		.old = copy->manifest.fd >= 0 ? &copy->manifest : NULL,
		.slack_usec = LAYER_SLACK_USEC,
		.live = live,
		.layer = true,
		.removed = &removed,
	};
	struct manifest_result found = { 0 };
	int r = 0;

	*ret = (struct layer_round){ 0 };
	/* A page that is mapped for writing shows a change only once it was clean. */
	if (live && syncfs(copy->from_fd) < 0)
		r = ct_error_set(err, -errno, "copy", "cannot write the disk through: %s", strerror(errno));
	if (r >= 0)
		r = manifest_make(&round, &new, &found, err);
	if (r >= 0)
		r = difference_remove(copy->to_fd, removed.data ?: "", removed.len, err);
	if (r >= 0)
		r = manifest_each(&round, &new, apply, &a, err);
	if (r >= 0)
		r = unpack_finish(&a.unpack, err);
	layer_copy_done(copy);
	copy->manifest = new;
	ret->n_objects = found.n_objects;
	return r;
}
