/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of ct-keeper: what its files share.
 *
 *   keeper-main.c     arguments, the sealed binary, becoming a daemon
 *   keeper-setup.c    lock, socket, a mount namespace of its own
 *   keeper.c          the event loop, connections, the table of requests
 *   keeper-process.c  starting, executing, reaping, adopting
 *   keeper-reap.c     how a process has ended
 *   keeper-run.c      programs of ctd's
 *   keeper-console.c  masters, their rings (keeper-ring.c), and those who look at them
 *   keeper-state.c    everything above as bytes
 *   keeper-reexec.c   a new binary in its place
 *
 * One thread, one epoll, and one event per epoll_wait: so an event never refers to something that an earlier
 * event of the same batch has freed. Every fd in the epoll is taken out by hand before it is closed: a
 * duplicate of it (in ctd, or for a moment in a child before its exec) would keep the registration, with its
 * dangling pointer, alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ctd/keeper-proto.h"
#include "ctd/keeper-ring.h"
#include "libct/ct.h"

#define KEEPER_BUCKETS         256
#define KEEPER_CONNECTIONS_MAX 64

/* What an epoll event points to; embedded in what it is about. */
enum keeper_source_kind {
	KEEPER_SOURCE_LISTENER = 1,
	KEEPER_SOURCE_CONNECTION,
	KEEPER_SOURCE_STATUS,
	KEEPER_SOURCE_PIDFD,
	KEEPER_SOURCE_CONSOLE,
	KEEPER_SOURCE_VIEWER,
};

struct keeper_source {
	enum keeper_source_kind kind;
	int fd; /* owned, -1: none */
};

struct keeper_connection {
	struct keeper_connection *next;
	struct keeper_source source;
	uint64_t id; /* never used twice: an answer that comes late finds its connection by it, or none */
	bool subscribed;
};

struct keeper_console;

struct keeper_child {
	struct keeper_child *next;  /* of its bucket */
	struct keeper_process info; /* key, pid, state, exit status: what is told */
	struct keeper_source pidfd, status;
	struct keeper_console *console; /* NULL: none */

	/* Until START or EXEC is answered. */
	uint64_t deadline_usec; /* CLOCK_MONOTONIC, 0: none */
	uint64_t connection_id;
	uint32_t serial, type;
	bool ready;             /* of struct ct_process, between looks at the status */
	int console_fd;         /* likewise; then, of EXEC, until the answer takes it along; -1: none */
	struct ct_error *error; /* of STARTING; once it has a code, the answer waits for the reaping only */
};

struct keeper {
	int epoll_fd, lock_fd, dir_fd;
	int spare_fd; /* see turn_away */
	struct keeper_source listener;
	struct keeper_connection *connections;
	struct keeper_child *children[KEEPER_BUCKETS];
	uint32_t n_children;
	uint32_t n_timers; /* deadlines that are set, in children and consoles: 0 spares looking for them */
	uint32_t n_paused; /* consoles that are held back for printing too much */
	uint64_t next_connection_id;
	uint64_t started_usec;
	uint32_t n_reexecs;
	char *runtime_dir; /* as it was given, for the arguments of the next binary */
	char build_id[44];
	uint64_t reexec_connection_id; /* who is owed the answer to REEXEC */
	uint32_t reexec_serial;
	void *packet; /* room for one message */
	bool quit;
};

/* One request, taken apart. The fds are its own: a handler keeps one by TAKE_FD. */
struct keeper_message {
	struct keeper_header header;
	struct keeper_request request;
	const void *spec; /* what follows the request */
	size_t spec_len;
	int fds[KEEPER_FDS_MAX];
	size_t n_fds;
};

/* ---- keeper.c */

int keeper_init(struct keeper *k, struct ct_error *err);
void keeper_done(struct keeper *k);
/* Until QUIT, or a negative errno that leaves no way on. */
int keeper_run(struct keeper *k);

/* Puts source->fd into the epoll, changes what is waited for, takes it out, takes it out and closes it. */
int keeper_watch(struct keeper *k, struct keeper_source *source, uint32_t events);
int keeper_rewatch(struct keeper *k, struct keeper_source *source, uint32_t events);
void keeper_forget_source(struct keeper *k, struct keeper_source *source);
void keeper_close_source(struct keeper *k, struct keeper_source *source);

/* Sets a deadline (0: none) and keeps count of those that are set. */
void keeper_timer_set(struct keeper *k, uint64_t *timer, uint64_t when_usec);

/* An answer that could not be sent ends its connection: nobody waits for a reader. fds are borrowed. */
struct keeper_answer {
	uint32_t type, serial;
	int result;
	bool more;
	const void *body;
	size_t len;
	const int *fds;
	size_t n_fds;
};
void keeper_send(struct keeper_connection *c, const struct keeper_answer *answer);
void keeper_send_error(
        struct keeper_connection *c, uint32_t type, uint32_t serial, const struct ct_error *error);
/* NULL if it has gone. */
struct keeper_connection *keeper_connection_find(struct keeper *k, uint64_t id);
int keeper_connection_add(struct keeper *k, int fd, uint64_t id, bool subscribed);
void keeper_broadcast_exit(struct keeper *k, const struct keeper_process *process);
void keeper_hello_fill(const struct keeper *k, struct keeper_hello *ret);

