/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Idle memory: what nobody touches is given back to the host (ctd.conf: idle-memory). */
#pragma once

#include "base/error.h"

struct manager;
struct idle;

/* Begins, if the node asks for it; else *ret is NULL. -EOPNOTSUPP where the kernel has no pressure accounting
 * or no memory.reclaim. */
int idle_new(struct manager *m, struct idle **ret, struct ct_error *err);
void idle_free(struct idle *idle);
