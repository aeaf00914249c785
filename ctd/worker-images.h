/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The images of a dump as a row of bytes: of each file a line "NAME MODE SIZE", then what is in it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The images of the dump, or rounds (criu-rounds.h) from the first, which is 1, to the last that there is, or
 * both. */
struct images_part {
	bool dump;
	unsigned int first_round, last_round;
};

extern const struct images_part images_all, images_dump;

/* Their directory, which is nobody's project; is_new: it is made. A descriptor. */
int images_open(const char *path, bool is_new, struct ct_error *err);

/* How many bytes the row of the directory will have. */
int images_measure(int dir_fd, const struct images_part *part, uint64_t *ret, struct ct_error *err);
/* Writes it; sent is called in between, may end it, and is told how many bytes have gone since. */
int images_send(int dir_fd, const struct images_part *part, int out_fd,
        int (*sent)(uint64_t bytes, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err);
/* Makes the files of the next bytes of file_fd in a directory that has none of them. -EBADMSG: they are no
 * such row, or not of that part. A dump is linked to the last of its rounds by criu_rounds_link. */
int images_receive(
        int file_fd, uint64_t bytes, int dir_fd, const struct images_part *part, struct ct_error *err);
