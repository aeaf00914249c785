/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people type for sizes, rates and times, and how we print them. All strict: no sign, no space, no
 * unknown suffix. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Bytes: plain number, or number with K M G T P (powers of 1024; an "iB" or "B" may follow); one decimal
 * point is allowed before a suffix (1.5G). -EINVAL, -ERANGE. */
int parse_size(const char *s, uint64_t *ret_bytes);

/* Bits per second: plain number, or k/K M G T (powers of 1000) with an optional "bit", "bit/s" or "bps". */
int parse_bitrate(const char *s, uint64_t *ret_bits_per_sec);

/* Time: plain number of seconds, or with us ms s m h d. */
int parse_duration_usec(const char *s, uint64_t *ret_usec);

/* Thousandths: "1.5" is 1500; at most three decimals. */
int parse_milli(const char *s, uint64_t *ret_milli);

/* The shortest exact or one-decimal form: 512M, 1.5G, 1000. buf of at least 24 bytes. Returns buf. */
char *format_size(char *buf, size_t size, uint64_t bytes);
char *format_bitrate(char *buf, size_t size, uint64_t bits_per_sec);
/* 850ms, 12.3s, 4m10s, 3h05m, 12d04h. */
char *format_duration(char *buf, size_t size, uint64_t usec);
