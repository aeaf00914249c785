/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The relay between our standard fds and those of a program or console in a container. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "ctctl/attach.h"

struct relay_setup {
	const char *ctd_socket;
	const char *id; /* asks attach.sock for it */
	bool no_stdin;  /* the program reads an end of file at once */
	/* What is typed goes through it, it may change and shorten it (console); NULL: nothing. */
	size_t (*filter)(void *userdata, char *data, size_t len);
	void *userdata;
	const bool *leave; /* the filter sets it to end the relay; may be NULL */
};

enum relay_end {
	RELAY_EXITED,   /* the program ended: *ret_status */
	RELAY_DETACHED, /* *leave was set */
	RELAY_CLOSED,   /* the console's other side closed */
	RELAY_SIGNAL,   /* a signal ended us: *ret_status is 128 + its number */
};

/* Attaches and relays until the end. A negative errno, or one of enum relay_end. */
int relay_run(const struct relay_setup *setup, int *ret_status, struct ct_error *err);