/* Handlers of requests: 0 is answered by an empty success, KEEPER_ANSWERED by nobody any more, negative by
 * *err. */
#define KEEPER_ANSWERED 1

/* ---- keeper-process.c */

struct keeper_child *keeper_child_find(struct keeper *k, const char *key);
struct keeper_child *keeper_child_new(struct keeper *k, const char *key);
/* The same for a key that may be that of one which has ended: it is forgotten. -EEXIST: it is alive. */
int keeper_child_renew(struct keeper *k, const char *key, struct keeper_child **ret, struct ct_error *err);
void keeper_child_free(struct keeper *k, struct keeper_child *child);
bool keeper_child_is_alive(const struct keeper_child *child);

int keeper_handle_start(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_list(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_signal(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_pidfd(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_forget(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_adopt(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);

void keeper_child_on_status(struct keeper *k, struct keeper_child *child);
void keeper_child_on_exit(struct keeper *k, struct keeper_child *child);
void keeper_child_on_deadline(struct keeper *k, struct keeper_child *child);

/* The process with its pidfd to the connection that asked. */
void keeper_child_send(
        struct keeper_connection *c, uint32_t type, uint32_t serial, const struct keeper_child *child);

/* ---- keeper-run.c */

int keeper_handle_run(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
/* Dead children that have no record, if the key is of a program that may have left such. */
void keeper_reap_strangers(const struct keeper *k, const char *key);

/* ---- keeper-reap.c */

/* Fills exit_code, exit_signal and exited_usec of a process that has ended, and reaps it if it is our child.
 * 1, 0 if it is too early to say, negative errno if it cannot be known: then exit_code is -1. */
int keeper_reap(int pidfd, struct keeper_process *info);
/* Whether a zombie is traced: then it cannot be reaped, and a tracer inside a container is killed for it. */
bool keeper_end_tracer(pid_t pid);

/* ---- keeper-console.c */

/* Somebody who is attached to a console. */
struct keeper_viewer {
	struct keeper_viewer *next;
	struct keeper_source source;
	struct keeper_console *console;
	uint64_t position;     /* how much of the stream it has been given */
	uint64_t stalled_usec; /* since when it takes nothing though something is there, 0: it keeps up */
	bool input_ended;      /* it will type no more, but still looks */
	uint16_t input_start, input_len;
	char input[256]; /* typed, and not yet taken by the terminal */
};

struct keeper_console {
	struct keeper_source master; /* fd -1: its container has ended */
	struct keeper_viewer *viewers;
	struct keeper_ring ring;
	uint64_t timer_usec;   /* look again then: a pause ends, or a viewer has been slow for too long */
	uint64_t window_usec;  /* start of the current window of the rate limit */
	uint32_t window_bytes; /* read in it */
	uint64_t resume_usec;  /* nothing more is read until then, 0: no limit was hit */
	bool wants_output;     /* some viewer's input waits for room in the terminal */
};

/* Takes the master (which becomes non-blocking) even on failure. -1: a console that is already over. */
int keeper_console_new(struct keeper *k, int master, struct keeper_console **ret);
void keeper_console_free(struct keeper *k, struct keeper_console *console);
/* The container has ended: reads what is left, gives it to the viewers, closes the master. */
void keeper_console_end(struct keeper *k, struct keeper_console *console);
int keeper_console_add_viewer(struct keeper *k, struct keeper_console *console, int fd, bool scrollback,
        struct keeper_viewer **ret);

int keeper_handle_console_attach(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_console_read(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);
int keeper_handle_console_resize(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);

void keeper_console_on_event(struct keeper *k, struct keeper_console *console, uint32_t events);
void keeper_viewer_on_event(struct keeper *k, struct keeper_viewer *viewer, uint32_t events);
void keeper_console_on_deadline(struct keeper *k, struct keeper_console *console);

/* ---- keeper-state.c */

/* Everything, in an order in which it can be read in one go. Returns a memfd. */
int keeper_state_save(const struct keeper *k);
/* Reads what the keeper before us has left in the memfd. With k NULL it is only checked. */
int keeper_state_load(struct keeper *k, int state_fd, struct ct_error *err);
/* The same of what is in memory already. With k NULL no fd is touched. */
int keeper_state_parse(struct keeper *k, const void *data, size_t len, struct ct_error *err);

/* ---- keeper-reexec.c */

/* Exit status of --check-state-fd when all is well: not 0, with which any program may end. */
#define KEEPER_EXIT_SOUND 42

int keeper_handle_reexec(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err);

/* By the new binary, to whoever asked for it. */
void keeper_reexec_answer(struct keeper *k);

/* ---- keeper-setup.c */

/* Lock, socket, own mount namespace, then keeper_setup_process; listens. The working directory becomes "/".
 * -EWOULDBLOCK: another keeper holds the runtime directory. */
int keeper_setup(struct keeper *k, const char *runtime_dir, struct ct_error *err);
/* What an exec undoes: undumpable, OOM score, SIGPIPE, the limit of files. */
void keeper_setup_process(void);
/* Before the end: later nobody could tell that nobody listens. */
void keeper_unlink_socket(struct keeper *k);
/* False if the socket has been removed, perhaps with its directory. */
bool keeper_has_socket(const struct keeper *k);
