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
#include "base/path.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/worker-suspend-privileges.h"

static char place[] = "/tmp/test-privileges.XXXXXX";
static int place_fd = -1;

static int make_place(void **state)
{
	memcpy(place + strlen(place) - 6, "XXXXXX", 6);
	if (!mkdtemp(place))
		return -1;
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return place_fd < 0 ? -1 : 0;
}

static int remove_place(void **state)
{
	place_fd = fd_close(place_fd);
	return remove_tree_at(AT_FDCWD, place);
}

static void put(const char *text)
{
	_cleanup_close_ int fd =
	        openat(place_fd, CRIU_FINISH_NO_NEW_PRIVS, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void test_what_is_noted_is_read(void **state)
{
	pid_t tids[] = { 7, 1, 4194303 };
	const struct restore_threads noted = { tids, ARRAY_SIZE(tids) }, none = { NULL, 0 };
	struct restore_threads read;

	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0); /* of an older build */
	assert_int_equal(read.n, 0);
	assert_int_equal(suspend_privileges_note(place_fd, &noted, NULL), 0);
	assert_int_equal(suspend_privileges_note(place_fd, &noted, NULL), -EEXIST);
	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0);
	assert_int_equal(read.n, noted.n);
	assert_memory_equal(read.tids, tids, sizeof(tids));
	free(read.tids);

	assert_int_equal(unlinkat(place_fd, CRIU_FINISH_NO_NEW_PRIVS, 0), 0);
	assert_int_equal(suspend_privileges_note(place_fd, &none, NULL), 0);
	assert_int_equal(suspend_privileges_read(place_fd, &read, NULL), 0);
	assert_int_equal(read.n, 0);
	free(read.tids);
}

static void test_what_is_no_thread_is_refused(void **state)
{
	static const char *const bad[] = { "0\n", "1\n-1\n", "1 2\n", "x\n", "4294967295\n", "99999999999\n",
		"1\n2x\n" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ct_error error = { 0 };
		struct restore_threads read;

		put(bad[i]);
		assert_int_equal(suspend_privileges_read(place_fd, &read, &error), -EBADMSG);
		assert_int_equal(error.kind, CT_ERROR_REFUSED);
		free(read.tids);
	}
}

static void test_who_lacks_it_is_told(void **state)
{
	pid_t wanted[] = { 5, 1 }, some[] = { 9, 1, 3 }, all[] = { 9, 5, 3, 1 };
	const struct restore_threads want = { wanted, 2 }, few = { some, 3 }, enough = { all, 4 },
	                             none = { NULL, 0 };
	struct ct_error error = { 0 };

	assert_int_equal(suspend_privileges_check(&want, &few, &error), -EPERM);
	assert_non_null(strstr(error.text, "thread 5 inside"));
	assert_int_equal(suspend_privileges_check(&want, &none, NULL), -EPERM);
	assert_int_equal(suspend_privileges_check(&want, &enough, NULL), 0);
	assert_int_equal(suspend_privileges_check(&none, &few, NULL), 0);
	assert_int_equal(suspend_privileges_check(&none, &none, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_noted_is_read, make_place, remove_place),
		cmocka_unit_test_setup_teardown(test_what_is_no_thread_is_refused, make_place, remove_place),
		cmocka_unit_test(test_who_lacks_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
