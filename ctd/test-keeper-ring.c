/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ring: what it holds is always the end of what was added. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ctd/keeper-ring.h"

#define STREAM 100000

static char stream[STREAM];

static void assert_holds_end(const struct keeper_ring *ring, size_t total, size_t len)
{
	uint64_t position = keeper_ring_start(ring);
	const char *piece;
	size_t n, pieces = 0;

	assert_int_equal(ring->total, total);
	assert_int_equal(ring->len, len);
	while ((n = keeper_ring_peek(ring, position, &piece)) > 0) {
		assert_true(position + n <= total);
		assert_memory_equal(piece, stream + position, n);
		position += n;
		pieces++;
	}
	assert_int_equal(position, total);
	assert_true(pieces <= 2);
}

static void add_in_steps_of(size_t step)
{
	struct keeper_ring ring = { 0 };

	for (size_t total = 0; total + step <= STREAM; total += step) {
		size_t after = total + step;

		keeper_ring_add(&ring, stream + total, step);
		assert_holds_end(&ring, after, after < KEEPER_RING_MAX ? after : KEEPER_RING_MAX);
	}
	keeper_ring_done(&ring);
	assert_null(ring.data);
}

static void test_steps(void **state)
{
	static const size_t steps[] = { 1, 7, 1000, 1023, 1024, 1025, 4096, 8191, 8192, 8193, 20000, STREAM };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		add_in_steps_of(steps[i]);
}

static void test_empty(void **state)
{
	struct keeper_ring ring = { 0 };
	const char *piece;

	assert_int_equal(keeper_ring_peek(&ring, 0, &piece), 0);
	keeper_ring_add(&ring, stream, 0);
	assert_int_equal(keeper_ring_peek(&ring, 0, &piece), 0);
	keeper_ring_done(&ring);
}

static void test_small_output_takes_little_memory(void **state)
{
	struct keeper_ring ring = { 0 };

	keeper_ring_add(&ring, stream, 200);
	assert_true(ring.size <= 1024);
	keeper_ring_done(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_small_output_takes_little_memory),
	};

	for (size_t i = 0; i < STREAM; i++)
		stream[i] = (char)((i * 2654435761u) >> 13);

	return cmocka_run_group_tests(tests, NULL, NULL);
}
