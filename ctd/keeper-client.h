/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's side of the conversation with ct-keeper, asynchronous on sd-event.
 *
 *   r = keeper_client_open(&config, &client, err);     connects, or starts a keeper and connects
 *   keeper_client_hello(client)                        what it is; compare .build_id with
 * keeper_build_id_of() keeper_client_start(client, "c/CTID", &spec, on_started, job, err);
 *   ... on_started(reply, job)                         reply->result, reply->process, reply->pidfd
 *   ... config.ops->exited(process, userdata)          whenever a process of the keeper's ends
 *   ... config.ops->disconnected(reason, userdata)     the keeper is gone: free, open again, list, adopt what
 * still lives
 *
 * Rules that hold for every request:
 * - The function returns 0 once the request is on its way (fds and data in it are then no longer needed: they
 * are borrowed for the call only), or a negative errno, and then the callback is never called.
 * - After 0 the callback is called exactly once, from the event loop (or from keeper_client_wait), never from
 *   inside the call: with the keeper's answer, with -ETIMEDOUT after the deadline, with -ECONNRESET when the
 *   connection broke, with -ECANCELED out of keeper_client_free. After the last three it is not known whether
 *   the keeper did it: ask with LIST.
 * - A keeper that is busy is waited for: requests queue up here, in order. Beyond 512 of them: -EBUSY.
 * - Any request can be made synchronously, for use before the loop runs:
 *       _cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
 *       r = keeper_client_list(c, keeper_reply_store, &reply);
 *       if (r >= 0)
 *               r = keeper_client_wait(c, &reply, err);
 *   Answers to other requests are dealt with meanwhile; exit events are put off until the loop runs.
 * - Callbacks may make new requests, and may free the client only from ops->disconnected or through a
 * deferred event source.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "ctd/keeper-proto.h"
#include "libct/ct.h"

struct keeper_client;

struct keeper_client_ops {
	/* A process ended: state EXITED, exit_code, exit_signal. Comes once for each, also for exec'd
	 * commands, never before the answer to its START or EXEC. What ended before the connection was made
	 * is found by LIST. */
	void (*exited)(const struct keeper_process *process, void *userdata);
	/* The connection is lost (keeper died, or dropped us as too slow); pending requests have been
	 * answered. Called once, at the end of the event, so that the client may be freed in it. reason:
	 * negative errno. Not called by keeper_client_free. */
	void (*disconnected)(int reason, void *userdata);
};

struct keeper_client_config {
	sd_event *event;                     /* a reference is taken */
	const char *runtime_dir;             /* --runtime: holds keeper.sock and keeper.lock; must exist */
	const char *binary;                  /* ct-keeper to start; NULL: keeper_binary_find() */
	const struct keeper_client_ops *ops; /* borrowed for the client's life */
	void *userdata;
};

enum keeper_client_opened {
	KEEPER_CLIENT_FOUND = 0,   /* a keeper was there */
	KEEPER_CLIENT_SPAWNED = 1, /* one was started */
};

/* Connects to the keeper of the runtime directory or, where none answers, starts one; says HELLO and
 * SUBSCRIBE. Blocks, 10 s at most (typically 1 ms, 10 ms when started). A keeper with another major version
 * is refused with -EPROTO. Returns enum keeper_client_opened or a negative errno. Ask for the LIST in either
 * case (another may have started it at the same time), and ADOPT what lives and is not in it. A new keeper is
 * in the caller's cgroup: move it by hello()->pid. */
int keeper_client_open(
        const struct keeper_client_config *config, struct keeper_client **ret, struct ct_error *err);
/* The same, but never starts one: -ENOENT or -ECONNREFUSED. */
int keeper_client_connect(
        const struct keeper_client_config *config, struct keeper_client **ret, struct ct_error *err);
/* Pending requests are answered with -ECANCELED. The keeper stays. NULL is accepted. */
void keeper_client_free(struct keeper_client *client);
DEFINE_CLEANUP(struct keeper_client *, keeper_client_free);
#define _cleanup_keeper_client_ CLEANUP(keeper_client_freep)

bool keeper_client_is_connected(const struct keeper_client *client);
/* What the keeper said of itself (after a re-execution: what the new one said). Valid until the client is
 * freed. */
const struct keeper_hello *keeper_client_hello(const struct keeper_client *client);

/* ct-keeper beside the running program, else in libexecdir, else -ENOENT. *ret is new memory. */
int keeper_binary_find(char **ret);
/* GNU build id (hexadecimal) of an ELF file; ret of 44 bytes. -ENODATA if it has none. If it differs from
 * hello()->build_id, the keeper runs another build: keeper_client_reexec. */
int keeper_build_id_of(const char *path, char *ret, size_t size);

/* One answer. Everything in it is the client's and is freed after the callback; fds and arrays are kept with
 * TAKE_FD, TAKE_PTR. */
struct keeper_reply {
	bool done;                     /* for keeper_client_wait */
	int result;                    /* 0 or negative errno */
	struct ct_error error;         /* the sentence, if result is negative */
	struct keeper_process process; /* START, EXEC, ADOPT, PIDFD */
	int pidfd;                     /* START, EXEC, PIDFD; else -1 */
	int console_fd; /* START, PIDFD: duplicate of the console's master, to be kept (not read!) so that the
	                 * console survives the keeper's death; EXEC with tty: the master, ours alone; else
	                 * -1. It is blocking or not as the keeper's: non-blocking */
	struct keeper_process *processes; /* LIST */
	size_t n_processes;
	char *data; /* CONSOLE_READ: bytes as the container wrote them, hostile; NUL-terminated for
	               convenience */
	size_t data_len;
};
#define KEEPER_REPLY_INIT ((struct keeper_reply){ .pidfd = -1, .console_fd = -1 })
void keeper_reply_done(struct keeper_reply *reply);
#define _cleanup_keeper_reply_ CLEANUP(keeper_reply_done)

