/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Points of a history: from rows of a ledger of the test's own, their mean and most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/history.h"

/* What the daemon answers: a row of 300 s of CPU from a time on. */
static int64_t row_start;

int client_call(struct client *c, const char *method, const char *path, const json_t *body, json_t **ret,
        struct ct_error *err)
{
	char start[32], end[32];

	(void)format_time_utc(start, sizeof(start), (uint64_t)row_start * USEC_PER_SEC);
	(void)format_time_utc(end, sizeof(end), (uint64_t)(row_start + 300) * USEC_PER_SEC);
	*ret = json_pack("{s:[{s:[{s:s, s:s, s:I}]}]}", "containers", "rows", "start", start, "end", end,
	        "cpu_user_usec", (json_int_t)(300 * USEC_PER_SEC));
	assert_non_null(*ret);
	return 0;
}

int path_add_query(struct strbuf *path, const char *key, const char *value)
{
	return strbuf_puts(path, key);
}

static int64_t clock_seconds(void)
{
	return (int64_t)(now_realtime_usec() / USEC_PER_SEC);
}

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

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The answer to a question that waited is of a longer time than the question. */
static void test_last_is_up_to_the_answer(void **state)
{
	const int64_t before = clock_seconds(), asked = before - 100;
	struct history h;
	int64_t start, after;

	row_start = asked - asked % 300;
	assert_int_equal(history_fetch(NULL, "web", HISTORY_HOUR, asked, &h, NULL), 0);
	after = clock_seconds();
	assert_int_equal(h.n, 12);
	start = h.start + 11 * h.step;
	assert_int_equal(start, row_start);
	assert_in_range((int64_t)h.seconds[11], lesser(before - start, 300), lesser(after - start, 300));
	assert_true(h.of[HISTORY_CPU][11] == 300 / h.seconds[11]);
	assert_true(h.seconds[10] == 300 && h.of[HISTORY_CPU][10] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_is_up_to_the_answer),
		cmocka_unit_test(test_mean_is_over_time),
		cmocka_unit_test(test_most_is_no_short_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
