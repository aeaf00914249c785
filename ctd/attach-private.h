/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of the attach socket: attach.c keeps the ids, attach-client.c talks to clients. */
#pragma once

#include <stdbool.h>

#include "ctd/attach.h"
#include "ctd/listen.h"

#define ATTACH_BUCKETS    256
#define ATTACH_FDS_MAX    3
#define ATTACH_PACKET_MAX 4096

/* Something that can be attached to: an exec until a minute after its end, a console until its client has
 * left. */
struct entry {
	struct entry *next; /* in its bucket */
	char id[ATTACH_ID_SIZE];
	enum attach_kind kind;
	int fds[ATTACH_FDS_MAX];
	size_t n_fds;           /* 0: taken, expired, or there were none */
	uint64_t offer_expires; /* monotonic; 0: nothing is offered */
	bool exited;
	int code;
	uint64_t exit_expires;
	unsigned n_clients;
};

struct client {
	struct client *prev, *next;
	struct attach *attach;
	sd_event_source *io;
	int sock;
	struct entry *entry; /* NULL until it has said an id */
	uint64_t expires;    /* until then it must have; 0: it has */
};

struct attach {
	sd_event *event;
	sd_event_source *io, *sweep;
	struct listener listener;
	const struct attach_ops *ops;
	void *userdata;
	uint64_t offer_timeout_usec, exit_timeout_usec;
	size_t max_clients, max_entries, n_clients, n_entries;
	struct entry *buckets[ATTACH_BUCKETS];
	struct client *clients;
	bool sweeping; /* the timer is armed */
	bool full;     /* no file descriptor was left for a connection: not accepting until the next sweep */
};

/* attach.c */
struct entry *entry_find(const struct attach *a, const char *id);
void entry_remove(struct attach *a, struct entry *e);
void entry_close_fds(struct entry *e);
/* Something has a deadline now. */
void attach_sweep_later(struct attach *a);

/* attach-client.c */
int attach_on_connect(sd_event_source *source, int fd, uint32_t revents, void *userdata);
void client_free(struct client *c); /* no callbacks */
/* Sends the exit code to the client and frees it. */
void client_finish(struct client *c, int code);
/* Sends an error and frees it. */
void client_reject(struct client *c, const char *message);
