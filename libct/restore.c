/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of a restored container.
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
 * The bare one lives on for whoever has a directory of it: CRIU opens working directories, roots and files
 * before us, and nothing can be put on top for them. So restore_audit refuses tasks that have one, both
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

struct restore {
	const struct api *api;
	const struct ct_bind *binds;
	size_t n_binds;
	int mntns_fd, userns_fd;
	int tree_fd, boot_fd, locked_fd;
	struct ct_error *err;
};

static int fail(struct restore *s, const char *what)
{
	int r = sys_error();

	return ct_error_set(s->err, r, "mount", "cannot finish the restored \"/%s\": %s: %s", s->api->name,
	        what, sys_reason(r));
}

/* The directory where it is mounted, verified. */
static int open_api(struct restore *s)
{
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	struct statfs fs;

	fd = root < 0 ? -1 : open_beneath(root, s->api->name, O_PATH | O_DIRECTORY, 0);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return fail(s, "opening it");
	if (fs.f_type != s->api->magic)
		return ct_error_set(s->err, -EPERM, "mount",
		        "the images do not restore a \"/%s\" of the right type", s->api->name);
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
		return fd;

	s->tree_fd = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (s->tree_fd < 0)
		return fail(s, "cloning it");
	if (s->api->magic == PROC_SUPER_MAGIC) {
		_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		_cleanup_close_ int file = root < 0 ? -1 : open_beneath(root, "dev/" BOOT_ID_FILE, O_PATH, 0);

		s->boot_fd =
		        file < 0 ? -1
		                 : open_tree(file, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
		if (s->boot_fd < 0)
			return fail(s, "cloning the boot id");
	}
	return 0;
}

static int put_bind(struct restore *s, int dir, int source, const char *name)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	_cleanup_close_ int target = open_beneath(dir, name, O_PATH, 0);

	if (target == -ENOENT)
		return 0;
	if (target < 0)
		return ct_error_set(s->err, target, "mount", "cannot open \"/%s/%s\" inside: %s",
		        s->api->name, name, sys_reason(target));
	if (mount_setattr(source, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof(readonly)) < 0)
		return fail(s, name);
	return mount_on_fd(source, target, name, s->err);
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
	if (r >= 0 && s->boot_fd >= 0) {
		_cleanup_close_ int target = open_beneath(dir, BOOT_ID_PROC, O_PATH, 0);

		r = target < 0 ? fail(s, "the boot id")
		               : mount_on_fd(s->boot_fd, target, BOOT_ID_PROC, s->err);
	}
	for (size_t i = 0; r >= 0 && i < s->n_binds; i++)
		if (str_has_prefix(s->binds[i].target, s->api->prefix))
			r = put_bind(
			        s, dir, s->binds[i].source_fd, s->binds[i].target + strlen(s->api->prefix));
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

static int put_helper(void *arg)
{
	struct restore *s = arg;
	_cleanup_close_ int root = -1, target = -1;
	char path[8];

	if (setns(s->mntns_fd, CLONE_NEWNS) < 0)
		return fail(s, "entering the mount namespace");
	(void)snprintf(path, sizeof(path), "/%s", s->api->name);
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return fail(s, "taking the bare one away");
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	target = root < 0 ? -1 : open_beneath(root, s->api->name, O_PATH | O_DIRECTORY, 0);
	if (target < 0)
		return fail(s, "opening what it is mounted on");
	return mount_on_fd(s->locked_fd, target, s->api->name, s->err);
}

static int restore_api(struct restore *s)
{
	int r;

	s->tree_fd = s->boot_fd = s->locked_fd = -1;
	r = helper_run(take_helper, s, s->err);
	if (r >= 0)
		r = helper_run(cover_helper, s, s->err);
	if (r >= 0)
		r = helper_run(put_helper, s, s->err);
	fd_close(s->tree_fd);
	fd_close(s->boot_fd);
	fd_close(s->locked_fd);
	return r;
}

int restore_mounts(pid_t pid, const struct ct_bind *binds, size_t n_binds, struct ct_error *err)
{
	_cleanup_close_ int mntns = ct_process_namespace(pid, CLONE_NEWNS);
	_cleanup_close_ int userns = ct_process_namespace(pid, CLONE_NEWUSER);
	int r = 0;

	if (mntns < 0 || userns < 0)
		return ct_error_set(err, -ESRCH, "mount", "the restored init has ended");
	for (size_t i = 0; r >= 0 && i < sizeof(apis) / sizeof(apis[0]); i++) {
		struct restore s = { .api = &apis[i],
			.binds = binds,
			.n_binds = n_binds,
			.mntns_fd = mntns,
			.userns_fd = userns,
			.err = err };

		r = restore_api(&s);
	}
	return r;
}
