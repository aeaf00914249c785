/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that the daemon shall read and write, by name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Copies standard input to a new file, 0600, in $TMPDIR or /var/tmp; *ret is its path, removed and freed by
 * the caller. */
int spool_stdin(char **ret, struct ct_error *err);
/* Whether there is room for so many bytes where they are kept: CT_ERROR_REFUSED if not. spool_bytes asks it
 * itself. */
int spool_check_room(uint64_t bytes, struct ct_error *err);
/* The same for the next bytes of standard input, total of them with the len that were read already. -EIO:
 * there are fewer; -ETIMEDOUT: none came for so many seconds. */
int spool_bytes(
        const void *data, size_t len, uint64_t total, int64_t seconds, char **ret, struct ct_error *err);
/* The path as seen from the root directory; it need not exist. NULL: out of memory, or we are nowhere. */
char *absolute_path(const char *path);
