/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw mode, owned: the struct's cleanup puts the terminal back on every way out. Signals that would end the
 * process come through a signalfd (relay.c), so they are ways out like any other.
 */

#include "ctctl/terminal.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int apply_raw(struct terminal *t)
{
	struct termios raw = t->saved;

	cfmakeraw(&raw);
	return tcsetattr(t->fd, TCSADRAIN, &raw) < 0 ? -errno : 0;
}

int terminal_make_raw(struct terminal *t, int fd)
{
	if (!isatty(fd))
		return 0;
	if (tcgetattr(fd, &t->saved) < 0)
		return -errno;

	t->fd = fd;
	int r = apply_raw(t);
	t->raw = r == 0;
	return r;
}

void terminal_make_raw_again(struct terminal *t)
{
	if (t->raw)
		(void)apply_raw(t); /* it worked before; if the terminal is gone its end of file tells */
}

void terminal_restore(struct terminal *t)
{
	if (!t->raw)
		return;

	(void)tcsetattr(t->fd, TCSADRAIN, &t->saved); /* nothing can be done about a terminal that is gone */
	t->raw = false;
}

bool terminal_size(int fd, unsigned short *ret_rows, unsigned short *ret_columns)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
		return false;

	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col;
	return true;
}
