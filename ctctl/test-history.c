/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Points of a history: their mean and most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctctl/history.h"

/* Three hours, of which the last has only begun. */
static struct history three(double last_seconds, double a, double b, double last)
{
	return (struct history){ .step = 3600,
		.n = 3,
		.seconds = { 3600, 3600, last_seconds },
		.of = { [HISTORY_CPU] = { a, b, last } } };
}

static void test_mean_is_over_time(void **state)
{
	const struct history h = three(36, 1, 0, 4), whole = three(3600, 1, 0, 2), none = { 0 };

	assert_true(history_mean(&h, HISTORY_CPU) == (3600 + 4 * 36) / (2 * 3600.0 + 36));
	assert_true(history_mean(&whole, HISTORY_CPU) == 1);
	assert_true(history_mean(&h, HISTORY_MEMORY) == 0);
	assert_true(history_mean(&none, HISTORY_CPU) == 0);
}

static void test_most_is_no_short_point(void **state)
{
	const struct history begun = three(36, 1, 0.5, 4), later = three(360, 1, 0.5, 4),
	                     only = three(36, 0, 0, 4);

	assert_true(history_most(&begun, HISTORY_CPU) == 1);
	assert_true(history_most(&later, HISTORY_CPU) == 4);
	assert_true(history_most(&only, HISTORY_CPU) == 4); /* else it would not be seen */
	assert_true(history_most(&begun, HISTORY_IN) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mean_is_over_time),
		cmocka_unit_test(test_most_is_no_short_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
