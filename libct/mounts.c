/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of a container.
 *
 * The child starts with a copy of its parent's mount namespace, owned by the container's user namespace. The
 * new root is attached on top of "/", which is the one place that every host has; absolute paths still lead
 * to the old root below it, and the new one is reached through its fd only. There is no path string that a
 * tenant's tree could bend: each target is one component below an fd, opened with openat2 and without links,
 * and mounted on by fd.
 *
 * Kernel interfaces come in as detached mounts (fsopen, fsmount) and are attached afterwards. A procfs or
 * sysfs can be made in a user namespace only while a fully visible one is in the mount namespace
 * (mount_too_revealing() in the kernel), that is before the old root is let go.
 *
 * A tenant has CAP_SYS_ADMIN over the mount namespace: masks, nodev, read-only he could take off again, if
 * lock.c did not see to it. So there are two parts: what is built first gets locked; what is built
 * afterwards, in the namespace that lock.c has made of it, the tenant may unmount as on a machine of his own
 * (device nodes, devpts, shm, cgroup).
 *
 * The root itself is nodev (device nodes of a template or a restored image are dead), but not nosuid: su and
 * sudo are the tenant's own affair, in a user namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"
#include "libct/mounts.h"
#include "libct/sys.h"

#define API_ATTR (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static int explain_new(const char *fstype, int code, struct ct_error *err)
{
	switch (-code) {
	case ENODEV: return ct_error_set(err, code, "mount", "this kernel has no %s", fstype);
	case EPERM:
		return ct_error_set(err, code, "mount",
		        "cannot mount a new %s: not permitted (a proc or sysfs needs a fully visible one in the caller's mount namespace)",
		        fstype);
	}
	return ct_error_set(err, code, "mount", "cannot mount a new %s: %s", fstype, sys_reason(code));
}

int mount_new(const char *fstype, const char *const *options, unsigned int attr, struct ct_error *err)
{
	_cleanup_close_ int fs = -1;

	fs = fsopen(fstype, FSOPEN_CLOEXEC);
	if (fs < 0)
		return explain_new(fstype, sys_error(), err);

	(void)fsconfig(
	        fs, FSCONFIG_SET_STRING, "source", fstype, 0); /* what mount(8) shows in its first column */
	for (; options && *options; options += 2)
		if (fsconfig(fs, FSCONFIG_SET_STRING, options[0], options[1], 0) < 0) {
			int r = sys_error();
			return ct_error_set(err, r, "mount", "%s does not take %s=%s: %s", fstype, options[0],
			        options[1], sys_reason(r));
		}

	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return explain_new(fstype, sys_error(), err);

	int fd = fsmount(fs, FSMOUNT_CLOEXEC, attr);
	return fd < 0 ? explain_new(fstype, sys_error(), err) : fd;
}

int mount_on_fd(int mount_fd, int target_fd, const char *name, struct ct_error *err)
{
	if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "mount", "cannot mount on \"%s\": %s", name, sys_reason(r));
	}
	return 0;
}

int mount_target(int dir_fd, const char *name, struct ct_error *err)
{
	int fd = open_beneath(dir_fd, name, O_PATH | O_DIRECTORY, 0);

	if (fd == -ENOENT) {
		if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST) {
			int r = sys_error();
			return ct_error_set(err, r, "mount",
			        "cannot make the directory \"%s\" in the container's root: %s", name,
			        sys_reason(r));
		}
		fd = open_beneath(dir_fd, name, O_PATH | O_DIRECTORY, 0);
	}

	if (fd == -ELOOP || fd == -ENOTDIR)
		return ct_error_set(err, fd, "mount",
		        "\"%s\" in the container's root is not a directory but a file or a symbolic link: it must be a directory or missing",
		        name);
	if (fd < 0)
		return ct_error_set(err, fd, "mount", "cannot open \"%s\" in the container's root: %s", name,
		        sys_reason(fd));
	return fd;
}

