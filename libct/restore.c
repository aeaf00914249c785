/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of a restored container: those of its init, and of services that have a mount namespace of their
 * own.
 *
 * CRIU makes a mount namespace out of what its images say, as the container's root: nothing in it is locked,
 * and the tenant could peel off every mask. So masks and binds are left out of the images, and made here from
 * our own tables, between the moment in which the mounts are there and the first restored file: a copy of the
 * new /proc (or /sys) goes into a mount namespace of ours, gets what lies on top of it, comes by way of a
 * namespace that belongs to the container's user namespace, which locks it (copy_mnt_ns() in the kernel), and
 * replaces the one that CRIU has mounted. The tenant may take the whole of it away, as he may not after a
 * start; but without it he gets no other: a new procfs or sysfs needs a fully visible one
 * (mount_too_revealing()).
 *
 * What is mounted below it, by services too, is in the copy and keeps its place; the masks go on top. The
 * bare one is gone then; still restore_audit refuses tasks that have a directory of /proc or /sys open, both
 * before they are saved and before they run again.
 *
 * Nothing that CRIU has left there is trusted to be what its name says: the file system's type is looked at.
 */
#include "libct/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "libct/mounts.h"
#include "libct/sys.h"

#define BOOT_ID_FILE ".ct-boot-id"
#define BOOT_ID_PROC "sys/kernel/random/boot_id"

static const struct api {
	const char *name, *prefix;
	long magic;
	int (*mask)(int fd, struct ct_error *err);
} apis[] = {
	{ "proc", "/proc/", PROC_SUPER_MAGIC, mask_proc },
	{ "sys", "/sys/", SYSFS_MAGIC, mask_sys },
};

/* A detached mount, and where it goes, relative to /proc or /sys. */
struct bind {
	int fd;
	const char *target;
	bool readonly;
};

struct restore {
	const struct api *api;
	struct bind *binds; /* of this one */
	size_t n_binds;
	int mntns_fd, userns_fd;
	int tree_fd, locked_fd;
	struct ct_error *err;
};

static int fail(struct restore *s, const char *what)
{
	int r = sys_error();

	return ct_error_set(s->err, r, "mount", "cannot finish the restored \"/%s\": %s: %s", s->api->name,
	        what, sys_reason(r));
}

/* The directory where it is mounted, verified. -ENOENT: there is none, which of init the audit refuses. */
static int open_api(struct restore *s)
{
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	struct statfs fs;

	fd = root < 0 ? -1 : open_beneath(root, s->api->name, O_PATH | O_DIRECTORY, 0);
	if (fd == -ENOENT)
		return fd;
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return fail(s, "opening it");
	if (fs.f_type != s->api->magic)
		return -ENOENT;
	return TAKE_FD(fd);
}

static int take_helper(void *arg)
{
	struct restore *s = arg;
	_cleanup_close_ int fd = -1;

	if (setns(s->mntns_fd, CLONE_NEWNS) < 0)
		return fail(s, "entering the mount namespace");
	fd = open_api(s);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;

	s->tree_fd = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (s->tree_fd < 0)
		return fail(s, "cloning it");
	return 0;
}

static int put_bind(struct restore *s, int dir, const struct bind *bind)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	_cleanup_close_ int target = open_beneath(dir, bind->target, O_PATH, 0);

	if (target == -ENOENT)
		return 0;
	if (target < 0)
		return ct_error_set(s->err, target, "mount", "cannot open \"/%s/%s\" inside: %s",
		        s->api->name, bind->target, sys_reason(target));
	if (bind->readonly &&
	        mount_setattr(bind->fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof(readonly)) < 0)
		return fail(s, bind->target);
	return mount_on_fd(bind->fd, target, bind->target, s->err);
}

