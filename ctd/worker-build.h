/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: making a template. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
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

/* A template that is being made in tmp/NAME of the store. */
struct build_dirs {
	int tmp_fd, build_fd, root_fd;
};
#define BUILD_DIRS_INIT ((struct build_dirs){ .tmp_fd = -1, .build_fd = -1, .root_fd = -1 })

/* Makes tmp/NAME and tmp/NAME/root; NAME is one plain component. */
int build_dirs_make(const char *store, const char *name, struct build_dirs *ret, struct ct_error *err);
/* Closes; after a failure (remove) what was made goes, as far as that can be done: the rest is the sweeper's.
 */
void build_dirs_done(struct build_dirs *dirs, const char *name, bool remove);
/* The recipe's steps, with its files from RECIPES/NAME/files. */
int build_apply_steps(const struct recipe *recipe, const char *recipes, const struct build_dirs *dirs,
        struct ct_error *err);
/* A value of the root's os-release(5), as the tenant's text says it; NULL: none. Freed by the caller. */
char *build_os_release(const struct build_dirs *dirs, const char *key);
/* What the template will say about itself, from the recipe and the root's os-release. */
int build_metadata(
        const struct recipe *recipe, const struct build_dirs *dirs, json_t **ret, struct ct_error *err);
/* The end: checked, synced, measured. *ret is the worker's result. */
int build_finish(const struct build_dirs *dirs, json_t *metadata, json_t **ret, struct ct_error *err);

/* Fills the root from packages by mmdebstrap. */
int bootstrap_run(const struct bootstrap *b, struct ct_error *err);
