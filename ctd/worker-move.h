/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ends of a container's move know of disks. */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct disk_spec;
struct disk_store;

/* params: DISK, as worker-move.c has it. What it says, borrowed from it, and the store. */
int move_open_store(
        const json_t *params, struct disk_spec *ret, struct disk_store **ret_store, struct ct_error *err);
/* An fd of the template's root; with ret_root_fd, there one of the disk's, which is at rest. */
int move_open_disk(const json_t *params, int *ret_root_fd, struct ct_error *err);
