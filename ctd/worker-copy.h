/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's disk as a worker reads it for a move: at rest, or while it is in use. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "ctd/worker-far.h"
#include "quota/disk.h"
#include "quota/manifest.h"

/* What was changed so long before a round counts as changed in it. */
#define DISK_VIEW_SLACK_USEC 1000000ULL

/* Whether a change always shows in an inode's time of change (worker-copy.c), asked of the store's file
 * system: an image's is ext4. */
bool disk_shows_changes(int fd);

/* ids are not shifted. */
struct disk_view {
	int root_fd, template_fd;
	int userns_fd, pidfd; /* of one that runs: where its ids are, and its init */
	struct disk_natives natives;
};
#define DISK_VIEW_INIT ((struct disk_view){ .root_fd = -1, .template_fd = -1, .userns_fd = -1, .pidfd = -1 })
void disk_view_done(struct disk_view *v);

/* root_path: names the root of its disk as its init has it; template_fd: as the store has it, taken over.
 * -EOPNOTSUPP with the reason if it cannot be copied while it runs. */
int disk_view_open(
        struct disk_view *v, const char *root_path, pid_t pid, int consume_template_fd, struct ct_error *err);
/* Of one that runs: its native directories, which are mounts inside, are read as well, in the upper layer as
 * disk_open_upper has it; paths, to NULL, are used as long as the view. */
void disk_view_add_natives(struct disk_view *v, int upper_fd, const char *const *paths);
/* -ESRCH: its init has ended. */
int disk_view_check(const struct disk_view *v, struct ct_error *err);

/* What is changed goes into p->fd, an empty file: what is gone (p->removed_bytes), then an archive, and its
 * place is at the beginning. round->old and round->base_fd as manifest.h has them; where there is no old one
 * it is compared with the template. The new manifest has its file, and its start is set here. */
int disk_view_read(const struct disk_view *v, struct manifest_round *round, struct manifest *new,
        struct payload *p, struct manifest_result *ret, struct ct_error *err);

/* In a child that parent has just made: from here on it is root in the user namespace and nothing outside it,
 * and ends with its parent. */
int disk_view_become(int userns_fd, pid_t parent);

/* A file without a name in the directory. */
int file_unnamed(const char *dir, struct ct_error *err);
