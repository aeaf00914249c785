/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes, rates and times as people type them.
 *
 * Every quantity is digits, perhaps a point and more digits, and a suffix out of a table; the table is all
 * that tells a size from a rate. The letters are taken in either case ("512m" is what other tools have
 * taught), the words are not. A fraction needs a suffix: half a byte is a slip. Computed in 128 bits, so that
 * a fraction is exact to the last unit and overflow is seen; what is left below one unit is cut off.
 *
 * Printing prefers the exact form as long as it is short, so that what an administrator has set is read back
 * as it was written; only long numbers are rounded, to one decimal.
 */

#include "base/unit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"

struct suffix {
	const char *text;
	uint64_t factor;
};

static const struct suffix size_letters[] = {
	{ "k", 1ULL << 10 },
	{ "m", 1ULL << 20 },
	{ "g", 1ULL << 30 },
	{ "t", 1ULL << 40 },
	{ "p", 1ULL << 50 },
	{ NULL, 0 },
};

static const struct suffix rate_letters[] = {
	{ "k", 1000ULL },
	{ "m", 1000000ULL },
	{ "g", 1000000000ULL },
	{ "t", 1000000000000ULL },
	{ NULL, 0 },
};

static const struct suffix time_suffixes[] = {
	{ "us", 1 },
	{ "ms", USEC_PER_MSEC },
	{ "s", USEC_PER_SEC },
	{ "m", 60 * USEC_PER_SEC },
	{ "h", 3600 * USEC_PER_SEC },
	{ "d", 86400 * USEC_PER_SEC },
};

/* A decimal number: whole + fraction / 10^decimals. Fractions beyond 18 digits are refused. */
struct decimal {
	uint64_t whole, fraction, scale;
	unsigned int decimals;
};

/* Digits at *s; -EINVAL if there is none. Moves *s behind them. */
static int read_digits(const char **s, uint64_t *ret, unsigned int *ret_count)
{
	const char *start = *s;
	uint64_t n = 0;
	bool over = false;

	for (; **s >= '0' && **s <= '9'; (*s)++)
		over = over || __builtin_mul_overflow(n, 10U, &n) ||
		       __builtin_add_overflow(n, (uint64_t)(**s - '0'), &n);
	if (*s == start)
		return -EINVAL;

	*ret = n;
	*ret_count = *s - start > 100 ? 100 : (unsigned int)(*s - start);
	return over ? -ERANGE : 0;
}

static int read_decimal(const char **s, struct decimal *ret)
{
	struct decimal d = { .scale = 1 };
	unsigned int count;

	int r = read_digits(s, &d.whole, &count);
	if (r < 0)
		return r;

	if (**s == '.') {
		(*s)++;
		r = read_digits(s, &d.fraction, &d.decimals);
		if (r < 0 || d.decimals > 18)
			return -EINVAL;
		for (unsigned int i = 0; i < d.decimals; i++)
			d.scale *= 10;
	}

	*ret = d;
	return 0;
}

static int decimal_scale(const struct decimal *d, uint64_t factor, uint64_t *ret)
{
	unsigned __int128 n = (unsigned __int128)d->whole * factor;

	n += (unsigned __int128)d->fraction * factor / d->scale;
	if (n > UINT64_MAX)
		return -ERANGE;

	*ret = (uint64_t)n;
	return 0;
}

/* The factor of the letter at *s, in either case; moves *s behind it. No letter: 1. */
static uint64_t read_letter(const char **s, const struct suffix *letters)
{
	for (; letters->text; letters++)
		if ((**s | 0x20) == letters->text[0]) {
			(*s)++;
			return letters->factor;
		}

	return 1;
}

static bool is_one_of(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (str_eq(s, *words))
			return true;

	return false;
}

/* How a quantity is written: number, letter, word. */
struct syntax {
	const struct suffix *letters;
	const char *const *words;       /* that may follow a letter */
	const char *const *plain_words; /* that may follow a number */
};

static int parse_scaled(const char *s, const struct syntax *syntax, uint64_t *ret)
{
	struct decimal d;

	if (!s)
		return -EINVAL;

	int r = read_decimal(&s, &d);
	if (r < 0)
		return r;

	uint64_t factor = read_letter(&s, syntax->letters);
	if (factor == 1 && d.decimals > 0)
		return -EINVAL;
	if (*s && !is_one_of(s, factor == 1 ? syntax->plain_words : syntax->words))
		return -EINVAL;

	return decimal_scale(&d, factor, ret);
}