typedef void (*keeper_reply_fn)(struct keeper_reply *reply, void *userdata);

/* A callback for keeper_client_wait: moves the answer to the struct keeper_reply that userdata points to,
 * which must be initialised and live until it is answered. */
void keeper_reply_store(struct keeper_reply *reply, void *userdata);
/* Works the connection until reply is done. Returns reply->result (and copies the error). */
int keeper_client_wait(struct keeper_client *client, struct keeper_reply *reply, struct ct_error *err);

/* Deadlines, from the call to the callback. The keeper gives init and commands KEEPER_EXEC_DEADLINE to reach
 * their exec. */
#define KEEPER_CALL_TIMEOUT_USEC  (5 * 1000000ULL)
#define KEEPER_START_TIMEOUT_USEC (20 * 1000000ULL) /* START, EXEC, REEXEC */

/* Starts init of a container under a key ("c/CTID"). -EEXIST while a process of that key lives; an exited one
 * is forgotten first. Answered when init has been executed or has failed; then nothing of it is left. -E2BIG:
 * the packed specification is larger than a message (128 KiB). err only for failures of the call itself. */
int keeper_client_start(struct keeper_client *client, const char *key, const struct ct_spec *spec,
        keeper_reply_fn fn, void *userdata, struct ct_error *err);
/* Runs a command in a container under a key of its own ("x/EXECID"). FORGET it when it has exited. */
int keeper_client_exec(struct keeper_client *client, const char *key, const struct ct_exec_spec *spec,
        keeper_reply_fn fn, void *userdata, struct ct_error *err);

/* All processes the keeper knows, exited and not yet forgotten ones included. */
int keeper_client_list(struct keeper_client *client, keeper_reply_fn fn, void *userdata);
/* pidfd_send_signal; -ESRCH if there is none of that key or it has exited. fn may be NULL: the answer is of
 * no interest. */
int keeper_client_signal(
        struct keeper_client *client, const char *key, int signo, keeper_reply_fn fn, void *userdata);
/* The process with its pidfd and a duplicate of its console's master: what a new ctd asks for each container
 * it finds. -ESRCH. */
int keeper_client_pidfd(struct keeper_client *client, const char *key, keeper_reply_fn fn, void *userdata);
/* Drops exit status and scrollback of an exited process; -EBUSY while it lives, -ESRCH. fn may be NULL. */
int keeper_client_forget(struct keeper_client *client, const char *key, keeper_reply_fn fn, void *userdata);
/* Takes a living process over whose keeper died, or that was restored. The fds are duplicated. The keeper
 * checks that pidfd is pid and that pid's start time is start_time: -ESRCH if not. When it ends, exit_code is
 * -1 on kernels before 6.15, unless it is the keeper's child (RUN). -EEXIST if the key is taken; -EBADMSG:
 * more scrollback than KEEPER_RING_MAX, or for no console. */
struct keeper_adoption {
	const struct keeper_process *process; /* key, pid, start_time */
	int pidfd, console_fd;                /* console_fd -1: lost */
	const char *scrollback;               /* what the console begins with */
	size_t scrollback_len;
};
int keeper_client_adopt(struct keeper_client *client, const struct keeper_adoption *adoption,
        keeper_reply_fn fn, void *userdata);
/* Runs a program as the keeper's child, in a mount namespace, under a key "r/CTID"; it outlives client and
 * keeper. What it forks off beside itself (CLONE_PARENT) is the keeper's too. Everything is borrowed.
 * -EEXIST while one of that key lives; -EOPNOTSUPP: the keeper is of an older build. */
struct keeper_program {
	const char *const *argv; /* at most 8 */
	int program_fd, mntns_fd;
	int third_fd; /* becomes its fd 3; 0 to 2 are /dev/null */
};
int keeper_client_run(struct keeper_client *client, const char *key, const struct keeper_program *program,
        keeper_reply_fn fn, void *userdata);

/* The keeper's end of a stream socket pair: scrollback (unless flags has KEEPER_ATTACH_NO_SCROLLBACK), then
 * live output comes out of the other end; what is written into it is typed at the console. Close the other
 * end to detach. A client that does not read is dropped (end of stream). sock is duplicated. -ENOTTY: it has
 * no console. Also of an exited container: scrollback, then end of stream. */
int keeper_client_console_attach(struct keeper_client *client, const char *key, int sock, unsigned flags,
        keeper_reply_fn fn, void *userdata);
/* The scrollback as reply->data, also of an exited container. flags: KEEPER_READ_*. */
int keeper_client_console_read(
        struct keeper_client *client, const char *key, unsigned flags, keeper_reply_fn fn, void *userdata);
int keeper_client_console_resize(struct keeper_client *client, const char *key, uint16_t rows,
        uint16_t columns, keeper_reply_fn fn, void *userdata);

/* Replaces the running keeper by the binary at path (NULL: config's, or
 * keeper_binary_find) in place: its processes,
 * consoles, connections and unforgotten exit statuses are kept. On failure the old one goes on and the answer
 * says why. */
int keeper_client_reexec(struct keeper_client *client, const char *path, keeper_reply_fn fn, void *userdata,
        struct ct_error *err);
/* Asks the keeper to end; -EBUSY while any process lives. */
int keeper_client_quit(struct keeper_client *client, keeper_reply_fn fn, void *userdata);
