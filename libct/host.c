/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this host can do, found out by doing.
 *
 * Version numbers lie (distributions backport, and switch off), so each feature is tried on something that
 * goes away by itself: a cgroup with a name of our own that is removed again, a detached mount, a helper's
 * namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "libct/ct.h"
#include "libct/sys.h"

static void find_cgroup2(struct ct_host *host)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (statfs(places[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
			(void)snprintf(host->cgroup_mount, sizeof(host->cgroup_mount), "%s", places[i]);
			host->cgroup_v2 = true;
			return;
		}
}

static void read_controllers(struct ct_host *host, int root_fd)
{
	_cleanup_free_ char *text = NULL;

	if (read_file_at(root_fd, "cgroup.controllers", 4096, &text, NULL) < 0)
		return;

	text[strcspn(text, "\n")] = '\0';
	(void)snprintf(host->cgroup_controllers, sizeof(host->cgroup_controllers), "%s", text);
}

/* A child that is born in the cgroup and exits at once. */
static bool try_clone_into(int cgroup_fd)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd
	};

	pid_t pid = sys_clone3(&args);
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return false;

	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return true;
}

static void probe_cgroup(struct ct_host *host)
{
	_cleanup_close_ int root = -1, fd = -1;
	char name[48];

	root = open(host->cgroup_mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return;
	read_controllers(host, root);

	(void)snprintf(name, sizeof(name), "ct-probe-%d", (int)getpid());
	fd = ct_cgroup_new(root, name, NULL);
	if (fd < 0)
		return;

	host->cgroup_kill = faccessat(fd, "cgroup.kill", W_OK, 0) == 0;
	host->cgroup_freeze = faccessat(fd, "cgroup.freeze", W_OK, 0) == 0;
	host->clone_into_cgroup = try_clone_into(fd);
	host->cgroup_devices = ct_cgroup_set_devices(fd, NULL, 0, NULL) == 0;
	(void)ct_cgroup_remove(root, name, NULL); /* empty and ours: a failure shows as a leftover in fsck */
}

static int try_time_namespace(void *arg)
{
	return unshare(CLONE_NEWTIME) < 0 ? sys_error() : 0;
}

/* A detached tmpfs with the directories that an overlay of it needs. */
static int new_tmpfs(void)
{
	static const char *const names[] = { "lower", "upper", "work" };
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), top = -1;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return sys_error();

	top = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (top < 0)
		return sys_error();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (mkdirat(top, names[i], 0755) < 0)
			return sys_error();
	return TAKE_FD(top);
}

static int new_overlay(void)
{
	_cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", "lower", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", "upper", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "workdir", "work", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return sys_error();
	return 0;
}

/* In the helper's own mount namespace: an overlay whose lower layer is an idmapped mount of the root
 * filesystem. */
static int try_idmapped_overlay(void *arg)
{
	const int *userns = arg;
	struct mount_attr private = { .propagation = MS_PRIVATE };
	struct mount_attr idmap = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)*userns };
	_cleanup_close_ int layer = -1, top = -1;

	layer = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (layer < 0 || mount_setattr(layer, "", AT_EMPTY_PATH, &idmap, sizeof(idmap)) < 0)
		return sys_error();

	top = new_tmpfs();
	if (top < 0)
		return top;

	/* Attached on top of "/", which hides nothing from us: paths still begin below it. */
	if (unshare(CLONE_NEWNS) < 0 ||
	        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)) < 0 ||
	        move_mount(top, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	        move_mount(layer, "", top, "lower", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(top) < 0)
		return sys_error();

	return new_overlay();
}

static bool has_idmapped_overlay(void)
{
	_cleanup_close_ int userns = ct_idmap_userns_new(CT_ID_COUNT, NULL);

	return userns >= 0 && helper_run(try_idmapped_overlay, &userns, NULL) == 0;
}

int ct_host_probe(struct ct_host *ret, struct ct_error *err)
{
	if (!ret)
		return -EINVAL;

	*ret = (struct ct_host){ 0 };

	int fd = open_beneath(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0);
	ret->openat2 = fd >= 0;
	fd_close(fd);

	uint32_t action = SECCOMP_RET_ERRNO;
	ret->seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
	ret->time_namespace = helper_run(try_time_namespace, NULL, NULL) == 0;
	ret->idmapped_overlay = has_idmapped_overlay();

	find_cgroup2(ret);
	if (ret->cgroup_v2)
		probe_cgroup(ret);
	return 0;
}
