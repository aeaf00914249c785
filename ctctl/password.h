/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The password of --password-stdin. */
#pragma once

#include <jansson.h>

#include "base/error.h"

/* Reads standard input to its end, takes the one line there is without its newline and puts it into body as
 * "password". */
int password_from_stdin(json_t *body, struct ct_error *err);
