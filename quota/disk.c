/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a disk does, whatever its driver: made aside and renamed in, mounted, resized, measured, renamed out.
 *
 * A disk is there exactly when containers/CTID is. It is made as tmp/disk-CTID, so a crash leaves nothing
 * that counts and the next attempt removes what is left of the last. The rename is synced: what create
 * acknowledged survives a power loss.
 *
 * The record of the one whose disk it is may be synced later than that, and so be lost with the power while
 * the disk is not. A disk therefore carries the mark "new" from before it is in place until disk_settle, when
 * its record is known to be safe: who finds one with the mark and no record may remove it, and one without
 * the mark never (the records may be an old backup).
 */
#include "quota/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/str.h"
#include "quota/native.h"
#include "quota/overlay.h"
#include "quota/project.h"
#include "quota/rebase.h"
#include "quota/store.h"

#define NEW_NAME   "new"   /* in a container's directory: its record may not be on the disk yet */
#define MOVED_NAME "moved" /* in a container's directory: its layers' marks are being written again */

static const char *const driver_names[] = {
	[DISK_DRIVER_DIR] = "dir",
	[DISK_DRIVER_IMAGE] = "image",
};

const char *disk_driver_name(enum disk_driver driver)
{
	return driver_names[driver];
}

int disk_driver_from_name(const char *name, enum disk_driver *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(driver_names); i++) {
		if (str_eq(driver_names[i], name)) {
			*ret = (enum disk_driver)i;
			return 0;
		}
	}

	return -EINVAL;
}

bool disk_store_has_project_quota(const struct disk_store *store)
{
	return project_quota_enforced(store->fd);
}

bool disk_store_project_is_used(const struct disk_store *store, uint32_t project_id)
{
	struct project_state state;

	return project_get(store->fd, project_id, &state, NULL) < 0 || state.inodes_used > 0;
}

const struct disk_driver_ops *disk_driver_ops_of(enum disk_driver driver)
{
	switch (driver) {
	case DISK_DRIVER_DIR: return &disk_dir_ops;
	case DISK_DRIVER_IMAGE: return &disk_image_ops;
	}

	return NULL;
}

static int check_spec(const struct disk_spec *spec, bool with_template, struct ct_error *err)
{
	int r;

	r = disk_check_ctid(spec->ctid, err);
	if (r < 0)
		return r;

	if (!disk_driver_ops_of(spec->driver))
		return ct_error_field(err, "storage", "no such disk driver; dir or image is needed");

	return with_template ? disk_check_digest(spec->template_digest, err) : 0;
}

