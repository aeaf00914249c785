/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Clocks: monotonic for decisions, wall clock for display. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define USEC_PER_SEC  1000000ULL
#define USEC_PER_MSEC 1000ULL

uint64_t now_monotonic_usec(void); /* CLOCK_MONOTONIC */
uint64_t now_boottime_usec(void);  /* CLOCK_BOOTTIME */
uint64_t now_realtime_usec(void);  /* CLOCK_REALTIME, since 1970 */

/* 2026-01-31T12:00:00Z; buf of at least 21 bytes. Returns buf. */
char *format_time_utc(char *buf, size_t size, uint64_t realtime_usec);
