/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CRIU that is started while the container still runs on another node, and has the first round of its memory
 * read by the time that all is there (criu-inside.c).
 *
 * One that fails, or is killed, is as one that never was: its memory goes with it, and CRIU is started when
 * it is needed, and reads all then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define CRIU_SPARE_MODULE "ct-criu-inside.so"

struct keeper_client;

struct criu_spare {
	int sock, pidfd; /* -1: there is none */
};
#define CRIU_SPARE_INIT ((struct criu_spare){ -1, -1 })

/* What it reads is charged to the cgroup "name" below cgroups_fd, in which it is meanwhile, and in home_fd
 * else. */
struct criu_spare_place {
	int cgroups_fd, home_fd;
	const char *name;
	uint64_t bytes; /* that it has to read, about: how long that may take */
};

/* Has ct-keeper start it under the key, and returns when it has read what is in the directory of a round. */
int criu_spare_start(struct keeper_client *keeper, const char *key, int round_fd,
        const struct criu_spare_place *place, struct criu_spare *ret, struct ct_error *err);
/* It is CRIU from here on, in this mount namespace, and listens at sock. tells_base: CT_ARCHIVE_BASE is base.
 * -errno: it never will, and spare has none. */
struct criu_spare_task {
	int sock, mntns_fd, images_fd;
	uid_t owner_uid;
	const char *base; /* or NULL */
};
int criu_spare_go(struct criu_spare *spare, const struct criu_spare_task *task);
/* Ends it, and waits for that. */
void criu_spare_done(struct criu_spare *spare);

/* ---- what is said: messages of a socket of packets, each answered by one byte */

enum criu_spare_type { CRIU_SPARE_READ = 1, CRIU_SPARE_GO = 2 };

#define CRIU_SPARE_FDS 3 /* READ: round, cgroups, home; GO: socket, mount namespace, images */

struct criu_spare_message {
	uint32_t type, owner_uid;
	char text[64]; /* READ: the name of the cgroup; GO: base, or "" */
};
