/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options that are times. */
#pragma once

#include "base/error.h"
#include "base/str.h"

/* ?key=SECONDS of 2026-01-31, 2026-01-31T12:00:00Z or 36h, which is so long ago; nothing where text is NULL.
 * -EINVAL with a sentence that names the option --key. */
int path_add_time(struct strbuf *path, const char *key, const char *text, struct ct_error *err);
