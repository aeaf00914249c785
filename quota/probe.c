/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the store can do, found out by doing it: a real idmapped overlay over two empty directories below
 * tmp/, which are gone again when the answer is there. Names of file systems and versions of kernels are not
 * asked, except to name a remedy.
 *
 * The probe needs a user namespace to shift ids with. libct makes those for containers; this is the smallest
 * one that will do.
 */
#include "quota/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"
#include "quota/overlay.h"
#include "quota/probe.h"
#include "quota/project.h"
#include "quota/store.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif

static const struct {
	unsigned long magic;
	const char *name;
} filesystems[] = {
	{ EXT4_SUPER_MAGIC, "ext4" },
	{ XFS_SUPER_MAGIC, "xfs" },
	{ BTRFS_SUPER_MAGIC, "btrfs" },
	{ TMPFS_MAGIC, "tmpfs" },
	{ OVERLAYFS_SUPER_MAGIC, "overlay" },
	{ F2FS_SUPER_MAGIC, "f2fs" },
	{ NFS_SUPER_MAGIC, "nfs" },
	{ ZFS_SUPER_MAGIC, "zfs" },
};

static void probe_filesystem(int fd, struct disk_probe *ret)
{
	struct statfs st;

	(void)snprintf(ret->filesystem, sizeof(ret->filesystem), "unknown");
	if (fstatfs(fd, &st) < 0)
		return;

	(void)snprintf(ret->filesystem, sizeof(ret->filesystem), "0x%lx", (unsigned long)st.f_type);
	for (size_t i = 0; i < ARRAY_SIZE(filesystems); i++)
		if ((unsigned long)st.f_type == filesystems[i].magic)
			(void)snprintf(ret->filesystem, sizeof(ret->filesystem), "%s", filesystems[i].name);

	ret->bytes_total = (uint64_t)st.f_blocks * (uint64_t)st.f_frsize;
	ret->bytes_free = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
	ret->inodes_total = st.f_files;
	ret->inodes_free = st.f_ffree;
}

/* The child only is, until its namespace has been opened: until our end of the socket is closed, be it by our
 * death. */
static pid_t userns_child(int our_end, int its_end)
{
	char byte = 0;
	pid_t pid;

	pid = fork();
	if (pid != 0)
		return pid < 0 ? -errno : pid;

	(void)close(our_end);
	if (unshare(CLONE_NEWUSER) == 0 && write(its_end, &byte, 1) == 1)
		(void)read_all(its_end, &byte, 1);
	_exit(0);
}

static int userns_map(pid_t pid, uint32_t base_id)
{
	_cleanup_close_ int proc = -1, ns = -1;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return -errno;

	if ((r = write_file_printf_at(proc, "uid_map", "0 %u 65536\n65536 0 1\n", (unsigned)base_id)) < 0 ||
	        (r = write_file_printf_at(proc, "gid_map", "0 %u 65536\n65536 0 1\n", (unsigned)base_id)) < 0)
		return r;

	ns = openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
	return ns < 0 ? -errno : TAKE_FD(ns);
}

int probe_userns_new(uint32_t base_id)
{
	_cleanup_close_ int ours = -1, its = -1;
	int fds[2], r;
	pid_t pid;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	its = fds[1];

	pid = userns_child(ours, its);
	if (pid < 0)
		return pid;

	its = fd_close(its);
	r = read_all(ours, &byte, 1) == 1 ? userns_map(pid, base_id) : -EPERM;
	ours = fd_close(ours);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;

	return r;
}

static bool can_decode_handles(int mount_fd)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = MAX_HANDLE_SZ };
	_cleanup_close_ int fd = -1, root = -1;
	int mount_id;

	root = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a mount fd is an O_PATH one */
	if (root < 0)
		return false;

	if (name_to_handle_at(root, "", &u.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return false;

	fd = open_by_handle_at(root, &u.handle, O_PATH | O_CLOEXEC);
	return fd >= 0;
}

/* A file made by the container's root must be on disk as 0's: that is what the shift is for. */
static bool ids_are_shifted(int mount_fd, int upper_fd, uint32_t base_id)
{
	struct stat st;

	return fchownat(mount_fd, "", base_id, base_id, AT_EMPTY_PATH) == 0 && fstat(mount_fd, &st) == 0 &&
	       st.st_uid == base_id && fstatat(upper_fd, "upper", &st, 0) == 0 && st.st_uid == 0;
}

static void probe_overlay(struct disk_store *store, const char *name, struct disk_probe *ret)
{
	const uint32_t base_id = 0x10000;
	_cleanup_close_ int dirfd = -1, userns = -1, tree = -1, view = -1, mount_fd = -1;

	dirfd = open_or_mkdir(store->tmp_fd, name, 0700);
	if (dirfd < 0 || mkdirat(dirfd, "lower", 0700) < 0 || mkdirat(dirfd, "upper", 0700) < 0 ||
	        mkdirat(dirfd, "work", 0700) < 0)
		return;

	userns = probe_userns_new(base_id);
	view = overlay_view_new(NULL);
	if (userns < 0 || view < 0)
		return;

	tree = tree_clone(dirfd, userns, NULL);
	if (tree < 0)
		return;

	mount_fd = overlay_mount(view,
	        &(struct overlay_spec){
	                .lower_fd = tree,
	                .upper_fd = tree,
	                .lower_path = "lower",
	                .upper_path = "upper",
	                .work_path = "work",
	                .file_handles = store->file_handles,
	        },
	        NULL);
	if (mount_fd < 0)
		return;

	ret->idmapped_layers = ids_are_shifted(mount_fd, dirfd, base_id);
	ret->overlay_nfs_export = store->file_handles && can_decode_handles(mount_fd);
}

void disk_probe_limits(struct disk_store *store, struct disk_probe *ret)
{
	*ret = (struct disk_probe){ 0 };
	probe_filesystem(store->fd, ret);
	ret->project_quota = project_quota_enforced(store->fd);
	project_quota_remedy(
	        store->fd, store->path, ret->project_quota_remedy, sizeof(ret->project_quota_remedy));
	ret->image = access("/dev/loop-control", R_OK | W_OK) == 0 && process_find("mkfs.ext4") == 0;
}

int disk_probe(struct disk_store *store, struct disk_probe *ret, struct ct_error *err)
{
	char name[64];
	int r;

	disk_probe_limits(store, ret);
	(void)snprintf(name, sizeof(name), "probe-%d", (int)getpid());
	probe_overlay(store, name, ret);
	r = remove_tree_at(store->tmp_fd, name);
	if (r < 0)
		return ct_error_set(err, r, "probe", "cannot remove \"%s\" from the store \"%s\": %s", name,
		        store->path, strerror(-r));

	return 0;
}
