/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is here of a container that another node still runs, and copies here in rounds (ct-migration(7)).
 *
 * Its record is incomplete, with the mark incoming: no start and no recovery takes it for whole, and the next
 * ctd forgets it. So does this one, if no further round comes for as long as that node has asked for, or for
 * ten minutes.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct container;
struct staging;
struct worker_spare;

/* Whether it is there, with this epoch, after this round, and nobody works on it. */
bool staging_is_at(const struct container *c, uint64_t epoch, uint64_t round);
/* Rounds of its memory that are beside its disk; zero for one that is not copied here. */
unsigned int staging_memory(const struct container *c);
/* Their digests, borrowed. */
json_t *staging_digests(const struct container *c);
/* They are void: what is there of them goes. */
void staging_forget_memory(struct container *c);
/* The first round: once for a container. */
int staging_begin(struct container *c, struct ct_error *err);
/* What was started ahead for the word that comes next. NULL: it is not copied here. */
struct worker_spare *staging_spare(struct container *c);
/* The same to restore it, which is the caller's from here on. True: it has read memory, so the container has
 * a cgroup already, which is the caller's too. */
bool staging_move_to_restore(struct container *c, struct worker_spare *to);
bool staging_has_cgroup(const struct container *c);
/* That of a container which is not to be restored after all; if something is in it, CRIU is still on its way
 * out, and it goes when that has ended. */
struct manager;
void staging_remove_cgroup(const struct manager *m, const char *ctid);
/* All that an earlier ctd made for this, and nobody has. */
void staging_sweep_cgroups(struct manager *m);
/* For the worker: "manifest" and, unless all is to be read, "known_usec" (worker-move.c). */
int staging_params(const struct container *c, bool verify, json_t *params);
#define STAGING_PATIENCE_MAX 86400
/* The round is there, and the next one comes in so many seconds, 0: ten minutes. result: the worker's; of a
 * round of memory it has the digest. -ENOMEM. */
int staging_wait(struct container *c, uint64_t round, uint64_t patience_sec, const json_t *result);
/* NULL is accepted. */
void staging_free(struct staging *s);
