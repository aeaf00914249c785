/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ownership that is visible where a thing is declared: CLEANUP(fn) on the declaration, TAKE_* to hand over.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines fn##p, the cleanup handler of a pointer to type whose destructor accepts NULL. */
#define DEFINE_CLEANUP(type, fn)                                                                             \
	static inline void fn##p(type *p)                                                                    \
	{                                                                                                    \
		if (*p)                                                                                      \
			fn(*p);                                                                              \
	}                                                                                                    \
	_Static_assert(1, "")

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing to be done about a failed close of what we only read or have
		                     synced */
}

DEFINE_CLEANUP(FILE *, fclose);
DEFINE_CLEANUP(DIR *, closedir);

#define _cleanup_free_     CLEANUP(cleanup_freep)
#define _cleanup_close_    CLEANUP(cleanup_closep)
#define _cleanup_fclose_   CLEANUP(fclosep)
#define _cleanup_closedir_ CLEANUP(closedirp)

#define TAKE(value, null)                                                                                    \
	({                                                                                                   \
		__typeof__(value) *_take_p = &(value);                                                       \
		__typeof__(value) _take_v = *_take_p;                                                        \
		*_take_p = (null);                                                                           \
		_take_v;                                                                                     \
	})
#define TAKE_PTR(p) TAKE(p, NULL)
#define TAKE_FD(fd) TAKE(fd, -1)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
