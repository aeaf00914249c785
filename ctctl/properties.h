/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object of the API for people: one property a line. */
#pragma once

#include <jansson.h>

#include "base/error.h"

/* Prints object: first the keys of order (ends with NULL; may be NULL), then all others. Objects inside are
 * indented below their key. */
int properties_print(const json_t *object, const char *const *order, struct ct_error *err);
