/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A recipe: how a template is built, one small text file (ct-template(5)). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

enum recipe_builder {
	RECIPE_BUILDER_MMDEBSTRAP, /* packages from an archive */
	RECIPE_BUILDER_HOST,       /* programs that the host has installed */
};

enum recipe_step_kind {
	RECIPE_STEP_DIRECTORY, /* PATH MODE */
	RECIPE_STEP_FILE,      /* SOURCE PATH MODE: SOURCE is below the recipe's files/ */
	RECIPE_STEP_HOST_FILE, /* HOST-PATH PATH MODE: with the libraries it needs */
	RECIPE_STEP_LINK,      /* TARGET PATH: a symbolic link */
	RECIPE_STEP_APPLETS,   /* PATH: links to the busybox at PATH, one for each of its applets */
	RECIPE_STEP_EMPTY,     /* PATH: the file exists and is empty */
	RECIPE_STEP_REMOVE,    /* PATH: gone, with everything below it; * and ? in its last component */
	RECIPE_N_STEP_KINDS
};

#define RECIPE_STEP_WORDS 3

struct recipe_step {
	enum recipe_step_kind kind;
	char *words[RECIPE_STEP_WORDS]; /* without the mode */
	mode_t mode;
	unsigned line;
};

struct recipe {
	char *name, *description;
	enum recipe_builder builder;
	char *distribution, *release;                /* NULL: as the built tree's os-release says */
	char *variant;                               /* of mmdebstrap; NULL: minbase */
	char *suite, *mirror, *components, *keyring; /* NULL: the host's own */
	char **packages;                             /* NULL-ended */
	char **init, **env, **run_masks;             /* NULL-ended */
	char *stop_signal;
	struct recipe_step *steps;
	size_t n_steps;
};

void recipe_done(struct recipe *recipe);
/* The text of a recipe; errors name the line. name is copied. */
int recipe_parse(const char *name, const char *text, struct recipe *ret, struct ct_error *err);
/* Reads DIR/NAME/recipe. -ENOENT with the names that there are. */
int recipe_load(const char *dir, const char *name, struct recipe *ret, struct ct_error *err);
/* The names below dir that hold a recipe, sorted, NULL-ended; freed with recipe_names_free. */
int recipe_names(const char *dir, char ***ret, struct ct_error *err);
void recipe_names_free(char **names);
/* [a-z0-9] and then also . _ -, at most 63 bytes. */
int recipe_check_name(const char *name, struct ct_error *err);

/* Where packages come from, when a request says so: each NULL or checked here. */
struct recipe_source {
	const char *suite, *mirror, *keyring;
};
int recipe_source_check(const struct recipe_source *source, struct ct_error *err);
