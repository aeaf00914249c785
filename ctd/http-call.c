/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call: from the complete request to its answer.
 *
 * Each request gets exactly one answer, and each answer goes through answer(), which records it, gives it to
 * libmicrohttpd and to the repetitions that wait for it.
 *
 * The answer can come long after the client has gone, or after http_free: then there is nobody to give it to,
 * and nothing else changes.
 */

#include "ctd/http-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

struct call *call_new(struct http *http, struct connection *connection, const char *method, const char *url)
{
	struct call *call = calloc(1, sizeof(*call));
	if (!call)
		return NULL;

	call->refs = 1;
	call->http = http;
	call->connection = connection;
	call->peer = connection->peer;
	call->method = strdup(method);
	call->url = strdup(url);
	if (!call->method || !call->url) {
		call_unref(call);
		return NULL;
	}

	return call;
}

static void call_unlist(struct call *call)
{
	if (!call->listed)
		return;

	if (call->next)
		call->next->prev = call->prev;
	if (call->prev)
		call->prev->next = call->next;
	else
		call->http->calls = call->next;
	call->http->n_pending--;
	call->listed = false;
}

static void call_list(struct call *call)
{
	call->prev = NULL;
	call->next = call->http->calls;
	if (call->next)
		call->next->prev = call;
	call->http->calls = call;
	call->http->n_pending++;
	call->listed = true;
}

void call_unref(struct call *call)
{
	assert(call->refs > 0);
	if (--call->refs > 0)
		return;

	assert(!call->listed && !call->waiters);
	if (call->response)
		MHD_destroy_response(call->response);
	for (size_t i = 0; i < call->n_queries; i++) {
		free((char *)call->queries[i].name);
		free(call->queries[i].value);
	}
	segments_done(&call->segments);
	json_decref(call->body);
	free(call->method);
	free(call->url);
	free(call->raw);
	free(call->object);
	free(call);
}

void call_detach(struct call *call)
{
	call->connection = NULL;
	call_unref(call);
}

void calls_abandon(struct http *http)
{
	while (http->calls) {
		struct call *call = http->calls;

		call_unlist(call);
		call->http = NULL;
		/* Repetitions are in the list themselves; nobody else will answer them. */
		call->waiters = NULL;
		if (call->waiting)
			call_unref(call);
	}
}

unsigned http_status_of(enum ct_error_kind kind)
{
	switch (kind) {
	case CT_ERROR_USAGE: return 400;
	case CT_ERROR_PERMISSION: return 403;
	case CT_ERROR_NOT_FOUND: return 404;
	case CT_ERROR_STATE: return 409;
	case CT_ERROR_REFUSED: return 422;
	case CT_ERROR_FAILED: return 500;
	}

	return 500;
}

static void answer_waiters(
        struct call *call, unsigned status, const char *content_type, const char *data, size_t len)
{
	while (call->waiters) {
		struct call *waiter = call->waiters;
		call->waiters = waiter->next_waiter;
		waiter->next_waiter = NULL;

		char *copy = malloc(len + 1);
		if (copy)
			memcpy(copy, data, len);
		call_reply_data(waiter, status, content_type, copy, copy ? len : 0);
	}
}

/* Consumes data, which may be NULL with len 0, and the answerer's reference. */
static void answer(struct call *call, unsigned status, const char *content_type, char *data, size_t len,
        const char *message)
{
	assert(!call->answered);
	call->answered = true;

	if (!call->http) {
		free(data);
		call_unref(call);
		return;
	}

	record_finish(call, status, data, len, message);
	answer_waiters(call, status, content_type, data, len);

	call->status = status;
	if (call->connection) {
		call->response = MHD_create_response_from_buffer(
		        len, data, data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
		if (call->response && len > 0)
			(void)MHD_add_response_header(call->response, MHD_HTTP_HEADER_CONTENT_TYPE,
			        content_type); /* else without */
	}
	if (!call->response)
		free(data);

	call_unlist(call);
	if (call->suspended)
		http_wake(call->http, call);
	call_unref(call);
}

void call_reply_data(struct call *call, unsigned status, const char *content_type, void *data, size_t len)
{
	answer(call, status, content_type, data, len, "");
}

struct stream *call_reply_stream(
        struct call *call, const char *content_type, const struct stream_ops *ops, void *userdata)
{
	struct stream *stream =
	        call->http && call->connection ? stream_new(call, ops, userdata, &call->response) : NULL;

	if (!stream) {
		const struct ct_error err = { .code = -ENOMEM, .text = "out of memory" };

		call_reply_error(call, &err);
		return NULL;
	}
	(void)MHD_add_response_header(
	        call->response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type); /* else without */
	assert(!call->answered && !call->waiters); /* nothing is recorded of it, so nobody can repeat it */
	call->answered = true;
	call->status = 200;
	call_unlist(call);
	if (call->suspended)
		http_wake(call->http, call);
	call_unref(call);
	return stream;
}

/* NUL-terminated; NULL if there is no memory. */
static char *json_text(json_t *body, size_t *ret_len)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	*ret_len = text ? strlen(text) : 0;
	return text;
}

static const char *message_in(const json_t *body)
{
	const char *message = json_string_value(json_object_get(json_object_get(body, "error"), "message"));

	return message ? message : "";
}

void call_reply(struct call *call, unsigned status, json_t *body)
{
	_cleanup_json_ json_t *own = body;
	size_t len;

	char *text = json_text(own, &len);
	if (own && !text) {
		const struct ct_error err = { .code = -ENOMEM, .text = "the answer cannot be written down" };
		call_reply_error(call, &err);
		return;
	}

	answer(call, status, "application/json", text, len, status >= 400 ? message_in(own) : "");
}

void call_reply_error_status(struct call *call, unsigned status, const struct ct_error *err)
{
	_cleanup_json_ json_t *body = json_from_error(err);
	size_t len;

	char *text = json_text(body, &len);
	answer(call, status, "application/json", text, len, err->text);
}

void call_reply_error(struct call *call, const struct ct_error *err)
{
	/* The next daemon decides what becomes of the request, and does it if it comes again: this is no
	 * answer to keep. */
	if (err->code == -ESHUTDOWN) {
		call->recorded = false;
		call_reply_error_status(call, 503, err);
		return;
	}

	call_reply_error_status(call, http_status_of(err->kind), err);
}

void call_refuse(struct call *call, unsigned status, const struct ct_error *err)
{
	call->refs++;
	call_reply_error_status(call, status, err);
}

/* The sentence of a function that gave none. */
static void complete_error(int r, struct ct_error *err)
{
	if (err->code == 0)
		(void)ct_error_set(err, r, NULL, "%s", strerror(-r));
}

void call_dispatch(struct call *call)
{
	struct ct_error err = { 0 };

	call->refs++;
	call_list(call);

	int r = call_read(call, &err);
	if (r == 0) {
		free(TAKE_PTR(call->raw)); /* the tree is enough; a call may wait for long */
		r = call->route->handler(call->http->manager, call, &err);
	}

	/* After an answer call is still there: the connection has its reference, too. */
	if (r < 0) {
		assert(!call->answered);
		complete_error(r, &err);
		call_reply_error(call, &err);
	}
}
