/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The side of an extraction that writes: objects below a root directory, by names that somebody else chose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/str.h"

struct unpack_directory;

struct unpack {
	int root_fd;
	int parent_fd;                        /* the directory the last object went into, */
	char *parent_path;                    /* and its path */
	struct unpack_directory *directories; /* whose mode and time are set when all is written */
	size_t n_directories, directories_size, directories_bytes;
};

#define UNPACK_INIT(fd) ((struct unpack){ .root_fd = (fd), .parent_fd = -1 })
void unpack_done(struct unpack *u);

struct unpack_meta {
	mode_t mode; /* with type */
	uint32_t uid, gid;
	struct timespec mtime;
};

/* The one form in which names are used: no leading "./", no empty and no "." components, "." for the root.
 * Refuses absolute names, "..", and what is too long: -EINVAL with the sentence. In new memory. */
int unpack_normalize(const char *raw, char **ret, struct ct_error *err);

/* All take normalized paths; directories above are made as needed (0755, root's), links in them are refused.
 * What is there under that name is replaced, but a directory only by a directory. */
int unpack_directory(struct unpack *u, const char *path, int *ret_fd, struct ct_error *err);
int unpack_file(
        struct unpack *u, const char *path, int *ret_fd, struct ct_error *err); /* opened for writing, 0600 */
int unpack_fifo(struct unpack *u, const char *path, const struct unpack_meta *meta, struct ct_error *err);
/* A socket, or the mark of an overlay that nothing is there: meta says which. */
int unpack_node(struct unpack *u, const char *path, const struct unpack_meta *meta, struct ct_error *err);
int unpack_symlink(struct unpack *u, const char *path, const char *target, const struct unpack_meta *meta,
        struct ct_error *err);
int unpack_hardlink(struct unpack *u, const char *path, const char *target, struct ct_error *err);

/* The owner first, then the attributes (the caller), then mode and time. */
int unpack_own(int fd, const char *path, const struct unpack_meta *meta, struct ct_error *err);
int unpack_seal(
        struct unpack *u, int fd, const char *path, const struct unpack_meta *meta, struct ct_error *err);

/* The modes and times of the directories. */
int unpack_finish(struct unpack *u, struct ct_error *err);

/* `cannot WHAT "PATH": REASON`, the path escaped. Returns code. */
int unpack_error(const char *path, int code, const char *what, struct ct_error *err);
