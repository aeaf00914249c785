/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clocks.
 *
 * Timers and decisions take the monotonic clock; the wall clock may jump and is for display only.
 * clock_gettime(2) cannot fail for these three clocks on any kernel we run on, so there is no error to hand
 * on.
 *
 * The calendar is computed here instead of by gmtime_r(3): that one brings the time zone code into the static
 * keeper and reads a file on its first call, which must not happen inside a container.
 */

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#define SECS_PER_DAY 86400ULL
/* 9999-12-31T23:59:59Z: the last second with four digits of year. */
#define LAST_SECOND 253402300799ULL

static uint64_t now_usec(clockid_t clock)
{
	struct timespec ts = { 0 };

	int r = clock_gettime(clock, &ts);
	assert(r == 0);
	(void)r; /* unused when assertions are off */

	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_monotonic_usec(void)
{
	return now_usec(CLOCK_MONOTONIC);
}

uint64_t now_boottime_usec(void)
{
	return now_usec(CLOCK_BOOTTIME);
}

uint64_t now_realtime_usec(void)
{
	return now_usec(CLOCK_REALTIME);
}

static unsigned int is_leap(unsigned int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days since 1970-01-01 to a date. Walks whole cycles of 400 years first, then years and months. */
static void date_from_days(
        uint64_t days, unsigned int *ret_year, unsigned int *ret_month, unsigned int *ret_day)
{
	static const uint8_t lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned int year = 1970 + 400 * (unsigned int)(days / 146097), month = 0;

	days %= 146097;
	while (days >= 365 + is_leap(year))
		days -= 365 + is_leap(year++);

	for (;; month++) {
		unsigned int n = lengths[month] + (month == 1 && is_leap(year));
		if (days < n)
			break;
		days -= n;
	}

	*ret_year = year;
	*ret_month = month + 1;
	*ret_day = (unsigned int)days + 1;
}

/* A time after the year 9999 is shown as its last second. */
char *format_time_utc(char *buf, size_t size, uint64_t realtime_usec)
{
	uint64_t secs = realtime_usec / USEC_PER_SEC;
	unsigned int year, month, day;

	if (secs > LAST_SECOND)
		secs = LAST_SECOND;

	date_from_days(secs / SECS_PER_DAY, &year, &month, &day);
	secs %= SECS_PER_DAY;

	(void)snprintf(buf, size, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month, day,
	        (unsigned int)(secs / 3600), (unsigned int)(secs / 60 % 60), (unsigned int)(secs % 60));
	return buf;
}
