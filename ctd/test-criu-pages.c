/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where images say that memory is: found by address and by place, and refused where it makes no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "ctd/criu-pages.h"
#include "ctd/test-images.h"

#define BASE 0x7f0000000000ULL

static void test_extents_are_found(void **state)
{
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
	struct criu_pages pages;

	image_begin(&image);
	image_add_head(&image, 9);
	image_add_extent(&image, BASE, 2, false);
	image_add_extent(&image, BASE + 4 * CRIU_PAGE, 3, true);
	image_add_extent(&image, BASE + 7 * CRIU_PAGE, 1, false);
	assert_int_equal(criu_pages_read(image.data, image.len, &pages), 0);
	assert_int_equal(pages.id, 9);
	assert_int_equal(pages.n, 3);
	assert_int_equal(pages.items[2].offset, 2 * CRIU_PAGE);

	assert_ptr_equal(criu_pages_from(&pages, 0), &pages.items[0]);
	assert_ptr_equal(criu_pages_from(&pages, BASE + 2 * CRIU_PAGE), &pages.items[1]);
	assert_ptr_equal(criu_pages_from(&pages, BASE + 7 * CRIU_PAGE), &pages.items[2]);
	assert_null(criu_pages_from(&pages, BASE + 8 * CRIU_PAGE));

	assert_ptr_equal(criu_pages_at_offset(&pages, 0), &pages.items[0]);
	assert_ptr_equal(criu_pages_at_offset(&pages, 2 * CRIU_PAGE - 1), &pages.items[0]);
	assert_ptr_equal(criu_pages_at_offset(&pages, 2 * CRIU_PAGE), &pages.items[2]);
	assert_null(criu_pages_at_offset(&pages, 3 * CRIU_PAGE));
	criu_pages_done(&pages);
}

static void test_nonsense_is_refused(void **state)
{
	static const struct {
		uint64_t first, pages, second;
	} cases[] = {
		{ BASE + 1, 1, BASE + 4 * CRIU_PAGE },   /* no page begins there */
		{ BASE, 0, BASE + CRIU_PAGE },           /* nothing */
		{ BASE, 2, BASE + CRIU_PAGE },           /* one over another */
		{ BASE, 1ULL << 62, BASE + CRIU_PAGE },  /* too many */
		{ BASE + CRIU_PAGE, 1, BASE },           /* backwards */
		{ UINT64_MAX - CRIU_PAGE + 1, 1, BASE }, /* out of all addresses */
	};
	struct criu_pages pages;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;

		image_begin(&image);
		image_add_head(&image, 1);
		image_add_extent(&image, cases[i].first, cases[i].pages, false);
		image_add_extent(&image, cases[i].second, 1, false);
		assert_int_equal(criu_pages_read(image.data, image.len, &pages), -EBADMSG);
	}
	assert_int_equal(criu_pages_read("", 0, &pages), -EBADMSG);
	assert_int_equal(criu_pages_read("12345678", 8, &pages), -EBADMSG);
	assert_int_equal(criu_pages_read("12345678\xff\xff\xff\xff", 12, &pages), -EBADMSG);
}

static void test_who_makes_whom(void **state)
{
	static const struct {
		pid_t task, by, made;
		bool is;
	} cases[] = {
		{ 1, 0, 1, true },    /* by CRIU itself */
		{ 7, 0, 1, true },    /* and what comes of it */
		{ 7, 1, 5, true },    /* by its parent's parent */
		{ 7, 5, 7, true },    /* by its parent */
		{ 7, 1, 7, false },   /* not at once */
		{ 5, 5, 7, false },   /* not the other way */
		{ 20, 1, 14, true },  /* its session's leader has ended: a helper of that number */
		{ 20, 14, 20, true }, /* which makes it */
		{ 20, 1, 20, false }, { 20, 1, 5, false },
		{ 30, 1, 5, true },                       /* the leader is there: under it is a helper */
		{ 30, 5, 99, true },                      /* of any number */
		{ 30, 99, 30, true },                     /* which makes it */
		{ 30, 5, 7, false },                      /* another task of the leader's */
		{ 30, 1, 30, false }, { 8, 1, 8, false }, /* a circle */
		{ 77, 1, 77, false },                     /* nobody */
	};
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
	_cleanup_free_ struct criu_task *tasks = NULL;
	size_t n = 0;

	image_begin(&image);
	image_add_task(&image, 1, 0, 1);
	image_add_task(&image, 5, 1, 5);
	image_add_task(&image, 7, 5, 5);
	image_add_task(&image, 20, 1, 14);
	image_add_task(&image, 30, 1, 5);
	image_add_task(&image, 8, 9, 8);
	image_add_task(&image, 9, 8, 8);
	assert_int_equal(criu_tasks_read(image.data, image.len, &tasks, &n), 0);
	assert_int_equal(n, 7);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(criu_task_is_made_by(tasks, n, cases[i].task, cases[i].by, cases[i].made),
		        cases[i].is);
	assert_int_equal(criu_tasks_read(image.data, image.len - 1, &tasks, &n), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extents_are_found),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_who_makes_whom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
