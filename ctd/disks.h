/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's disk as quota/ takes it. */
#pragma once

#include "base/error.h"
#include "quota/disk.h"

struct container;

/* A project id for the container's files, where the file system of the store has project quota; within the
 * caller's transaction. */
int disks_lease(struct container *c, struct ct_error *err);
/* From the record; strings are borrowed from it. */
void container_disk_spec(const struct container *c, struct disk_spec *ret);