/* Before the driver gives the directory a project: the mark is not charged to the tenant. */
static int mark_new(int dirfd)
{
	_cleanup_close_ int fd = openat(dirfd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

/* The same of what will say which directories are native. */
static int make_note(int dirfd)
{
	_cleanup_close_ int fd = openat(dirfd, NATIVE_NOTE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

static int create_in(
        struct disk_store *store, const struct disk_spec *spec, const char *tmp_name, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r;

	if (mkdirat(store->tmp_fd, tmp_name, 0700) < 0)
		return ct_error_set(err, -errno, "disk", "cannot make a directory in the store \"%s\": %s",
		        store->path, strerror(errno));

	dirfd = open_beneath(store->tmp_fd, tmp_name, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return ct_error_set(err, dirfd, "disk", "cannot open a directory in the store \"%s\": %s",
		        store->path, strerror(-dirfd));

	r = mark_new(dirfd);
	if (r >= 0 && spec->natives)
		r = make_note(dirfd);
	if (r < 0)
		return ct_error_set(
		        err, r, "disk", "cannot write to the store \"%s\": %s", store->path, strerror(-r));

	r = disk_driver_ops_of(spec->driver)->create(store, spec, dirfd, err);
	if (r < 0)
		return r;

	if (renameat2(store->tmp_fd, tmp_name, store->containers_fd, spec->ctid, RENAME_NOREPLACE) < 0)
		r = ct_error_set(err, -errno, "disk", "cannot put the disk of container %s in place: %s",
		        spec->ctid, strerror(errno));
	if (r < 0) {
		(void)disk_driver_ops_of(spec->driver)
		        ->release(store, spec, NULL); /* the error to tell is the one above */
		return r;
	}

	if (fsync(store->containers_fd) < 0) {
		r = ct_error_set(err, -errno, "disk", "cannot write the store \"%s\" through: %s",
		        store->path, strerror(errno));
		(void)disk_discard(store, spec, NULL); /* the same */
		return r;
	}

	return 0;
}

int disk_create(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	char tmp_name[DISK_TMP_NAME_SIZE];
	int r;

	r = check_spec(spec, true, err);
	if (r < 0)
		return r;

	if (faccessat(store->containers_fd, spec->ctid, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return ct_error_set(err, -EEXIST, "disk", "container %s has a disk already", spec->ctid);

	(void)snprintf(tmp_name, sizeof(tmp_name), "disk-%s", spec->ctid);
	r = remove_tree_at(store->tmp_fd, tmp_name);
	if (r < 0)
		return ct_error_set(err, r, "disk",
		        "cannot remove what an earlier attempt left in the store \"%s\": %s", store->path,
		        strerror(-r));

	r = create_in(store, spec, tmp_name, err);
	if (r < 0) {
		(void)remove_tree_at(store->tmp_fd,
		        tmp_name); /* the error to tell is the one above; a sweep gets the rest */
		return r;
	}

	return 0;
}

static int open_new(struct disk_store *store, const char *ctid)
{
	int r = disk_check_ctid(ctid, NULL);

	return r < 0 ? r : open_beneath(store->containers_fd, ctid, O_RDONLY | O_DIRECTORY, 0);
}

bool disk_is_new(struct disk_store *store, const char *ctid)
{
	_cleanup_close_ int dirfd = open_new(store, ctid);

	return dirfd >= 0 && faccessat(dirfd, NEW_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int disk_settle(struct disk_store *store, const char *ctid)
{
	_cleanup_close_ int dirfd = open_new(store, ctid);

	if (dirfd < 0)
		return dirfd;
	return unlinkat(dirfd, NEW_NAME, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int disk_unsettle(struct disk_store *store, const char *ctid)
{
	_cleanup_close_ int dirfd = open_new(store, ctid);
	int r;

	if (dirfd < 0)
		return dirfd;
	r = mark_new(dirfd);
	if (r < 0 && r != -EEXIST)
		return r;
	return fsync(dirfd) < 0 ? -errno : 0;
}

/* Writes the marks of the upper layer again, as described in rebase.c. Killed in between, the root would be
 * right and what is below it not: so the work is noted first, and done again by the next mount. */
static int remark_layers(struct disk_store *store, const struct disk_spec *spec, int dirfd,
        int idmap_userns_fd, struct ct_error *err)
{
	const struct disk_driver_ops *ops = disk_driver_ops_of(spec->driver);
	_cleanup_close_ int parent = -1, upper = -1, lower = -1, fd = -1;
	_cleanup_free_ char *lower_path = str_printf("%s/root", spec->template_digest);
	int r;

	if (!lower_path)
		return ct_error_set(err, -ENOMEM, "mount", "out of memory");

	parent = ops->layers(store, spec, dirfd, -1, err);
	if (parent < 0)
		return parent;

	upper = open_beneath(parent, "upper", O_RDONLY | O_DIRECTORY, 0);
	lower = open_beneath(store->templates_fd, lower_path, O_RDONLY | O_DIRECTORY, 0);
	if (upper < 0 || lower < 0) {
		r = upper < 0 ? upper : lower;
		return ct_error_set(err, r, "mount", "cannot open the layers of container %s: %s", spec->ctid,
		        strerror(-r));
	}

	r = rebase_forget(upper, parent, err);
	if (r < 0)
		return r;

	fd = ops->mount(store, spec, dirfd, idmap_userns_fd, NULL, err); /* the kernel marks the root */
	if (fd < 0)
		return fd;

	(void)close(TAKE_FD(fd)); /* nothing was written */
	return rebase_mark(upper, lower, err);
}

static int mount_moved(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct disk_natives *natives, struct ct_error *err)
{
	_cleanup_close_ int note = -1;
	int r;

	note = openat(dirfd, MOVED_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (note < 0 || fsync(dirfd) < 0)
		return ct_error_set(err, -errno, "mount", "cannot write to the disk of container %s: %s",
		        spec->ctid, strerror(errno));

	r = remark_layers(store, spec, dirfd, idmap_userns_fd, err);
	if (r < 0)
		return r;

	if (syncfs(dirfd) < 0 || unlinkat(dirfd, MOVED_NAME, 0) < 0)
		return ct_error_set(err, -errno, "mount", "cannot write to the disk of container %s: %s",
		        spec->ctid, strerror(errno));

	return disk_driver_ops_of(spec->driver)->mount(store, spec, dirfd, idmap_userns_fd, natives, err);
}

static int mount_with(struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd,
        struct disk_natives *natives, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1, fd = -1;
	int r;

	r = check_spec(spec, true, err);
	if (r < 0)
		return r;

	dirfd = disk_open_container(store, spec->ctid, err);
	if (dirfd < 0)
		return dirfd;

	if (store->view_fd < 0) {
		store->view_fd = overlay_view_new(err);
		if (store->view_fd < 0)
			return store->view_fd;
	}

	r = faccessat(dirfd, MOVED_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0
	            ? -ESTALE
	            : disk_driver_ops_of(spec->driver)
	                      ->mount(store, spec, dirfd, idmap_userns_fd, natives, err);
	if (r == -ESTALE)
		r = mount_moved(store, spec, dirfd, idmap_userns_fd, natives, err);
	fd = r;
	if (r >= 0 && natives)
		r = native_note(dirfd, natives, err);

	return r < 0 ? r : TAKE_FD(fd);
}

int disk_mount(
        struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd, struct ct_error *err)
{
	return mount_with(store, spec, idmap_userns_fd, NULL, err);
}

int disk_mount_native(struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd,
        struct disk_natives *ret, struct ct_error *err)
{
	int fd;

	*ret = (struct disk_natives){ 0 };
	fd = mount_with(store, spec, idmap_userns_fd, ret, err);
	if (fd < 0)
		disk_natives_done(ret);
	return fd;
}

int disk_resize(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r;

	r = check_spec(spec, false, err);
	if (r < 0)
		return r;

	dirfd = disk_open_container(store, spec->ctid, err);
	if (dirfd < 0)
		return dirfd;

	return disk_driver_ops_of(spec->driver)->resize(store, spec, dirfd, err);
}

int disk_usage(
        struct disk_store *store, const struct disk_spec *spec, struct disk_usage *ret, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r;

	r = check_spec(spec, false, err);
	if (r < 0)
		return r;

	dirfd = disk_open_container(store, spec->ctid, err);
	if (dirfd < 0)
		return dirfd;

	return disk_driver_ops_of(spec->driver)->usage(store, spec, dirfd, ret, err);
}

int disk_discard(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	char tmp_name[DISK_TMP_NAME_SIZE];
	int r;

	r = check_spec(spec, false, err);
	if (r < 0)
		return r;

	r = disk_trash(store, store->containers_fd, spec->ctid, err);
	if (r < 0 && r != -ENOENT)
		return r;

	(void)snprintf(tmp_name, sizeof(tmp_name), "disk-%s", spec->ctid);
	r = disk_trash(store, store->tmp_fd, tmp_name, err);
	if (r < 0 && r != -ENOENT)
		return r;

	return disk_driver_ops_of(spec->driver)->release(store, spec, err);
}

int disk_template_discard(struct disk_store *store, const char *digest, struct ct_error *err)
{
	int r;

	r = disk_check_digest(digest, err);
	if (r < 0)
		return r;

	r = disk_trash(store, store->templates_fd, digest, err);
	return r == -ENOENT ? 0 : r;
}
