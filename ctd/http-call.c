/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call: from the complete request to its answer.
 *
 * Whatever is wrong with a request is found here, before a handler sees it, in this order: who asks, path,
 * method, parameters, body, request id. Each request gets exactly one answer, and each answer goes through
 * answer(), which records it, gives it to libmicrohttpd and to the repetitions that wait for it.
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

void call_receive(struct call *call, const char *data, size_t len)
{
	if (call->too_large || call->no_memory || len > HTTP_BODY_MAX - call->raw_len) {
		call->too_large |= !call->no_memory;
		call->discarded += len;
		return;
	}

	if (call->raw_len + len > call->raw_size) {
		size_t size = call->raw_size ? call->raw_size * 2 : 1024;
		while (size < call->raw_len + len)
			size *= 2;

		char *raw = realloc(call->raw, size);
		if (!raw) {
			call->no_memory = true;
			return;
		}
		call->raw = raw;
		call->raw_size = size;
	}

	memcpy(call->raw + call->raw_len, data, len);
	call->raw_len += len;
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

	record_finish(call, status, data, message);
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

static void reply_error_status(struct call *call, unsigned status, const struct ct_error *err)
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
		reply_error_status(call, 503, err);
		return;
	}

	reply_error_status(call, http_status_of(err->kind), err);
}

void call_refuse(struct call *call, unsigned status, const struct ct_error *err)
{
	call->refs++;
	reply_error_status(call, status, err);
}

/* 405 has to say which methods there are (RFC 9110 15.5.6). */
static int refuse_method(struct call *call, const char *allow, struct ct_error *err)
{
	(void)ct_error_kind_set(
	        err, CT_ERROR_USAGE, -EOPNOTSUPP, "%s is not possible here: %s is", call->method, allow);
	reply_error_status(call, 405, err);
	if (call->response)
		(void)MHD_add_response_header(
		        call->response, MHD_HTTP_HEADER_ALLOW, allow); /* else without */
	return 1;
}

/* These return 1 if they have answered. */

static int find_route(struct call *call, struct ct_error *err)
{
	char allow[64];

	int r = segments_split(&call->segments, call->url, err);
	if (r >= 0)
		r = route_find(call->http->routes, call->method, &call->segments, &call->route, call->params,
		        &call->n_params, allow, sizeof(allow));
	if (r == -ENOENT)
		return ct_error_set(
		        err, r, NULL, "there is nothing at \"%s\": see /v1/openapi.json", call->url);
	if (r == -EOPNOTSUPP)
		return refuse_method(call, allow, err);
	return r;
}

struct query_reader {
	struct call *call;
	struct ct_error *err;
	int result;
};

static int query_add(struct call *call, const char *key, const char *value, struct ct_error *err)
{
	if (!route_accepts_query(call->route, key))
		return ct_error_field(err, key, "there is no parameter \"%s\" here%s%s", key,
		        call->route->query ? ": known are " : "",
		        call->route->query ? call->route->query : "");
	if (call_query(call, key))
		return ct_error_field(err, key, "the parameter \"%s\" is given twice", key);

	struct pair *pair = &call->queries[call->n_queries++]; /* no more than the route has names */
	pair->name = strdup(key);
	pair->value = strdup(value ? value : "");
	if (!pair->name || !pair->value)
		return ct_error_set(err, -ENOMEM, NULL, "out of memory");

	if (percent_decode(pair->value) < 0)
		return ct_error_field(err, key, "the parameter \"%s\" is not encoded properly", key);
	return 0;
}

static enum MHD_Result query_each(void *userdata, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct query_reader *reader = userdata;

	reader->result = query_add(reader->call, key, value, reader->err);
	return reader->result < 0 ? MHD_NO : MHD_YES;
}

static int read_query(struct call *call, struct ct_error *err)
{
	struct query_reader reader = { .call = call, .err = err };

	(void)MHD_get_connection_values(
	        call->connection->mhd, MHD_GET_ARGUMENT_KIND, query_each, &reader); /* a count */
	return reader.result;
}

static int read_request_id(struct call *call, struct ct_error *err)
{
	const char *id = MHD_lookup_connection_value(call->connection->mhd, MHD_HEADER_KIND, "X-Request-Id");

	if (!id)
		return 0;
	if (!request_id_valid(id))
		return ct_error_field(err, "X-Request-Id",
		        "a request id has 1 to %d of the characters A-Z a-z 0-9 . _ -", HTTP_REQUEST_ID);

	memcpy(call->request_id, id, strlen(id) + 1);
	return 0;
}

static int read_body(struct call *call, struct ct_error *err)
{
	if (call->no_memory)
		return ct_error_set(err, -ENOMEM, NULL, "out of memory for the request's body");
	if (call->too_large) {
		(void)ct_error_kind_set(
		        err, CT_ERROR_USAGE, -E2BIG, "the body is larger than %d bytes", HTTP_BODY_MAX);
		reply_error_status(call, 413, err);
		return 1;
	}

	if (call->raw_len > 0 && !call->route->changes)
		return ct_error_field(err, "body", "%s takes no body", call->method);
	if (call->raw_len == 0) {
		call->body = json_object();
		return call->body ? 0 : ct_error_set(err, -ENOMEM, NULL, "out of memory");
	}

	int r = json_parse(call->raw, call->raw_len, &call->body, err);
	if (r < 0)
		return r;
	if (!json_is_object(call->body))
		return ct_error_field(err, "body", "the body must be a JSON object");
	return 0;
}

static int read_request(struct call *call, struct ct_error *err)
{
	static int (*const steps[])(struct call *, struct ct_error *) = { find_route, read_query, read_body,
		read_request_id, record_begin };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i](call, err);
		if (r != 0)
			return r;
	}

	return 0;
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

	int r = read_request(call, &err);
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

const char *call_param(const struct call *call, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < call->n_params; i++)
		if (strncmp(call->params[i].name, name, len) == 0 && call->params[i].name[len] == '}')
			return call->params[i].value;

	return NULL;
}

const char *call_query(const struct call *call, const char *name)
{
	for (size_t i = 0; i < call->n_queries; i++)
		if (str_eq(call->queries[i].name, name))
			return call->queries[i].value;

	return NULL;
}

int call_query_u64(const struct call *call, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret,
        struct ct_error *err)
{
	const char *text = call_query(call, name);

	if (!text) {
		*ret = fallback;
		return 0;
	}

	uint64_t value;
	if (parse_u64(text, &value) < 0 || value > max)
		return ct_error_field(err, name, "%s must be a whole number from 0 to %llu, not \"%s\"", name,
		        (unsigned long long)max, text);

	*ret = value;
	return 0;
}

const json_t *call_body(const struct call *call)
{
	return call->body;
}

const struct ucred *call_peer(const struct call *call)
{
	return &call->peer;
}

const char *call_request_id(const struct call *call)
{
	return call->request_id[0] ? call->request_id : NULL;
}

void call_set_object(struct call *call, const char *object)
{
	char *copy = strdup(object);

	if (copy) { /* else audit has the path's word */
		free(call->object);
		call->object = copy;
	}
}
