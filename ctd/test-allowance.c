/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much of an allowance is used, over periods, ledgers and changes of mind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "ctd/allowance.h"

#define PERIOD 1700000000
#define NEXT   1702592000

static void test_levels(void **state)
{
	struct allowance a = { 0 };

	(void)state;
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 0), 0);
	assert_int_equal(a.level, 0);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 799), 799);
	assert_int_equal(a.level, 0);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 800), 800);
	assert_int_equal(a.level, ALLOWANCE_WARNED);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 999), 999);
	assert_int_equal(a.level, ALLOWANCE_WARNED);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 1000), 1000);
	assert_int_equal(a.level, ALLOWANCE_EXHAUSTED);

	/* Raised, lowered, taken away. */
	(void)allowance_count(&a, 1100, PERIOD, 1000);
	assert_int_equal(a.level, ALLOWANCE_WARNED);
	(void)allowance_count(&a, 5000, PERIOD, 1000);
	assert_int_equal(a.level, 0);
	(void)allowance_count(&a, 900, PERIOD, 1000);
	assert_int_equal(a.level, ALLOWANCE_EXHAUSTED);
	(void)allowance_count(&a, 0, PERIOD, 1000);
	assert_int_equal(a.level, 0);
	/* As large as numbers go. */
	(void)allowance_count(&a, UINT64_MAX, PERIOD, UINT64_MAX - 1);
	assert_int_equal(a.level, ALLOWANCE_WARNED);
}

static void test_anniversary(void **state)
{
	struct allowance a = { 0 };

	(void)state;
	(void)allowance_count(&a, 1000, PERIOD, 2000);
	assert_int_equal(a.level, ALLOWANCE_EXHAUSTED);
	assert_int_equal(allowance_count(&a, 1000, NEXT, 10), 10);
	assert_int_equal(a.level, 0);
	assert_int_equal(a.period, NEXT);
	(void)allowance_count(&a, 1000, NEXT, 1000);
	assert_int_equal(a.level, ALLOWANCE_EXHAUSTED);
}

/* What another ledger had is not given twice, and not in the next period. */
static void test_carried(void **state)
{
	struct allowance a = { 0 };

	(void)state;
	(void)allowance_count(&a, 1000, PERIOD, 1200);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 0), 1200);
	assert_int_equal(a.level, ALLOWANCE_EXHAUSTED);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 5), 1205);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 2), 1207);
	assert_int_equal(allowance_count(&a, 1000, NEXT, 3), 3);
	assert_int_equal(a.level, 0);
}

/* There and back, the second time with a ledger that has a part of it already. */
static void test_moves(void **state)
{
	struct allowance a = { 0 };

	(void)state;
	(void)allowance_count(&a, 1000, PERIOD, 300);
	allowance_leave(&a);
	allowance_arrive(&a, PERIOD, 0);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 0), 300);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 200), 500);
	allowance_leave(&a);
	allowance_arrive(&a, PERIOD, 300);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 300), 500);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 550), 750);
	allowance_leave(&a);
	allowance_arrive(&a, PERIOD, 200);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 200), 750);
	assert_int_equal(a.level, 0);

	/* Said twice; more here than was sent; another period here. */
	allowance_leave(&a);
	allowance_arrive(&a, PERIOD, 550);
	allowance_arrive(&a, PERIOD, 550);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 550), 750);
	allowance_arrive(&a, PERIOD, 2000);
	assert_int_equal(allowance_count(&a, 1000, PERIOD, 2000), 2000);
	allowance_leave(&a);
	allowance_arrive(&a, NEXT, 20);
	assert_int_equal(allowance_count(&a, 1000, NEXT, 20), 20);
	a = (struct allowance){ PERIOD, 0, UINT64_MAX, 5, false };
	allowance_leave(&a);
	assert_true(a.carried == UINT64_MAX && a.seen == 0);
}

static void test_action(void **state)
{
	static const char *const wrong[] = { "", "slow", "slow:", "slow:1", "slow:2T", "slow:fast", "cut ",
		"Stop", "slow:1M;", "nothing" };
	enum allowance_action action = ALLOWANCE_EVENT;
	uint64_t rate = 0;

	(void)state;
	assert_int_equal(allowance_action_parse("cut", &action, &rate), 0);
	assert_int_equal(action, ALLOWANCE_CUT);
	assert_int_equal(allowance_action_parse("stop", &action, &rate), 0);
	assert_int_equal(action, ALLOWANCE_STOP);
	assert_int_equal(allowance_action_parse("event", &action, &rate), 0);
	assert_int_equal(action, ALLOWANCE_EVENT);
	assert_int_equal(allowance_action_parse("slow:10M", &action, &rate), 0);
	assert_int_equal(action, ALLOWANCE_SLOW);
	assert_int_equal(rate, 10000000);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(allowance_action_parse(wrong[i], &action, &rate), -EINVAL);
}

static void test_json(void **state)
{
	struct allowance a = { PERIOD, ALLOWANCE_EXHAUSTED, 1200, 34, true }, back = { 0 };
	json_t *json = allowance_to_json(&a);

	(void)state;
	assert_non_null(json);
	assert_int_equal(allowance_from_json(json, &back, NULL), 0);
	assert_int_equal(back.period, a.period);
	assert_int_equal(back.level, a.level);
	assert_int_equal(back.seen, a.seen);
	assert_int_equal(back.carried, a.carried);
	assert_true(back.stopped);
	assert_int_equal(json_object_del(json, "level"), 0);
	assert_true(allowance_from_json(json, &back, NULL) < 0);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_anniversary),
		cmocka_unit_test(test_carried),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_action),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
