/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The API's front: HTTP/1.1 on a Unix socket (libmicrohttpd on ctd's event loop), one struct call per request.
 *
 * A handler gets the call and either answers it or keeps it and answers later from the event loop; the connection is suspended meanwhile. If
 * the client goes away the call lives on until it is answered: verbs do not stop because somebody hung up. Exactly one answer is given
 * per call. The front does what is the same for all: peer credentials, size and syntax of the body, request ids (the recorded answer is
 * returned), audit, error bodies and status codes.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

struct manager;
struct call;

/* A path like /v1/containers/{name}/start; {x} matches one segment, percent-decoded. */
struct api_route {
	const char *method;
	const char *path;
	const char *operation; /* operationId of the OpenAPI document: containerStart */
	bool changes;          /* needs more than read permission, is audited, honours request ids */
	/* 0: answered or will be; negative errno with *err: answered by the front with that error. */
	int (*handler)(struct manager *m, struct call *call, struct ct_error *err);
};

extern const struct api_route api_routes[]; /* ends with .method == NULL */

const char *call_param(const struct call *call, const char *name);  /* a {segment}; never NULL for one in the route's path */
const char *call_query(const struct call *call, const char *name);  /* NULL: not given */
const json_t *call_body(const struct call *call);                   /* an object; empty object when the request had no body */
const struct ucred *call_peer(const struct call *call);
/* What audit shall call the object when it is not the {name} of the path (a name that was made up). */
void call_set_object(struct call *call, const char *object);

/* The answer; body is consumed (may be NULL for 204). */
void call_reply(struct call *call, unsigned status, json_t *body);
/* data is consumed (malloc). */
void call_reply_data(struct call *call, unsigned status, const char *content_type, void *data, size_t len);
/* By kind: usage 400, permission 403, not-found 404, state 409, refused 422, failed 500. */
void call_reply_error(struct call *call, const struct ct_error *err);

struct http;
/* Listens on path (0600, or 0660 with the group); one http per manager. */
int http_new(struct manager *m, const char *path, const char *group, struct http **ret, struct ct_error *err);
void http_free(struct http *http);