int mount_new_at(int dir_fd, const char *name, const char *fstype, const char *const *options,
        unsigned int attr, struct ct_error *err)
{
	_cleanup_close_ int target = -1, fd = -1;

	target = mount_target(dir_fd, name, err);
	if (target < 0)
		return target;

	fd = mount_new(fstype, options, attr, err);
	if (fd < 0)
		return fd;

	int r = mount_on_fd(fd, target, name, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int attach_root(int root_mount_fd, struct mounts *m, struct ct_error *err)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	struct mount_attr nodev = { .attr_set = MOUNT_ATTR_NODEV };

	/* What the host mounts from now on is no business of ours. */
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mount", "cannot make the mount namespace private: %s", sys_reason(r));
	}

	if (move_mount(root_mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) {
		int r = sys_error();
		if (r == -EINVAL)
			return ct_error_set(err, r, "mount",
			        "cannot attach the root filesystem: its fd is no detached mount, or was used for another start");
		return ct_error_set(err, r, "mount", "cannot attach the root filesystem: %s", sys_reason(r));
	}

	if (mount_setattr(root_mount_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &nodev, sizeof(nodev)) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mount", "cannot make the root filesystem nodev: %s", sys_reason(r));
	}

	m->root_fd = openat(root_mount_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root_fd < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mount", "the root filesystem is no directory: %s", sys_reason(r));
	}
	return 0;
}

static int build_proc(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int proc = mount_new_at(m->root_fd, "proc", "proc", NULL, API_ATTR, err);

	if (proc < 0)
		return proc;
	return spec->nesting ? 0 : mask_proc(proc, err);
}

static int build_sys(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	unsigned int readonly = spec->nesting ? 0 : MOUNT_ATTR_RDONLY;
	_cleanup_close_ int sys = mount_new_at(m->root_fd, "sys", "sysfs", NULL, API_ATTR | readonly, err);

	if (sys < 0)
		return sys;
	return spec->nesting ? 0 : mask_sys(sys, err);
}

/* A unit is masked by a link to /dev/null in the directory of runtime units. */
static int build_run_masks(const char *const *units, int run_fd, struct ct_error *err)
{
	_cleanup_close_ int dir = -1;

	if (!units || !*units)
		return 0;

	dir = mkdirs_in_root(run_fd, "systemd/system", 0755);
	if (dir < 0)
		return ct_error_set(
		        err, dir, "mount", "cannot make \"/run/systemd/system\": %s", sys_reason(dir));

	for (; *units; units++)
		if (symlinkat("/dev/null", dir, *units) < 0) {
			int r = sys_error();
			return ct_error_set(
			        err, r, "mount", "cannot mask the unit \"%s\": %s", *units, sys_reason(r));
		}
	return 0;
}

static int build_run(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int run = -1;
	char size[24];

	(void)snprintf(size, sizeof(size), "%llu",
	        (unsigned long long)(spec->run_bytes ? spec->run_bytes : 64ULL << 20));
	const char *const options[] = { "size", size, "mode", "0755", "nr_inodes", "65536", NULL };

	run = mount_new_at(m->root_fd, "run", "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	return run < 0 ? run : build_run_masks(spec->run_masks, run, err);
}

static int build_dev(struct mounts *m, struct ct_error *err)
{
	static const char *const options[] = { "size", "1m", "mode", "0755", "nr_inodes", "4096", NULL };
	_cleanup_close_ int dev = -1;

	dev = mount_new_at(m->root_fd, "dev", "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	return dev < 0 ? dev : 0;
}

int mounts_build_locked(const struct ct_spec *spec, int root_mount_fd, const int *bind_fds, struct mounts *m,
        struct ct_error *err)
{
	int r = dev_take_nodes(m, err);
	if (r < 0)
		return r;

	r = attach_root(root_mount_fd, m, err);
	if (r < 0)
		return r;

	r = build_proc(spec, m, err);
	if (r < 0)
		return r;

	r = build_sys(spec, m, err);
	if (r < 0)
		return r;

	r = build_dev(m, err);
	if (r < 0)
		return r;

	r = spec->nesting ? 0 : boot_id_build(m->root_fd, err);
	if (r < 0)
		return r;

	r = build_run(spec, m, err);
	return r < 0 ? r : binds_build(spec, bind_fds, m->root_fd, err);
}

int mounts_take_tree(const struct mounts *m, struct ct_error *err)
{
	int fd =
	        open_tree(m->root_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

	if (fd < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mount", "cannot clone the container's mounts: %s", sys_reason(r));
	}
	return fd;
}

int mounts_make_open(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	int r = dev_make_mounts(spec, m, err);
	if (r < 0)
		return r;

	m->cgroup_fd = mount_new("cgroup2", NULL, API_ATTR, err);
	return m->cgroup_fd < 0 ? m->cgroup_fd : 0;
}

static int attach_cgroup(const struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int target = open_beneath(m->root_fd, "sys/fs/cgroup", O_PATH | O_DIRECTORY, 0);

	if (target < 0)
		return ct_error_set(err, target, "mount", "this kernel's sysfs has no \"fs/cgroup\": %s",
		        sys_reason(target));
	return mount_on_fd(m->cgroup_fd, target, "/sys/fs/cgroup", err);
}

int mounts_build_open(const struct ct_spec *spec, int mntns_fd, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int dev = -1;

	/* Root and working directory become the root of the namespace. */
	if (setns(mntns_fd, CLONE_NEWNS) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mount", "cannot enter the container's mount namespace: %s", sys_reason(r));
	}

	fd_close(m->root_fd);
	m->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	dev = m->root_fd < 0 ? sys_error() : open_beneath(m->root_fd, "dev", O_PATH | O_DIRECTORY, 0);
	if (dev < 0)
		return ct_error_set(
		        err, dev, "mount", "cannot open the container's \"/dev\": %s", sys_reason(dev));

	int r = dev_build(spec, dev, m, err);
	if (r < 0)
		return r;

	r = spec->nesting ? boot_id_build(m->root_fd, err) : 0;
	return r < 0 ? r : attach_cgroup(m, err);
}
