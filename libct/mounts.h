/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mounts of a container, made in its child before init is executed. Not installed. */
#pragma once

#include <stdbool.h>

#include "libct/ct.h"

#define DEV_NODES_MAX 8

/* The child's fds while it builds. */
struct mounts {
	int root_fd;                 /* directory of the new root */
	int node_fds[DEV_NODES_MAX]; /* detached mounts of the host's device nodes, taken while the host is
	                                still in sight */
	int pts_fd, shm_fd, mqueue_fd, cgroup_fd; /* detached mounts that are attached last */
	int console_master, console_slave;        /* -1: no console */
};
#define MOUNTS_INIT                                                                                          \
	((struct mounts){                                                                                    \
	        .root_fd = -1,                                                                               \
	        .node_fds = { -1, -1, -1, -1, -1, -1, -1, -1 },                                              \
	        .pts_fd = -1,                                                                                \
	        .shm_fd = -1,                                                                                \
	        .mqueue_fd = -1,                                                                             \
	        .cgroup_fd = -1,                                                                             \
	        .console_master = -1,                                                                        \
	        .console_slave = -1,                                                                         \
	})

/* A new filesystem instance as a detached mount. options is a list of key, value, ..., NULL; attr of
 * MOUNT_ATTR_*. Returns an fd. */
int mount_new(const char *fstype, const char *const *options, unsigned int attr, struct ct_error *err);
/* Attaches a detached mount on an object that is open already. */
int mount_on_fd(int mount_fd, int target_fd, const char *name, struct ct_error *err);
/* The directory dir_fd/name, which is made if it is missing and must not be a symbolic link. Returns an
 * O_PATH fd. */
int mount_target(int dir_fd, const char *name, struct ct_error *err);

/* mount_new on dir_fd/name, by mount_target. The fd that is returned is the mount's root directory. */
int mount_new_at(int dir_fd, const char *name, const char *fstype, const char *const *options,
        unsigned int attr, struct ct_error *err);

/* mounts.c: attaches root_mount_fd on top of everything, with what the tenant shall not be able to undo: proc
 * and sys with their masks, the tmpfs of /dev and /run, the binds. */
int mounts_build_locked(const struct ct_spec *spec, int root_mount_fd, const int *bind_fds, struct mounts *m,
        struct ct_error *err);
/* A detached copy of what was built, as an fd. */
int mounts_take_tree(const struct mounts *m, struct ct_error *err);
/* Makes the filesystems that come last, while the tree is being locked. */
int mounts_make_open(const struct ct_spec *spec, struct mounts *m, struct ct_error *err);
/* Enters the mount namespace that was made of the tree and attaches them: the tenant's to change. */
int mounts_build_open(const struct ct_spec *spec, int mntns_fd, struct mounts *m, struct ct_error *err);

/* dev.c: clones the host's device nodes; makes devpts, shm and mqueue; fills a new /dev with all of that. */
int dev_take_nodes(struct mounts *m, struct ct_error *err);
int dev_make_mounts(const struct ct_spec *spec, struct mounts *m, struct ct_error *err);
int dev_build(const struct ct_spec *spec, int dev_fd, struct mounts *m, struct ct_error *err);

/* mask.c: covers what a tenant has no business with in its /proc and /sys. Changes the working directory. */
int mask_proc(int proc_fd, struct ct_error *err);
int mask_sys(int sys_fd, struct ct_error *err);
/* The path inside of the mask number i, which a kernel may not have; false: there are no more (at most 64).
 */
#define MASK_PATH_MAX 64
bool mask_path(unsigned int i, char ret[MASK_PATH_MAX]);

/* boot-id.c: a boot id of its own, after /proc and /dev. */
int boot_id_build(int root_fd, struct ct_error *err);

/* binds.c */
int binds_build(const struct ct_spec *spec, const int *bind_fds, int root_fd, struct ct_error *err);

/* lock.c, in the parent: makes a mount namespace owned by the user namespace of the process, with the tree as
 * its root and every mount in it locked. Returns an nsfs fd. Never waits for the process. */
int lock_mounts(int tree_fd, int pidfd, struct ct_error *err);
