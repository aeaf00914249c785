/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keys that leave a console: a prefix, Ctrl-] or Ctrl-a, and then q. A filter over what is typed; the
 * prefix is held back until the next key is known, and is then put in front of it. So at most one byte more
 * comes out than went in: pump.c reads one less than its buffer takes.
 */

#include "ctctl/detach.h"

#include <string.h>

#define KEY_BRACKET 0x1d
#define KEY_A       0x01

size_t detach_filter(void *detach, char *data, size_t len)
{
	struct detach *d = detach;
	size_t out = 0;

	memmove(data + 1, data, len); /* so that what is written stays behind what is read */
	for (size_t i = 1; i <= len && !d->leave; i++) {
		char c = data[i], prefix = d->prefix;

		if (!prefix && (c == KEY_BRACKET || c == KEY_A)) {
			d->prefix = c;
			continue;
		}
		d->prefix = 0;
		if (prefix && (c == 'q' || c == 'Q')) {
			d->leave = true;
			break;
		}
		if (prefix && c != prefix)
			data[out++] = prefix;
		data[out++] = c;
	}

	return out;
}
