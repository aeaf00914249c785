/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removing a tree that a tenant has filled.
 *
 * Dangers: a tree may be deeper than any stack or fd table; a directory may be swapped for a link, or moved,
 * while we are in it; something may be mounted in it. Rules:
 *
 * - A directory is entered only by openat2 with one component under NO_SYMLINKS and NO_XDEV, from the fd of
 * its parent, and emptied only through its fd. ".." is never used: a directory that was moved away would lead
 * us out of the tree.
 * - At most LEVELS directories are open. A deeper one is first moved up to a level near the top (its name
 * there is made by us), where a later pass finds it. So the work stays linear and memory constant.
 * - Where it cannot be moved (a full disk, a border of project quotas, a filesystem without RENAME_NOREPLACE)
 * the levels between the top and here are closed and forgotten. What is below is removed all the same, then
 * the top is read again: slower, but it ends, and a container on a full disk can be destroyed.
 * - What cannot be removed (a mount point, an immutable file) is left, everything else is removed, and the
 * first failure is returned. A directory that fills again while it is emptied is tried again only as long as
 * that removes something.
 */

#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define LEVELS 32

struct level {
	DIR *dir;
	bool again;               /* something was put in that this pass may not show */
	bool failed;              /* something in it could not be removed: it will not be empty */
	bool cut;                 /* its parent is not the level above: that one was closed */
	uint64_t removed;         /* removal.removed when this pass began */
	char child[NAME_MAX + 1]; /* the directory that the next level is */
};

struct removal {
	struct level levels[LEVELS];
	size_t n;
	uint64_t removed;
	uint32_t serial; /* of the names for directories moved up */
	int error;       /* the first failure */
};

static void removal_fail(struct removal *t, struct level *l, int error)
{
	if (l)
		l->failed = true;
	if (t->error == 0)
		t->error = error;
}

static int open_child(int dirfd, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		/* Not RESOLVE_BENEATH, which one component cannot leave anyway: a directory that is renamed
		 * meanwhile would be answered with EXDEV, as a mount point is. */
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	long fd;

	/* Without ".." in the path the kernel has no reason to answer EAGAIN again and again. */
	do {
		fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));

	return fd < 0 ? -errno : (int)fd;
}

static int push(struct removal *t, int consume_fd)
{
	struct level *l = &t->levels[t->n];

	DIR *dir = fdopendir(consume_fd);
	if (!dir) {
		int r = -errno;
		fd_close(consume_fd);
		return r;
	}

	l->dir = dir;
	l->again = l->failed = l->cut = false;
	l->removed = t->removed;
	t->n++;
	return 0;
}

/* Moves a directory out of the deepest level, to the highest one that takes it. */
static int move_up(struct removal *t, const char *name)
{
	int from = dirfd(t->levels[t->n - 1].dir), r = -EXDEV;

	for (size_t i = 0; i + 2 < t->n; i++) {
		char to[32];
		do {
			(void)snprintf(to, sizeof(to), ".removed-%08x", t->serial++);
			r = renameat2(from, name, dirfd(t->levels[i].dir), to, RENAME_NOREPLACE) < 0 ? -errno
			                                                                             : 0;
		} while (r == -EEXIST);

		if (r == 0)
			t->levels[i].again = true;
		if (r == 0 || r == -ENOENT)
			return 0;
	}

	return r;
}

/* Closes all levels but the first and the last. */
static void cut(struct removal *t)
{
	while (t->n > 2) {
		struct level *l = &t->levels[t->n - 2];
		closedirp(&l->dir);
		*l = t->levels[t->n - 1];
		t->n--;
	}
	t->levels[1].cut = true;
}

/* A directory in the deepest level. -ENOTDIR, -ELOOP: it is none. */
static int enter(struct removal *t, const char *name)
{
	struct level *l = &t->levels[t->n - 1];

	int fd = open_child(dirfd(l->dir), name);
	if (fd == -EXDEV)
		return -EBUSY; /* a mount point */
	if (fd < 0)
		return fd;

	if (t->n == LEVELS && move_up(t, name) == 0) {
		fd_close(fd);
		return 0;
	}
	if (t->n == LEVELS) {
		cut(t);
		l = &t->levels[t->n - 1];
	}

	(void)snprintf(l->child, sizeof(l->child), "%s", name); /* d_name is not longer */
	return push(t, fd);
}

