/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: building a template. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "ctd/recipe.h"

struct bootstrap {
	const struct recipe *recipe;
	struct recipe_source source; /* of the request: each NULL or stronger than the recipe's */
	uint32_t base_id;            /* first of 65,536 host ids that nobody uses */
	int build_fd;                /* our directory in tmp/, where there may be work files too */
	int root_fd;                 /* empty, to be filled */
};

/* Fills the root from packages by mmdebstrap. */
int bootstrap_run(const struct bootstrap *b, struct ct_error *err);
