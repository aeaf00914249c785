/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attach socket: how a client gets the fds of an exec or a console, and the exit status of an exec. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum attach_kind {
	ATTACH_EXEC_TTY,   /* fds: the pty's master */
	ATTACH_EXEC_PIPES, /* fds: standard input to write, output and error to read */
	ATTACH_EXEC_WAIT,  /* no fds: somebody had them before; only the exit is to come */
	ATTACH_CONSOLE,    /* fds: a stream socket */
};

#define ATTACH_MAX_FDS 3

enum attach_message_type {
	ATTACH_MESSAGE_ATTACHED,
	ATTACH_MESSAGE_EXIT,
	ATTACH_MESSAGE_ERROR,
};

struct attach_message {
	enum attach_message_type type;
	enum attach_kind kind;   /* ATTACHED */
	int fds[ATTACH_MAX_FDS]; /* ATTACHED; owned, -1 where there is none */
	int code;                /* EXIT */
	char text[256];          /* ERROR, or EXIT of a program that could not be started; escaped */
};

void attach_message_done(struct attach_message *m);
#define _cleanup_attach_message_ CLEANUP(attach_message_done)
#define ATTACH_MESSAGE_INIT      ((struct attach_message){ .fds = { -1, -1, -1 } })

/* Connects to attach.sock beside ctd's socket and asks for id; the answer is not awaited. An fd. */
int attach_request(const char *ctd_socket, const char *id, struct ct_error *err);
/* The next packet. -ECONNRESET: the daemon closed; -EAGAIN: nothing there (dont_wait). */
int attach_receive(int sock, bool dont_wait, struct attach_message *ret, struct ct_error *err);
int attach_send_signal(int sock, int number);
int attach_send_size(int sock, unsigned int rows, unsigned int columns);
