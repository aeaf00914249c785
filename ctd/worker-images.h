/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The images of a dump as a row of bytes: of each file a line "NAME MODE SIZE", then what is in it. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* How many bytes the row of the directory will have. */
int images_measure(int dir_fd, uint64_t *ret, struct ct_error *err);
/* Writes it; sent is called in between, may end it, and is told how many bytes have gone since. */
int images_send(int dir_fd, int out_fd, int (*sent)(uint64_t bytes, void *userdata, struct ct_error *err),
        void *userdata, struct ct_error *err);
/* Makes the files of the next bytes of file_fd in an empty directory. -EBADMSG: they are no such row. */
int images_receive(int file_fd, uint64_t bytes, int dir_fd, struct ct_error *err);
