/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of the front: connections, calls, and what the files of http-*.c do
 * for each other.
 *
 * A call has two owners: the connection (until libmicrohttpd is done with the request) and whoever has to
 * answer it (the handler, or for a repetition the front). Each may end first.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ctd/http.h"
#include "ctd/listen.h"

#define HTTP_BODY_MAX (1024 * 1024)
#define HTTP_DISCARD_MAX                                                                                     \
	(16 * 1024 * 1024) /* of a body that is too large anyway, before the connection is cut */
#define HTTP_REQUEST_ID   64
#define HTTP_SEGMENTS_MAX 8
#define HTTP_PARAMS_MAX   2
#define HTTP_QUERIES_MAX  8

struct connection {
	struct http *http;
	struct MHD_Connection *mhd;
	struct connection *prev, *next;
	int sock;
	struct ucred peer;
	struct ct_error refused; /* code 0: may talk */
	unsigned refused_status;
	uint64_t since; /* monotonic: when the client's turn began */
	bool busy;      /* it is our turn: a handler has the call */
};

struct http {
	struct manager *manager;
	struct store *store;
	const struct api_route *routes;
	struct MHD_Daemon *daemon;
	struct listener listener;

	sd_event *event;
	sd_event_source *io, *timer, *run, *sweep;

	struct connection *connections;
	unsigned n_connections, max_connections;
	uint64_t receive_timeout_usec;

	struct call *calls; /* kept by handlers or waiting for another call's answer */
	size_t n_pending;
	bool stopping;      /* in http_free: no handler is called any more */
	bool record_failed; /* said once, until it works again */
	unsigned n_recorded;
};

struct pair {
	const char *name;
	char *value;
};

/* A path cut at its slashes, each part percent-decoded. */
struct segments {
	char *parts[HTTP_SEGMENTS_MAX];
	size_t n;
	char *memory;
};

struct call {
	unsigned refs;
	struct http *http;             /* NULL after http_free */
	struct connection *connection; /* NULL: the client is gone */
	const struct api_route *route;

	char *method, *url;
	struct segments segments;
	struct pair params[HTTP_PARAMS_MAX], queries[HTTP_QUERIES_MAX];
	size_t n_params, n_queries;

	char *raw;
	size_t raw_len, raw_size;
	uint64_t discarded;
	bool too_large, no_memory;

	json_t *body;
	struct ucred peer;
	char *object;

	char request_id[HTTP_REQUEST_ID + 1]; /* "" none */
	bool recorded;                        /* the request id is ours to finish */
	struct call *waiters, *next_waiter;   /* repetitions */
	bool waiting;

	struct call *prev, *next; /* in http->calls */
	bool listed;
	bool answered, suspended, queued;
	unsigned status;
	struct MHD_Response *response;
};

/* http-route.c: pure functions of strings */

/* Strict: %XX only, no NUL, no control characters, valid UTF-8. In place. -EINVAL. */
int percent_decode(char *s);
/* -ENOENT for a path that no route can have (empty segments, too many), -EINVAL with err for bad encoding. */
int segments_split(struct segments *s, const char *path, struct ct_error *err);
void segments_done(struct segments *s);
/* Fills params with what the {words} stand for; names borrow from the route. */
bool route_matches(
        const struct api_route *route, const struct segments *s, struct pair *params, size_t *ret_n);
/* -ENOENT: no route has the path; -EOPNOTSUPP: not with this method, allow lists those it has. */
int route_find(const struct api_route *routes, const char *method, const struct segments *s,
        const struct api_route **ret, struct pair *params, size_t *ret_n, char *allow, size_t allow_size);
/* The name if the route accepts it (borrowed from nothing: it is a copy in the route's own words), else NULL.
 */
bool route_accepts_query(const struct api_route *route, const char *name);
bool request_id_valid(const char *id);

/* http-call.c */
struct call *call_new(struct http *http, struct connection *connection, const char *method, const char *url);
void call_unref(struct call *call);
/* The request is complete: finds the route, checks, and lets the handler have it. */
void call_dispatch(struct call *call);
/* Answers before the request is complete. */
void call_refuse(struct call *call, unsigned status, const struct ct_error *err);
/* The client has gone or the answer was sent. */
void call_detach(struct call *call);
/* http_free: what the front keeps is let go, what handlers keep is theirs alone. */
void calls_abandon(struct http *http);
unsigned http_status_of(enum ct_error_kind kind);

/* call_reply_error with a status of its own. */
void call_reply_error_status(struct call *call, unsigned status, const struct ct_error *err);

/* http-stream.c */
struct stream *stream_new(
        struct call *call, const struct stream_ops *ops, void *userdata, struct MHD_Response **ret);

/* http-read.c */
void call_receive(struct call *call, const char *data, size_t len);
/* 0: the handler's turn; 1: answered, or waiting for another call's answer; negative: refuse with err. */
int call_read(struct call *call, struct ct_error *err);

/* http-record.c */

/* 0: go on; 1: answered or waiting (a repetition); negative: refuse with err. */
int record_begin(struct call *call, struct ct_error *err);
/* Writes the audit row, and the answer under the request id. data may be NULL. */
void record_finish(struct call *call, unsigned status, const char *data, size_t len, const char *message);

/* http.c */
void http_wake(struct http *http, struct call *call); /* the suspended call has been answered */
/* Puts the call's response on its connection. */
int http_queue(struct call *call);
