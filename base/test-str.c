/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>

#include "base/str.h"

static void test_strbuf(void **state)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(strbuf_printf(&b, "%04d", i), 0);
	assert_int_equal(b.len, 4000);
	assert_memory_equal(b.data, "000000010002", 12);
	assert_string_equal(b.data + 3996, "0999");

	strbuf_reset(&b);
	assert_string_equal(b.data, "");
	assert_int_equal(strbuf_puts(&b, "ab"), 0);
	assert_int_equal(strbuf_putc(&b, 'c'), 0);
	assert_int_equal(strbuf_add(&b, "\0d", 2), 0);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "abc\0d", 6);
}

static void test_strbuf_take(void **state)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_free_ char *empty = NULL, *text = NULL;

	empty = strbuf_take(&b);
	assert_string_equal(empty, "");
	strbuf_puts(&b, "x");
	text = strbuf_take(&b);
	assert_string_equal(text, "x");
	assert_null(b.data);
	assert_int_equal(b.len, 0);
}

static void test_strbuf_remembers_failure(void **state)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	strbuf_puts(&b, "x");
	assert_int_equal(strbuf_add(&b, "", SIZE_MAX - 10), -ENOMEM);
	assert_int_equal(b.error, -ENOMEM);
	assert_int_equal(strbuf_puts(&b, "y"), -ENOMEM);
	assert_int_equal(strbuf_printf(&b, "y"), -ENOMEM);
	assert_string_equal(b.data, "x");
	assert_null(strbuf_take(&b));
}

static void test_printf(void **state)
{
	_cleanup_free_ char *s = str_printf("%s-%200d", "a", 5);

	assert_int_equal(strlen(s), 202);
}

static void check_json(const char *in, const char *out)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	assert_int_equal(strbuf_json_string(&b, in), 0);
	assert_string_equal(b.data, out);
}

