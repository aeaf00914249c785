/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/cleanup.h"
#include "base/unit.h"

typedef int parse_fn(const char *s, uint64_t *ret);
typedef char *format_fn(char *buf, size_t size, uint64_t n);

static void good(parse_fn *parse, const char *s, uint64_t expected)
{
	uint64_t n = ~expected;

	if (parse(s, &n) != 0)
		fail_msg("\"%s\" is refused", s);
	if (n != expected)
		fail_msg("\"%s\" is %llu", s, (unsigned long long)n);
}

static void bad(parse_fn *parse, const char *s, int expected)
{
	uint64_t n = 7;

	int r = parse(s, &n);
	if (r != expected)
		fail_msg("\"%s\" gives %d", s ? s : "NULL", r);
	assert_true(n == 7);
}

static const char *const nonsense[] = { "", " ", "x", ".", ".5", "1.", "-1", "+1", " 1", "1 ", "1 K", "1K ",
	"1..5K", "1.5.5K", "1,5K", "0x1K", "1KK", "1E", "1e3", "K", "1.5", "\n", "1K\n", "inf", "max",
	"1.0000000000000000001K" };

static void test_size(void **state)
{
	good(parse_size, "0", 0);
	good(parse_size, "1000", 1000);
	good(parse_size, "100B", 100);
	good(parse_size, "1K", 1024);
	good(parse_size, "1KiB", 1024);
	good(parse_size, "1KB", 1024);
	good(parse_size, "512m", 512ULL << 20);
	good(parse_size, "1.5G", 3ULL << 29);
	good(parse_size, "2T", 2ULL << 40);
	good(parse_size, "1P", 1ULL << 50);
	good(parse_size, "0.3K", 307);
	good(parse_size, "0.000K", 0);
	good(parse_size, "16383P", 16383ULL << 50);
	good(parse_size, "18446744073709551615", UINT64_MAX);
	bad(parse_size, "16384P", -ERANGE);
	bad(parse_size, "18446744073709551616", -ERANGE);
	bad(parse_size, "99999999999999999999K", -ERANGE);
	bad(parse_size, "1iB", -EINVAL);
	bad(parse_size, "1Kib", -EINVAL);
	bad(parse_size, "1bit", -EINVAL);
	bad(parse_size, "1.5B", -EINVAL);
	bad(parse_size, NULL, -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
		bad(parse_size, nonsense[i], -EINVAL);
}

static void test_bitrate(void **state)
{
	good(parse_bitrate, "1000", 1000);
	good(parse_bitrate, "1000bit", 1000);
	good(parse_bitrate, "64k", 64000);
	good(parse_bitrate, "64K", 64000);
	good(parse_bitrate, "100Mbit", 100000000);
	good(parse_bitrate, "100mbit/s", 100000000);
	good(parse_bitrate, "2.5Gbps", 2500000000);
	good(parse_bitrate, "1T", 1000000000000);
	bad(parse_bitrate, "1MB", -EINVAL);
	bad(parse_bitrate, "1Mib", -EINVAL);
	bad(parse_bitrate, "1P", -EINVAL);
	bad(parse_bitrate, "18446745T", -ERANGE);
	bad(parse_bitrate, NULL, -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
		bad(parse_bitrate, nonsense[i], -EINVAL);
}

static void test_duration(void **state)
{
	good(parse_duration_usec, "0", 0);
	good(parse_duration_usec, "90", 90000000);
	good(parse_duration_usec, "5us", 5);
	good(parse_duration_usec, "250ms", 250000);
	good(parse_duration_usec, "1.5s", 1500000);
	good(parse_duration_usec, "2m", 120000000);
	good(parse_duration_usec, "1h", 3600000000);
	good(parse_duration_usec, "0.5d", 43200000000);
	bad(parse_duration_usec, "18446744073710", -ERANGE);
	bad(parse_duration_usec, "1M", -EINVAL);
	bad(parse_duration_usec, "1 s", -EINVAL);
	bad(parse_duration_usec, "1min", -EINVAL);
	bad(parse_duration_usec, NULL, -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
		bad(parse_duration_usec, nonsense[i], -EINVAL);
}

static void test_milli(void **state)
{
	good(parse_milli, "2", 2000);
	good(parse_milli, "1.5", 1500);
	good(parse_milli, "0.25", 250);
	good(parse_milli, "0.001", 1);
	good(parse_milli, "18446744073709551.615", UINT64_MAX);
	bad(parse_milli, "18446744073709551.616", -ERANGE);
	bad(parse_milli, "0.0001", -EINVAL);
	bad(parse_milli, "1.", -EINVAL);
	bad(parse_milli, ".5", -EINVAL);
	bad(parse_milli, "1.5k", -EINVAL);
	bad(parse_milli, "-1", -EINVAL);
	bad(parse_milli, "", -EINVAL);
	bad(parse_milli, NULL, -EINVAL);
}

static void shows(format_fn *format, uint64_t n, const char *expected)
{
	char buf[24];

	assert_string_equal(format(buf, sizeof(buf), n), expected);
}

static void test_format_size(void **state)
{
	shows(format_size, 0, "0");
	shows(format_size, 1000, "1000");
	shows(format_size, 1023, "1023");
	shows(format_size, 1024, "1K");
	shows(format_size, 1025, "1025");
	shows(format_size, 512ULL << 20, "512M");
	shows(format_size, 1536ULL << 20, "1.5G");
	shows(format_size, 1000ULL << 20, "1000M");
	shows(format_size, 1100ULL << 20, "1100M");
	shows(format_size, 2ULL << 40, "2T");
	shows(format_size, 1234567, "1.2M");
	shows(format_size, (1ULL << 20) - 1, "1M");
	shows(format_size, (10ULL << 30) + 1, "10G");
	shows(format_size, UINT64_MAX, "16384P");
}

static void test_format_bitrate(void **state)
{
	shows(format_bitrate, 0, "0bit/s");
	shows(format_bitrate, 999, "999bit/s");
	shows(format_bitrate, 64000, "64kbit/s");
	shows(format_bitrate, 100000000, "100Mbit/s");
	shows(format_bitrate, 2500000000, "2.5Gbit/s");
	shows(format_bitrate, 1234567, "1.2Mbit/s");
	shows(format_bitrate, 999999999, "1Gbit/s");
	shows(format_bitrate, UINT64_MAX, "18446744.1Tbit/s");
}

/* What is printed exactly is read back as the same. */
static void test_round_trip(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 4096, 65536, 1536, 700ULL << 20, 3ULL << 29, 9ULL << 40,
		1ULL << 50 };
	static const uint64_t rates[] = { 0, 1, 999, 56000, 1500000, 100000000, 2500000000, 1000000000000 };
	char buf[24];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		good(parse_size, format_size(buf, sizeof(buf), sizes[i]), sizes[i]);
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++)
		good(parse_bitrate, format_bitrate(buf, sizeof(buf), rates[i]), rates[i]);
}

static void test_format_duration(void **state)
{
	shows(format_duration, 0, "0us");
	shows(format_duration, 999, "999us");
	shows(format_duration, 850000, "850ms");
	shows(format_duration, 999999, "999ms");
	shows(format_duration, 12345678, "12.3s");
	shows(format_duration, 59999999, "59.9s");
	shows(format_duration, 250000000, "4m10s");
	shows(format_duration, 11100000000, "3h05m");
	shows(format_duration, 1051200000000, "12d04h");
	shows(format_duration, UINT64_MAX, "213503982d08h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_bitrate),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_milli),
		cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_format_bitrate),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_format_duration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
