/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may not gain privileges: written and read, and what is no list of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/test-place.h"
#include "ctd/worker-suspend-privileges.h"
#include "ctd/worker-suspend-threads.h"

static void test_what_is_noted_is_read(void **state)
{
	struct restore_thread tasks[] = { { .inside = 7, .no_new_privs = true }, { .inside = 5 },
		{ .inside = 1, .no_new_privs = true }, { .inside = 4194303, .no_new_privs = true } };
	const struct restore_threads noted = { .list = tasks, .n = ARRAY_SIZE(tasks) }, none = { 0 };
	struct restore_threads read;

	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0); /* of an older build */
	assert_int_equal(read.n, 0);
	assert_int_equal(suspend_privileges_note(place_fd, &noted, NULL), 0);
	assert_int_equal(suspend_privileges_note(place_fd, &noted, NULL), -EEXIST);
	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0);
	assert_int_equal(read.n, 3);
	assert_int_equal(read.list[0].inside, 7);
	assert_int_equal(read.list[1].inside, 1);
	assert_int_equal(read.list[2].inside, 4194303);
	free(read.list);

	assert_int_equal(unlinkat(place_fd, CRIU_FINISH_NO_NEW_PRIVS, 0), 0);
	assert_int_equal(suspend_privileges_note(place_fd, &none, NULL), 0);
	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0);
	assert_int_equal(read.n, 0);
	free(read.list);
}

static void test_what_is_no_thread_is_refused(void **state)
{
	static const char *const bad[] = { "0\n", "1\n-1\n", "1 2\n", "x\n", "4294967295\n", "99999999999\n",
		"1\n2x\n" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ct_error error = { 0 };
		struct restore_threads read;

		place_put(CRIU_FINISH_NO_NEW_PRIVS, bad[i]);
		assert_int_equal(suspend_privileges_read(place_fd, &read, &error), -EBADMSG);
		assert_int_equal(error.kind, CT_ERROR_REFUSED);
		free(read.list);
	}
}

static void test_who_lacks_it_is_told(void **state)
{
	struct restore_thread wanted[] = { { .inside = 5 }, { .inside = 1 } },
	                      some[] = { { .inside = 9, .no_new_privs = true },
		                      { .inside = 1, .no_new_privs = true }, { .inside = 5 } },
	                      all[] = { { .inside = 9 }, { .inside = 5, .no_new_privs = true },
		                      { .inside = 3 }, { .inside = 1, .no_new_privs = true } };
	const struct restore_threads want = { .list = wanted, .n = 2 }, none = { 0 };
	struct restore_threads few = { .list = some, .n = 3 }, enough = { .list = all, .n = 4 };
	struct ct_error error = { 0 };

	suspend_threads_sort(&few);
	suspend_threads_sort(&enough);
	assert_int_equal(suspend_privileges_check(&want, &few, &error), -EPERM);
	assert_non_null(strstr(error.text, "thread 5 inside"));
	assert_int_equal(suspend_privileges_check(&want, &none, NULL), 0); /* they have died */
	assert_int_equal(suspend_privileges_check(&want, &enough, NULL), 0);
	assert_int_equal(suspend_privileges_check(&none, &few, NULL), 0);
	assert_int_equal(suspend_privileges_check(&none, &none, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_noted_is_read, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_what_is_no_thread_is_refused, place_make, place_remove),
		cmocka_unit_test(test_who_lacks_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
