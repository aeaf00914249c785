/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every object of a tree, once, in an order that depends on nothing but the names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"

struct walk_entry {
	const char *path;  /* from the root, without "./"; "." is the root itself */
	int dirfd;         /* the directory it lies in, */
	const char *name;  /* and its name there */
	struct stat st;    /* of the object itself, not of what it links to */
	const char *first; /* the path under which this inode was met before (hard link), or NULL */
};

/* Directories come before what they hold, siblings in byte order. A return other than 0 of each stops and is
 * returned. Links are not followed. The tree must be at rest: what moves meanwhile is an error. -ENAMETOOLONG
 * for a path of 4096 bytes and more. */
int tree_walk(int root_fd, int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err),
        void *userdata, struct ct_error *err);

/* A tree that is in use, and what stands in it in the place of directories that something is mounted on:
 * paths from the root, and fds of directories that nothing is mounted below. */
struct walk_graft {
	const char *path;
	int fd;
};
struct walk_live {
	int root_fd;
	const struct walk_graft *grafts;
	size_t n_grafts;
};

/* The same of it: what goes or moves meanwhile is left out, with what lies below it, or is met at both
 * places. So is left out what else something is mounted on, and nothing of that is asked. first may be a path
 * at which nothing is any more. */
int tree_walk_live(const struct walk_live *live,
        int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err);
/* The directory at a path that was told; -EXDEV: something is mounted on the way. */
int walk_live_open(const struct walk_live *live, const char *path);
/* dirfd and name of what is at the path, whose directory is parent_fd. */
void walk_live_place(const struct walk_live *live, int parent_fd, struct walk_entry *entry);

/* False of what archives leave out: device nodes and sockets. */
static inline bool walk_lasts(const struct walk_entry *entry)
{
	return !S_ISCHR(entry->st.st_mode) && !S_ISBLK(entry->st.st_mode) && !S_ISSOCK(entry->st.st_mode);
}

/* Sets st again by dirfd and name. -EXDEV: something is mounted there. */
int walk_stat(struct walk_entry *entry);

/* Whether an error says that an object is not there any more, or is another one. */
bool walk_is_gone(int code);

/* Opens the entry (a regular file or directory) for reading; -ESTALE if it is not what it was. */
int walk_open(const struct walk_entry *entry, struct ct_error *err);

/* The target of a symbolic link, in new memory. */
int walk_readlink(const struct walk_entry *entry, char **ret, struct ct_error *err);

/* ct_error_set with the path, escaped: `cannot WHAT "PATH": REASON`. Returns code. */
int walk_error(const struct walk_entry *entry, int code, const char *what, struct ct_error *err);
