/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

struct target {
	const char *name;
	bool has_name;
	bool flag;
	uint64_t count;
	bool has_count;
	int64_t level;
	json_t *options, *list, *any;
};

static const struct json_field fields[] = {
	{ "name", JSON_KIND_STRING, offsetof(struct target, name), offsetof(struct target, has_name), true },
	{ "flag", JSON_KIND_BOOL, offsetof(struct target, flag), JSON_NO_HAS, false },
	{ "count", JSON_KIND_U64, offsetof(struct target, count), offsetof(struct target, has_count), false },
	{ "level", JSON_KIND_I64, offsetof(struct target, level), JSON_NO_HAS, false },
	{ "options", JSON_KIND_OBJECT, offsetof(struct target, options), JSON_NO_HAS, false },
	{ "list", JSON_KIND_ARRAY, offsetof(struct target, list), JSON_NO_HAS, false },
	{ "any", JSON_KIND_ANY, offsetof(struct target, any), JSON_NO_HAS, false },
	{ 0 },
};

static json_t *parsed(const char *text)
{
	struct ct_error err = { 0 };
	json_t *value = NULL;

	if (json_parse(text, strlen(text), &value, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return value;
}

static void test_read(void **state)
{
	_cleanup_json_ json_t *o = parsed("{\"name\": \"n\", \"flag\": true, \"count\": 9223372036854775807,"
	                                  "\"level\": -5, \"options\": {}, \"list\": [1], \"any\": 1.5}");
	struct target t = { 0 };
	struct ct_error err = { 0 };

	assert_int_equal(json_read(o, fields, &t, &err), 0);
	assert_string_equal(t.name, "n");
	assert_true(t.has_name && t.flag && t.has_count);
	assert_true(t.count == INT64_MAX);
	assert_true(t.level == -5);
	assert_int_equal(json_array_size(t.list), 1);
	assert_true(json_is_object(t.options) && json_is_real(t.any));
}

static void test_absent_and_null(void **state)
{
	_cleanup_json_ json_t *o = parsed("{\"name\": \"n\", \"count\": null, \"any\": null}");
	struct target t = { .count = 5, .has_count = true, .flag = true };

	assert_int_equal(json_read(o, fields, &t, NULL), 0);
	assert_true(t.has_name && !t.has_count && t.flag);
	assert_true(t.count == 5);
	assert_null(t.any);
}

static void refused(const char *text, const char *field)
{
	_cleanup_json_ json_t *o = parsed(text);
	struct ct_error err = { 0 };
	struct target t = { 0 };

	assert_int_equal(json_read(o, fields, &t, &err), -EINVAL);
	assert_int_equal(err.kind, CT_ERROR_USAGE);
	assert_string_equal(err.field, field);
	assert_true(err.text[0] != '\0');
	assert_int_equal(json_read(o, fields, &t, NULL), -EINVAL);
}

static void test_refuses(void **state)
{
	refused("{}", "name");
	refused("{\"name\": null}", "name");
	refused("{\"name\": 5}", "name");
	refused("{\"name\": \"n\", \"nmae\": 1}", "nmae");
	refused("{\"name\": \"n\", \"nmae\": null}", "nmae");
	refused("{\"name\": \"n\", \"Flag\": true}", "Flag");
	refused("{\"name\": \"n\", \"flag\": 1}", "flag");
	refused("{\"name\": \"n\", \"flag\": \"yes\"}", "flag");
	refused("{\"name\": \"n\", \"count\": -1}", "count");
	refused("{\"name\": \"n\", \"count\": 1.0}", "count");
	refused("{\"name\": \"n\", \"count\": \"1\"}", "count");
	refused("{\"name\": \"n\", \"level\": 1e3}", "level");
	refused("{\"name\": \"n\", \"options\": []}", "options");
	refused("{\"name\": \"n\", \"list\": {}}", "list");
	refused("{\"name\": \"n\", \"a\\n\\u001b\": 1}", "a\\x0a\\x1b");
	refused("[]", "");

	struct target t;
	assert_int_equal(json_read(NULL, fields, &t, NULL), -EINVAL);
}

static void test_nul_inside_a_string(void **state)
{
	_cleanup_json_ json_t *o = json_object();
	struct target t = { 0 };

	assert_int_equal(json_object_set_new(o, "name", json_stringn("a\0b", 3)), 0);
	assert_int_equal(json_read(o, fields, &t, NULL), -EINVAL);
}

static void bad(const char *text, size_t len, int expected)
{
	struct ct_error err = { 0 };
	json_t *value = NULL;

	assert_int_equal(json_parse(text, len, &value, &err), expected);
	assert_null(value);
	assert_int_equal(err.code, expected);
	assert_int_equal(err.kind, CT_ERROR_USAGE);
	assert_true(err.text[0] != '\0' && str_is_printable(err.text));
}

static void test_parse(void **state)
{
	static const char *const texts[] = { "", " ", "{", "{}x", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{a:1}",
		"{'a':1}", "nul", "5", "\"s\"", "[1 2]", "{\"a\":\"\\u0000\"}", "{\"a\\u0000\":1}",
		"{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", "[18446744073709551616]", "[1e999]", "[01]",
		"[\"\\ud800\"]", "{\"a\":1}{}" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		bad(texts[i], strlen(texts[i]), -EINVAL);
	bad("{}\0", 3, -EINVAL);
	bad("[1,2]", 4, -EINVAL);
}

static void test_depth(void **state)
{
	char text[10001];

	memset(text, '[', 32);
	memset(text + 32, ']', 32);
	text[64] = '\0';
	json_decref(parsed(text));

	memset(text, '[', 33);
	memset(text + 33, ']', 33);
	bad(text, 66, -E2BIG);
	bad("{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", 70, -E2BIG);

	memset(text, '[', 10000);
	bad(text, 10000, -E2BIG);
}

static void test_from_error(void **state)
{
	struct ct_error err;

	ct_error_field(&err, "memory", "must be \"%s\"", "4M");
	_cleanup_json_ json_t *o = json_from_error(&err);
	json_t *e = json_object_get(o, "error");
	assert_int_equal(json_object_size(o), 1);
	assert_int_equal(json_object_size(e), 3);
	assert_string_equal(json_string_value(json_object_get(e, "code")), "usage");
	assert_string_equal(json_string_value(json_object_get(e, "message")), "must be \"4M\"");
	assert_string_equal(json_string_value(json_object_get(e, "field")), "memory");

	ct_error_set(&err, -ENOENT, "x", "gone");
	_cleanup_json_ json_t *plain = json_from_error(&err);
	e = json_object_get(plain, "error");
	assert_int_equal(json_object_size(e), 2);
	assert_string_equal(json_string_value(json_object_get(e, "code")), "not-found");
}

/* As if it had come over a socket from somebody who lies. */
static void test_from_hostile_error(void **state)
{
	struct ct_error err;

	memset(&err, 0xff, sizeof(err));
	_cleanup_json_ json_t *o = json_from_error(&err);
	assert_non_null(o);
	_cleanup_free_ char *text = json_dumps(o, 0);
	assert_non_null(text);
	assert_string_equal(
	        json_string_value(json_object_get(json_object_get(o, "error"), "code")), "failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_absent_and_null),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_nul_inside_a_string),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_from_error),
		cmocka_unit_test(test_from_hostile_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
