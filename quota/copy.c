/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second disk of a container, for a checkpoint.
 *
 * It is a directory as containers/CTID is one, so that the two can change places by one rename(2), which is
 * whole or not done at all. It has a file that says so ("copy"), which goes with it: found in
 * containers/CTID, it says that they have changed places, and what the record says decides which of them
 * stays (ctd's checkpoint.c).
 *
 * What is in it (layer.c) is the caller's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "quota/native.h"
#include "quota/store.h"

#define COPY_NAME "copy"

/* A name is a path component in ours. */
static int check_name(const char *name, struct ct_error *err)
{
	return disk_check_ctid(name, err);
}

static int open_layers(struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd,
        int *ret_dirfd, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r = disk_check_ctid(spec->ctid, err);

	if (r < 0)
		return r;
	dirfd = disk_open_container(store, spec->ctid, err);
	if (dirfd < 0)
		return dirfd;
	r = disk_driver_ops_of(spec->driver)->layers(store, spec, dirfd, idmap_userns_fd, err);
	if (r >= 0)
		*ret_dirfd = TAKE_FD(dirfd);
	return r;
}

int disk_open_layers(
        struct disk_store *store, const struct disk_spec *spec, int *ret_dirfd, struct ct_error *err)
{
	return open_layers(store, spec, -1, ret_dirfd, err);
}

int disk_open_upper(
        struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1, layers = -1;
	int r;

	r = layers = open_layers(store, spec, idmap_userns_fd, &dirfd, err);
	if (r < 0)
		return r;
	r = open_beneath(layers, "upper", O_RDONLY | O_DIRECTORY, 0);
	return r < 0 ? ct_error_set(err, r, "disk", "cannot open its upper layer: %s", strerror(-r)) : r;
}

static int make_in(struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	struct disk_spec own = *spec;
	_cleanup_close_ int mark = openat(dirfd, COPY_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (mark < 0)
		return ct_error_set(err, -errno, "disk", "cannot write to the store \"%s\": %s", store->path,
		        strerror(errno));
	own.natives = NULL;
	if (spec->driver == DISK_DRIVER_DIR)
		own.bytes = own.inodes = 0;
	r = disk_driver_ops_of(spec->driver)->create(store, &own, dirfd, err);
	return r < 0 ? r : disk_driver_ops_of(spec->driver)->layers(store, &own, dirfd, -1, err);
}

int disk_copy_new(struct disk_store *store, const struct disk_spec *spec, const char *name, int *ret_dirfd,
        struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r = check_name(name, err);

	if (r >= 0)
		r = disk_check_digest(spec->template_digest, err);
	if (r < 0)
		return r;
	r = remove_tree_at(store->tmp_fd, name);
	if (r >= 0 && mkdirat(store->tmp_fd, name, 0700) < 0)
		r = -errno;
	if (r >= 0)
		r = dirfd = open_beneath(store->tmp_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (r < 0)
		return ct_error_set(err, r, "disk", "cannot make a directory in the store \"%s\": %s",
		        store->path, strerror(-r));
	r = make_in(store, spec, dirfd, err);
	if (r < 0) {
		(void)remove_tree_at(store->tmp_fd, name); /* the error to tell is the one above */
		return r;
	}
	*ret_dirfd = TAKE_FD(dirfd);
	return r;
}

int disk_copy_note(const int from[2], const int to[2], struct ct_error *err)
{
	_cleanup_close_ int from_upper = open_beneath(from[1], "upper", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int to_upper = open_beneath(to[1], "upper", O_RDONLY | O_DIRECTORY, 0);

	if (from_upper < 0 || to_upper < 0)
		return ct_error_set(err, from_upper < 0 ? from_upper : to_upper, "disk",
		        "cannot open an upper layer: %s", strerror(from_upper < 0 ? -from_upper : -to_upper));
	return native_note_copy(from_upper, from[0], to_upper, to[0], err);
}

int disk_copy_keep(struct disk_store *store, const char *name, struct ct_error *err)
{
	int r = check_name(name, err);

	if (r < 0)
		return r;
	if (renameat2(store->tmp_fd, name, store->checkpoints_fd, name, RENAME_NOREPLACE) < 0 ||
	        fsync(store->checkpoints_fd) < 0)
		return ct_error_set(err, -errno, "disk", "cannot keep \"%s\" in the store \"%s\": %s", name,
		        store->path, strerror(errno));
	return 0;
}

int disk_copy_exchange(struct disk_store *store, const char *ctid, const char *name, struct ct_error *err)
{
	int r = disk_check_ctid(ctid, err);

	if (r >= 0)
		r = check_name(name, err);
	if (r < 0)
		return r;
	if (renameat2(store->containers_fd, ctid, store->checkpoints_fd, name, RENAME_EXCHANGE) < 0 ||
	        fsync(store->containers_fd) < 0 || fsync(store->checkpoints_fd) < 0)
		return ct_error_set(err, -errno, "disk",
		        "cannot put the disk of a checkpoint in place (\"%s\"): %s", name, strerror(errno));
	return 0;
}

bool disk_is_copy(struct disk_store *store, const char *ctid)
{
	_cleanup_close_ int dirfd = disk_open_container(store, ctid, NULL);

	return dirfd >= 0 && faccessat(dirfd, COPY_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int disk_copy_settle(struct disk_store *store, const char *ctid)
{
	_cleanup_close_ int dirfd = disk_open_container(store, ctid, NULL);

	if (dirfd < 0)
		return dirfd;
	if (unlinkat(dirfd, COPY_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	return fsync(dirfd) < 0 ? -errno : 0;
}

int disk_copy_discard(
        struct disk_store *store, const struct disk_spec *spec, const char *name, struct ct_error *err)
{
	int r = check_name(name, err);

	if (r < 0)
		return r;
	r = disk_trash(store, store->tmp_fd, name, err);
	if (r >= 0 || r == -ENOENT)
		r = disk_trash(store, store->checkpoints_fd, name, err);
	if (r < 0 && r != -ENOENT)
		return r;
	return disk_driver_ops_of(spec->driver)->release(store, spec, err);
}
