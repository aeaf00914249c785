/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strings.
 *
 * Three things live here because all the rest of the tree needs them everywhere: a buffer that grows and
 * remembers its first failure, numbers read without any tolerance, and the making harmless of bytes that a
 * tenant chose.
 *
 * strtoull(3) and its like are not used: they take signs, blanks, bases and what follows the number, and a
 * caller that forgets one check has read "-1" as 2^64-1. UTF-8 is checked by the table of well-formed
 * sequences of the Unicode standard (no overlong form, no surrogate, nothing above U+10FFFF).
 *
 * What str_escape_to leaves is safe on a terminal: besides C0 and DEL it escapes C1 (U+0080..9F, which some
 * terminals obey) and the marks that reverse or break a line, with which a name can be made to look like
 * another. A backslash is left as it is, so that escaping twice changes nothing.
 */

#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define STRBUF_MIN 64

void strbuf_done(struct strbuf *b)
{
	free(b->data);
	*b = STRBUF_INIT;
}

void strbuf_reset(struct strbuf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

static int strbuf_fail(struct strbuf *b)
{
	if (b->error == 0)
		b->error = -ENOMEM;

	return b->error;
}

/* Makes room for extra bytes and the terminator. */
static int strbuf_reserve(struct strbuf *b, size_t extra)
{
	if (b->error < 0)
		return b->error;
	if (extra >= SIZE_MAX / 4 || b->len >= SIZE_MAX / 4)
		return strbuf_fail(b);

	size_t need = b->len + extra + 1, size = b->size ? b->size : STRBUF_MIN;
	if (b->data && need <= b->size)
		return 0;
	while (size < need)
		size *= 2;

	char *data = realloc(b->data, size);
	if (!data)
		return strbuf_fail(b);

	b->data = data;
	b->size = size;
	b->data[b->len] = '\0';
	return 0;
}

int strbuf_add(struct strbuf *b, const void *data, size_t len)
{
	int r = strbuf_reserve(b, len);
	if (r < 0)
		return r;

	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int strbuf_puts(struct strbuf *b, const char *s)
{
	return strbuf_add(b, s, strlen(s));
}

int strbuf_putc(struct strbuf *b, char c)
{
	return strbuf_add(b, &c, 1);
}

int strbuf_vprintf(struct strbuf *b, const char *format, va_list ap)
{
	va_list again;

	int r = strbuf_reserve(b, 0);
	if (r < 0)
		return r;

	size_t room = b->size - b->len;
	va_copy(again, ap);
	int n = vsnprintf(b->data + b->len, room, format, again);
	va_end(again);

	if (n >= 0 && (size_t)n >= room) {
		r = strbuf_reserve(b, (size_t)n);
		if (r < 0) {
			b->data[b->len] = '\0';
			return r;
		}
		n = vsnprintf(b->data + b->len, b->size - b->len, format, ap);
	}
	if (n < 0) {
		b->data[b->len] = '\0';
		return strbuf_fail(b);
	}

	b->len += (size_t)n;
	return 0;
}

int strbuf_printf(struct strbuf *b, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = strbuf_vprintf(b, format, ap);
	va_end(ap);

	return r;
}

/* NULL, and the buffer emptied, if an append failed. */
char *strbuf_take(struct strbuf *b)
{
	if (strbuf_reserve(b, 0) < 0) {
		strbuf_done(b);
		return NULL;
	}

	char *data = TAKE_PTR(b->data);
	*b = STRBUF_INIT;
	return data;
}

char *str_printf(const char *format, ...)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	va_list ap;

	va_start(ap, format);
	(void)strbuf_vprintf(&b, format, ap); /* kept in the buffer, strbuf_take says so */
	va_end(ap);

	return strbuf_take(&b);
}

/* The allowed range of the second byte for a first byte; 0: the first byte starts nothing. */
static size_t utf8_lead(unsigned char c, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	*ret_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef)
		return 3;
	if (c >= 0xf0 && c <= 0xf4)
		return 4;

	return 0;
}

