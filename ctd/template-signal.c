/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals by name. sigabbrev_np(3) (glibc 2.32) has the names of the ordinary ones. */
#include "ctd/template-signal.h"

#include <signal.h>

#include "base/str.h"

#define RT_FIRST 34

static int real_time(const char *offset, int from, int sign)
{
	uint32_t n = 0;
	int number;

	if (*offset && (*offset != (sign > 0 ? '+' : '-') || parse_u32(offset + 1, &n) < 0 || n > SIGNAL_MAX))
		return 0;
	number = from + sign * (int)n;
	return number >= RT_FIRST && number <= SIGNAL_MAX ? number : 0;
}

int signal_from_name(const char *name)
{
	if (!str_has_prefix(name, "SIG"))
		return 0;
	name += 3;
	if (str_has_prefix(name, "RTMIN"))
		return real_time(name + 5, RT_FIRST, 1);
	if (str_has_prefix(name, "RTMAX"))
		return real_time(name + 5, SIGNAL_MAX, -1);
	for (int number = 1; number < RT_FIRST; number++) {
		const char *abbreviation = sigabbrev_np(number);

		if (abbreviation && str_eq(abbreviation, name))
			return number;
	}
	return 0;
}
