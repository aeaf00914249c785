/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the files of the keeper's client; not for others. */
#pragma once

#include <sys/types.h>

#include "base/str.h"
#include "ctd/keeper-client.h"
#include "ctd/keeper-pack.h"

/* A request under way. */
struct keeper_call {
	struct keeper_call *next;
	uint32_t serial, type;
	uint64_t deadline_usec; /* CLOCK_MONOTONIC */
	keeper_reply_fn fn;     /* NULL: nobody is interested */
	void *userdata;
	struct keeper_reply reply; /* what has come of it so far */
};

/* A packet that the socket had no room for; its fds are duplicates. */
struct keeper_outgoing {
	struct keeper_outgoing *next;
	uint32_t serial;
	char *data;
	size_t len;
	struct keeper_fds fds;
};

/* An exit that came while somebody waited synchronously. */
struct keeper_put_off {
	struct keeper_put_off *next;
	struct keeper_process process;
};

struct keeper_client {
	sd_event *event;
	sd_event_source *io, *timer, *later;
	const struct keeper_client_ops *ops;
	void *userdata;
	int fd;
	uint32_t last_serial;
	struct keeper_call *calls; /* oldest first */
	struct keeper_outgoing *outgoing;
	struct keeper_put_off *put_off;
	struct keeper_hello hello;
	char *binary;
	int lost;             /* negative errno once the connection is */
	bool told_lost;       /* ops->disconnected has been called */
	unsigned int waiting; /* depth of keeper_client_wait */
};

/* Sends a request: body is a packed specification or empty. The reply comes to fn. fds are borrowed. */
struct keeper_call_args {
	uint32_t type;
	struct keeper_request request;
	const struct strbuf *spec;    /* NULL: none */
	const struct keeper_fds *fds; /* NULL: none */
	uint64_t timeout_usec;
};
int keeper_client_call(struct keeper_client *client, const struct keeper_call_args *args, keeper_reply_fn fn,
        void *userdata);

/* The body of a success and its fds, which are taken as far as they are needed. */
struct keeper_body {
	uint32_t type;
	const char *data;
	size_t len;
	int *fds;
	size_t n_fds;
};
/* hello: where an answer to HELLO or REEXEC goes. -EBADMSG, -ENOMEM. */
int keeper_reply_take_body(
        struct keeper_reply *reply, const struct keeper_body *body, struct keeper_hello *hello);
void keeper_reply_take_error(struct keeper_reply *reply, int result, const char *data, size_t len);
void keeper_reply_take_process(struct keeper_process *ret, const void *data, size_t len);

/* Connects to the socket in a directory: an fd, non-blocking, or -ENOENT, -ECONNREFUSED. */
int keeper_socket_connect(const char *runtime_dir);
/* Runs ct-keeper and waits until it listens; 0 also if another one was quicker. */
int keeper_spawn(const char *binary, const char *runtime_dir, struct ct_error *err);
