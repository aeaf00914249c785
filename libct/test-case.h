/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests that start containers share: one container at a time, prepared before each test and removed
 * after it. Each program is called with the path of the probe. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libct/test-fixture.h"

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* cmocka leaves a failed test by longjmp; what it had running is found here. */
extern struct fixture fixture;
extern struct box box;
extern struct ct_spec spec;
extern struct ct_error err;
extern char output[1 << 20];

int box_set_up(void **state);         /* box and spec are ready for box_start */
int box_set_up_running(void **state); /* the probe is its init */
int box_tear_down(void **state);

#define TEST(fn)         cmocka_unit_test_setup_teardown(fn, box_set_up, box_tear_down)
#define TEST_RUNNING(fn) cmocka_unit_test_setup_teardown(fn, box_set_up_running, box_tear_down)
#define RUN(argc, argv, tests)                                                                               \
	case_begin(argc, argv) ? case_status()                                                               \
	                       : case_end(cmocka_run_group_tests_name(argv[0], tests, NULL, NULL))

int case_begin(int argc, char **argv); /* 0, or case_status is what to exit with */
int case_status(void);
int case_end(int failed);

void must_start(void);
/* The output of a command inside, or of one that is init itself. */
const char *inside(const char *const *argv);
const char *as_init(const char *const *argv);
void expect(const char *text, const char *name, const char *value);
int count_fds(void);
