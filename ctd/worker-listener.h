/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: what mmdebstrap writes to its stderr, as progress and as a reason. */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define LISTENER_SAID_MAX 300

struct listener {
	char line[1024];
	size_t len;
	char first_error[LISTENER_SAID_MAX], last_error[LISTENER_SAID_MAX],
	        signature_error[LISTENER_SAID_MAX];
};

/* The next bytes, in any pieces. */
void listener_hear(struct listener *listener, const char *data, size_t len);
/* The sentence for an exit status that is not 0; returns what it sets, negative. keyring: for which
 * signatures were checked. */
int listener_explain(const struct listener *listener, int status, const char *keyring, struct ct_error *err);
