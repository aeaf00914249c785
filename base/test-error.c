/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static void test_set(void **state)
{
	struct ct_error err;

	memset(&err, 0x55, sizeof(err));
	assert_int_equal(ct_error_set(&err, -ENOENT, "mount", "cannot mount \"%s\"", "/x"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_int_equal(err.kind, CT_ERROR_NOT_FOUND);
	assert_string_equal(err.step, "mount");
	assert_string_equal(err.field, "");
	assert_string_equal(err.text, "cannot mount \"/x\"");

	assert_int_equal(ct_error_kind_set(&err, CT_ERROR_STATE, -EIO, "is %d", 5), -EIO);
	assert_int_equal(err.kind, CT_ERROR_STATE);
	assert_string_equal(err.step, "");
	assert_string_equal(err.text, "is 5");

	assert_int_equal(ct_error_field(&err, "memory", "must be at least %s", "4M"), -EINVAL);
	assert_int_equal(err.kind, CT_ERROR_USAGE);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.field, "memory");
	assert_string_equal(err.text, "must be at least 4M");
}

static void test_null_is_accepted(void **state)
{
	assert_int_equal(ct_error_set(NULL, -EIO, "x", "y"), -EIO);
	assert_int_equal(ct_error_kind_set(NULL, CT_ERROR_USAGE, -EIO, "y"), -EIO);
	assert_int_equal(ct_error_field(NULL, "f", "y"), -EINVAL);
	assert_int_equal(ct_error_prefix(NULL, "y"), 0);
}

static void test_escapes(void **state)
{
	struct ct_error err;

	ct_error_set(&err, -EIO, "a\nb", "bad \"%s\"", "\033[2J\n\xff\xc2\x9b");
	assert_string_equal(err.step, "a\\x0ab");
	assert_string_equal(err.text, "bad \"\\x1b[2J\\x0a\\xff\\xc2\\x9b\"");

	ct_error_field(&err, "f\x01", "x");
	assert_string_equal(err.field, "f\\x01");

	ct_error_prefix(&err, "p\r");
	assert_string_equal(err.text, "p\\x0d: x");
	ct_error_prefix(&err, "again");
	assert_string_equal(err.text, "again: p\\x0d: x");
}

static void test_cut_short(void **state)
{
	struct ct_error err;
	char big[3000];

	memset(big, '\x01', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';

	ct_error_set(&err, -EIO, big, "%s", big);
	assert_int_equal(strlen(err.text), (sizeof(err.text) - 1) / 4 * 4);
	assert_int_equal(strlen(err.step), (sizeof(err.step) - 1) / 4 * 4);
	ct_error_prefix(&err, "%s", big);
	assert_true(strlen(err.text) < sizeof(err.text));
	ct_error_field(&err, big, "x");
	assert_int_equal(strlen(err.field), (sizeof(err.field) - 1) / 4 * 4);
}

static void test_arguments_may_be_inside(void **state)
{
	struct ct_error err;

	ct_error_set(&err, -EIO, "step", "inner");
	ct_error_set(&err, -EPERM, err.step, "outer: %s", err.text);
	assert_string_equal(err.text, "outer: inner");
	assert_string_equal(err.step, "step");
	ct_error_field(&err, err.step, "%s", err.text);
	assert_string_equal(err.field, "step");
	assert_string_equal(err.text, "outer: inner");
}

static void test_prefix_without_error(void **state)
{
	struct ct_error err = { 0 };

	assert_int_equal(ct_error_prefix(&err, "x"), 0);
	assert_string_equal(err.text, "");
	ct_error_set(&err, -EBUSY, "", "busy");
	assert_int_equal(ct_error_prefix(&err, "at %d", 7), -EBUSY);
	assert_string_equal(err.text, "at 7: busy");
}

static void test_kinds(void **state)
{
	static const struct {
		int code;
		enum ct_error_kind kind;
		const char *name;
	} cases[] = {
		{ -ENOENT, CT_ERROR_NOT_FOUND, "not-found" },
		{ -EEXIST, CT_ERROR_STATE, "state" },
		{ -EBUSY, CT_ERROR_STATE, "state" },
		{ -EPERM, CT_ERROR_PERMISSION, "permission" },
		{ -EACCES, CT_ERROR_PERMISSION, "permission" },
		{ -ENOSPC, CT_ERROR_REFUSED, "refused" },
		{ -EDQUOT, CT_ERROR_REFUSED, "refused" },
		{ -EOPNOTSUPP, CT_ERROR_REFUSED, "refused" },
		{ -EINVAL, CT_ERROR_USAGE, "usage" },
		{ -EIO, CT_ERROR_FAILED, "failed" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(ct_error_kind_of(cases[i].code), cases[i].kind);
		assert_string_equal(ct_error_kind_name(cases[i].kind), cases[i].name);
		assert_int_equal(ct_error_kind_from_name(cases[i].name), cases[i].kind);
	}

	assert_string_equal(ct_error_kind_name((enum ct_error_kind)99), "failed");
	assert_string_equal(ct_error_kind_name((enum ct_error_kind) - 1), "failed");
	assert_int_equal(ct_error_kind_from_name("nonsense"), CT_ERROR_FAILED);
	assert_int_equal(ct_error_kind_from_name(NULL), CT_ERROR_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_null_is_accepted),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_arguments_may_be_inside),
		cmocka_unit_test(test_prefix_without_error),
		cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
