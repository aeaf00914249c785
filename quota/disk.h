/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's disk: an overlay of a template (lower, shared by all) and its own writes (upper), with a size
 * that holds.
 *
 * The store is one directory, 0700, everything below it with on-disk ids 0..65535:
 *
 *     templates/DIGEST/root/     lower layers, never changed after they were renamed in
 *     containers/CTID/upper work (driver dir: limited by a project quota)
 *     containers/CTID/disk.img   (driver image: a sparse ext4 of its own, holding upper and work)
 *     checkpoints/NAME/          a second disk of a container, with what a checkpoint has beside it: as in
 *                                containers/CTID, whose place it can take (copy.c)
 *     tmp/NAME                   being built; anything here may be removed at any start of ctd
 *     trash/NAME                 on its way out; removed by a worker
 *
 * Two drivers behind one interface. No policy, no logging. Long work (removing trees, mkfs) is marked; it
 * belongs into a worker process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum disk_driver {
	DISK_DRIVER_DIR,
	DISK_DRIVER_IMAGE,
};
const char *disk_driver_name(enum disk_driver driver); /* dir, image */
int disk_driver_from_name(const char *name, enum disk_driver *ret);

struct disk_store;

/* Opens (makes, 0700) the store at an absolute path. The layout above is made if missing. */
int disk_store_open(const char *path, struct disk_store **ret, struct ct_error *err);
void disk_store_close(struct disk_store *store);
int disk_store_fd(const struct disk_store *store); /* borrowed */

struct disk_spec {
	const char *ctid; /* [0-9a-f-]+, the directory's name */
	enum disk_driver driver;
	const char *template_digest; /* lower layer */
	uint64_t bytes;              /* size sold; 0: no limit (dir only) */
	uint64_t inodes;             /* 0: no limit (dir), the file system's choice (image) */
	uint32_t project_id;         /* dir: > 0, unique on the file system, owned by this container */
	const char *const *natives;  /* directories that shall be native (below), to NULL; NULL: none */
};

/* Makes the upper layer (dir: directory, project id, quota; image: sparse file, then mkfs: long). -EOPNOTSUPP
 * with the reason and remedy if a limit is asked that the file system cannot enforce; -EBUSY if the project
 * id is still charged with what another container left in the trash. Synced. On failure nothing is left. The
 * disk is new until disk_settle. */
int disk_create(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err);
/* Its record is on the disk as well: from now on it is not new. Repeatable; a power loss may make it new
 * again, which means nothing as long as there is a record. -ENOENT: there is no such disk. */
int disk_settle(struct disk_store *store, const char *ctid);
/* Its record is about to go, and nothing else says so: it is new again, on the disk. -ENOENT as above. */
int disk_unsettle(struct disk_store *store, const char *ctid);
bool disk_is_new(struct disk_store *store, const char *ctid);

/* A detached mount of the container's root: overlay of idmapped layers, nodev, options index=on,nfs_export=on
 * where the file system can. idmap_userns_fd: see ct_idmap_userns_new. image: attaches the loop device
 * (autoclear) as well. Returns an fd; the mount lives as long as the fd or a namespace it is attached in.
 * dir: sets the limits to the specification. -EBUSY while the disk is mounted; the kernel may take a moment
 * after a container's end. Long once after the store was copied: see rebase.c. */
int disk_mount(
        struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd, struct ct_error *err);

/* Directories of the upper layer that are mounted past the overlay: see native.c. fd: a detached mount with
 * the ids and flags of the overlay, to be attached at path in the root (with ct_bind). */
#define DISK_NATIVES_MAX 32
struct disk_native {
	const char *path; /* borrowed from the specification */
	int fd;
};
struct disk_natives {
	struct disk_native items[DISK_NATIVES_MAX];
	size_t n;
};
void disk_natives_done(struct disk_natives *natives);
/* disk_mount, and those of spec->natives that can be. Who runs a container on it must attach them all. */
int disk_mount_native(struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd,
        struct disk_natives *ret, struct ct_error *err);

extern const char *const disk_natives_default[];
/* Absolute, without links to follow in the writing of it, and not where a start or a running container's
 * configuration writes. */
bool disk_native_may_be(const char *path);

/* Brings the limits to the specification: grow and shrink; -ENOSPC with the used size when too small. image:
 * grows online, shrinks only while not mounted (-EBUSY) and takes long then; the number of inodes cannot be
 * changed (-EOPNOTSUPP). */