/* Removes one entry of the deepest level, or enters it. What it is may change between the calls. */
static void remove_entry(struct removal *t, const char *name, bool is_dir)
{
	struct level *l = &t->levels[t->n - 1];
	int r = -EISDIR;

	for (int i = 0; i < 16; i++, is_dir = !is_dir) {
		if (is_dir)
			r = enter(t, name);
		else
			r = unlinkat(dirfd(l->dir), name, 0) < 0 ? -errno : 0;

		if (r == 0 && !is_dir)
			t->removed++;
		if (r == 0 || r == -ENOENT)
			return;
		if (r != (is_dir ? -ENOTDIR : -EISDIR) && !(is_dir && r == -ELOOP))
			break;
	}

	/* cut() may have moved the level. */
	removal_fail(t, &t->levels[t->n - 1], r);
}

/* The deepest level is read to its end. True: it has to be read again. */
static bool wants_pass(struct removal *t, struct level *l)
{
	if (!l->again)
		return false;

	l->again = false;
	l->removed = t->removed;
	rewinddir(l->dir);
	return true;
}

/* Leaves the deepest level and removes it from its parent. */
static void leave(struct removal *t)
{
	struct level *l = &t->levels[--t->n], *up = t->n > 0 ? &t->levels[t->n - 1] : NULL;
	bool progress = t->removed != l->removed;

	closedirp(&l->dir);
	if (!up)
		return;

	if (l->failed) {
		up->failed = true;
		return;
	}
	if (l->cut && progress) {
		up->again = true;
		return;
	}
	if (l->cut) {
		removal_fail(t, up, -ENOTEMPTY); /* somebody puts things back faster than we take them away */
		return;
	}

	/* It may have been filled again, or exchanged for something that is no directory. */
	if (unlinkat(dirfd(up->dir), up->child, AT_REMOVEDIR) == 0)
		t->removed++;
	else if ((errno == ENOTEMPTY || errno == ENOTDIR) && progress)
		up->again = true;
	else if (errno != ENOENT)
		removal_fail(t, up, -errno);
}

static void removal_run(struct removal *t)
{
	while (t->n > 0) {
		struct level *l = &t->levels[t->n - 1];

		errno = 0;
		const struct dirent *e = readdir(l->dir);
		if (e && (str_eq(e->d_name, ".") || str_eq(e->d_name, "..")))
			continue;
		if (e) {
			remove_entry(t, e->d_name, e->d_type == DT_DIR);
			continue;
		}

		if (errno != 0)
			removal_fail(t, l, -errno);
		else if (wants_pass(t, l))
			continue;
		leave(t);
	}
}

/* The directory that holds path's last component, and that component. An absolute path is the caller's own
 * and is followed; a relative one stays below dirfd. */
static int open_parent(int dirfd, const char *path, char **ret_name)
{
	_cleanup_free_ char *parent = NULL, *name = NULL;

	size_t len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	size_t start = len;
	while (start > 0 && path[start - 1] != '/')
		start--;

	name = strndup(path + start, len - start);
	parent = strndup(start > 0 ? path : ".", start > 0 ? start : 1);
	if (!name || !parent)
		return -ENOMEM;
	if (str_empty(name) || str_eq(name, ".") || str_eq(name, ".."))
		return -EINVAL;

	*ret_name = TAKE_PTR(name);
	if (path[0] != '/')
		return open_beneath(dirfd, parent, O_PATH | O_DIRECTORY, 0);

	int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Empties the directory once and removes it; -ENOTEMPTY if something came up meanwhile. */
static int remove_directory(struct removal *t, int parent, const char *name, int consume_fd)
{
	int r = push(t, consume_fd);
	if (r < 0)
		return r;

	removal_run(t);
	if (t->error < 0)
		return t->error;

	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int remove_top(int parent, const char *name)
{
	_cleanup_free_ struct removal *t = calloc(1, sizeof(*t));
	uint64_t before;
	int r;

	if (!t)
		return -ENOMEM;

	do {
		before = t->removed;

		int fd = open_child(parent, name);
		if (fd == -EXDEV)
			return -EBUSY; /* a mount point */
		if (fd == -ENOTDIR || fd == -ELOOP)
			return unlinkat(parent, name, 0) < 0 ? -errno : 0;
		if (fd < 0)
			return fd;

		r = remove_directory(t, parent, name, fd);
	} while ((r == -ENOTEMPTY || r == -ENOTDIR) && t->error == 0 && t->removed != before);

	/* Directories and others are exchanged faster than we look: it is not empty, and that is all. */
	return r == -ENOTDIR || r == -EISDIR || r == -ELOOP ? -ENOTEMPTY : r;
}

int remove_tree_at(int dirfd, const char *path)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int parent = -1;

	parent = open_parent(dirfd, path, &name);
	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;

	int r = remove_top(parent, name);
	return r == -ENOENT ? 0 : r;
}
