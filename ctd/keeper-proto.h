/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ctd and ct-keeper say to each other.
 *
 * A SOCK_SEQPACKET Unix socket, RUNTIME/keeper.sock; only uid 0 is answered. One message is one packet: a
 * struct keeper_header, then a body, fds beside it in the order the message lists them. Numbers are in host
 * order; every offset and length is checked by the receiver. Messages and fields are only added: a keeper
 * outlives many ctds, so both sides accept a peer with another minor version; a body longer than known is
 * cut, a shorter one is padded with zeros.
 *
 * ctd sends requests with a serial of its own, not 0; the keeper answers each exactly once with the same
 * serial. EXITED is an event (serial 0) and goes to every connection that said SUBSCRIBE; one that does not
 * read is disconnected. Several connections may be open at once (an old ctd that is going, a new one).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "libct/ct.h"

#define KEEPER_VERSION_MAJOR 1
#define KEEPER_VERSION_MINOR 2
#define KEEPER_MESSAGE_MAX   (128u * 1024u)
#define KEEPER_FDS_MAX       72
/* A key names a process: "c/CTID" for init of a container, "x/EXECID" for a command, "r/CTID" for CRIU at
 * work on a container. */
#define KEEPER_KEY_MAX    64
#define KEEPER_RUN_PREFIX "r/"
/* From START or EXEC to the exec; then the process is killed and the request answered with -ETIMEDOUT. */
#define KEEPER_EXEC_DEADLINE_USEC (10 * 1000000ULL)

/* The body of a request is a struct keeper_request. The answer's body is what stands behind "<-", or a struct
 * ct_error. */
enum keeper_type {
	/* Versions. <- struct keeper_hello */
	KEEPER_HELLO = 1,
	/* Key, behind the request a packed ct_spec (keeper-pack.h), its fds. Answered when init has been
	 * executed or has failed:
	 * <- struct keeper_process, pidfd and, with a console, a duplicate of its master */
	KEEPER_START,
	/* The same with a ct_exec_spec. With tty the one and only master comes back. */
	KEEPER_EXEC,
	/* <- packets of a struct keeper_list and so many processes; more = 1 in all but the last */
	KEEPER_LIST,
	/* Key, signal. -ESRCH */
	KEEPER_SIGNAL,
	/* Key. <- struct keeper_process, duplicates of its pidfd and, if it has a console, of the master */
	KEEPER_PIDFD,
	/* Key of an exited process: its exit status and scrollback are dropped. */
	KEEPER_FORGET,
	/* Key, flags, a stream socket: scrollback first, then live output comes out of it; what is written to
	 * it is typed. End of stream: the console is gone, or we were too slow. */
	KEEPER_CONSOLE_ATTACH,
	/* Key, flags. <- the scrollback, also of an exited process until FORGET or the next START with its
	 * key
	 */
	KEEPER_CONSOLE_READ,
	/* Key, rows, columns. */
	KEEPER_CONSOLE_RESIZE,
	/* From now on events come to this connection. */
	KEEPER_SUBSCRIBE,
	/* Key, pid, start time, pidfd and perhaps the console's master, if somebody kept a duplicate: a
	 * process whose first keeper died, or one that was restored; behind the request what its scrollback
	 * begins with, KEEPER_RING_MAX bytes at most (since 1.2, ignored before). Its end is seen through the
	 * pidfd, its status is not known before Linux 6.15. <- struct keeper_process */
	KEEPER_ADOPT,
	/* A sealed memfd with a new keeper binary. The answer comes from the new one; children are kept. <-
	   struct keeper_hello */
	KEEPER_REEXEC,
	/* -EBUSY while any process lives. */
	KEEPER_QUIT,
	/* Key, behind the request the arguments, each with its NUL; fds: a program, the mount namespace it
	 * runs in, what becomes its fd 3. It runs as root and outlives both of us.
	 * <- struct keeper_process, pidfd */
	KEEPER_RUN,
	/* Event: struct keeper_process with exit status. */
	KEEPER_EXITED = 100,
};

struct keeper_header {
	uint32_t type; /* enum keeper_type; answers repeat it */
	uint32_t serial;
	int32_t result;  /* answers: 0 or negative errno; then the body is a struct ct_error */
	uint32_t more;   /* answers of several packets: 1 if another follows */
	uint32_t length; /* of the body, bytes */
};

#define KEEPER_ATTACH_NO_SCROLLBACK 1u
/* First all that the terminal holds is read, whatever is allowed by time: of one that is frozen, the answer
 * is all that it has printed. Since 1.2, ignored before. */
#define KEEPER_READ_ALL 1u

/* What a request does not use is zero. */
struct keeper_request {
	uint32_t size;  /* of this struct at the sender: what follows is found by it */
	int32_t signal; /* SIGNAL */
	char key[KEEPER_KEY_MAX];
	uint32_t flags;         /* CONSOLE_ATTACH: KEEPER_ATTACH_*, CONSOLE_READ: KEEPER_READ_* */
	uint16_t rows, columns; /* CONSOLE_RESIZE */
	int32_t pid;            /* ADOPT */
	uint32_t major, minor;  /* HELLO */
	uint64_t start_time;    /* ADOPT */
};

struct keeper_hello {
	uint32_t major, minor;
	int32_t pid;
	uint32_t n_processes;  /* that it knows, exited ones too */
	uint64_t started_usec; /* CLOCK_REALTIME; a re-execution does not change it */
	uint32_t n_reexecs;    /* how often it has been replaced in place */
	char build_id[44];     /* of the running binary, hexadecimal; "" if it has none */
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
	uint64_t start_time; /* clock ticks since boot */
	int32_t exit_code;   /* of EXITED: 0..255, or 128 + signal; -1: not known (adopted, before Linux 6.15)
	                      */
	int32_t exit_signal; /* 0 if it exited by itself. Init of a pid namespace that called reboot(2) dies
	                      * by SIGHUP (to  restart) or SIGINT (to halt) */
	uint64_t exited_usec; /* CLOCK_REALTIME */
	uint32_t adopted, has_console;
	struct ct_stamps stamps; /* of init's start; zeros when it was adopted, or of a command */
};

/* Body of an answer to LIST: count elements of element_size bytes each (a later keeper's may be longer)
 * follow. */
struct keeper_list {
	uint32_t element_size, count;
};