int disk_resize(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err);

struct disk_usage {
	uint64_t bytes_used, inodes_used;   /* of the upper layer */
	uint64_t bytes_limit, inodes_limit; /* what the kernel enforces; 0: none */
	bool exact; /* false: not accounted by the kernel on this file system, all zero */
};
int disk_usage(
        struct disk_store *store, const struct disk_spec *spec, struct disk_usage *ret, struct ct_error *err);

/* O(1): renames containers/CTID to trash/, drops the quota. -ENOENT is success. The container must not run.
 */
int disk_discard(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err);
/* O(1): the same for templates/DIGEST, which no container may use. -ENOENT is success. */
int disk_template_discard(struct disk_store *store, const char *digest, struct ct_error *err);
/* Long: removes what is in trash/ and tmp/ (those for which keep says false). Worker. */
int disk_store_sweep(struct disk_store *store, bool (*keep)(const char *tmp_name, void *userdata),
        void *userdata, struct ct_error *err);

/* ---- a second disk of a container: made aside, kept, and put in the place of the first (copy.c) */

/* The directory that holds upper/ of a disk, which may be mounted meanwhile; dirfd: of the container. */
int disk_open_layers(
        struct disk_store *store, const struct disk_spec *spec, int *ret_dirfd, struct ct_error *err);
/* The upper layer of a disk, which may be mounted meanwhile, to be read as the container sees it: an fd, with
 * ids shifted as in disk_mount. */
int disk_open_upper(
        struct disk_store *store, const struct disk_spec *spec, int idmap_userns_fd, struct ct_error *err);
/* Makes tmp/NAME, a disk of the same driver and size whose layers are new, marked as a copy, and opens both
 * as above. The project id is one of its own, and is not limited. Long. What is there of that name goes. */
int disk_copy_new(struct disk_store *store, const struct disk_spec *spec, const char *name, int *ret_dirfd,
        struct ct_error *err);
/* Which directories are native is noted of the copy as of the disk. Both by dirfd and layers. */
int disk_copy_note(const int from[2], const int to[2], struct ct_error *err);
/* tmp/NAME becomes checkpoints/NAME, synced. All in it must be. */
int disk_copy_keep(struct disk_store *store, const char *name, struct ct_error *err);
/* containers/CTID and checkpoints/NAME become each other, at once and synced; and so back. */
int disk_copy_exchange(struct disk_store *store, const char *ctid, const char *name, struct ct_error *err);
/* Whether containers/CTID is such a copy; it is no longer, but the container's disk for good, synced. */
bool disk_is_copy(struct disk_store *store, const char *ctid);
int disk_copy_settle(struct disk_store *store, const char *ctid);
/* O(1): checkpoints/NAME goes, or tmp/NAME, with the limits of the specification's project. -ENOENT is
 * success. */
int disk_copy_discard(
        struct disk_store *store, const struct disk_spec *spec, const char *name, struct ct_error *err);

/* What the file system of the store can enforce, for doctor and for refusals. */
struct disk_probe {
	char filesystem[16];                             /* ext4, xfs, ... */
	bool project_quota;                              /* enforced right now */
	bool idmapped_layers, overlay_nfs_export, image; /* image: loop devices and mkfs.ext4 */
	uint64_t bytes_total, bytes_free, inodes_total, inodes_free;
	char project_quota_remedy[256]; /* what to do to get it, "" if there */
};
int disk_probe(struct disk_store *store, struct disk_probe *ret, struct ct_error *err);
/* What of it limits need, some system calls and no mount: idmapped_layers and overlay_nfs_export stay false.
 */
void disk_probe_limits(struct disk_store *store, struct disk_probe *ret);

/* The one of its questions that each disk asks; one system call, while a probe mounts an overlay. */
bool disk_store_has_project_quota(const struct disk_store *store);

/* Whether files are charged to this project id, such as what is still in the trash; also if that cannot be
 * told. */
bool disk_store_project_is_used(const struct disk_store *store, uint32_t project_id);

/* Names below containers/, checkpoints/, templates/, trash/, tmp/, for fsck. A positive return stops and is
 * returned. */
int disk_store_each(struct disk_store *store, const char *kind, int (*each)(const char *name, void *userdata),
        void *userdata, struct ct_error *err);
