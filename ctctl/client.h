/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's side of the API: HTTP/1.1 with keep-alive on a Unix socket, one request at a time. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#define CTD_SOCKET_DEFAULT "/run/ctd/ctd.sock"

struct client {
	const char *socket_path; /* borrowed */
	const char *request_id;  /* borrowed; sent with every changing request unless NULL */
	int fd;                  /* kept connection, -1: none */
	int interrupt_fd;        /* while an answer is awaited, readable means: give up with -EINTR; -1: none.
	                            Borrowed */
	bool unreachable;        /* there is no daemon: exit status 7 */
};

#define CLIENT_INIT ((struct client){ .fd = -1, .interrupt_fd = -1 })

void client_done(struct client *c);

struct response {
	unsigned status;
	struct strbuf body;
};

#define RESPONSE_INIT      ((struct response){ 0 })
#define _cleanup_response_ CLEANUP(response_done)
void response_done(struct response *r);

/* Sends one request (body may be NULL) and reads the whole answer into *ret, whatever its status. */
int client_request(struct client *c, const char *method, const char *path, const json_t *body,
        struct response *ret, struct ct_error *err);
/* The same; a status of 400 and more becomes *err with the API's kind and sentence. *ret (may be NULL: not
 * even parsed) is the parsed answer, owned by the caller. */
int client_call(struct client *c, const char *method, const char *path, const json_t *body, json_t **ret,
        struct ct_error *err);

/* GET of something that is not JSON: the body as it came. Errors as client_call tells them. */
int client_fetch(struct client *c, const char *path, struct response *ret, struct ct_error *err);

/* A connected socket to path; kind is SOCK_STREAM or SOCK_SEQPACKET. An fd, or a negative errno with a
 * sentence. */
int client_connect_socket(const char *path, int kind, struct ct_error *err);

/* Builds a path: what comes from people is percent-encoded. */
int path_add_segment(struct strbuf *path, const char *segment);
/* ?key=value or &key=value. */
int path_add_query(struct strbuf *path, const char *key, const char *value);
