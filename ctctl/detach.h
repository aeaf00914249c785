/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keys that leave a console. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct detach {
	char prefix; /* a prefix key came last; 0: none */
	bool leave;  /* the keys came */
};

/* For struct relay_setup: Ctrl-] q and Ctrl-a q set leave; a prefix twice is itself once; before any other
 * key it is sent as it is. */
size_t detach_filter(void *detach, char *data, size_t len);
