/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths below a directory fd that somebody else may control.
 *
 * openat2(2) (Linux 5.6) resolves a whole path under one rule, in the kernel, so that a component which is
 * swapped for a symlink in between changes nothing. Checking components ourselves and opening the path
 * afterwards would be the race that every container runtime has had. There is no fallback: a kernel without
 * openat2 is below our baseline.
 *
 * The kernel answers EAGAIN when a rename anywhere in the system makes it lose track of ".." during such a
 * walk. It is tried again, but not for ever: a tenant that renames in a loop gets its error.
 *
 * The tenant's rule is IN_ROOT (links are followed, "/" is the directory fd); our own trees have no links and
 * get the stricter BENEATH and NO_SYMLINKS. While a tenant runs, it also mounts: what is opened below one of
 * its mounts may be answered by a process that never answers (FUSE), and whoever asked hangs with it. NO_XDEV
 * keeps out of them.
 */

#include "base/path.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define RETRIES 128

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = resolve,
	};

	/* openat2 refuses what open ignores: a mode without creation, and flags that mean nothing with
	 * O_PATH. */
	if (!(flags & O_PATH))
		how.flags |= O_NOCTTY;
	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE)
		how.mode = mode & 07777;

	for (int i = 0; i < RETRIES; i++) {
		long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}

	return -EAGAIN;
}

int open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(rootfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int open_in_mount(int rootfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(
	        rootfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(dirfd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

int open_beneath_mount(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(
	        dirfd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* By which rule. */
typedef int open_fn(int rootfd, const char *path, int flags, mode_t mode);

/* Opens the directory that path names, after making it in parent, where name is its last component. */
static int make_dir(open_fn *open_in, int rootfd, int parent, const char *path, const char *name, mode_t mode)
{
	/* Does not follow a link that is the last component; a dangling one gives EEXIST here and ENOENT
	 * below. */
	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
		return -errno;

	return open_in(rootfd, path, O_RDONLY | O_DIRECTORY, 0);
}

/* The umask applies to mode. Each prefix of the path is resolved anew from rootfd: a walk from fd to fd would
 * take the links in it relative to the wrong root. Parents are held open, so that what is made is made where
 * the path led at that moment. */
static int make_dirs(open_fn *open_in, int rootfd, const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = NULL;
	_cleanup_close_ int fd = -1;

	fd = open_in(rootfd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 || fd != -ENOENT || str_empty(path))
		return TAKE_FD(fd);

	copy = strdup(path);
	if (!copy)
		return -ENOMEM;

	fd = open_in(rootfd, ".", O_RDONLY | O_DIRECTORY, 0);
	for (char *name = copy; fd >= 0;) {
		name += strspn(name, "/");
		if (!*name)
			break;

		char *end = name + strcspn(name, "/"), kept = *end;
		*end = '\0';

		int next = open_in(rootfd, copy, O_RDONLY | O_DIRECTORY, 0);
		if (next == -ENOENT)
			next = make_dir(open_in, rootfd, fd, copy, name, mode);

		fd_close(fd);
		fd = next;
		*end = kept;
		name = end;
	}

	return TAKE_FD(fd);
}

int mkdirs_in_root(int rootfd, const char *path, mode_t mode)
{
	return make_dirs(open_in_root, rootfd, path, mode);
}

int mkdirs_in_mount(int rootfd, const char *path, mode_t mode)
{
	return make_dirs(open_in_mount, rootfd, path, mode);
}

/* dirfd/path is trusted up to its last component, which may not be a link. The mode is set whatever the umask
 * is. */
int open_or_mkdir(int dirfd, const char *path, mode_t mode)
{
	_cleanup_close_ int fd = -1;

	bool made = mkdirat(dirfd, path, mode) == 0;
	if (!made && errno != EEXIST)
		return -errno;

	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (made && fchmod(fd, mode) < 0)
		return -errno;

	return TAKE_FD(fd);
}

/* A new file beside path, its name in *ret_name. */
static int create_aside(int dirfd, const char *path, char **ret_name)
{
	for (int i = 0; i < RETRIES; i++) {
		uint32_t random;
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -EIO; /* so few bytes are never cut short */

		_cleanup_free_ char *name = str_printf("%s.%08x", path, random);
		if (!name)
			return -ENOMEM;

		int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return -errno;

		*ret_name = TAKE_PTR(name);
		return fd;
	}

	return -EEXIST;
}

/* Makes a rename in path's directory durable. */
static int sync_parent(int dirfd, const char *path)
{
	_cleanup_free_ char *parent = NULL;
	_cleanup_close_ int fd = -1;

	const char *slash = strrchr(path, '/');
	parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!parent)
		return -ENOMEM;

	fd = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;

	return 0;
}

static int fill_file(int fd, const void *data, size_t len, mode_t mode, bool durable)
{
	int r = write_all(fd, data, len);
	if (r < 0)
		return r;

	if (fchmod(fd, mode) < 0)
		return -errno;
	if (durable && fsync(fd) < 0)
		return -errno;

	return 0;
}

/* The directories in path are trusted; what path itself names is replaced, not followed. */
int replace_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int fd = -1;

	fd = create_aside(dirfd, path, &name);
	if (fd < 0)
		return fd;

	int r = fill_file(fd, data, len, mode, durable);
	if (r == 0 && renameat(dirfd, name, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dirfd, name, 0); /* r is the failure that matters */
		return r;
	}

	return durable ? sync_parent(dirfd, path) : 0;
}