/* The length of the well-formed character at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t len)
{
	unsigned char low, high;

	size_t n = len > 0 ? utf8_lead(s[0], &low, &high) : 0;
	if (n < 2)
		return n;
	if (n > len || s[1] < low || s[1] > high)
		return 0;

	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;

	return n;
}

static int json_escape(struct strbuf *b, unsigned char c)
{
	switch (c) {
	case '"': return strbuf_puts(b, "\\\"");
	case '\\': return strbuf_puts(b, "\\\\");
	case '\n': return strbuf_puts(b, "\\n");
	case '\r': return strbuf_puts(b, "\\r");
	case '\t': return strbuf_puts(b, "\\t");
	default: return strbuf_printf(b, "\\u%04x", c);
	}
}

int strbuf_json_string(struct strbuf *b, const char *s)
{
	const unsigned char *p = (const unsigned char *)(s ? s : ""), *run = p;
	size_t left = strlen((const char *)p);

	(void)strbuf_putc(b, '"'); /* failures are kept in the buffer */
	while (left > 0) {
		size_t n = utf8_length(p, left);
		if (n > 0 && *p >= 0x20 && *p != '"' && *p != '\\') {
			p += n;
			left -= n;
			continue;
		}

		(void)strbuf_add(b, run, (size_t)(p - run));
		(void)(n > 0 ? json_escape(b, *p) : strbuf_puts(b, "\xef\xbf\xbd"));
		run = ++p;
		left--;
	}
	(void)strbuf_add(b, run, (size_t)(p - run));

	return strbuf_putc(b, '"');
}

bool str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
	size_t len = strlen(s), n = strlen(suffix);

	return len >= n && memcmp(s + len - n, suffix, n) == 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
	uint64_t n = 0;

	if (str_empty(s))
		return -EINVAL;

	/* All of it is looked at before a range is complained about: "99999999999999999999x" is no number. */
	bool over = false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		over = over || __builtin_mul_overflow(n, 10U, &n) ||
		       __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n);
	}
	if (over)
		return -ERANGE;

	*ret = n;
	return 0;
}

int parse_u32(const char *s, uint32_t *ret)
{
	uint64_t n;

	int r = parse_u64(s, &n);
	if (r < 0)
		return r;
	if (n > UINT32_MAX)
		return -ERANGE;

	*ret = (uint32_t)n;
	return 0;
}

int parse_i64(const char *s, int64_t *ret)
{
	uint64_t n;

	if (str_empty(s))
		return -EINVAL;

	bool minus = *s == '-';
	int r = parse_u64(s + minus, &n);
	if (r < 0)
		return r;
	if (n > (uint64_t)INT64_MAX + minus)
		return -ERANGE;

	*ret = minus ? (int64_t)(0 - n) : (int64_t)n;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{ "yes", true },
		{ "no", false },
		{ "true", true },
		{ "false", false },
		{ "on", true },
		{ "off", false },
		{ "1", true },
		{ "0", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(s, words[i].word)) {
			*ret = words[i].value;
			return 0;
		}

	return -EINVAL;
}

/* Of a well-formed character of n bytes: may it not go to a terminal? */
static bool is_unsafe(const unsigned char *s, size_t n)
{
	if (n == 1)
		return s[0] < 0x20 || s[0] == 0x7f;
	if (n == 2)
		return s[0] == 0xc2 && s[1] < 0xa0;
	if (n == 3 && s[0] == 0xe2 && s[1] == 0x80)
		return s[2] >= 0xa8 &&
		       s[2] <= 0xae; /* U+2028..202E: line and paragraph separator, overrides */
	if (n == 3 && s[0] == 0xe2 && s[1] == 0x81)
		return s[2] >= 0xa6 && s[2] <= 0xa9; /* U+2066..2069: isolates */

	return false;
}

char *str_escape_to(char *dst, size_t size, const char *src, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)src;
	char *out = dst;

	if (size == 0)
		return dst;

	for (size_t left = size - 1; len > 0;) {
		size_t n = utf8_length(p, len), step = n ? n : 1;
		bool escape = n == 0 || is_unsafe(p, n);
		size_t need = escape ? 4 * step : step;
		if (need > left)
			break; /* never half a character */

		for (size_t i = 0; i < step; i++) {
			if (escape)
				out = mempcpy(
				        out, (char[]){ '\\', 'x', digits[p[i] >> 4], digits[p[i] & 15] }, 4);
			else
				*out++ = (char)p[i];
		}

		left -= need;
		p += step;
		len -= step;
	}
	*out = '\0';

	return dst;
}

bool str_is_printable(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;

	return true;
}

void hex_encode(char *out, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = '\0';
}
