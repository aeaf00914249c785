/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Times as people give them: a day, a moment, or how long ago. */
#include "ctctl/times.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/unit.h"
#include "ctctl/client.h"

/* 2026-01-31, 2026-01-31T12:00:00Z, or 36h: so long ago. */
static int parse_time(const char *text, int64_t *ret)
{
	static const char *const formats[] = { "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d" };
	uint64_t usec, now = now_realtime_usec();

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, formats[i], &tm);

		if (end && !*end) {
			*ret = (int64_t)timegm(&tm);
			return *ret >= 0 ? 0 : -EINVAL;
		}
	}
	if (parse_duration_usec(text, &usec) < 0 || usec > now)
		return -EINVAL;
	*ret = (int64_t)((now - usec) / USEC_PER_SEC);
	return 0;
}

int path_add_time(struct strbuf *path, const char *key, const char *text, struct ct_error *err)
{
	char number[32];
	int64_t time = 0;

	if (!text)
		return 0;
	if (parse_time(text, &time) < 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "--%s must be a time in UTC such as 2026-01-31 or 2026-01-31T12:00:00Z, or how long ago, such as 36h, not \"%.60s\"",
		        key, text);
	(void)snprintf(number, sizeof(number), "%" PRId64, time);
	return path_add_query(path, key, number);
}
