/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One container that asks without end, and its neighbour; texts of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctd/view-tenant.h"
#include "ctd/view-text.h"

#define SECOND 1000000U

static int setup(void **state)
{
	*state = view_tenants_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	view_tenants_free(*state);
	return 0;
}

static struct view_request *ask(struct view_tenants *t, uint16_t tenant, uint64_t unique)
{
	struct view_request *q = view_request_new(t);

	assert_non_null(q);
	q->unique = unique;
	q->tenant = tenant;
	return q;
}

static void who_has_spent_his_share_waits_and_no_other_does(void **state)
{
	struct view_tenants *t = *state;
	uint64_t now = 100 * SECOND;

	assert_false(view_tenant_is_over(t, 1, now));
	view_tenant_charge(t, 1, now, SECOND);
	assert_true(view_tenant_is_over(t, 1, now));
	assert_false(view_tenant_is_over(t, 2, now));
	view_hold(t, ask(t, 1, 11));
	view_hold(t, ask(t, 1, 12));
	assert_null(view_held_next(t, now));
	assert_true(view_held_usec(t) > now + SECOND);

	/* Later they come in their order, and the next waits behind them. */
	now = view_held_usec(t);
	assert_true(view_tenant_is_over(t, 1, now));
	assert_int_equal(view_held_next(t, now)->unique, 11);
	assert_true(view_tenant_is_over(t, 1, now));
	assert_int_equal(view_held_next(t, now)->unique, 12);
	assert_false(view_tenant_is_over(t, 1, now));
	assert_null(view_held_next(t, now));
	assert_true(view_held_usec(t) == UINT64_MAX);
}

static void of_several_that_wait_each_has_its_turn(void **state)
{
	struct view_tenants *t = *state;
	unsigned seen[4] = { 0 };

	for (uint16_t tenant = 1; tenant <= 3; tenant++)
		for (unsigned i = 0; i < 2; i++)
			view_hold(t, ask(t, tenant, tenant));
	for (unsigned i = 0; i < 6; i++) {
		struct view_request *q = view_held_next(t, SECOND);

		assert_non_null(q);
		seen[q->tenant]++;
		view_request_free(t, q);
	}
	assert_int_equal(seen[1], 2);
	assert_int_equal(seen[2], 2);
	assert_int_equal(seen[3], 2);
}

static void reads_that_wait_for_the_same_are_one_job(void **state)
{
	struct view_tenants *t = *state;
	struct view_request *q;
	unsigned file = 99, n = 0;

	for (unsigned i = 0; i < 1000; i++)
		view_job_add(t, ask(t, 7, i + 1), 2);
	view_job_add(t, ask(t, 8, 5000), 2);
	view_job_add(t, ask(t, 7, 6000), 3);

	for (q = view_job_next(t, &file); q; q = q->next)
		n++;
	assert_int_equal(n, 1000);
	assert_int_equal(file, 2);

	/* The neighbour has one job before him, not a thousand. */
	q = view_job_next(t, &file);
	assert_int_equal(q->unique, 5000);
	assert_null(q->next);

	/* What comes while a text is made has the next. */
	view_job_add(t, ask(t, 7, 7000), 2);
	assert_int_equal(view_job_next(t, &file)->unique, 6000);
	assert_int_equal(file, 3);
	assert_null(view_job_next(t, &file));
	view_job_done(t, 7, 2);
	assert_int_equal(view_job_next(t, &file)->unique, 7000);
	assert_int_equal(file, 2);
	view_job_done(t, 7, 2);
	assert_null(view_job_next(t, &file));
}

static void without_room_nobody_is_held(void **state)
{
	struct view_tenants *t = *state;
	struct view_request *last = NULL;

	view_tenant_charge(t, 1, SECOND, SECOND);
	for (unsigned i = 0; i < VIEW_PENDING; i++) {
		assert_false(view_request_full(t));
		last = ask(t, 1, i + 1);
		assert_int_equal(view_request_index(t, last), i);
	}
	assert_true(view_request_full(t));
	assert_null(view_request_new(t));
	assert_false(view_tenant_is_over(t, 1, SECOND));
	view_request_free(t, last);
	assert_ptr_equal(view_request_new(t), last);
}

static void keep(struct view_texts *t, uint64_t handle, const char *bytes, size_t len)
{
	struct strbuf b = STRBUF_INIT;
	struct view_text *text;

	assert_int_equal(strbuf_add(&b, bytes, len), 0);
	text = view_text_new(t, VIEW_HANDLE_TENANT(handle), &b);
	assert_non_null(text);
	view_text_keep(t, handle, text);
	view_text_unref(t, text);
}

static void texts_push_out_those_of_the_same_container_only(void **state)
{
	struct view_texts *t = view_texts_new();
	static char large[300000];

	assert_non_null(t);
	keep(t, VIEW_HANDLE(1, 5), "mine", 4);
	for (unsigned i = 1; i < 10000; i++)
		keep(t, VIEW_HANDLE(i, 6), "theirs", 6);
	for (unsigned i = 1; i < 10; i++)
		keep(t, VIEW_HANDLE(i, 6), large, sizeof(large));
	assert_string_equal(view_text_find(t, VIEW_HANDLE(1, 5))->data, "mine");
	assert_int_equal(view_text_find(t, VIEW_HANDLE(9, 6))->len, sizeof(large));
	assert_null(view_text_find(t, VIEW_HANDLE(4, 6)));
	keep(t, VIEW_HANDLE(1, 5), "mine, again", 11);
	assert_string_equal(view_text_find(t, VIEW_HANDLE(1, 5))->data, "mine, again");
	view_text_drop(t, VIEW_HANDLE(1, 5));
	assert_null(view_text_find(t, VIEW_HANDLE(1, 5)));
	view_texts_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		        who_has_spent_his_share_waits_and_no_other_does, setup, teardown),
		cmocka_unit_test_setup_teardown(of_several_that_wait_each_has_its_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_that_wait_for_the_same_are_one_job, setup, teardown),
		cmocka_unit_test_setup_teardown(without_room_nobody_is_held, setup, teardown),
		cmocka_unit_test(texts_push_out_those_of_the_same_container_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
