/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's disk as quota/ takes it. */
#pragma once

#include "quota/disk.h"

struct container;

/* From the record; strings are borrowed from it. */
void container_disk_spec(const struct container *c, struct disk_spec *ret);
