/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which block devices carry a file system, as /sys/dev/block tells. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define BLOCK_LEAVES_MAX 16

/* The device that a file system's bytes pass as a whole: the disk of a partition; a device-mapper, md or loop
 * device itself. sys_fd: an O_PATH fd of /sys/dev/block. -ENODEV: it is on no block device. */
int block_whole(int sys_fd, dev_t dev, dev_t *ret);
/* The disks at the bottom, found through partitions, device-mapper, md and loop. The number of them; more
 * than max are left out. */
int block_leaves(int sys_fd, dev_t dev, dev_t *ret, size_t max);
/* What an open file's file system lies on. Its device number if it has one, else (btrfs) that of the source
 * in mountinfo. -ENODEV. */
int block_of_fd(int fd, dev_t *ret);
