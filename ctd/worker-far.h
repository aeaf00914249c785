/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words to another node, each by a command of its own: worker-move.c has what they are. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "ctd/worker-images.h"

/* What goes behind a word. */
struct payload {
	int fd;                  /* what of the disk goes, from its offset on; -1: nothing */
	int images_fd;           /* a directory, or -1 */
	struct images_part part; /* of the images */
	unsigned int memory;     /* the round that they are, or that they go on from; 0: none */
	uint64_t bytes, removed_bytes, images_bytes; /* bytes: with the images */
	uint64_t gone;
	uint64_t rate;       /* bytes per second at most, 0: as they go */
	uint64_t begun_usec; /* monotonic: when the first went */
	const char *text;    /* for progress, NULL: "sending" */
};
#define PAYLOAD_INIT ((struct payload){ .fd = -1, .images_fd = -1 })
void payload_done(struct payload *p);

/* The command, started ahead: what it takes to reach the other node is over when there is something to say.
 */
struct far;
int far_open(const json_t *command, struct far **ret, struct ct_error *err);
void far_free(struct far *f);
DEFINE_CLEANUP(struct far *, far_free);

/* Runs the command, or has one that was started ahead (NULL: none), writes the request as a line and the
 * payload behind it, waits for the answer: a new value. What the other node says of an error is the error. */
int far_say(const json_t *command, struct far *consume_ahead, const json_t *request, struct payload *p,
        json_t **ret, struct ct_error *err);
