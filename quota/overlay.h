/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Detached mounts: idmapped trees, and overlays made of them. All need CAP_SYS_ADMIN in the initial user
 * namespace. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A detached clone of the mount at dirfd, rooted there, with ids shifted by the user namespace (-1: not
 * shifted). Its fd. */
int tree_clone(int dirfd, int idmap_userns_fd, struct ct_error *err);

/* Shifts the ids of a detached mount that nobody has seen yet; nothing for -1. */
int tree_idmap(int fd, int idmap_userns_fd, struct ct_error *err);

/* A new file system that has not been mounted anywhere: options are NULL-terminated pairs, "" as value for a
 * flag. mount_attr as for fsmount. Its fd. */
int filesystem_mount(const char *type, const char *const options[][2], unsigned int mount_attr,
        int idmap_userns_fd, struct ct_error *err);

/* A mount namespace that holds nothing but an empty tmpfs with places to attach trees. Its fd. */
int overlay_view_new(struct ct_error *err);

struct disk_natives;

struct overlay_spec {
	int lower_fd;                       /* detached tree */
	int upper_fd;                       /* detached tree, or the same */
	const char *lower_path;             /* below lower_fd; without colon, comma, backslash */
	const char *upper_path, *work_path; /* below upper_fd, the same */
	bool file_handles;
	struct disk_natives *natives; /* or NULL; in: directories below upper_fd, out: clones of them */
};

/* Attaches the trees in a throw-away copy of the view, makes the overlay, returns its detached, nodev mount.
 * The trees can be closed. On failure the natives are what they were, or partly. */
int overlay_mount(int view_fd, const struct overlay_spec *spec, struct ct_error *err);
