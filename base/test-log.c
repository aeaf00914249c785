/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"

static char output[8192];

/* Sends stderr to fd while one message is logged. */
static void log_into(int fd, enum log_level level, const char *text)
{
	int saved = fd_dup_cloexec(STDERR_FILENO);

	assert_true(saved >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	errno = EXDEV;
	log_message(level, "%s", text);
	int kept = errno;
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	fd_close(saved);
	assert_int_equal(kept, EXDEV);
}

static const char *logged(enum log_level level, const char *arg)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	log_into(p[1], level, arg);
	fd_close(p[1]);
	ssize_t n = read_all(p[0], output, sizeof(output) - 1);
	fd_close(p[0]);

	assert_true(n >= 0);
	output[n] = '\0';
	return output;
}

static void test_levels(void **state)
{
	log_set("prog", LOG_LEVEL_NOTICE);
	assert_string_equal(logged(LOG_LEVEL_ERROR, "a"), "<3>a\n");
	assert_string_equal(logged(LOG_LEVEL_WARNING, "a"), "<4>a\n");
	assert_string_equal(logged(LOG_LEVEL_NOTICE, "a"), "<5>a\n");
	assert_string_equal(logged(LOG_LEVEL_INFO, "a"), "");
	assert_string_equal(logged(LOG_LEVEL_DEBUG, "a"), "");
	log_set("prog", LOG_LEVEL_DEBUG);
	assert_string_equal(logged(LOG_LEVEL_DEBUG, "a"), "<7>a\n");
}

static void test_one_escaped_line(void **state)
{
	assert_string_equal(logged(LOG_LEVEL_ERROR, "a\n<0>b\033[m"), "<3>a\\x0a<0>b\\x1b[m\n");
}

static void test_long_message(void **state)
{
	static char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	const char *line = logged(LOG_LEVEL_ERROR, big);
	assert_int_equal(strlen(line), 2047);
	assert_true(strchr(line, '\n') == line + 2046);

	memset(big, '\x01', sizeof(big) - 1);
	line = logged(LOG_LEVEL_ERROR, big);
	assert_true(strlen(line) <= 2047);
	assert_true(strchr(line, '\n') == line + strlen(line) - 1);
}

static void test_on_a_terminal(void **state)
{
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, NULL) < 0) {
		print_message("no pseudo terminals here\n");
		skip();
	}

	log_set("prog", LOG_LEVEL_INFO);
	log_into(slave, LOG_LEVEL_ERROR, "hello");
	ssize_t n = read(master, output, sizeof(output) - 1);
	assert_true(n > 0);
	output[n] = '\0';
	assert_string_equal(output, "prog: hello\r\n");
	fd_close(master);
	fd_close(slave);
}

static void test_full_stderr_is_no_failure(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	log_into(fd, LOG_LEVEL_ERROR, "lost");
	fd_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_one_escaped_line),
		cmocka_unit_test(test_long_message),
		cmocka_unit_test(test_on_a_terminal),
		cmocka_unit_test(test_full_stderr_is_no_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
