/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An ext4 file system in a file: made, measured, made larger and smaller. What runs e2fsprogs is long, for
 * workers. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define EXT4_IMAGE_MIN (16ULL << 20)

struct ext4_size {
	uint64_t bytes_total; /* what statfs shows: without the file system's own structures */
	uint64_t bytes_free;
	uint64_t inodes_total, inodes_free;
	uint64_t bytes_file; /* from the first block to the last */
};

/* Makes the empty file a file system in which bytes can be stored, and at least inodes inodes (0: one for 16
 * KiB). The file is longer than bytes by what ext4 needs for itself, and sparse. Not synced. Long (about 30
 * ms). */
int ext4_make(int fd, uint64_t bytes, uint64_t inodes, struct ct_error *err);

/* From the superblock in the file: right as of the last clean unmount. -EBADMSG. */
int ext4_read(int fd, struct ext4_size *ret, struct ct_error *err);

/* How long the file must be for another number of usable bytes; an estimate on the safe side, exact enough to
 * sell. */
uint64_t ext4_file_size_for(const struct ext4_size *now, uint64_t bytes);

/* While mounted: up to the end of the device. -EPERM: needs CAP_SYS_RESOURCE. */
int ext4_grow_mounted(int dir_fd, uint64_t file_size);

/* While not mounted: repairs, moves and cuts the file system to file_size and the file with it. The file is
 * not safe from a crash meanwhile. Long. */
int ext4_resize_file(int fd, uint64_t file_size, struct ct_error *err);
/* The smallest file_size that resize2fs thinks it can make. */
int ext4_minimum(int fd, uint64_t *ret, struct ct_error *err);
