/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's /dev: a small tmpfs with the harmless device nodes of the host bound in.
 *
 * A user namespace cannot make device nodes, so the caller's are bound. Each is cloned into a detached mount
 * first, while the host's tree is still in sight, and the clone's device number is looked at: what is mounted
 * is what was checked. devpts is an instance of its own, so ptmx is a link into it; the container's terminals
 * are not the host's.
 *
 * /dev/console is a terminal of the container's own devpts if there is a console, else the null device, so
 * that a writer never blocks. /dev/kmsg, /dev/mem, /dev/fuse, /dev/net/tun and their like are not there; what
 * a container is to have beyond this comes as a bind.
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
	int fd = mknodat(dev_fd, name, S_IFREG | 0644, 0) < 0 ? sys_error()
	                                                      : open_beneath(dev_fd, name, O_PATH, 0);

	if (fd < 0)
		return ct_error_set(err, fd, "dev", "cannot make \"/dev/%s\": %s", name, sys_reason(fd));
	return fd;
}

static int take_node(const struct node *node, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open_tree(AT_FDCWD, node->host_path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "dev", "cannot take \"%s\" of the host: %s", node->host_path, sys_reason(r));
	}
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(node->major, node->minor))
		return ct_error_set(err, -ENODEV, "dev",
		        "\"%s\" of the host is not the character device %u:%u", node->host_path, node->major,
		        node->minor);
	return TAKE_FD(fd);
}

int dev_take_nodes(struct mounts *m, struct ct_error *err)
{
	_Static_assert(ARRAY_SIZE(nodes) <= DEV_NODES_MAX, "room for every node");

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		m->node_fds[i] = take_node(&nodes[i], err);
		if (m->node_fds[i] < 0)
			return m->node_fds[i];
	}
	return 0;
}

static int bind_mount(int dev_fd, int source_fd, const char *name, struct ct_error *err)
{
	_cleanup_close_ int target = make_mount_point(dev_fd, name, err);

	return target < 0 ? target : mount_on_fd(source_fd, target, name, err);
}

static int make_pts(const struct ct_spec *spec, struct ct_error *err)
{
	char max[16];

	(void)snprintf(max, sizeof(max), "%u", spec->max_ptys ? spec->max_ptys : 1024);
	const char *const options[] = { "mode", "0620", "ptmxmode", "0666", "gid", "5", "max", max, NULL };

	return mount_new("devpts", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
}

static int make_shm(const struct ct_spec *spec, struct ct_error *err)
{
	char size[24];

	(void)snprintf(size, sizeof(size), "%llu",
	        (unsigned long long)(spec->shm_bytes ? spec->shm_bytes : 64ULL << 20));
	const char *const options[] = { "size", size, "mode", "1777", NULL };

	return mount_new("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

int dev_make_mounts(const struct ct_spec *spec, struct mounts *m, struct ct_error *err)
{
	m->pts_fd = make_pts(spec, err);
	if (m->pts_fd < 0)
		return m->pts_fd;

	m->shm_fd = make_shm(spec, err);
	if (m->shm_fd < 0)
		return m->shm_fd;

	m->mqueue_fd =
	        mount_new("mqueue", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
	return m->mqueue_fd < 0 ? m->mqueue_fd : 0;
}

static int attach_in_dev(int dev_fd, const char *name, int mount_fd, struct ct_error *err)
{
	_cleanup_close_ int target = mount_target(dev_fd, name, err);

	return target < 0 ? target : mount_on_fd(mount_fd, target, name, err);
}

static int attach_mounts(int dev_fd, struct mounts *m, struct ct_error *err)
{
	int r = attach_in_dev(dev_fd, "pts", m->pts_fd, err);
	if (r < 0)
		return r;

	r = attach_in_dev(dev_fd, "shm", m->shm_fd, err);
	if (r < 0)
		return r;

	return attach_in_dev(dev_fd, "mqueue", m->mqueue_fd, err);
}

/* A clone of the slave end, by its fd. */
static int build_console(int dev_fd, struct mounts *m, struct ct_error *err)
{
	_cleanup_close_ int source = -1;

	int r = child_open_pty(m->pts_fd, "ptmx", &m->console_master, &m->console_slave, err);
	if (r < 0)
		return r;

	source = open_tree(m->console_slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (source < 0) {
		r = sys_error();
		return ct_error_set(
		        err, r, "dev", "cannot clone what is to be \"/dev/console\": %s", sys_reason(r));
	}
	return bind_mount(dev_fd, source, "console", err);
}

int dev_build(const struct ct_spec *spec, int dev_fd, struct mounts *m, struct ct_error *err)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		r = bind_mount(dev_fd, m->node_fds[i], nodes[i].name, err);
		if (r < 0)
			return r;
	}

	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i].target, dev_fd, links[i].name) < 0) {
			r = sys_error();
			return ct_error_set(
			        err, r, "dev", "cannot make \"/dev/%s\": %s", links[i].name, sys_reason(r));
		}

	r = attach_mounts(dev_fd, m, err);
	return r < 0 || !spec->console ? r : build_console(dev_fd, m, err);
}
