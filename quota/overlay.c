/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's root, put together out of the sight of everybody.
 *
 * The lower layer and the upper layer come out of one idmapped clone of a common parent (two for an image).
 * What they lean on:
 *
 * - Overlayfs clones the mount of each layer for itself, so the trees can go as soon as the overlay is there.
 * Before Linux 6.15 it refuses layers on a mount that is not attached in the mounter's own mount namespace
 * (EINVAL), so "/proc/self/fd/N/..." of a detached tree is not enough. Attaching it in the host's namespace
 * would show it to all (propagation) and leave it there when ctd is killed. So a short-lived child enters a
 * *view*, a namespace of nothing but an empty tmpfs, makes a private copy of it (one mount to copy), attaches
 * the trees and makes the overlay there; with the child the copy and all in it are gone.
 * - The child shares our memory and our fd table (CLONE_VM | CLONE_FILES), as vfork's does, but not our fs
 * and namespaces: what it opens is ours, and a kill of ctd at any instant leaves nothing. It must not
 * allocate, and it does not.
 * - With an idmapped layer, the mounter's own id must be mapped by that namespace, or the overlay silently is
 * read-only.
 * - Overlayfs takes CAP_SYS_RESOURCE out of the credentials it writes with, so a mounter that has it does not
 * give tenants writes beyond their quota.
 * - nosuid and nodev of a layer are ignored: nodev is set on the overlay itself. nosuid is not: the tenant's
 * su and sudo need it.
 * - redirect_dir=on: rename(2) of a directory out of the template works as on any other file system. metacopy
 * stays off (CRIU and nfs_export exclude it).
 */
#include "quota/overlay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "quota/disk.h"

#define VIEW_LOWER "lower" /* below the root of the view */
#define VIEW_UPPER "upper"

int tree_idmap(int fd, int idmap_userns_fd, struct ct_error *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV,
		.userns_fd = (uint64_t)idmap_userns_fd,
	};

	if (idmap_userns_fd < 0)
		return 0;

	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return 0;

	if (errno == EINVAL)
		return ct_error_set(err, -EOPNOTSUPP, "mount",
		        "the file system of the store cannot shift ids (idmapped mounts); ext4, xfs or btrfs is needed");

	return ct_error_set(err, -errno, "mount", "cannot shift the ids of a layer: %s", strerror(errno));
}

