/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside quota/: the open store, and what its two drivers do. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "quota/disk.h"

struct disk_store {
	char *path;
	int fd;
	int containers_fd, checkpoints_fd, templates_fd, tmp_fd, trash_fd;
	int view_fd; /* mount namespace in which overlays are put together (overlay.h); -1: not made yet */
	bool file_handles; /* the file system can encode handles: overlays get index=on,nfs_export=on */
};

/* "disk-CTID": where a disk is built before it is renamed to containers/CTID. */
#define DISK_TMP_NAME_SIZE (sizeof("disk-") + NAME_MAX)

/* Names that may become a path component: -EINVAL with the field named. */
int disk_check_ctid(const char *ctid, struct ct_error *err);
int disk_check_digest(const char *digest, struct ct_error *err);

/* The directory of one container, O_PATH-free; -ENOENT with a sentence. */
int disk_open_container(struct disk_store *store, const char *ctid, struct ct_error *err);

/* The attributes that the root of a container starts with are those of its template's root: makes upper/ and
 * work/ below parent, which may be there already. dirfd: the container's directory, for the note of native
 * directories. */
int disk_make_layers(
        struct disk_store *store, const struct disk_spec *spec, int parent, int dirfd, struct ct_error *err);

/* Renames dirfd/name into trash/ under a name of its own. -ENOENT is passed on without a sentence. */
int disk_trash(struct disk_store *store, int dirfd, const char *name, struct ct_error *err);

/* The two drivers. create works in dirfd, a directory of its own that is removed by the caller on failure. */
struct disk_driver_ops {
	int (*create)(
	        struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err);
	/* natives: NULL, or what disk_mount_native returns. */
	int (*mount)(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
	        struct disk_natives *natives, struct ct_error *err);
	/* The directory that holds upper/ and work/, with ids shifted unless -1. */
	int (*layers)(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
	        struct ct_error *err);
	int (*resize)(
	        struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err);
	int (*usage)(struct disk_store *store, const struct disk_spec *spec, int dirfd,
	        struct disk_usage *ret, struct ct_error *err);
	int (*release)(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err);
};

const struct disk_driver_ops *disk_driver_ops_of(enum disk_driver driver);
extern const struct disk_driver_ops disk_dir_ops;
extern const struct disk_driver_ops disk_image_ops;
