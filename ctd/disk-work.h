/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making and resizing disks without keeping the event loop waiting. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "ctd/operate.h"

struct container;
struct manager;
struct disk_work;
struct limits;

/* To what the container's configuration says. A directory is done at once: 1. An image is the work of a
 * worker: 0, and done is called, with the error if it failed. */
int disk_work_create(struct container *c, operation_fn done, void *userdata, struct ct_error *err);
/* To the size of these limits, which need not be the container's own yet. */
int disk_work_resize(struct container *c, const struct limits *limits, operation_fn done, void *userdata,
        struct ct_error *err);

/* True if a name in the store's tmp/ is being built. */
bool disk_work_has(struct manager *m, const char *tmp_name);
/* For shutdown: the worker dies, nobody is called. NULL is accepted. */
void disk_work_free(struct disk_work *work);
