/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is to be written into a container's files at its next start: root's password and keys.
 *
 * Kept in the container's configuration under the key "_pending", which people neither see nor set, so that
 * it is as durable as the verb that asked for it and a stopped container needs no mount of its disk. Taken
 * away once a start has succeeded. Writing twice does no harm.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct container;

/* New reference or NULL: nothing is pending. The getters accept NULL. */
json_t *pending_get(const struct container *c);
bool pending_has_keys(const json_t *pending);
const char *pending_password(const json_t *pending);

/* Adds to a configuration that is about to be stored: hash NULL: no password; keys: authorized_keys are to be
 * written. */
int pending_add(json_t *config, const char *password_hash, bool keys, struct ct_error *err);
int pending_clear(struct container *c, struct ct_error *err);
