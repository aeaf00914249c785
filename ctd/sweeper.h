/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removes what was discarded from the store, in a worker: the trash, what interrupted builds left in tmp/,
 * and template images that nobody names or uses any more. */
#pragma once

#include "base/error.h"

struct manager;
struct sweeper;

int sweeper_new(struct manager *m, struct sweeper **ret, struct ct_error *err);
/* Something was discarded: a sweep starts soon, one at a time. NULL is accepted. */
void sweeper_kick(struct sweeper *sweeper);
/* Ends a sweep that is at work; the next start of ctd goes on with it. NULL is accepted. */
void sweeper_free(struct sweeper *sweeper);
