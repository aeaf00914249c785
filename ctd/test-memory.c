/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is not needed goes, and what is needed is still there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/memory.h"

/* KiB of a line of /proc/self/status. */
static unsigned long status(const char *key)
{
	_cleanup_free_ char *text = NULL;
	const char *line;

	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/status", 65536, &text, NULL), 0);
	line = strstr(text, key);
	assert_non_null(line);
	return strtoul(line + strlen(key), NULL, 10);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void test_files(void **state)
{
	unsigned long before = status("RssFile:"), after;
	int numbers[] = { 3, 1, 2 };
	char text[32];

	(void)state;
	memory_let_go();
	after = status("RssFile:");
	assert_true(after < before);
	/* Its own code and that of libraries, their constants, and what was relocated in them. */
	qsort(numbers, 3, sizeof(numbers[0]), by_number);
	assert_int_equal(numbers[0], 1);
	assert_string_equal(format_time_utc(text, sizeof(text), 0), "1970-01-01T00:00:00Z");
	assert_true(strtod("1.5", NULL) > 1.4);
}

/* In an event loop: once all, then what grows. */
static void test_watch(void **state)
{
	sd_event *event = NULL;
	bool begun = true;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(memory_watch(event, &begun) >= 0);
	assert_false(begun);
	while (!begun)
		assert_true(sd_event_run(event, UINT64_MAX) >= 0);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_watch),
	};

	memory_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
