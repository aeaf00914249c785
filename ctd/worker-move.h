/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ends of a container's move know of disks. */
#pragma once

#include <jansson.h>

#include "base/error.h"

/* params: DISK, as worker-move.c has it. An fd of the template's root; with ret_root_fd, there one of the
 * disk's, which is at rest. */
int move_open_disk(const json_t *params, int *ret_root_fd, struct ct_error *err);
