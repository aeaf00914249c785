/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a container may use and uses, for people. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

/* The member of a resource as a number; 0: not there. */
uint64_t resource_number(const json_t *resources, const char *resource, const char *member);

/* A table: limit, use, peak, how often the limit stood in the way, time spent waiting. */
int resources_print(const json_t *resources, struct ct_error *err);
