/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a file to the disk that carries it.
 *
 * /sys/dev/block/MAJ:MIN is a link into the device tree. A directory with a file "partition" is a partition,
 * its parent is the disk; "slaves/" holds the devices below a device-mapper or md device;
 * "loop/backing_file" names a loop device's file, whose file system is looked at in turn. io.max takes whole
 * devices only, and counts what is submitted to them: the topmost whole device sees each byte of the file
 * system once, while those at the bottom of a mirror see it twice. Weights work where requests wait, at the
 * bottom.
 *
 * Chains are bounded: a loop device may lie on another, but not for ever.
 */
#include "ctd/block.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/str.h"

#define DEPTH_MAX 8

static int open_device(int sys_fd, dev_t dev)
{
	char name[32];
	int fd;

	(void)snprintf(name, sizeof(name), "%u:%u", major(dev), minor(dev)); /* it fits */
	fd = openat(sys_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : errno == ENOENT ? -ENODEV : -errno;
}

static int read_number(int fd, const char *path, dev_t *ret)
{
	_cleanup_free_ char *text = NULL;
	unsigned maj = 0, min = 0;
	int r = read_file_at(fd, path, 64, &text, NULL);

	if (r < 0)
		return r;
	if (sscanf(text, "%u:%u", &maj, &min) != 2)
		return -EBADMSG;
	*ret = makedev(maj, min);
	return 0;
}

int block_whole(int sys_fd, dev_t dev, dev_t *ret)
{
	_cleanup_close_ int fd = open_device(sys_fd, dev);

	if (fd < 0)
		return fd;
	if (faccessat(fd, "partition", F_OK, 0) == 0)
		return read_number(fd, "../dev", ret);
	*ret = dev;
	return 0;
}

struct leaves {
	int sys_fd;
	dev_t *list;
	size_t n, max;
};

static int walk(struct leaves *l, dev_t dev, unsigned depth);

static void add_leaf(struct leaves *l, dev_t dev)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->list[i] == dev)
			return;
	if (l->n < l->max)
		l->list[l->n++] = dev;
}

static int walk_backing(struct leaves *l, int fd, dev_t dev, unsigned depth)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;
	int r = read_file_at(fd, "loop/backing_file", 8192, &path, NULL);

	if (r < 0)
		return r;
	path[strcspn(path, "\n")] = '\0';
	if (stat(path, &st) < 0 || major(st.st_dev) == 0 || walk(l, st.st_dev, depth) < 0)
		add_leaf(l, dev); /* its file cannot be seen from here: it is the lowest that is known */
	return 0;
}

/* 1: it has some. */
static int walk_slaves(struct leaves *l, int fd, unsigned depth)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	int found = 0;
	int slaves = openat(fd, "slaves", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (slaves < 0)
		return 0;
	dir = fdopendir(slaves);
	if (!dir) {
		(void)close(slaves); /* nothing was written */
		return -ENOMEM;
	}
	while ((e = readdir(dir))) {
		char path[300];
		dev_t below;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/dev", e->d_name); /* a name has at most 255 bytes */
		if (read_number(dirfd(dir), path, &below) == 0 && walk(l, below, depth) == 0)
			found = 1;
	}
	return found;
}

static int walk(struct leaves *l, dev_t dev, unsigned depth)
{
	_cleanup_close_ int fd = -1;
	dev_t whole;
	int r;

	if (depth == 0)
		return -ELOOP;
	r = block_whole(l->sys_fd, dev, &whole);
	if (r < 0)
		return r;
	fd = open_device(l->sys_fd, whole);
	if (fd < 0)
		return fd;
	if (faccessat(fd, "loop/backing_file", F_OK, 0) == 0)
		return walk_backing(l, fd, whole, depth - 1);
	r = walk_slaves(l, fd, depth - 1);
	if (r == 0)
		add_leaf(l, whole);
	return r < 0 ? r : 0;
}

int block_leaves(int sys_fd, dev_t dev, dev_t *ret, size_t max)
{
	struct leaves l = { .sys_fd = sys_fd, .list = ret, .max = max };
	int r = walk(&l, dev, DEPTH_MAX);

	return r < 0 ? r : (int)l.n;
}

/* The source of the mount that a file is in: btrfs and the like have device numbers of their own making. */
static int source_of(const struct stat *st, dev_t *ret)
{
	_cleanup_free_ char *text = NULL;
	char wanted[32], *line, *next;
	int r = read_file_at(AT_FDCWD, "/proc/self/mountinfo", 4 << 20, &text, NULL);

	if (r < 0)
		return r;
	(void)snprintf(wanted, sizeof(wanted), " %u:%u ", major(st->st_dev), minor(st->st_dev));
	next = text;
	while ((line = strsep(&next, "\n"))) {
		char *tail = strstr(line, " - "), source[256];
		struct stat device;

		if (!tail || !strstr(line, wanted) || sscanf(tail, " - %*s %255s", source) != 1)
			continue;
		if (source[0] == '/' && stat(source, &device) == 0 && S_ISBLK(device.st_mode)) {
			*ret = device.st_rdev;
			return 0;
		}
	}
	return -ENODEV;
}

int block_of_fd(int fd, dev_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (major(st.st_dev) == 0)
		return source_of(&st, ret);
	*ret = st.st_dev;
	return 0;
}
