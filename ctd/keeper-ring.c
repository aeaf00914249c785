/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ring behind a console.
 *
 * Readers have positions in the stream, not in the memory, so growing and overwriting need not know of them.
 * Sizes are powers of two, so that a position that wraps at 2^64 still falls on the right byte. It starts
 * small: most containers print a few hundred bytes, and there may be thousands of them.
 */
#include <stdlib.h>
#include <string.h>

#include "ctd/keeper-ring.h"

#define FIRST_SIZE 1024u

void keeper_ring_done(struct keeper_ring *ring)
{
	free(ring->data);
	*ring = (struct keeper_ring){ 0 };
}

size_t keeper_ring_peek(const struct keeper_ring *ring, uint64_t position, const char **ret_data)
{
	size_t left = (size_t)(ring->total - position), at;

	if (left == 0)
		return 0;

	at = position & (ring->size - 1);
	*ret_data = ring->data + at;
	return left < ring->size - at ? left : ring->size - at;
}

static void grow(struct keeper_ring *ring, size_t len)
{
	struct keeper_ring larger = { .size = ring->size ? ring->size : FIRST_SIZE };
	const char *piece;
	size_t n;

	while (larger.size < ring->len + len && larger.size < KEEPER_RING_MAX)
		larger.size *= 2;
	if (larger.size == ring->size)
		return;

	larger.data = malloc(larger.size);
	if (!larger.data)
		return;

	larger.total = keeper_ring_start(ring);
	while ((n = keeper_ring_peek(ring, larger.total, &piece)) > 0)
		keeper_ring_add(&larger, piece, n);
	keeper_ring_done(ring);
	*ring = larger;
}

void keeper_ring_add(struct keeper_ring *ring, const char *data, size_t len)
{
	if (ring->len + len > ring->size)
		grow(ring, len);

	/* Of more than it can hold only the end matters. */
	if (len > ring->size) {
		ring->total += len - ring->size;
		data += len - ring->size;
		len = ring->size;
	}

	for (size_t done = 0; done < len;) {
		size_t at = ring->total & (ring->size - 1);
		size_t n = len - done < ring->size - at ? len - done : ring->size - at;

		memcpy(ring->data + at, data + done, n);
		ring->total += n;
		done += n;
	}
	ring->len = len < ring->size - ring->len ? ring->len + (uint32_t)len : ring->size;
}
