/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files and directories of the host side that a container is given.
 *
 * The sources are detached mounts when they get here (start.c clones what is not). The targets are paths
 * inside, and the tree belongs to the tenant: they are resolved with the container's root as "/", so a link
 * leads where it would lead the tenant, and never out. The kernel refuses to mount a file on a directory and
 * the reverse.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"
#include "libct/mounts.h"
#include "libct/sys.h"

/* Makes what target names: a directory, or an empty file in a directory that is made if need be. Returns an
 * O_PATH fd. */
static int make_target(int root_fd, const char *target, bool directory)
{
	_cleanup_close_ int dir = -1;
	const char *name = strrchr(target, '/');
	char parent[4096];

	if (directory) {
		dir = mkdirs_in_root(root_fd, target, 0755);
		return dir < 0 ? dir : open_in_root(dir, ".", O_PATH | O_DIRECTORY, 0);
	}

	name = name ? name + 1 : target;
	if ((size_t)(name - target) >= sizeof(parent))
		return -ENAMETOOLONG;
	(void)snprintf(parent, sizeof(parent), "%.*s/", (int)(name - target), target);

	dir = mkdirs_in_root(root_fd, parent, 0755);
	if (dir < 0)
		return dir;

	/* Not by open with O_CREAT: it would follow a dangling link, and wait for a fifo. */
	if (mknodat(dir, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
		return sys_error();

	return open_beneath(dir, name, O_PATH | O_NOFOLLOW, 0);
}

static int bind_one(int root_fd, const struct ct_bind *bind, int source_fd, struct ct_error *err)
{
	_cleanup_close_ int target = -1;
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	struct stat st;
	int r;

	target = open_in_root(root_fd, bind->target, O_PATH, 0);
	/* The source is looked at only where it must be: of a FUSE file system that asks its server, for
	 * which no start shall wait. */
	if (target == -ENOENT && bind->create && fstat(source_fd, &st) < 0) {
		r = sys_error();
		return ct_error_set(err, r, "bind", "cannot look at what is to be bound on \"%s\": %s",
		        bind->target, sys_reason(r));
	}
	if (target == -ENOENT && bind->create)
		target = make_target(root_fd, bind->target, S_ISDIR(st.st_mode));
	if (target < 0)
		return ct_error_set(err, target, "bind", "cannot bind on \"%s\" inside: %s", bind->target,
		        sys_reason(target));

	if (move_mount(source_fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
		r = sys_error();
		if (r == -EINVAL || r == -ENOTDIR || r == -ELOOP)
			return ct_error_set(err, r, "bind",
			        "cannot bind on \"%s\" inside: source and target must both be directories or both be files, and the source a detached mount",
			        bind->target);
		return ct_error_set(
		        err, r, "bind", "cannot bind on \"%s\" inside: %s", bind->target, sys_reason(r));
	}

	if (bind->readonly &&
	        mount_setattr(source_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof(readonly)) < 0) {
		r = sys_error();
		return ct_error_set(err, r, "bind", "cannot make \"%s\" inside read-only: %s", bind->target,
		        sys_reason(r));
	}
	return 0;
}

int binds_build(const struct ct_spec *spec, const int *bind_fds, int root_fd, struct ct_error *err)
{
	for (size_t i = 0; i < spec->n_binds; i++) {
		int r = bind_one(root_fd, &spec->binds[i], bind_fds[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}
