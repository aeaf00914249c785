/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our own terminal: made raw for exec and console, and always put back. */
#pragma once

#include <stdbool.h>
#include <termios.h>

struct terminal {
	int fd; /* borrowed */
	bool raw;
	struct termios saved;
};

#define TERMINAL_INIT      ((struct terminal){ .fd = -1 })
#define _cleanup_terminal_ CLEANUP(terminal_restore)

/* Makes the terminal on fd raw; nothing if fd is none. 0 or negative errno. */
int terminal_make_raw(struct terminal *t, int fd);
/* After a SIGCONT: whoever had the terminal in between may have changed it. */
void terminal_make_raw_again(struct terminal *t);
void terminal_restore(struct terminal *t);

/* The size of the terminal on fd; false: it is none. */
bool terminal_size(int fd, unsigned short *ret_rows, unsigned short *ret_columns);
