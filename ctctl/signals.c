/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of signals, by libc's own list (sigabbrev_np, glibc 2.32). The container's init sees the kernel's
 * numbers; libc keeps the first two real-time signals for itself, so RTMIN+3 is 37 here as it is for systemd
 * inside.
 */

#include "ctctl/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static int realtime_from_text(const char *text)
{
	bool from_max = strncasecmp(text, "RTMAX", 5) == 0;
	uint32_t offset = 0;

	if (!from_max && strncasecmp(text, "RTMIN", 5) != 0)
		return -EINVAL;
	if (text[5] && (text[5] != (from_max ? '-' : '+') || parse_u32(text + 6, &offset) < 0))
		return -EINVAL;
	if (offset > (uint32_t)(SIGRTMAX - SIGRTMIN))
		return -EINVAL;

	return from_max ? SIGRTMAX - (int)offset : SIGRTMIN + (int)offset;
}

int signal_from_text(const char *text)
{
	uint32_t number;

	if (parse_u32(text, &number) == 0)
		return number >= 1 && number <= (uint32_t)SIGRTMAX ? (int)number : -EINVAL;

	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *name = sigabbrev_np(i);
		if (name && strcasecmp(name, text) == 0)
			return i;
	}

	return realtime_from_text(text);
}
