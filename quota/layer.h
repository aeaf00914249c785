/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An upper layer of an overlay made like another one, in rounds, while that one is in use. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "quota/manifest.h"

/* What was changed so long before a round counts as changed in it; one that begins sooner after another has
 * for changed what was so in that. */
#define LAYER_SLACK_USEC 1000000ULL

struct layer_copy {
	int from_fd, to_fd;       /* the layers, to_fd's empty before the first round */
	struct manifest manifest; /* of the last round; MANIFEST_INIT */
	/* Asked before anything is written, bytes at a time; a negative errno ends the round. */
	int (*check)(uint64_t bytes, void *userdata, struct ct_error *err);
	void *userdata;
};
void layer_copy_done(struct layer_copy *copy);

struct layer_round {
	uint64_t n_objects; /* in the layer */
	uint64_t n_changed; /* that were made like those there */
	uint64_t bytes;     /* that were written; those that are shared are not counted */
};

/* manifest_fd: an empty file, taken over. live: the layer is in use, and what changes meanwhile is of the
 * next round. After one that was not, all is as it is there, but sync. */
int layer_copy_round(struct layer_copy *copy, int consume_manifest_fd, bool live, struct layer_round *ret,
        struct ct_error *err);
