/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stream of bytes of which the last ones are kept. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KEEPER_RING_MAX 8192u /* bytes of scrollback, a power of two */

/* All zero: empty. */
struct keeper_ring {
	uint64_t total; /* bytes ever added; the stream's byte i, while it is kept, is data[i % size] */
	uint32_t len;   /* how many of the last ones are kept */
	uint32_t size;  /* allocated, a power of two */
	char *data;
};

void keeper_ring_done(struct keeper_ring *ring);

/* Grows in steps up to KEEPER_RING_MAX, then forgets the oldest. Without memory it forgets earlier; it does
 * not fail. */
void keeper_ring_add(struct keeper_ring *ring, const char *data, size_t len);

/* Position in the stream of the oldest byte that is kept. */
static inline uint64_t keeper_ring_start(const struct keeper_ring *ring)
{
	return ring->total - ring->len;
}

/* Bytes from position on (not before keeper_ring_start) that lie in one piece; *ret_data is valid until the
 * next add. 0 at the end. */
size_t keeper_ring_peek(const struct keeper_ring *ring, uint64_t position, const char **ret_data);
