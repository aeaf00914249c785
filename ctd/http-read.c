/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request says: its body as it comes in, and once it is complete everything that can be wrong with it
 * before a handler sees it, in this order: path, method, parameters, body, request id.
 */

#include "ctd/http-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

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

/* 405 has to say which methods there are (RFC 9110 15.5.6). */
static int refuse_method(struct call *call, const char *allow, struct ct_error *err)
{
	(void)ct_error_kind_set(
	        err, CT_ERROR_USAGE, -EOPNOTSUPP, "%s is not possible here: %s is", call->method, allow);
	call_reply_error_status(call, 405, err);
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
		call_reply_error_status(call, 413, err);
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

int call_read(struct call *call, struct ct_error *err)
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
