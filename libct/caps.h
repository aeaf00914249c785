/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Credentials of a process that is about to execute a tenant's program. In the child. Not installed. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Becomes root of the user namespace it is in, with no supplementary groups. Capabilities stay full. */
int caps_become_root(struct ct_error *err);
/* Reduces the bounding set to mask and clears what could bring capabilities back: ambient set, keepcaps,
 * securebits. */
int caps_bound(uint64_t mask, struct ct_error *err);
/* Permitted and effective become mask, inheritable empty. */
int caps_limit(uint64_t mask, struct ct_error *err);
