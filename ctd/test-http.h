/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For tests of the front: a front with its store in a directory of the test's own, and clients with raw
 * sockets in the same thread, so the loop is driven while a client waits. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "base/str.h"
#include "ctd/http.h"
#include "ctd/store.h"

struct front {
	char dir[64], socket[96], database[96];
	sd_event *event;
	struct store *store;
	struct http *http;
};

struct response {
	unsigned status; /* 0: closed without an answer */
	struct strbuf head, body;
	bool closed; /* the server closed the connection behind it */
};

/* config: NULL or with what differs from the default. */
void front_start(struct front *f, const struct api_route *routes, const struct http_config *config);
void front_stop(struct front *f);
/* Drives the loop for so long, or until it has nothing to do for 20 ms if usec is 0. */
void front_run(struct front *f, uint64_t usec);

int client_connect(const struct front *f); /* non-blocking */
/* All of it, driving the loop; false if the server has closed. */
bool client_send(struct front *f, int fd, const void *data, size_t len);
void send_text(struct front *f, int fd, const char *text); /* must be taken */
/* One answer; fails the test after 10 s. */
void client_receive(struct front *f, int fd, struct response *ret);
void response_done(struct response *r);
#define _cleanup_response_ CLEANUP(response_done)

/* A whole request on a connection of its own: method, path, extra headers ("A: b\r\n" or NULL), body or NULL.
 */
void ask(struct front *f, const char *method, const char *path, const char *headers, const char *body,
        struct response *ret);
/* The same, and the status must be this. */
void expect(struct front *f, unsigned status, const char *method, const char *path, const char *body,
        const char *contains);

unsigned count_fds(void);
