/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: what the console of a container that is suspended and resumed has shown. */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct keeper_client;

/* Of one that stands still: the scrollback that the keeper has under the key goes to the images. Without a
 * console, or one that has shown nothing, there is none. */
int suspend_console_save(struct keeper_client *keeper, const char *key, int images_fd, struct ct_error *err);
/* *ret is new memory, or NULL where the images have none. CT_ERROR_REFUSED: more than a console holds. */
int suspend_console_read(int images_fd, char **ret, size_t *ret_len, struct ct_error *err);
