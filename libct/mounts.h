/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mounts of a container, made in its child before init is executed. Not installed. */
#pragma once

#include <stdbool.h>

#include "libct/ct.h"

/* What of the mounts is still needed after the old root is gone; all fds are the child's and go with it. */
struct mounts {
	int root_fd;      /* directory of the new root */
	int proc_fd;      /* its procfs */
	int dev_fd;       /* its /dev */
	int pts_fd;       /* its devpts */
	int console_master, console_slave; /* -1: no console */
};
#define MOUNTS_INIT ((struct mounts){ -1, -1, -1, -1, -1, -1 })

/* A new filesystem instance as a detached mount. options is a list of key, value, ..., NULL; attr of MOUNT_ATTR_*. Returns an fd. */
int mount_new(const char *fstype, const char *const *options, unsigned int attr, struct ct_error *err);
/* Attaches a detached mount on an object that is open already. */
int mount_on_fd(int mount_fd, int target_fd, const char *name, struct ct_error *err);
/* The directory dir_fd/name, which is made if it is missing and must not be a symbolic link. Returns an O_PATH fd. */
int mount_target(int dir_fd, const char *name, struct ct_error *err);

/* mounts.c: attaches root_mount_fd on top of everything and fills the tree; what it found is in *m. */
int mounts_build(const struct ct_spec *spec, int root_mount_fd, const int *bind_fds, struct mounts *m, struct ct_error *err);
/* Makes the tree the root of the mount namespace and lets go of the old one. */
int mounts_pivot(struct mounts *m, struct ct_error *err);

/* dev.c: /dev with its nodes, devpts, shm, mqueue and console. */
int dev_build(const struct ct_spec *spec, struct mounts *m, struct ct_error *err);

/* mask.c: covers what a tenant has no business with in its /proc and /sys. */
int mask_proc(int proc_fd, int dev_null_fd, struct ct_error *err);
int mask_sys(int sys_fd, int dev_null_fd, struct ct_error *err);

/* binds.c */
int binds_build(const struct ct_spec *spec, const int *bind_fds, int root_fd, struct ct_error *err);
