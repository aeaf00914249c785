/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locking a container's mounts.
 *
 * Root inside has CAP_SYS_ADMIN over its own mount namespace and could unmount the masks, remount a read-only
 * bind writable and clear nodev. The kernel prevents that for mounts that a namespace got from a more
 * privileged one: when a mount namespace is copied into another user namespace, each mount below its root
 * becomes one with those above it (MNT_LOCKED) and keeps its restrictive flags (MNT_LOCK_*,
 * mount_namespaces(7)). So the tree that the child has built goes once through a namespace of the host's
 * root:
 *
 *   a helper makes a mount namespace of its own, owned by the initial user namespace, and makes the tree its
 * root; enters the container's user namespace; and makes a mount namespace again, which is a locked copy; the
 * child enters that.
 *
 * A locked mask is also what keeps a tenant from mounting a second procfs that has none
 * (mount_too_revealing()).
 *
 * The price is two more copies of a few dozen mounts. The helper runs when the child's tree has arrived and
 * waits for nothing; it opens no path in the tenant's tree.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/fd.h"
#include "libct/mounts.h"
#include "libct/sys.h"

struct lock {
	int tree_fd, pidfd;
	int mntns_fd;
	struct ct_error *err;
};

static int fail(struct lock *lock, const char *what)
{
	int r = sys_error();

	return ct_error_set(
	        lock->err, r, "mount", "cannot lock the container's mounts: %s: %s", what, sys_reason(r));
}

/* Private first: what is mounted and moved here must not spread to the host. */
static int make_root(struct lock *lock)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };

	if (unshare(CLONE_NEWNS) < 0)
		return fail(lock, "a new mount namespace");
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)) < 0)
		return fail(lock, "making it private");
	if (move_mount(lock->tree_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(lock, "attaching the tree");

	/* Both "." are the new root: the old one comes to lie on top of it, is then what "." means, and goes.
	 */
	if (fchdir(lock->tree_fd) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return fail(lock, "changing to its root");
	return 0;
}

static int lock_helper(void *arg)
{
	struct lock *lock = arg;
	_cleanup_close_ int proc = -1;

	/* After the change of root "/proc" is one in which we do not exist. */
	proc = open("/proc/self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return fail(lock, "opening \"/proc/self/ns\"");

	int r = make_root(lock);
	if (r < 0)
		return r;

	if (setns(lock->pidfd, CLONE_NEWUSER) < 0)
		return fail(lock, "entering its user namespace");
	if (unshare(CLONE_NEWNS) < 0)
		return fail(lock, "its mount namespace");

	lock->mntns_fd = openat(proc, "mnt", O_RDONLY | O_CLOEXEC);
	return lock->mntns_fd < 0 ? fail(lock, "opening its mount namespace") : 0;
}

int lock_mounts(int tree_fd, int pidfd, struct ct_error *err)
{
	struct lock lock = { .tree_fd = tree_fd, .pidfd = pidfd, .mntns_fd = -1, .err = err };

	int r = helper_run(lock_helper, &lock, err);
	if (r < 0) {
		fd_close(lock.mntns_fd);
		return r;
	}
	return lock.mntns_fd;
}
