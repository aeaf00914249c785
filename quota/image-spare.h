/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside quota/: room in a disk image that the tenant cannot fill. */
#pragma once

#include "base/error.h"

/* Takes the spare room (some blocks and inodes) at the root of the image's file system; what is there already
 * is kept. */
int image_spare_take(int root_fd, struct ct_error *err);
/* Gives it back, and waits until it can be used. */
int image_spare_give(int root_fd, struct ct_error *err);
