/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's /dev: a small tmpfs with the harmless device nodes of the host bound in.
 *
 * A user namespace cannot make device nodes, so the caller's are bound. Each is cloned into a detached mount first and
 * the clone's device number is looked at: what is mounted is what was checked. devpts is an instance of its own, so
 * ptmx is a link into it; the container's terminals are not the host's.
 *
 * /dev/console is a terminal of the container's own devpts if there is a console, else the null device, so that a
 * writer never blocks. /dev/kmsg, /dev/mem, /dev/fuse, /dev/net/tun and their like are not there; what a container
 * is to have beyond this comes as a bind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/path.h"
#include "libct/child.h"
#include "libct/mounts.h"
#include "libct/sys.h"

static const struct node {
	const char *name, *host_path;
	unsigned int major, minor;
} nodes[] = {
	{ "null", "/dev/null", 1, 3 },
	{ "zero", "/dev/zero", 1, 5 },
	{ "full", "/dev/full", 1, 7 },
	{ "random", "/dev/random", 1, 8 },
	{ "urandom", "/dev/urandom", 1, 9 },
	{ "tty", "/dev/tty", 5, 0 },
};

static const struct link {
	const char *name, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

/* An empty file to mount something on. Returns an O_PATH fd. */
static int make_mount_point(int dev_fd, const char *name, struct ct_error *err)
{
	int fd = mknodat(dev_fd, name, S_IFREG | 0644, 0) < 0 ? sys_error() : open_beneath(dev_fd, name, O_PATH, 0);

	if (fd < 0)
		return ct_error_set(err, fd, "dev", "cannot make \"/dev/%s\": %s", name, sys_reason(fd));
	return fd;
}

static int bind_node(int dev_fd, const struct node *node, struct ct_error *err)
{
	_cleanup_close_ int source = -1, target = -1;
	struct stat st;

	source = open_tree(AT_FDCWD, node->host_path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (source < 0 || fstat(source, &st) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "dev", "cannot take \"%s\" of the host: %s", node->host_path, sys_reason(r));
	}
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(node->major, node->minor))
		return ct_error_set(err, -ENODEV, "dev", "\"%s\" of the host is not the character device %u:%u",
		        node->host_path, node->major, node->minor);

	target = make_mount_point(dev_fd, node->name, err);
	if (target < 0)
		return target;

	return mount_on_fd(source, target, node->host_path, err);
}

/* A filesystem on a new directory in /dev. Returns the fd of its root. */
static int mount_in_dev(int dev_fd, const char *name, const char *fstype, const char *const *options, unsigned int attr,
        struct ct_error *err)
{
	_cleanup_close_ int target = -1, fd = -1;

	target = mount_target(dev_fd, name, err);
	if (target < 0)
		return target;

	fd = mount_new(fstype, options, attr, err);
	if (fd < 0)
		return fd;

	int r = mount_on_fd(fd, target, name, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int build_pts(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	char max[16];

	(void)snprintf(max, sizeof(max), "%u", spec->max_ptys ? spec->max_ptys : 1024);
	const char *const options[] = { "mode", "0620", "ptmxmode", "0666", "gid", "5", "max", max, NULL };

	m->pts_fd = mount_in_dev(m->dev_fd, "pts", "devpts", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	return m->pts_fd < 0 ? m->pts_fd : 0;
}

static int build_memory(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	char size[24];

	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)(spec->shm_bytes ? spec->shm_bytes : 64ULL << 20));
	const char *const options[] = { "size", size, "mode", "1777", NULL };

	int fd = mount_in_dev(m->dev_fd, "shm", "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	if (fd < 0)
		return fd;
	fd_close(fd);

	fd = mount_in_dev(m->dev_fd, "mqueue", "mqueue", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
	if (fd < 0)
		return fd;
	fd_close(fd);
	return 0;
}

/* The slave end is bound by its fd: its name in devpts is not needed. */
static int bind_console(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	static const struct node null = { "console", "/dev/null", 1, 3 };
	_cleanup_close_ int source = -1, target = -1;

	if (!spec->console)
		return bind_node(m->dev_fd, &null, err);

	int r = child_open_pty(m->pts_fd, "ptmx", &m->console_master, &m->console_slave, err);
	if (r < 0)
		return r;

	source = open_tree(m->console_slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (source < 0) {
		r = sys_error();
		return ct_error_set(err, r, "dev", "cannot clone the console's terminal: %s", sys_reason(r));
	}

	target = make_mount_point(m->dev_fd, "console", err);
	if (target < 0)
		return target;

	return mount_on_fd(source, target, "/dev/console", err);
}

int dev_build(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	static const char *const options[] = { "size", "1m", "mode", "0755", "nr_inodes", "4096", NULL };
	int r;

	m->dev_fd = mount_in_dev(m->root_fd, "dev", "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	if (m->dev_fd < 0)
		return m->dev_fd;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		r = bind_node(m->dev_fd, &nodes[i], err);
		if (r < 0)
			return r;
	}

	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i].target, m->dev_fd, links[i].name) < 0) {
			r = sys_error();
			return ct_error_set(err, r, "dev", "cannot make \"/dev/%s\": %s", links[i].name, sys_reason(r));
		}

	r = build_pts(spec, m, err);
	if (r < 0)
		return r;

	r = build_memory(spec, m, err);
	return r < 0 ? r : bind_console(spec, m, err);
}
