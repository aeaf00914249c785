/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file of a disk image: what was sold of it, and a copy of it.
 *
 * The copy is what makes shrinking safe. On xfs and btrfs it shares all blocks (FICLONE) and costs nothing;
 * elsewhere it takes the space that the image takes, and the time to copy it. Holes stay holes.
 */
#include "quota/image-file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define SOLD_BYTES  "trusted.ctd.bytes"
#define SOLD_INODES "trusted.ctd.inodes"

static int note_number(int fd, const char *name, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return fsetxattr(fd, name, text, strlen(text), 0) < 0 ? -errno : 0;
}

static int read_number(int fd, const char *name, uint64_t *ret)
{
	char text[24];
	ssize_t n;

	n = fgetxattr(fd, name, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;

	text[n] = '\0';
	return parse_u64(text, ret);
}

int image_note_sold(int image_fd, const struct image_sold *sold, struct ct_error *err)
{
	int r;

	if ((r = note_number(image_fd, SOLD_BYTES, sold->bytes)) < 0 ||
	        (r = note_number(image_fd, SOLD_INODES, sold->inodes)) < 0)
		return ct_error_set(
		        err, r, "image", "cannot note the size of the disk image: %s", strerror(-r));

	return fsync(image_fd) < 0 ? ct_error_set(err, -errno, "image",
	                                     "cannot write the disk image through: %s", strerror(errno))
	                           : 0;
}

int image_sold(int image_fd, struct image_sold *ret, struct ct_error *err)
{
	int r;

	if ((r = read_number(image_fd, SOLD_BYTES, &ret->bytes)) < 0 ||
	        (r = read_number(image_fd, SOLD_INODES, &ret->inodes)) < 0)
		return ct_error_set(
		        err, r, "image", "the disk image lacks the note of its size: %s", strerror(-r));

	return 0;
}

static int copy_range(int from, int to, off_t start, off_t end)
{
	off_t out = start;

	while (start < end) {
		ssize_t n = copy_file_range(from, &start, to, &out, (size_t)(end - start), 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
	}

	return 0;
}

static int copy_data(int from, int to, off_t size)
{
	off_t data = 0, hole;
	int r;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;

	if (ftruncate(to, size) < 0)
		return -errno;

	while (data < size) {
		data = lseek(from, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno; /* a hole up to the end */

		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;

		r = copy_range(from, to, data, hole);
		if (r < 0)
			return r;
		data = hole;
	}

	return 0;
}

int image_copy(int dirfd, int image_fd, const char *name, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return ct_error_set(err, -errno, "image",
		        "cannot remove an earlier copy of the disk image: %s", strerror(errno));

	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(image_fd, &st) < 0)
		return ct_error_set(err, -errno, "image", "cannot copy the disk image: %s", strerror(errno));

	r = copy_data(image_fd, fd, st.st_size);
	if (r < 0) {
		(void)unlinkat(dirfd, name, 0); /* the error to tell is the one above */
		return ct_error_set(err, r, "image", "cannot copy the disk image: %s", strerror(-r));
	}

	return TAKE_FD(fd);
}

bool image_has_cap_sys_resource(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return false;

	return data[0].effective & (1U << CAP_SYS_RESOURCE);
}
