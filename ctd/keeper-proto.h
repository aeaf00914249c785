/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ctd and ct-keeper say to each other.
 *
 * A SOCK_SEQPACKET Unix socket, RUNTIME/keeper.sock; only uid 0 is answered. One message is one packet: a
 * struct keeper_header, then a body, fds beside it in the order the message lists them. Numbers are in host
 * order, strings are NUL-terminated in a string area; every offset and length is checked by the receiver.
 * Messages and fields are only added: a keeper outlives many ctds, so both sides accept a peer with another
 * minor version; a body longer than known is cut, a shorter one is padded with zeros.
 *
 * ctd sends requests with a serial of its own; the keeper answers each exactly once with the same serial.
 * EXITED, STARTED are events (serial 0) and go to every connection that said SUBSCRIBE. Several connections
 * may be open at once (an old ctd that is going, a new one).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define KEEPER_VERSION_MAJOR 1
#define KEEPER_VERSION_MINOR 0
#define KEEPER_MESSAGE_MAX   (128u * 1024u)
#define KEEPER_FDS_MAX       24
#define KEEPER_KEY_MAX                                                                                       \
	64 /* a key names a process: "c/CTID" for init of a container, "x/EXECID" for an exec */

enum keeper_type {
	KEEPER_HELLO = 1, /* -> version; <- version, pid, build id of the running binary */
	KEEPER_START,     /* -> request, packed ct_spec + fds; <- when init has been executed or has failed:
	                   * struct keeper_process, pidfd     and, with a console, a duplicate of its master; or error
	                   */
	KEEPER_EXEC,   /* -> request, packed ct_exec_spec + fds; <- the same; with tty the one and only master
	                  comes back */
	KEEPER_LIST,   /* <- one packet per process it knows (more = 1), then an empty one (more = 0) */
	KEEPER_SIGNAL, /* -> key, signal; <- ok or ESRCH */
	KEEPER_PIDFD,  /* -> key; <- struct keeper_process, duplicates of the pidfd and, if it has a console,
	                  of its master */
	KEEPER_FORGET, /* -> key of an exited process: its exit status and scrollback are dropped */
	KEEPER_CONSOLE_ATTACH, /* -> key, a stream socket fd: scrollback first, then live output; what is
	                        * written to it is typed. With KEEPER_ATTACH_NO_SCROLLBACK live output only.
	                        * End of stream: the container's console is gone */
	KEEPER_CONSOLE_READ,   /* -> key; <- the scrollback, also of a dead container until FORGET or its next
	                          START */
	KEEPER_CONSOLE_RESIZE, /* -> key, rows, columns */
	KEEPER_SUBSCRIBE,      /* -> from now on events come here */
	KEEPER_ADOPT,  /* -> key, pid, start time, pidfd and perhaps the console's master, if somebody kept a
	                * duplicate: a process whose  first keeper died; exits are seen through the pidfd,
	                * status unknown; <- struct keeper_process */
	KEEPER_REEXEC, /* -> a sealed memfd with a new keeper binary; the answer comes from the new one.
	                  Children are kept */
	KEEPER_QUIT,   /* refused (EBUSY) while any process lives */
	KEEPER_EXITED = 100, /* event: struct keeper_process with exit status */
};

struct keeper_header {
	uint32_t type; /* enum keeper_type; answers repeat it */
	uint32_t serial;
	int32_t result;  /* answers: 0 or negative errno; then the body is a struct ct_error */
	uint32_t more;   /* answers of several packets: 1 if another follows */
	uint32_t length; /* of the body, bytes */
};

/* Body of every request; KEEPER_START and KEEPER_EXEC have the packed specification (keeper-pack.h) behind
 * it. What a request does not use is zero. .size is sizeof(struct keeper_request) of the sender: what follows
 * the fixed part is found by it. */
struct keeper_request {
	uint32_t size;
	int32_t signal; /* of SIGNAL */
	char key[KEEPER_KEY_MAX];
	uint32_t flags;         /* of CONSOLE_ATTACH: KEEPER_ATTACH_* */
	uint16_t rows, columns; /* of CONSOLE_RESIZE */
	int32_t pid;            /* of ADOPT */
	uint32_t major, minor;  /* of HELLO */
	uint64_t start_time;    /* of ADOPT */
};

#define KEEPER_ATTACH_NO_SCROLLBACK 1u

/* Body of the answer to HELLO and to REEXEC. */
struct keeper_hello {
	uint32_t major, minor;
	int32_t pid;
	uint32_t n_processes;  /* that it knows, exited ones too */
	uint64_t started_usec; /* CLOCK_REALTIME; a re-execution does not change it */
	uint32_t n_reexecs;    /* how often it has been replaced in place */
	char build_id[44];     /* hexadecimal GNU build id of the running binary */
};

enum keeper_process_state {
	KEEPER_PROCESS_STARTING = 1,
	KEEPER_PROCESS_RUNNING,
	KEEPER_PROCESS_EXITED,
};

struct keeper_process {
	char key[KEEPER_KEY_MAX];
	uint32_t state; /* enum keeper_process_state */
	int32_t pid;
	uint64_t start_time;  /* clock ticks since boot */
	int32_t exit_code;    /* of EXITED: 0..255, or 128 + signal; -1: not known (adopted) */
	int32_t exit_signal;  /* 0 if it exited by itself; init of a pid namespace that called reboot(2) dies
	                         by SIGHUP (reboot) or SIGINT (halt) */
	uint64_t exited_usec; /* CLOCK_REALTIME */
	uint32_t adopted, has_console;
};