static int cover_helper(void *arg)
{
	struct restore *s = arg;
	struct mount_attr private = { .propagation = MS_PRIVATE };
	_cleanup_close_ int dir = -1;
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return fail(s, "a new mount namespace");
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)) < 0)
		return fail(s, "making it private");
	if (move_mount(s->tree_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(s, "attaching its copy");
	dir = openat(s->tree_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail(s, "opening its copy");

	r = s->api->mask(dir, s->err);
	for (size_t i = 0; r >= 0 && i < s->n_binds; i++)
		r = put_bind(s, dir, &s->binds[i]);
	if (r < 0)
		return r;

	/* The working directory goes along into the copy of the namespace, which is where all is locked. */
	if (fchdir(dir) < 0 || setns(s->userns_fd, CLONE_NEWUSER) < 0)
		return fail(s, "entering the user namespace");
	if (unshare(CLONE_NEWNS) < 0)
		return fail(s, "locking its mounts");
	s->locked_fd = open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	return s->locked_fd < 0 ? fail(s, "cloning the locked mounts") : 0;
}

/* What is mounted in one namespace comes to others as well where the mount below is shared with them, as
 * systemd has it; so that is private meanwhile. */
static int put_helper(void *arg)
{
	struct restore *s = arg;
	struct mount_attr private = { .propagation = MS_PRIVATE };
	_cleanup_close_ int below = -1, root = -1, target = -1;
	char path[8];
	int r;

	if (setns(s->mntns_fd, CLONE_NEWNS) < 0)
		return fail(s, "entering the mount namespace");
	below = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (below < 0 || mount_setattr(AT_FDCWD, "/", 0, &private, sizeof(private)) < 0)
		return fail(s, "making its root private");
	(void)snprintf(path, sizeof(path), "/%s", s->api->name);
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return fail(s, "taking the bare one away");
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	target = root < 0 ? -1 : open_beneath(root, s->api->name, O_PATH | O_DIRECTORY, 0);
	if (target < 0)
		return fail(s, "opening what it is mounted on");
	r = mount_on_fd(s->locked_fd, target, s->api->name, s->err);
	if (r < 0)
		return r;
	/* EINVAL: it was private before */
	if (move_mount(below, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_SET_GROUP) < 0 &&
	        errno != EINVAL)
		return fail(s, "sharing its root again");
	return 0;
}

static int restore_api(struct restore *s)
{
	int r;

	s->tree_fd = s->locked_fd = -1;
	r = helper_run(take_helper, s, s->err);
	if (r >= 0 && s->tree_fd >= 0)
		r = helper_run(cover_helper, s, s->err);
	if (r >= 0 && s->tree_fd >= 0)
		r = helper_run(put_helper, s, s->err);
	(void)fd_close(s->tree_fd);
	(void)fd_close(s->locked_fd);
	return r;
}

/* ---- what is bound */

struct boot {
	int mntns_fd;
	int fd;
};

/* A detached copy of the boot id's file, if it is there: a service may have another /dev. */
static int boot_helper(void *arg)
{
	struct boot *b = arg;
	_cleanup_close_ int root = -1, file = -1;

	if (setns(b->mntns_fd, CLONE_NEWNS) < 0 || (root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		return sys_error();
	file = open_beneath(root, "dev/" BOOT_ID_FILE, O_PATH, 0);
	if (file < 0)
		return 0;
	b->fd = open_tree(file, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return b->fd < 0 ? sys_error() : 0;
}

/* From the namespace itself, or the first that has one. */
static int take_boot_id(const int *mntns_fds, size_t n, size_t own, struct ct_error *err)
{
	for (size_t i = 0; i <= n; i++) {
		struct boot boot = { .mntns_fd = mntns_fds[i == 0 ? own : i - 1], .fd = -1 };
		int r = helper_run(boot_helper, &boot, err);

		if (r < 0 || boot.fd >= 0)
			return r < 0 ? r : boot.fd;
	}
	return ct_error_set(err, -ENOENT, "mount", "the images restore no boot id");
}

/* Copies of those below the prefix; and the boot id, below /proc. */
static int take_binds(struct restore *s, const struct ct_bind *binds, size_t n_binds, int boot_fd)
{
	const size_t len = strlen(s->api->prefix);

	s->n_binds = 0;
	if (s->api->magic == PROC_SUPER_MAGIC)
		s->binds[s->n_binds++] = (struct bind){ boot_fd, BOOT_ID_PROC, false };
	for (size_t i = 0; i < n_binds; i++) {
		int fd;

		if (!str_has_prefix(binds[i].target, s->api->prefix))
			continue;
		fd = open_tree(binds[i].source_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
		if (fd < 0)
			return fail(s, binds[i].target);
		s->binds[s->n_binds++] = (struct bind){ fd, binds[i].target + len, true };
	}
	return 0;
}

static void drop_binds(struct restore *s)
{
	while (s->n_binds > 0) {
		s->n_binds--;
		(void)fd_close(s->binds[s->n_binds].fd);
	}
}

static int restore_namespace(struct restore *s, const struct ct_bind *binds, size_t n_binds, int boot_fd)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(apis) / sizeof(apis[0]); i++) {
		s->api = &apis[i];
		r = take_binds(s, binds, n_binds, boot_fd);
		if (r >= 0)
			r = restore_api(s);
		drop_binds(s);
	}
	return r;
}

int restore_mounts(const int *mntns_fds, size_t n_mntns, int userns_fd, const struct ct_bind *binds,
        size_t n_binds, struct ct_error *err)
{
	struct restore s = { .userns_fd = userns_fd, .err = err };
	int r = 0;

	s.binds = calloc(n_binds + 1, sizeof(*s.binds));
	if (!s.binds)
		return ct_error_set(err, -ENOMEM, "mount", "out of memory");
	for (size_t i = 0; r >= 0 && i < n_mntns; i++) {
		s.mntns_fd = mntns_fds[i];
		r = take_boot_id(mntns_fds, n_mntns, i, err);
		if (r >= 0)
			r = restore_namespace(&s, binds, n_binds, r);
	}
	free(s.binds);
	return r;
}
