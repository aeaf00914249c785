/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of the host's user ids that this instance gives to its containers. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct store;

/* Ranges have 2^29 ids, and the first that is given is the one behind that of the host's own users. */
#define IDS_RANGE_SHIFT 29
#define IDS_RANGE_FIRST 1

/* Claims one of the host's ranges for the instance, the one it had before if possible, and returns its first
 * id. tag: of the instance; state_dir: where its database is (a claim whose database is gone is void). */
int ids_claim(struct store *store, const char *tag, const char *state_dir, uint32_t *ret_start,
        struct ct_error *err);
