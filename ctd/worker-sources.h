/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a recipe's packages come from: lines of sources.list(5), and the keyring that signs them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "ctd/recipe.h"

struct source_line {
	char *uri, *suite, *components;
};

struct sources {
	char *suite;   /* the one to bootstrap */
	char *keyring; /* path on the host */
	struct source_line *lines;
	size_t n_lines;
};

void sources_done(struct sources *sources);
/* What the request says, else the recipe, else the host's own apt if it is of the recipe's family. */
int sources_find(const struct recipe *recipe, const struct recipe_source *request, struct sources *ret,
        struct ct_error *err);
