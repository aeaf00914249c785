/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One direction of a relay: bytes from one fd to another, never waiting for either. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUMP_BUFFER (64 * 1024)

enum pump_state {
	PUMP_RUNNING,
	PUMP_FINISHED,    /* the source ended and all that came has been written */
	PUMP_READER_GONE, /* the target takes no more */
};

struct pump {
	int from, to; /* borrowed; -1: there is none */
	enum pump_state state;
	bool ended;        /* the source has nothing more */
	size_t limit;      /* how many more bytes are read: SIZE_MAX normally */
	size_t write_max;  /* what may be written at once without a risk to block */
	size_t start, len; /* what is in data */
	/* Looks at what was read, may change or shorten it, or make it one byte longer; what it leaves is
	 * written. NULL: nothing. */
	size_t (*filter)(void *userdata, char *data, size_t len);
	void *userdata;
	char *data; /* PUMP_BUFFER bytes */
};

/* write_max is chosen by what to is: see pump.c. */
int pump_init(struct pump *p, int from, int to);
void pump_done(struct pump *p);
/* Fills two pollfds; poll reports errors even where no event is asked for. */
void pump_events(const struct pump *p, struct pollfd fds[2]);
/* Reads or writes what the two pollfds allow. */
void pump_run(struct pump *p, const struct pollfd fds[2]);
/* Puts bytes behind what was read as if they had come from the source; for the end of input on a terminal. */
void pump_append(struct pump *p, const char *data, size_t len);
