/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans: named sets of limits that are sold. */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct manager;

/* Only limits may be in a plan, and each must read. -EINVAL with the field. */
int plan_check(const json_t *config, struct ct_error *err);

/* The patch with the plan that it names laid out: the values of the plan, over them what the patch itself
 * says; values that came from the plan of before (config; may be NULL) and are in neither go. New reference
 * in *ret; a patch without the key comes back as it is. */
int plan_expand(
        struct manager *m, const json_t *config, const json_t *patch, json_t **ret, struct ct_error *err);

/* What becomes of a container's values when its plan goes from old to new: those that are the plan's follow,
 * those that were set for it alone stay. A patch, empty if nothing changes; NULL: out of memory. */
json_t *plan_difference(const json_t *config, const json_t *old, const json_t *new);
