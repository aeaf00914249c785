/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths below a directory fd that somebody else may control. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The one way into a tenant's tree: openat2 with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS (Linux 5.6).
 * Symbolic links are followed but cannot leave rootfd. O_CLOEXEC and O_NOCTTY are added. Returns an fd;
 * -EAGAIN races are retried. */
int open_in_root(int rootfd, const char *path, int flags, mode_t mode);
/* The same in the tree of a tenant that runs: -EXDEV where something is mounted on the way (RESOLVE_NO_XDEV),
 * so that nothing is asked that may never answer. */
int open_in_mount(int rootfd, const char *path, int flags, mode_t mode);
/* The same for our own trees: no symlink at all, nothing above the directory (RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS). */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* By both rules: no symlink, nothing above, and -EXDEV where something is mounted. */
int open_beneath_mount(int dirfd, const char *path, int flags, mode_t mode);

/* mkdir -p below rootfd without following anything out of it; returns an fd of the last directory. */
int mkdirs_in_root(int rootfd, const char *path, mode_t mode);
/* By the rule of open_in_mount. */
int mkdirs_in_mount(int rootfd, const char *path, mode_t mode);

/* Makes dirfd/path a directory with the mode if it is not there; returns an O_RDONLY|O_DIRECTORY fd. */
int open_or_mkdir(int dirfd, const char *path, mode_t mode);

/* Writes a file aside (name.XXXX), fsyncs if durable, renames it over path. */
int replace_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable);

/* Removes a tree below dirfd without following links and without crossing mounts, iteratively, whatever its
 * depth; nothing there is success. -ENOTEMPTY: somebody fills or exchanges directories faster than they are
 * emptied. -EBUSY: a mount point is in it. May take long: for workers, not for the event loop. */
int remove_tree_at(int dirfd, const char *path);
