/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loop devices.
 *
 * LOOP_CONFIGURE (Linux 5.8) attaches in one step, so there is no moment at which a half-configured device
 * could be opened by udev. A free number that another process took meanwhile gives EBUSY, and the next is
 * tried.
 *
 * LO_FLAGS_AUTOCLEAR ties the device to its users: when the last mount goes, wherever it was, the kernel
 * detaches the file. Nobody has to remember it, and a crash leaves nothing. The device keeps the open file
 * itself (the same struct file that we hand in), so a lock taken on that fd with flock(2) holds for as long
 * as the file is attached: image.c builds on this.
 */
#include "quota/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LOOP_SECTOR   4096
#define LOOP_MAJOR_NO 7

static int loop_open(unsigned int number)
{
	_cleanup_close_ int fd = -1;
	char path[32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/dev/loop%u", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || major(st.st_rdev) != LOOP_MAJOR_NO)
		return -ENODEV;

	return TAKE_FD(fd);
}

int loop_attach(int file_fd, const char *name, struct ct_error *err)
{
	struct loop_config config = {
		.fd = (uint32_t)file_fd,
		.block_size = LOOP_SECTOR,
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO },
	};
	_cleanup_close_ int control = -1;

	(void)snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "%s", name);
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return ct_error_set(err, errno == ENOENT ? -EOPNOTSUPP : -errno, "loop",
		        "cannot open /dev/loop-control: %s; the kernel's loop module is needed for disk images",
		        strerror(errno));

	for (unsigned int attempt = 0; attempt < 100; attempt++) {
		_cleanup_close_ int fd = -1;
		int number;

		number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return ct_error_set(
			        err, -errno, "loop", "cannot get a free loop device: %s", strerror(errno));

		fd = loop_open((unsigned int)number);
		if (fd < 0)
			return ct_error_set(
			        err, fd, "loop", "cannot open /dev/loop%d: %s", number, strerror(-fd));

		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
			return TAKE_FD(fd);
		if (errno != EBUSY)
			return ct_error_set(err, -errno, "loop", "cannot attach \"%s\" to /dev/loop%d: %s",
			        name, number, strerror(errno));
	}

	return ct_error_set(err, -EBUSY, "loop", "others take each free loop device first; tried 100 times");
}

int loop_open_if(unsigned int number, int file_fd)
{
	_cleanup_close_ int fd = -1;
	struct loop_info64 info;
	struct stat st;

	fd = loop_open(number);
	if (fd < 0)
		return -ENODEV;

	/* lo_device has the same bits as st_dev for all numbers that there are (12 bits of major, 20 of
	 * minor). */
	if (fstat(file_fd, &st) < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 ||
	        info.lo_inode != st.st_ino || info.lo_device != st.st_dev)
		return -ENODEV;

	return TAKE_FD(fd);
}

int loop_number(int loop_fd, unsigned int *ret)
{
	struct loop_info64 info;

	if (ioctl(loop_fd, LOOP_GET_STATUS64, &info) < 0)
		return -errno;

	*ret = info.lo_number;
	return 0;
}

int loop_grew(int loop_fd)
{
	return ioctl(loop_fd, LOOP_SET_CAPACITY) < 0 ? -errno : 0;
}
