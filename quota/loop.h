/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loop devices: a file as a disk. */
#pragma once

#include "base/error.h"

/* Attaches the file, read-write, to a free loop device: direct I/O where file and device allow, 4096-byte
 * sectors, detached by the kernel when nobody has it open or mounted any more. name is what losetup(8) shows.
 * Returns an fd of the device. */
int loop_attach(int file_fd, const char *name, struct ct_error *err);

/* The device with that number, if the file is attached to it; -ENODEV. Returns an fd. */
int loop_open_if(unsigned int number, int file_fd);

/* Of an fd of a loop device. */
int loop_number(int loop_fd, unsigned int *ret);

/* Tells the device that its file grew. */
int loop_grew(int loop_fd);
