/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The API's front: HTTP/1.1 on a Unix socket (libmicrohttpd on ctd's event loop), one struct call per
 * request.
 *
 * A handler gets the call and either answers it or keeps it and answers later from the event loop; the
 * connection is suspended meanwhile. If the client goes away the call lives on until it is answered: verbs do
 * not stop because somebody hung up. Exactly one answer is given per call; with the answer the call is gone
 * for the handler. The front does what is the same for all: peer credentials, size and syntax of the body,
 * names of query parameters, request ids (the recorded answer is returned; a repetition that comes while the
 * first is at work waits for its answer), audit, error bodies and status codes.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/str.h"

struct manager;
struct store;
struct call;

/* A path like /v1/containers/{name}/start; {x} matches one segment, percent-decoded, never empty. */
struct api_route {
	const char *method;
	const char *path;
	const char *operation; /* operationId of the OpenAPI document: containerStart */
	bool changes;          /* needs more than read permission, is audited, honours request ids */
	/* 0: answered or will be; negative errno with *err, not answered: answered by the front with that
	 * error. */
	int (*handler)(struct manager *m, struct call *call, struct ct_error *err);
	const char *query; /* query parameters that are accepted, separated by spaces; NULL: none */
};

extern const struct api_route api_routes[]; /* ends with .method == NULL */

/* What these return lives as long as the call. */
const char *call_param(
        const struct call *call, const char *name); /* a {segment}; never NULL for one in the route's path */
const char *call_query(const struct call *call, const char *name); /* NULL: not given */
/* The parameter as a number; absent: fallback. -EINVAL with the field if it is not one or is above max. */
int call_query_u64(const struct call *call, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret,
        struct ct_error *err);
const json_t *call_body(const struct call *call); /* an object; empty object when the request had no body */
const struct ucred *call_peer(const struct call *call);
const char *call_request_id(const struct call *call); /* NULL: none given */
/* What audit shall call the object when it is not the first {segment} of the path (a name that was made up).
 */
void call_set_object(struct call *call, const char *object);

/* The answer; body is consumed (may be NULL for 204). */
void call_reply(struct call *call, unsigned status, json_t *body);
/* data is consumed (malloc). */
void call_reply_data(struct call *call, unsigned status, const char *content_type, void *data, size_t len);
/* By kind: usage 400, permission 403, not-found 404, state 409, refused 422, failed 500. With the code
 * -ESHUTDOWN 503, and the request id is left at work: the same request may come again to the next daemon. */
void call_reply_error(struct call *call, const struct ct_error *err);

/* An answer without an end (http-stream.c). */
struct stream;
struct stream_ops {
	/* All before has been sent: more of it. Nothing: there is none until stream_wake. Negative: the
	 * connection is cut. */
	int (*fill)(struct strbuf *b, void *userdata);
	/* The client has gone, or has read all of what was ended. Nothing of the stream may be touched any
	 * more. */
	void (*gone)(void *userdata);
};
/* Answers 200 and begins. NULL: there was no memory, or the client has gone; the call is answered all the
 * same, and no function of ops is called. */
struct stream *call_reply_stream(
        struct call *call, const char *content_type, const struct stream_ops *ops, void *userdata);
/* There is more. */
void stream_wake(struct stream *stream);
/* There will be no more. Before http_free. */
void stream_end(struct stream *stream);

struct http;

struct http_config {
	struct manager *manager;        /* handed to handlers, not looked at */
	sd_event *event;                /* a reference is taken */
	struct store *store;            /* borrowed for the http's life */
	const struct api_route *routes; /* api_routes */
	const char *path;               /* of the socket: 0600, or 0660 with the group */
	const char *group;              /* name or number; NULL: none */
	unsigned max_connections;       /* 0: 512; above, each gets an error */
	uint64_t receive_timeout_usec;  /* 0: 60 s to send a request, and to read an answer, from start to end
	                                 */
	uint64_t idle_timeout_usec;     /* 0: 30 s without a byte, whole seconds */
};

/* Listens. A socket that is left over is replaced if nobody answers on it, else -EADDRINUSE. */
int http_new(const struct http_config *config, struct http **ret, struct ct_error *err);
/* Answers that have been given go out as far as clients take them at once. Calls that are not yet answered
 * stay valid; their answers go nowhere (and are not recorded). The socket is unlinked. Not to be called from
 * within a handler. */
void http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_free);
#define _cleanup_http_ CLEANUP(http_freep)
/* No new connections; those that exist go on. For a clean end: then wait until http_pending is 0. */
void http_stop_listening(struct http *http);
size_t http_pending(const struct http *http); /* calls that a handler keeps */
