/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of a container.
 *
 * The child starts with a copy of its parent's mount namespace, owned by the container's user namespace. The new root is
 * attached on top of "/", which is the one place that every host has; absolute paths still lead to the old root below it,
 * and the new one is reached through its fd only. There is no path string that a tenant's tree could bend: each target
 * is one component below an fd, opened with openat2 and without links, and mounted on by fd.
 *
 * Kernel interfaces come in as detached mounts (fsopen, fsmount) and are attached afterwards. A procfs or sysfs can be
 * made in a user namespace only while a fully visible one is in the mount namespace, that is before the old root is let go
 * (mount_too_revealing() in the kernel).
 *
 * The root itself is nodev (device nodes of a template or a restored image are dead), but not nosuid: su and sudo are
 * the tenant's own affair, in a user namespace.
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
	case ENODEV:
		return ct_error_set(err, code, "mount", "this kernel has no %s", fstype);
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

	(void)fsconfig(fs, FSCONFIG_SET_STRING, "source", fstype, 0); /* what mount(8) shows in its first column */
	for (; options && *options; options += 2)
		if (fsconfig(fs, FSCONFIG_SET_STRING, options[0], options[1], 0) < 0) {
			int r = sys_error();
			return ct_error_set(
			        err, r, "mount", "%s does not take %s=%s: %s", fstype, options[0], options[1], sys_reason(r));
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
			return ct_error_set(
			        err, r, "mount", "cannot make the directory \"%s\" in the container's root: %s", name, sys_reason(r));
		}
		fd = open_beneath(dir_fd, name, O_PATH | O_DIRECTORY, 0);
	}

	if (fd == -ELOOP || fd == -ENOTDIR)
		return ct_error_set(err, fd, "mount",
		        "\"%s\" in the container's root is not a directory but a file or a symbolic link: it must be a directory or missing",
		        name);
	if (fd < 0)
		return ct_error_set(
		        err, fd, "mount", "cannot open \"%s\" in the container's root: %s", name, sys_reason(fd));
	return fd;
}

/* mount_new on dir_fd/name. The fd that is returned is the mount's root directory. */
static int mount_api(int dir_fd, const char *name, const char *fstype, const char *const *options, unsigned int attr,
        struct ct_error *err)
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
		return ct_error_set(err, r, "mount", "cannot make the mount namespace private: %s", sys_reason(r));
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
		return ct_error_set(err, r, "mount", "cannot make the root filesystem nodev: %s", sys_reason(r));
	}

	m->root_fd = openat(root_mount_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->root_fd < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "mount", "the root filesystem is no directory: %s", sys_reason(r));
	}
	return 0;
}

static int build_proc(const struct ct_spec *spec, int null_fd, struct mounts *m, struct ct_error *err)
{
	m->proc_fd = mount_api(m->root_fd, "proc", "proc", NULL, API_ATTR, err);
	if (m->proc_fd < 0)
		return m->proc_fd;

	return spec->nesting ? 0 : mask_proc(m->proc_fd, null_fd, err);
}

static int build_sys(const struct ct_spec *spec, int null_fd, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int sys = -1, cgroup_target = -1, cgroup = -1;
	unsigned int readonly = spec->nesting ? 0 : MOUNT_ATTR_RDONLY;

	sys = mount_api(m->root_fd, "sys", "sysfs", NULL, API_ATTR | readonly, err);
	if (sys < 0)
		return sys;

	cgroup_target = open_beneath(sys, "fs/cgroup", O_PATH | O_DIRECTORY, 0);
	if (cgroup_target < 0)
		return ct_error_set(err, cgroup_target, "mount", "this kernel's sysfs has no \"fs/cgroup\": %s",
		        sys_reason(cgroup_target));

	cgroup = mount_new("cgroup2", NULL, API_ATTR, err);
	if (cgroup < 0)
		return cgroup;

	int r = mount_on_fd(cgroup, cgroup_target, "/sys/fs/cgroup", err);
	if (r < 0)
		return r;

	return spec->nesting ? 0 : mask_sys(sys, null_fd, err);
}

/* A unit is masked by a link to /dev/null in the directory of runtime units. */
static int build_run_masks(const char *const *units, int run_fd, struct ct_error *err)
{
	_cleanup_close_ int dir = -1;

	if (!units || !*units)
		return 0;

	dir = mkdirs_in_root(run_fd, "systemd/system", 0755);
	if (dir < 0)
		return ct_error_set(err, dir, "mount", "cannot make \"/run/systemd/system\": %s", sys_reason(dir));

	for (; *units; units++)
		if (symlinkat("/dev/null", dir, *units) < 0) {
			int r = sys_error();
			return ct_error_set(err, r, "mount", "cannot mask the unit \"%s\": %s", *units, sys_reason(r));
		}
	return 0;
}

static int build_run(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int run = -1;
	char size[24];

	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)(spec->run_bytes ? spec->run_bytes : 64ULL << 20));
	const char *const options[] = { "size", size, "mode", "0755", "nr_inodes", "65536", NULL };

	run = mount_api(m->root_fd, "run", "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	return run < 0 ? run : build_run_masks(spec->run_masks, run, err);
}

int mounts_build(const struct ct_spec *spec, int root_mount_fd, const int *bind_fds, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int null_fd = -1;

	int r = attach_root(root_mount_fd, m, err);
	if (r < 0)
		return r;

	r = dev_build(spec, m, err);
	if (r < 0)
		return r;

	null_fd = open_beneath(m->dev_fd, "null", O_PATH, 0);
	if (null_fd < 0)
		return ct_error_set(err, null_fd, "mount", "cannot open the new \"/dev/null\": %s", sys_reason(null_fd));

	r = build_proc(spec, null_fd, m, err);
	if (r < 0)
		return r;

	r = build_sys(spec, null_fd, m, err);
	if (r < 0)
		return r;

	r = build_run(spec, m, err);
	if (r < 0)
		return r;

	return binds_build(spec, bind_fds, m->root_fd, err);
}

int mounts_pivot(struct mounts *m, struct ct_error *err)
{
	/* Both "." are the new root: the old one is mounted on top of it, is then what "." means, and goes. */
	if (fchdir(m->root_fd) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "mount", "cannot change to the container's root: %s", sys_reason(r));
	}
	return 0;
}