int parse_size(const char *s, uint64_t *ret_bytes)
{
	static const char *const words[] = { "iB", "B", NULL };
	static const char *const plain[] = { "B", NULL };
	static const struct syntax syntax = { size_letters, words, plain };

	return parse_scaled(s, &syntax, ret_bytes);
}

int parse_bitrate(const char *s, uint64_t *ret_bits_per_sec)
{
	static const char *const words[] = { "bit", "bit/s", "bps", NULL };
	static const struct syntax syntax = { rate_letters, words, words };

	return parse_scaled(s, &syntax, ret_bits_per_sec);
}

int parse_duration_usec(const char *s, uint64_t *ret_usec)
{
	struct decimal d;

	if (!s)
		return -EINVAL;

	int r = read_decimal(&s, &d);
	if (r < 0)
		return r;
	if (!*s)
		return d.decimals > 0 ? -EINVAL : decimal_scale(&d, USEC_PER_SEC, ret_usec);

	for (size_t i = 0; i < ARRAY_SIZE(time_suffixes); i++)
		if (str_eq(s, time_suffixes[i].text))
			return decimal_scale(&d, time_suffixes[i].factor, ret_usec);

	return -EINVAL;
}

int parse_milli(const char *s, uint64_t *ret_milli)
{
	struct decimal d;

	if (!s)
		return -EINVAL;

	int r = read_decimal(&s, &d);
	if (r < 0)
		return r;
	if (*s || d.decimals > 3)
		return -EINVAL;

	return decimal_scale(&d, 1000, ret_milli);
}

/* Tenths of a unit, rounded to nearest. */
static uint64_t to_tenths(uint64_t n, uint64_t unit)
{
	return (uint64_t)(((unsigned __int128)n * 10 + unit / 2) / unit);
}

static void print_tenths(char *buf, size_t size, uint64_t tenths, const char *letter)
{
	if (tenths % 10 == 0)
		(void)snprintf(buf, size, "%llu%s", (unsigned long long)(tenths / 10), letter);
	else
		(void)snprintf(buf, size, "%llu.%u%s", (unsigned long long)(tenths / 10),
		        (unsigned int)(tenths % 10), letter);
}

/* At most this long, the exact form is taken. */
#define EXACT_MAX 5

/* letters: what is printed for 1, base, base^2, ... */
static void format_scaled(char *buf, size_t size, uint64_t n, uint64_t base, const char *const *letters)
{
	char best[24] = "", text[24];
	uint64_t unit = 1, top_unit = 1;
	size_t top = 0;

	for (size_t i = 0; letters[i]; i++, unit *= base) {
		if (i > 0 && n < unit)
			break;
		top = i;
		top_unit = unit;

		if ((unsigned __int128)n * 10 % unit != 0)
			continue;
		print_tenths(text, sizeof(text), to_tenths(n, unit), letters[i]);
		if (strlen(text) <= EXACT_MAX && (!best[0] || strlen(text) <= strlen(best)))
			memcpy(best, text, sizeof(text));
	}

	if (!best[0]) {
		uint64_t tenths = to_tenths(n, top_unit);
		if (tenths >= base * 10 && letters[top + 1])
			tenths = 10, top++; /* 1023.96K is 1M */
		print_tenths(best, sizeof(best), tenths, letters[top]);
	}

	(void)snprintf(buf, size, "%s", best);
}

char *format_size(char *buf, size_t size, uint64_t bytes)
{
	static const char *const letters[] = { "", "K", "M", "G", "T", "P", NULL };

	format_scaled(buf, size, bytes, 1024, letters);
	return buf;
}

char *format_bitrate(char *buf, size_t size, uint64_t bits_per_sec)
{
	static const char *const letters[] = { "", "k", "M", "G", "T", NULL };
	char number[24];

	format_scaled(number, sizeof(number), bits_per_sec, 1000, letters);
	(void)snprintf(buf, size, "%sbit/s", number);
	return buf;
}

char *format_duration(char *buf, size_t size, uint64_t usec)
{
	unsigned long long u = usec, s = u / USEC_PER_SEC;

	if (u < USEC_PER_MSEC)
		(void)snprintf(buf, size, "%lluus", u);
	else if (s < 1)
		(void)snprintf(buf, size, "%llums", u / USEC_PER_MSEC);
	else if (s < 60)
		(void)snprintf(buf, size, "%llu.%llus", s, u / (USEC_PER_SEC / 10) % 10);
	else if (s < 3600)
		(void)snprintf(buf, size, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(buf, size, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		(void)snprintf(buf, size, "%llud%02lluh", s / 86400, s / 3600 % 24);

	return buf;
}