int tree_clone(int dirfd, int idmap_userns_fd, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = open_tree(dirfd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (fd < 0)
		return ct_error_set(
		        err, -errno, "mount", "cannot clone the mount of the store: %s", strerror(errno));

	r = tree_idmap(fd, idmap_userns_fd, err);
	if (r < 0)
		return r;

	return TAKE_FD(fd);
}

/* What the file system itself said about its options, "" if it is silent (most were, before 6.5). */
static const char *filesystem_says(int fsfd, char *buf, size_t size)
{
	ssize_t n;

	n = read(fsfd, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';

	return n > 2 && buf[1] == ' ' ? buf + 2 : buf;
}

int filesystem_mount(const char *type, const char *const options[][2], unsigned int mount_attr,
        int idmap_userns_fd, struct ct_error *err)
{
	_cleanup_close_ int fsfd = -1, fd = -1;
	char said[256];
	int r = 0;

	fsfd = fsopen(type, FSOPEN_CLOEXEC);
	if (fsfd < 0)
		return ct_error_set(
		        err, -errno, "mount", "the kernel has no file system %s: %s", type, strerror(errno));

	for (size_t i = 0; r == 0 && options[i][0]; i++)
		r = options[i][1][0] ? fsconfig(fsfd, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0)
		                     : fsconfig(fsfd, FSCONFIG_SET_FLAG, options[i][0], NULL, 0);

	if (r < 0 || fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		r = -errno;
		return ct_error_set(err, r, "mount", "cannot mount %s: %s (%s)", type, strerror(-r),
		        filesystem_says(fsfd, said, sizeof(said)));
	}

	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, mount_attr);
	if (fd < 0)
		return ct_error_set(err, -errno, "mount", "cannot mount %s: %s", type, strerror(errno));

	r = tree_idmap(fd, idmap_userns_fd, err);
	if (r < 0)
		return r;

	return TAKE_FD(fd);
}

/* What the child does and what came out of it; in the parent's memory, on its stack. */
struct errand {
	int (*run)(struct errand *errand); /* fd or negative errno */
	int result;
	const char *step; /* where it failed */
	char said[256];

	int view_fd; /* of overlay_mount */
	const struct overlay_spec *spec;
	const char *const (*options)[2];
};

static int errand_fail(struct errand *errand, const char *step)
{
	errand->step = step;
	return -errno;
}

static int errand_main(void *userdata)
{
	struct errand *errand = userdata;

	errand->result = errand->run(errand);
	return 0;
}

/* Runs the errand in a child with our memory and fds but with fs and namespaces of its own. Signals wait, so
 * that no handler of ours runs in it. No exit signal: nobody's SIGCHLD handler sees it. */
static int errand_do(struct errand *errand)
{
	char stack[32 * 1024] __attribute__((aligned(16)));
	sigset_t all, before;
	pid_t pid;
	int r;

	/* What stands if the child is killed before it can say anything (the kernel's OOM killer). */
	errand->result = -ECHILD;
	errand->step = "wait for a process, which was killed";

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone(errand_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES, errand);
	r = pid < 0 ? errand_fail(errand, "start a process") : 0;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;

	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;

	return errand->result;
}

static int view_tmpfs(void)
{
	_cleanup_close_ int fsfd = -1, fd = -1;

	fsfd = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fsfd < 0 || fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;

	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (fd < 0 || mkdirat(fd, VIEW_LOWER, 0700) < 0 || mkdirat(fd, VIEW_UPPER, 0700) < 0)
		return -1;

	return TAKE_FD(fd);
}

static int view_build(struct errand *errand)
{
	_cleanup_close_ int ns = -1, fd = -1;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return errand_fail(errand, "make a mount namespace");

	ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return errand_fail(errand, "open a mount namespace");

	fd = view_tmpfs();
	if (fd < 0)
		return errand_fail(errand, "make a tmpfs");

	/* On top of /, then it becomes the root and all else is let go: no file system of the host is held
	 * busy by the view. */
	if (move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(fd) < 0)
		return errand_fail(errand, "attach a tmpfs");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return errand_fail(errand, "leave the host's root file system");

	return TAKE_FD(ns);
}

int overlay_view_new(struct ct_error *err)
{
	struct errand errand = { .run = view_build };
	int r;

	r = errand_do(&errand);
	if (r < 0)
		return ct_error_set(err, r, "mount",
		        "cannot prepare a place to mount overlays: cannot %s: %s", errand.step, strerror(-r));

	return r;
}

/* With the flags of the overlay, whatever those of the store's or an image's mount are: where a container
 * goes, they must be the same. Private: what is mounted there on the host stays there. The clone has the
 * mount's shift of ids. */
static int native_clone(struct disk_native *native)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_RELATIME,
		.propagation = MS_PRIVATE,
		.attr_clr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR__ATIME,
	};
	int fd = open_tree(native->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (fd < 0)
		return -1;
	(void)close(native->fd);
	native->fd = fd;
	return mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

static int overlay_build(struct errand *errand)
{
	const struct overlay_spec *spec = errand->spec;
	_cleanup_close_ int fsfd = -1, fd = -1;

	/* The copy is ours alone: two processes that mount at once must never see each other's layers. */
	if (setns(errand->view_fd, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
		return errand_fail(errand, "enter the mount namespace");

	if (move_mount(spec->lower_fd, "", AT_FDCWD, "/" VIEW_LOWER, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return errand_fail(errand, "attach the lower layer");
	if (spec->upper_fd != spec->lower_fd &&
	        move_mount(spec->upper_fd, "", AT_FDCWD, "/" VIEW_UPPER, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return errand_fail(errand, "attach the upper layer");

	fsfd = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fsfd < 0)
		return errand_fail(errand, "find the overlay file system in this kernel");

	for (size_t i = 0; errand->options[i][0]; i++)
		if (fsconfig(fsfd, FSCONFIG_SET_STRING, errand->options[i][0], errand->options[i][1], 0) < 0)
			return errand_fail(errand, errand->options[i][0]);

	if (fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		int r = errand_fail(errand, "mount the overlay");

		(void)filesystem_says(fsfd, errand->said, sizeof(errand->said));
		return r;
	}

	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	if (fd < 0)
		return errand_fail(errand, "mount the overlay");

	for (size_t i = 0; spec->natives && i < spec->natives->n; i++)
		if (native_clone(&spec->natives->items[i]) < 0)
			return errand_fail(errand, "clone a native directory");

	return TAKE_FD(fd);
}

static int overlay_failed(int r, const struct errand *errand, struct ct_error *err)
{
	switch (-r) {
	case EBUSY:
		return ct_error_set(err, r, "mount",
		        "the disk is in use: its upper layer is mounted already, a container still runs on it");
	case ESTALE:
		return ct_error_set(err, r, "mount",
		        "the upper layer was written over another template, or the store was copied by a tool that does not keep file handles");
	default:
		return ct_error_set(err, r, "mount", "cannot %s: %s%s%s", errand->step, strerror(-r),
		        errand->said[0] ? ": " : "", errand->said);
	}
}

int overlay_mount(int view_fd, const struct overlay_spec *spec, struct ct_error *err)
{
	_cleanup_free_ char *lower = NULL, *upper = NULL, *work = NULL;
	const char *top = spec->upper_fd == spec->lower_fd ? VIEW_LOWER : VIEW_UPPER;
	_cleanup_close_ int fd = -1;
	struct statvfs st;

	lower = str_printf("/%s/%s", VIEW_LOWER, spec->lower_path);
	upper = str_printf("/%s/%s", top, spec->upper_path);
	work = str_printf("/%s/%s", top, spec->work_path);
	if (!lower || !upper || !work)
		return ct_error_set(err, -ENOMEM, "mount", "out of memory");

	const char *const options[][2] = {
		{ "source", "ctd" },
		{ "lowerdir", lower },
		{ "upperdir", upper },
		{ "workdir", work },
		{ "redirect_dir", "on" },
		{ "metacopy", "off" },
		{ "xino", "auto" },
		{ "index", spec->file_handles ? "on" : "off" },
		{ "nfs_export", spec->file_handles ? "on" : "off" },
		{ NULL, NULL },
	};
	struct errand errand = { .run = overlay_build, .view_fd = view_fd, .spec = spec, .options = options };

	fd = errand_do(&errand);
	if (fd < 0)
		return overlay_failed(fd, &errand, err);

	/* What it cannot set up in the upper layer it does not report: it mounts without. */
	if (fstatvfs(fd, &st) < 0 || (st.f_flag & ST_RDONLY))
		return ct_error_set(err, -EROFS, "mount",
		        "the overlay came up read-only; the upper layer is full, on a read-only file system, or on one that overlays cannot write to");

	return TAKE_FD(fd);
}
