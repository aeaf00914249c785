/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a tree has that another has not: a container's disk against its template, whatever driver it has. */
#pragma once

#include "base/error.h"
#include "base/str.h"
#include "quota/walk.h"

/* 1: it goes in, 0: it is left out, or a negative errno. */
typedef int (*walk_wanted_fn)(const struct walk_entry *entry, void *userdata, struct ct_error *err);

/* archive_tree (extract.h) of what is wanted. */
int archive_tree_wanted(
        int root_fd, walk_wanted_fn wanted, void *userdata, int archive_fd, struct ct_error *err);

/* The same of what is told, in any order in which what others are links to comes before them. */
struct archive_list {
	/* 1: one, 0: that was all. */
	int (*next)(struct walk_entry *ret, void *userdata, struct ct_error *err);
	/* It was not there any more, and is not in the archive, or not with all attributes. NULL: that is an
	 * error. */
	int (*gone)(const struct walk_entry *entry, void *userdata);
	void *userdata;
};
int archive_listed(const struct archive_list *list, int archive_fd, struct ct_error *err);

/* Appends to removed each path, with a NUL behind it, that base has and that root has not, or has as
 * something that cannot be written over it; of a removed directory only itself. */
int difference_removed(int root_fd, int base_fd, struct strbuf *removed, struct ct_error *err);
/* An archive of what root has and base has not, or otherwise: type, mode, owner, time, attributes, links,
 * content. */
int difference_archive(int root_fd, int base_fd, int archive_fd, struct ct_error *err);

/* Makes a tree that is like base into one that is like root was: takes away what is in the list (len bytes);
 * the archive is to be unpacked into it afterwards. The list may come from anybody: -EINVAL for what cannot
 * be one. */
int difference_remove(int root_fd, const char *removed, size_t len, struct ct_error *err);

/* By entry: 1 if base has it not, or otherwise. */
struct difference {
	int base_fd;
	char *chunks; /* DIFFERENCE_CHUNKS bytes */
};
#define DIFFERENCE_CHUNKS (512UL * 1024)
int difference_is_new(const struct walk_entry *entry, void *difference, struct ct_error *err);
