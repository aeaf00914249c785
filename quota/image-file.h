/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside quota/: the file of a disk image. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What was asked for, as opposed to what ext4 made of it; kept with the image. */
struct image_sold {
	uint64_t bytes, inodes;
};
int image_note_sold(int image_fd, const struct image_sold *sold, struct ct_error *err);
int image_sold(int image_fd, struct image_sold *ret, struct ct_error *err);

/* A copy under that name in dirfd, as sparse as the image; sharing blocks where the file system can. An fd.
 * Long. */
int image_copy(int dirfd, int image_fd, const char *name, struct ct_error *err);

bool image_has_cap_sys_resource(void);
