/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strings: a growing buffer, strict numbers, escaping of what tenants wrote. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

/* A growing, always NUL-terminated buffer. Initialise with STRBUF_INIT, free with strbuf_done.
 * An allocation failure is remembered in .error (-ENOMEM); later appends do nothing, so one check at the end
 * is enough. */
struct strbuf {
	char *data;
	size_t len, size;
	int error;
};

#define STRBUF_INIT      ((struct strbuf){ 0 })
#define _cleanup_strbuf_ CLEANUP(strbuf_done)

void strbuf_done(struct strbuf *b);
void strbuf_reset(struct strbuf *b); /* empties, keeps the memory */
int strbuf_add(struct strbuf *b, const void *data, size_t len);
int strbuf_puts(struct strbuf *b, const char *s);
int strbuf_putc(struct strbuf *b, char c);
int strbuf_printf(struct strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int strbuf_vprintf(struct strbuf *b, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
/* Appends s as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
int strbuf_json_string(struct strbuf *b, const char *s);
/* Hands the buffer over (never NULL unless .error is set, which is returned through ret_error if not NULL).
 */
char *strbuf_take(struct strbuf *b);

/* printf into new memory; NULL: out of memory. */
char *str_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline bool str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool str_empty(const char *s)
{
	return !s || !*s;
}

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

/* Decimal digits only, no sign, no space, no overflow; 0 or -EINVAL / -ERANGE. */
int parse_u64(const char *s, uint64_t *ret);
int parse_u32(const char *s, uint32_t *ret);
/* With optional minus. */
int parse_i64(const char *s, int64_t *ret);
/* yes no true false on off 1 0 */
int parse_bool(const char *s, bool *ret);

/* Copies src to dst of size bytes with control characters and invalid UTF-8 as \xNN, so that it may go to a
 * terminal or a log; cut short if it does not fit, always terminated. Returns dst. */
char *str_escape_to(char *dst, size_t size, const char *src, size_t len);
/* True if s has no byte below 0x20 and no 0x7f. */
bool str_is_printable(const char *s);

/* Lower-case hexadecimal of len bytes; out takes 2*len+1. */
void hex_encode(char *out, const void *data, size_t len);
