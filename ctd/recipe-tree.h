/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a recipe, done to a tree (in ct-worker). */
#pragma once

#include "base/error.h"
#include "ctd/recipe.h"

/* files_fd: the recipe's files/ directory, -1 if it has none. All new objects belong to 0:0. */
int recipe_apply(const struct recipe *recipe, int files_fd, int root_fd, struct ct_error *err);

/* Directory fd of the parent of an absolute path below the root (made 0755 if missing) and the last
 * component. */
int recipe_parent(int root_fd, const char *path, const char **ret_name, struct ct_error *err);
/* A new file there in place of what there was. source is read to its end. */
int recipe_put_file(int root_fd, const char *path, int source_fd, mode_t mode, struct ct_error *err);
int recipe_put_text(int root_fd, const char *path, const char *text, mode_t mode, struct ct_error *err);

/* Copies a program or library of the host with all libraries it needs (elf-copy.c). */
int elf_copy(const char *host_path, int root_fd, const char *path, mode_t mode, struct ct_error *err);
