/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What images may say that a console has shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctd/keeper-ring.h"
#include "ctd/worker-suspend-console.h"

static char place[] = "/tmp/test-suspend-console.XXXXXX";
static int place_fd = -1;

static int make_place(void **state)
{
	if (!mkdtemp(place))
		return -1;
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return place_fd < 0 ? -1 : 0;
}

static int remove_place(void **state)
{
	(void)unlinkat(place_fd, "ct-console", 0); /* where a test has failed, rmdir says it */
	place_fd = fd_close(place_fd);
	return rmdir(place);
}

static int read_of(size_t len, char **ret, size_t *ret_len, struct ct_error *err)
{
	_cleanup_close_ int fd =
	        openat(place_fd, "ct-console", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_free_ char *text = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		text[i] = (char)(i % 251);
	assert_int_equal(write_all(fd, text, len), 0);
	return suspend_console_read(place_fd, ret, ret_len, err);
}

static void test_none(void **state)
{
	struct ct_error error = { 0 };
	char *text = NULL;
	size_t len = 0;

	assert_int_equal(suspend_console_read(place_fd, &text, &len, &error), 0);
	assert_null(text);
	assert_int_equal(len, 0);
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 1000, KEEPER_RING_MAX - 1, KEEPER_RING_MAX };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		_cleanup_free_ char *text = NULL;
		struct ct_error error = { 0 };
		size_t len = 4711;

		assert_int_equal(read_of(sizes[i], &text, &len, &error), 0);
		assert_int_equal(len, sizes[i]);
		for (size_t at = 0; at < len; at++)
			assert_int_equal((unsigned char)text[at], at % 251);
	}
}

static void test_too_much(void **state)
{
	static const size_t sizes[] = { KEEPER_RING_MAX + 1, 2 * KEEPER_RING_MAX, 1000000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		_cleanup_free_ char *text = NULL;
		struct ct_error error = { 0 };
		size_t len = 0;

		assert_int_equal(read_of(sizes[i], &text, &len, &error), -EBADMSG);
		assert_int_equal(error.kind, CT_ERROR_REFUSED);
		assert_null(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, make_place, remove_place);
}
