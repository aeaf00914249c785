/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stretches of time in the ledger.
 *
 * All in UTC, so that no hour comes twice. A billing period begins at midnight of the same day of each month,
 * or of the month's last day where it has fewer: one of the 31st begins on February 28th, and then on March
 * 31st. Periods therefore consist of whole days, days of whole hours.
 */
#include <time.h>

#include "ctd/ledger.h"

#define HOUR 3600
#define DAY  86400

static int64_t floor_to(int64_t time, int64_t step)
{
	return time - (time % step + step) % step;
}

int64_t ledger_hour(int64_t time)
{
	return floor_to(time, HOUR);
}

int64_t ledger_day(int64_t time)
{
	return floor_to(time, DAY);
}

static struct tm date_of(int64_t time)
{
	time_t t = (time_t)time;
	struct tm tm = { 0 };

	(void)gmtime_r(&t, &tm); /* fails for years that no clock shows */
	return tm;
}

unsigned ledger_day_of_month(int64_t time)
{
	return (unsigned)date_of(time).tm_mday;
}

static int days_in(int year, int month)
{
	/* Day 0 of the next month. */
	struct tm tm = { .tm_year = year, .tm_mon = month + 1, .tm_mday = 0 };

	(void)timegm(&tm);
	return tm.tm_mday;
}

/* Midnight of the day, or of the last one, in a month; month may be -1 or 12. */
static int64_t begins(int year, int month, unsigned day)
{
	struct tm tm = { .tm_year = year, .tm_mon = month, .tm_mday = days_in(year, month) };

	if (tm.tm_mday > (int)day)
		tm.tm_mday = (int)day;
	return (int64_t)timegm(&tm);
}

int64_t ledger_period(int64_t time, unsigned day)
{
	struct tm tm = date_of(time);
	int64_t start = begins(tm.tm_year, tm.tm_mon, day);

	return start <= time ? start : begins(tm.tm_year, tm.tm_mon - 1, day);
}

int64_t ledger_period_end(int64_t start, unsigned day)
{
	struct tm tm = date_of(start);
	int64_t end = begins(tm.tm_year, tm.tm_mon, day);

	/* start may have begun by another day than the present one. */
	return end > start ? end : begins(tm.tm_year, tm.tm_mon + 1, day);
}
