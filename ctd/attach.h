/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attach socket: RUNTIME/attach.sock, SOCK_SEQPACKET, where clients of exec and console fetch file
 * descriptors by an id that cannot be guessed and wait for exit codes. ctd-api(7) describes the packets.
 *
 * Life of an exec here:
 *   attach_id_new(id); ... the command is started under "x/ID" ...
 *   attach_offer(a, id, ATTACH_EXEC_PIPES, fds, 3, err);
 *   a client comes: it gets the fds (once), ops->attached is called;
 *   nobody comes for 10 s: the fds are closed, ops->expired is called; the entry stays, for the exit code
 *   attach_exit(a, id, code): every client of the id gets it and is closed; kept for a minute for those that
 * come (again) later Console: offered the same way with one fd; the entry is gone when the client has left or
 * did not come. After a restart of ctd: attach_expect for each command that the keeper still has.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ATTACH_ID_SIZE 33 /* 32 hexadecimal digits and the NUL */

enum attach_kind {
	ATTACH_EXEC_TTY,   /* 1 fd: the pty's master */
	ATTACH_EXEC_PIPES, /* 3 fds: write end of stdin, read ends of stdout and stderr */
	ATTACH_CONSOLE,    /* 1 fd: stream socket */
};

/* Called from the event loop. In them anything of this header may be called but attach_free. */
struct attach_ops {
	void (*signal)(const char *id, int signo, void *userdata);                       /* 1..64 */
	void (*resize)(const char *id, uint16_t rows, uint16_t columns, void *userdata); /* both >= 1 */
	void (*attached)(const char *id, void *userdata); /* the fds were taken; may be NULL */
	void (*expired)(const char *id, void *userdata);  /* nobody came, the fds are closed; may be NULL */
	void (*detached)(
	        const char *id, void *userdata); /* the last client of the id has left; may be NULL */
};

struct attach_config {
	sd_event *event; /* a reference is taken */
	const char *path;
	const char *group;            /* as struct http_config */
	const struct attach_ops *ops; /* borrowed for the life */
	void *userdata;
	uint64_t offer_timeout_usec; /* 0: 10 s */
	uint64_t exit_timeout_usec;  /* 0: 60 s */
	size_t max_clients;          /* 0: 512 */
	size_t max_entries;          /* 0: 4096 */
};

struct attach;

int attach_new(const struct attach_config *config, struct attach **ret, struct ct_error *err);
void attach_free(
        struct attach *a); /* clients are closed without a word (they will reconnect), no callbacks */
DEFINE_CLEANUP(struct attach *, attach_free);
#define _cleanup_attach_ CLEANUP(attach_freep)

/* 128 random bits in hexadecimal. */
int attach_id_new(char ret[ATTACH_ID_SIZE]);

/* fds are consumed, also on failure. -EEXIST; -EINVAL for a number of fds that the kind does not have;
 * -ENOSPC: max_entries. */
int attach_offer(struct attach *a, const char *id, enum attach_kind kind, const int *fds, size_t n_fds,
        struct ct_error *err);
/* A command of which only the exit is to come. */
int attach_expect(struct attach *a, const char *id, struct ct_error *err);
/* The command has ended with 0..255. Ignored for an unknown id or if it was known already. */
void attach_exit(struct attach *a, const char *id, int code);
/* 0..255; -EINPROGRESS: still running; -ENOENT: not known (any more). */
int attach_exit_code(const struct attach *a, const char *id);
/* Forgets the id; fds not taken are closed, clients get an error with the reason. */
void attach_withdraw(struct attach *a, const char *id, const char *reason);
/* The same for all commands whose exit is to come and that known does not know. */
void attach_withdraw_unknown(
        struct attach *a, bool (*known)(const char *id, void *userdata), void *userdata, const char *reason);
