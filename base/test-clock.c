/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

static void test_clocks_advance(void **state)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t mono = now_monotonic_usec(), boot = now_boottime_usec(), real = now_realtime_usec();

	nanosleep(&pause, NULL);
	assert_true(now_monotonic_usec() - mono >= 2000);
	assert_true(now_boottime_usec() - boot >= 2000);
	mono = now_monotonic_usec(); /* in this order, or it would be later and so larger */
	assert_true(now_boottime_usec() >= mono);
	assert_true(real > 1600000000ULL * USEC_PER_SEC);
}

static void test_known_times(void **state)
{
	static const struct {
		uint64_t sec;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 86399, "1970-01-01T23:59:59Z" },
		{ 951782399, "2000-02-28T23:59:59Z" },
		{ 951782400, "2000-02-29T00:00:00Z" },
		{ 951868800, "2000-03-01T00:00:00Z" },
		{ 1769860800, "2026-01-31T12:00:00Z" },
		{ 4107542400, "2100-03-01T00:00:00Z" },
		{ 253402300799, "9999-12-31T23:59:59Z" },
		{ 253402300800, "9999-12-31T23:59:59Z" },
		{ UINT64_MAX / USEC_PER_SEC, "9999-12-31T23:59:59Z" },
	};
	char buf[21];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(
		        format_time_utc(buf, sizeof(buf), cases[i].sec * USEC_PER_SEC + 999), cases[i].text);
}

/* The same as libc says, over four centuries in steps that hit all times of day. */
static void test_against_libc(void **state)
{
	char ours[32], theirs[32];

	for (time_t t = 0; t < 13000000000; t += 5000011) {
		struct tm tm;
		assert_non_null(gmtime_r(&t, &tm));
		assert_int_not_equal(strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%SZ", &tm), 0);
		format_time_utc(ours, sizeof(ours), (uint64_t)t * USEC_PER_SEC);
		assert_string_equal(ours, theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clocks_advance),
		cmocka_unit_test(test_known_times),
		cmocka_unit_test(test_against_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
