/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/addr.h"
#include "base/cleanup.h"

static struct ip_addr parsed(const char *s)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(s, &a), 0);
	return a;
}

static void test_round_trip(void **state)
{
	static const struct {
		const char *in, *out, *out_addr;
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1", "192.0.2.1" },
		{ "192.0.2.1/32", "192.0.2.1", "192.0.2.1" },
		{ "192.0.2.1/24", "192.0.2.1/24", "192.0.2.1" },
		{ "0.0.0.0/0", "0.0.0.0/0", "0.0.0.0" },
		{ "2001:DB8::1", "2001:db8::1", "2001:db8::1" },
		{ "2001:db8::1/64", "2001:db8::1/64", "2001:db8::1" },
		{ "2001:db8::1/128", "2001:db8::1", "2001:db8::1" },
		{ "::/0", "::/0", "::" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/127",
		        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
		        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	};
	char buf[IP_ADDR_STRLEN];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_addr a = parsed(cases[i].in), b;
		assert_string_equal(ip_format(&a, buf, sizeof(buf)), cases[i].out);
		b = parsed(buf);
		assert_true(ip_equal(&a, &b));
		assert_string_equal(ip_format_addr(&a, buf, sizeof(buf)), cases[i].out_addr);
	}
}

static void test_refuses(void **state)
{
	static const char *const bad[] = { "", "/", "1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4",
		"1.2.3.4/", "1.2.3.4/33", "1.2.3.4/024", "1.2.3.4/00", "1.2.3.4/-1", "1.2.3.4/+8",
		"1.2.3.4/ 8", "1.2.3.4/8 ", "1.2.3.4/8/8", " 1.2.3.4", "1.2.3.4 ", "0x1.2.3.4",
		"1.2.3.4/4294967304", ":", ":::", "::1%lo", "fe80::1%2", "::/129", "g::", "1:2:3:4:5:6:7:8:9",
		"localhost", "1111111111111111111111111111111111111111111111111111111111" };
	struct ip_addr a;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ip_parse(bad[i], &a), -EINVAL);
	assert_int_equal(ip_parse(NULL, &a), -EINVAL);
}

static void test_network(void **state)
{
	struct ip_addr a;

	assert_int_equal(ip_parse_network("10.0.0.0/8", &a), 0);
	assert_int_equal(a.prefix, 8);
	assert_int_equal(ip_parse_network("10.1.2.4/30", &a), 0);
	assert_int_equal(ip_parse_network("10.1.2.3", &a), 0);
	assert_int_equal(ip_parse_network("2001:db8::/33", &a), 0);
	assert_int_equal(ip_parse_network("10.1.2.4/29", &a), -EINVAL);
	assert_int_equal(ip_parse_network("10.0.0.1/0", &a), -EINVAL);
	assert_int_equal(ip_parse_network("2001:db8:8000::/32", &a), -EINVAL);
}

static void test_contains(void **state)
{
	struct ip_addr net = parsed("10.1.0.0/16"), in = parsed("10.1.255.255"), out = parsed("10.2.0.0");
	struct ip_addr wide = parsed("10.0.0.0/8"), odd = parsed("10.1.128.0/17"), six = parsed("a01::/16");
	struct ip_addr all = parsed("0.0.0.0/0"), none = { 0 };

	assert_true(ip_contains(&net, &in));
	assert_true(ip_contains(&net, &net));
	assert_true(ip_contains(&net, &odd));
	assert_true(ip_contains(&all, &out));
	assert_false(ip_contains(&net, &out));
	assert_false(ip_contains(&net, &wide));
	assert_false(ip_contains(&net, &six));
	assert_false(ip_contains(&none, &none));

	assert_true(ip_overlaps(&net, &wide));
	assert_true(ip_overlaps(&wide, &net));
	assert_true(ip_overlaps(&all, &out));
	assert_false(ip_overlaps(&net, &out));
	assert_false(ip_overlaps(&net, &six));
	assert_false(ip_overlaps(&none, &all));
}

static void check_nth(const char *net, uint64_t n, const char *expected)
{
	struct ip_addr a = parsed(net), r;
	char buf[IP_ADDR_STRLEN];

	assert_int_equal(ip_nth(&a, n, &r), 0);
	assert_string_equal(ip_format(&r, buf, sizeof(buf)), expected);
}

static void test_nth(void **state)
{
	struct ip_addr a = parsed("10.0.0.0/24"), r;

	check_nth("10.0.0.0/24", 0, "10.0.0.0");
	check_nth("10.0.0.0/24", 255, "10.0.0.255");
	check_nth("10.0.0.77/24", 1, "10.0.0.1");
	check_nth("10.0.0.0/8", 0x10203, "10.1.2.3");
	check_nth("10.0.0.5/32", 0, "10.0.0.5");
	check_nth("0.0.0.0/0", 0xffffffff, "255.255.255.255");
	check_nth("2001:db8::/64", UINT64_MAX, "2001:db8::ffff:ffff:ffff:ffff");
	check_nth("2001:db8::/32", 256, "2001:db8::100");

	assert_int_equal(ip_nth(&a, 256, &r), -ERANGE);
	a = parsed("10.0.0.5");
	assert_int_equal(ip_nth(&a, 1, &r), -ERANGE);
	a = parsed("2001:db8::/65");
	assert_int_equal(ip_nth(&a, UINT64_MAX, &r), -ERANGE);
	a.family = 0;
	assert_int_equal(ip_nth(&a, 0, &r), -EINVAL);
}

static void test_unicast(void **state)
{
	static const char *const good[] = { "192.0.2.1", "10.0.0.1", "223.255.255.255", "2001:db8::1",
		"fd00::1" };
	static const char *const bad[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "169.254.1.1",
		"224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "febf::1",
		"ff02::1", "::ffff:10.0.0.1", "::10.0.0.1" };
	struct ip_addr none = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct ip_addr a = parsed(good[i]);
		assert_true(ip_is_unicast(&a));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ip_addr a = parsed(bad[i]);
		assert_false(ip_is_unicast(&a));
	}
	assert_false(ip_is_unicast(&none));
}

static void test_small_buffer(void **state)
{
	struct ip_addr a = parsed("192.0.2.1/24"), none = { 0 };
	char buf[8] = "xxxxxxx";

	assert_string_equal(ip_format(&a, buf, sizeof(buf)), "");
	assert_string_equal(ip_format(&none, buf, sizeof(buf)), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_contains),
		cmocka_unit_test(test_nth),
		cmocka_unit_test(test_unicast),
		cmocka_unit_test(test_small_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