static void test_json_string(void **state)
{
	check_json("", "\"\"");
	check_json(NULL, "\"\"");
	check_json("plain", "\"plain\"");
	check_json("a\"b\\c/", "\"a\\\"b\\\\c/\"");
	check_json("\n\r\t\x01\x1f\x7f", "\"\\n\\r\\t\\u0001\\u001f\x7f\"");
	check_json("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
	        "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"");
	check_json("a\xffz", "\"a\xef\xbf\xbdz\"");
	check_json("\xc3", "\"\xef\xbf\xbd\"");
	check_json("\xc3\"", "\"\xef\xbf\xbd\\\"\"");
	check_json("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");                 /* overlong */
	check_json("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* surrogate */
	check_json("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Whatever the bytes are, a JSON parser takes the result; deterministic noise. */
static void test_json_string_is_valid(void **state)
{
	uint32_t x = 1;

	for (int round = 0; round < 3000; round++) {
		_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
		char s[24];

		for (size_t i = 0; i < sizeof(s) - 1; i++) {
			x = x * 1664525 + 1013904223;
			s[i] = (char)(x >> 24);
			if ((x >> 20 & 3) == 0)
				s[i] = (char)(0xc0 | (x >> 24 & 0x3f));
		}
		s[sizeof(s) - 1] = '\0';

		assert_int_equal(strbuf_json_string(&b, s), 0);
		json_t *parsed = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
		assert_non_null(parsed);
		json_decref(parsed);
	}
}

static void test_affixes(void **state)
{
	assert_true(str_has_prefix("abc", "ab"));
	assert_true(str_has_prefix("abc", ""));
	assert_false(str_has_prefix("a", "ab"));
	assert_true(str_has_suffix("abc", "bc"));
	assert_true(str_has_suffix("abc", ""));
	assert_false(str_has_suffix("c", "bc"));
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq("", NULL));
	assert_true(str_eq("a", "a"));
	assert_true(str_empty(NULL) && str_empty("") && !str_empty("a"));
}

static void test_numbers(void **state)
{
	static const char *const bad[] = { "", "-", "+1", " 1", "1 ", "1x", "0x10", "1.0", "--1", "- 1", "\n",
		"1\n", "99999999999999999999x" };
	uint64_t u = 7;
	uint32_t w = 7;
	int64_t i = 7;

	assert_int_equal(parse_u64("18446744073709551615", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(parse_u64("0", &u), 0);
	assert_true(u == 0);
	assert_int_equal(parse_u64("007", &u), 0);
	assert_true(u == 7);
	assert_int_equal(parse_u64("18446744073709551616", &u), -ERANGE);
	assert_int_equal(parse_u64("100000000000000000000000", &u), -ERANGE);
	assert_int_equal(parse_u64("-1", &u), -EINVAL);
	assert_int_equal(parse_u64(NULL, &u), -EINVAL);
	assert_true(u == 7);

	assert_int_equal(parse_u32("4294967295", &w), 0);
	assert_true(w == UINT32_MAX);
	assert_int_equal(parse_u32("4294967296", &w), -ERANGE);
	assert_int_equal(parse_u32("-1", &w), -EINVAL);

	assert_int_equal(parse_i64("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(parse_i64("9223372036854775807", &i), 0);
	assert_true(i == INT64_MAX);
	assert_int_equal(parse_i64("9223372036854775808", &i), -ERANGE);
	assert_int_equal(parse_i64("-9223372036854775809", &i), -ERANGE);
	assert_int_equal(parse_i64("-0", &i), 0);
	assert_true(i == 0);

	for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
		assert_int_equal(parse_u64(bad[k], &u), -EINVAL);
		assert_int_equal(parse_u32(bad[k], &w), -EINVAL);
		assert_int_equal(parse_i64(bad[k], &i), -EINVAL);
	}
}

static void test_bool(void **state)
{
	bool b = false;

	assert_int_equal(parse_bool("yes", &b), 0);
	assert_true(b);
	assert_int_equal(parse_bool("off", &b), 0);
	assert_false(b);
	assert_int_equal(parse_bool("1", &b), 0);
	assert_true(b);
	assert_int_equal(parse_bool("false", &b), 0);
	assert_false(b);
	assert_int_equal(parse_bool("", &b), -EINVAL);
	assert_int_equal(parse_bool("Yes", &b), -EINVAL);
	assert_int_equal(parse_bool("yes ", &b), -EINVAL);
	assert_int_equal(parse_bool(NULL, &b), -EINVAL);
}

static void check_escape(const char *in, size_t size, const char *out)
{
	char buf[64];

	memset(buf, 'Z', sizeof(buf));
	assert_string_equal(str_escape_to(buf, size, in, strlen(in)), out);
	for (size_t i = size; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 'Z');
}

static void test_escape(void **state)
{
	check_escape("plain \\x41", 64, "plain \\x41");
	check_escape("a\033]0;x\007", 64, "a\\x1b]0;x\\x07");
	check_escape("\x7f\xc2\x9b\xc2\xa0", 64, "\\x7f\\xc2\\x9b\xc2\xa0");
	check_escape("a\xe2\x80\xae z", 64, "a\\xe2\\x80\\xae z");
	check_escape("a\xe2\x81\xa6z", 64, "a\\xe2\\x81\\xa6z");
	check_escape("a\xe2\x80\x93z", 64, "a\xe2\x80\x93z");
	check_escape("\xff\xfe", 64, "\\xff\\xfe");
	check_escape("abcdef", 4, "abc");
	check_escape("ab\n", 6, "ab");
	check_escape("ab\n", 7, "ab\\x0a");
	check_escape("a\xe2\x82\xac", 4, "a");
	check_escape("a\xe2\x82\xac", 5, "a\xe2\x82\xac");
	check_escape("abc", 1, "");

	char nothing[1] = "Z", buf[16];
	str_escape_to(nothing, 0, "a", 1);
	assert_int_equal(nothing[0], 'Z');
	assert_string_equal(str_escape_to(buf, sizeof(buf), "a\0b", 3), "a\\x00b");
}

static void test_printable(void **state)
{
	assert_true(str_is_printable(""));
	assert_true(str_is_printable("a b \xc3\xbc"));
	assert_false(str_is_printable("a\n"));
	assert_false(str_is_printable("\x7f"));
	assert_false(str_is_printable("\x1f"));
}

static void test_hex(void **state)
{
	char out[9];

	hex_encode(out, "\x00\x9f\xff\x10", 4);
	assert_string_equal(out, "009fff10");
	hex_encode(out, "", 0);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strbuf),
		cmocka_unit_test(test_strbuf_take),
		cmocka_unit_test(test_strbuf_remembers_failure),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_json_string),
		cmocka_unit_test(test_json_string_is_valid),
		cmocka_unit_test(test_affixes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bool),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_printable),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
