/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The front as its clients see it, with a table of routes of the test's own. */

#include "ctd/test-http.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctd/http-private.h"
#include "ctd/store-private.h"

/* What handlers did. */
static struct {
	unsigned echo, made;
	struct call *kept[8];
	size_t n_kept;
	struct stream *stream;
	size_t kept_bytes; /* that it had kept when it was asked for more */
	unsigned left, n_gone;
} seen;

static int handle_echo(struct manager *m, struct call *call, struct ct_error *err)
{
	const char *state = call_query(call, "state");
	uint64_t limit;

	seen.echo++;
	int r = call_query_u64(call, "limit", 100, 1000, &limit, err);
	if (r < 0)
		return r;

	assert_int_equal(call_peer(call)->pid, getpid());
	call_reply(call, 200,
	        json_pack("{s:s, s:s?, s:I, s:O}", "name", call_param(call, "name"), "state", state, "limit",
	                (json_int_t)limit, "body", call_body(call)));
	return 0;
}

static int handle_make(struct manager *m, struct call *call, struct ct_error *err)
{
	char name[16];

	snprintf(name, sizeof(name), "made-%u", ++seen.made);
	call_set_object(call, name);
	call_reply(call, 201, json_pack("{s:s}", "name", name));
	return 0;
}

static int handle_fail(struct manager *m, struct call *call, struct ct_error *err)
{
	const char *name = call_param(call, "name");

	if (str_eq(name, "silent"))
		return -ENOTTY;
	if (str_eq(name, "field"))
		return ct_error_field(err, "memory", "a bad field");
	return ct_error_kind_set(err, ct_error_kind_from_name(name), -EIO, "it is %s", name);
}

static int handle_keep(struct manager *m, struct call *call, struct ct_error *err)
{
	assert_true(seen.n_kept < ARRAY_SIZE(seen.kept));
	seen.kept[seen.n_kept++] = call;
	return 0;
}

/* Bytes without a NUL behind them. */
static int handle_bytes(struct manager *m, struct call *call, struct ct_error *err)
{
	char *bytes = malloc(9);

	memcpy(bytes, "{\"a\":10}", 8);
	bytes[8] = (char)('0' + seen.made++);
	call_reply_data(call, 200, "application/json", bytes, 9);
	return 0;
}

static int fill_stream(struct strbuf *b, void *userdata)
{
	seen.kept_bytes = b->size;
	if (seen.left > 0)
		(void)strbuf_printf(b, "line %u\n", seen.left--);
	return 0;
}

static void stream_is_gone(void *userdata)
{
	seen.n_gone++;
}

static int handle_stream(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct stream_ops ops = { .fill = fill_stream, .gone = stream_is_gone };

	seen.stream = call_reply_stream(call, "text/plain", &ops, NULL);
	return 0;
}

static const struct api_route routes[] = {
	{ "GET", "/v1/stream", "streamShow", false, handle_stream },
	{ "GET", "/v1/things/{name}", "thingShow", false, handle_echo, "state limit" },
	{ "PUT", "/v1/things/{name}", "thingSet", true, handle_echo },
	{ "POST", "/v1/things", "thingMake", true, handle_make },
	{ "POST", "/v1/things/{name}/fail", "thingFail", true, handle_fail },
	{ "POST", "/v1/things/{name}/keep", "thingKeep", true, handle_keep },
	{ "POST", "/v1/bytes", "bytesMake", true, handle_bytes },
	{ "GET", "/v1/keep", "keepShow", false, handle_keep },
	{ 0 },
};

static int setup(void **state)
{
	struct front *f = calloc(1, sizeof(*f));

	memset(&seen, 0, sizeof(seen));
	front_start(f, routes, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct front *f = *state;

	front_stop(f);
	free(f);
	return 0;
}

static void restart(struct front *f, const struct http_config *config)
{
	http_free(TAKE_PTR(f->http));
	front_start(f, routes, config);
}

static int add_audit(const struct audit_row *row, void *userdata)
{
	strbuf_printf(userdata, "%s(%s)=%u:%s\n", row->operation, row->object, row->status, row->message);
	assert_int_equal(row->uid, geteuid());
	assert_int_equal(row->pid, getpid());
	return 0;
}

static void expect_audit(struct front *f, const char *expected)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	assert_int_equal(
	        store_audit_each(f->store, &(struct log_query){ .to_usec = LOG_QUERY_NO_END, .limit = 1000 },
	                add_audit, &b, NULL),
	        0);
	assert_string_equal(b.data ? b.data : "", expected);
}

static void test_routes(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 };

	expect(f, 200, "GET", "/v1/things/web", NULL, "\"name\":\"web\"");
	expect(f, 200, "GET", "/v1/things/w%C3%A4b%2Fx", NULL, "\"name\":\"w\303\244b/x\"");
	expect(f, 200, "GET", "/v1/things/x?state=running&limit=7", NULL,
	        "\"state\":\"running\",\"limit\":7");
	expect(f, 200, "GET", "/v1/things/x", NULL, "\"limit\":100");

	expect(f, 404, "GET", "/", NULL, "\"code\":\"not-found\"");
	expect(f, 404, "GET", "/v1", NULL, "not-found");
	expect(f, 404, "GET", "/v1/things/", NULL, "not-found");
	expect(f, 404, "GET", "/v1//things/x", NULL, "not-found");
	expect(f, 404, "GET", "/v1/things/x/y", NULL, "not-found");
	expect(f, 404, "GET", "/v1/things/x/fail/y/z/1/2/3/4/5/6", NULL, "not-found");
	expect(f, 404, "GET", "/V1/things/x", NULL, "not-found");
	expect(f, 404, "GET", "/v1/thing/x", NULL, "not-found");

	ask(f, "DELETE", "/v1/things/x", NULL, NULL, &r);
	assert_int_equal(r.status, 405);
	assert_non_null(strstr(r.head.data, "Allow: GET, PUT"));
	assert_non_null(strstr(r.body.data, "\"code\":\"usage\""));
	assert_non_null(strstr(r.head.data, "Content-Type: application/json"));
	assert_int_equal(seen.echo, 4);
}

static void test_encoding_is_strict(void **state)
{
	static const char *const bad[] = { "%", "a%2", "%zz", "%00", "a%0Ab", "%7f", "%ff", "%c0%af",
		"%ed%a0%80", "%f8%88%80%80%80" };
	struct front *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/v1/things/%s", bad[i]);
		expect(f, 400, "GET", path, NULL, "\"field\":\"path\"");
		snprintf(path, sizeof(path), "/v1/things/x?state=%s", bad[i]);
		expect(f, 400, "GET", path, NULL, "\"field\":\"state\"");
	}
	assert_int_equal(seen.echo, 0);
}

static void test_queries(void **state)
{
	struct front *f = *state;

	expect(f, 400, "GET", "/v1/things/x?stat=1", NULL, "known are state limit");
	expect(f, 400, "GET", "/v1/things/x?=1", NULL, "\"code\":\"usage\"");
	expect(f, 400, "GET", "/v1/things/x?limit=1&limit=2", NULL, "given twice");
	expect(f, 400, "GET", "/v1/things/x?limit=-1", NULL, "\"field\":\"limit\"");
	expect(f, 400, "GET", "/v1/things/x?limit=1001", NULL, "from 0 to 1000");
	expect(f, 400, "GET", "/v1/things/x?limit", NULL, "\"field\":\"limit\"");
	expect(f, 400, "PUT", "/v1/things/x?state=1", NULL, "no parameter \\\"state\\\" here\"");
}

static void test_bodies(void **state)
{
	struct front *f = *state;
	_cleanup_strbuf_ struct strbuf deep = STRBUF_INIT;

	expect(f, 200, "PUT", "/v1/things/x", NULL, "\"body\":{}");
	expect(f, 200, "PUT", "/v1/things/x", "{\"a\":[1,\"\303\244\"]}",
	        "\"body\":{\"a\":[1,\"\303\244\"]}");
	expect(f, 400, "PUT", "/v1/things/x", "[1]", "must be a JSON object");
	expect(f, 400, "PUT", "/v1/things/x", "{", "\"code\":\"usage\"");
	expect(f, 400, "PUT", "/v1/things/x", "{}x", "\"code\":\"usage\"");
	expect(f, 400, "PUT", "/v1/things/x", "{\"a\":1,\"a\":2}", "\"code\":\"usage\"");
	expect(f, 400, "PUT", "/v1/things/x", "{\"a\":\"\377\"}", "\"code\":\"usage\"");
	expect(f, 400, "GET", "/v1/things/x", "{}", "takes no body");

	for (int i = 0; i < 5000; i++)
		strbuf_puts(&deep, "{\"a\":");
	expect(f, 400, "PUT", "/v1/things/x", deep.data, "\"code\":\"usage\"");
	assert_int_equal(seen.echo, 2);
}

/* A body of n bytes that is one JSON string. */
static char *body_of(size_t n)
{
	char *body = malloc(n + 1);

	memset(body, 'x', n);
	memcpy(body, "{\"a\":\"", 6);
	memcpy(body + n - 2, "\"}", 3);
	return body;
}

static void test_body_size(void **state)
{
	struct front *f = *state;
	_cleanup_free_ char *largest = body_of(HTTP_BODY_MAX), *larger = body_of(HTTP_BODY_MAX + 1);
	_cleanup_response_ struct response chunked = { 0 }, lying = { 0 };

	expect(f, 200, "PUT", "/v1/things/x", largest, "xxx");
	expect(f, 413, "PUT", "/v1/things/x", larger, "\"code\":\"usage\"");

	/* the same without an announcement */
	_cleanup_close_ int fd = client_connect(f);
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	strbuf_puts(&b, "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 40; i++)
		strbuf_printf(&b, "%x\r\n%.*s\r\n", 32768, 32768, largest);
	strbuf_puts(&b, "0\r\n\r\n");
	assert_true(client_send(f, fd, b.data, b.len));
	client_receive(f, fd, &chunked);
	assert_int_equal(chunked.status, 413);
	assert_non_null(strstr(chunked.body.data, "larger than 1048576"));

	ask(f, "PUT", "/v1/things/x", "Content-Length: 99999999999999999999999\r\n", NULL, &lying);
	assert_true(lying.status >= 400 && lying.status < 500);
	assert_int_equal(seen.echo, 1);
}

/* Without end: cut off. */
static void test_body_without_end(void **state)
{
	struct front *f = *state;
	_cleanup_close_ int fd = client_connect(f);
	_cleanup_free_ char *piece = body_of(65536);
	size_t sent = 0;

	const char *head = "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n";
	assert_true(client_send(f, fd, head, strlen(head)));
	for (;;) {
		_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
		strbuf_printf(&b, "%x\r\n%.*s\r\n", 65536, 65536, piece);
		if (!client_send(f, fd, b.data, b.len))
			break;
		sent += 65536;
		assert_true(sent < 2u * HTTP_DISCARD_MAX);
	}
	expect(f, 200, "GET", "/v1/things/x", NULL, "name");
}

static void test_errors(void **state)
{
	static const struct {
		const char *kind;
		unsigned status;
	} kinds[] = { { "failed", 500 }, { "usage", 400 }, { "not-found", 404 }, { "state", 409 },
		{ "refused", 422 }, { "permission", 403 } };
	struct front *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char path[64], text[64];
		snprintf(path, sizeof(path), "/v1/things/%s/fail", kinds[i].kind);
		snprintf(text, sizeof(text), "{\"error\":{\"code\":\"%s\",\"message\":\"it is %s\"}}",
		        kinds[i].kind, kinds[i].kind);
		expect(f, kinds[i].status, "POST", path, NULL, text);
	}
	expect(f, 400, "POST", "/v1/things/field/fail", NULL, "\"field\":\"memory\"");
	expect(f, 500, "POST", "/v1/things/silent/fail", NULL, "Inappropriate ioctl");
}

static void test_audit(void **state)
{
	struct front *f = *state;

	expect(f, 200, "GET", "/v1/things/x", NULL, "name");
	expect(f, 404, "POST", "/v1/nothing", NULL, "not-found");
	expect_audit(f, "");

	expect(f, 200, "PUT", "/v1/things/x%20y", NULL, "name");
	expect(f, 409, "POST", "/v1/things/state/fail", NULL, "state");
	expect(f, 400, "PUT", "/v1/things/x", "{]", "usage");
	expect(f, 201, "POST", "/v1/things", "{}", "made-1");
	front_run(f, 0);

	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	assert_int_equal(
	        store_audit_each(f->store, &(struct log_query){ .to_usec = LOG_QUERY_NO_END, .limit = 1000 },
	                add_audit, &b, NULL),
	        0);
	const char *expected = "thingSet(x y)=200:\nthingFail(state)=409:it is state\nthingSet(x)=400:";
	assert_memory_equal(b.data, expected, strlen(expected));
	assert_non_null(strstr(b.data, "\nthingMake(made-1)=201:\n"));
}

#define ID "X-Request-Id: one.2_3-4\r\n"

static void test_request_ids(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response first = { 0 }, again = { 0 }, other = { 0 }, plain = { 0 },
	                                   failed = { 0 };

	ask(f, "POST", "/v1/things", ID, "{\"a\":1}", &first);
	assert_int_equal(first.status, 201);
	assert_string_equal(first.body.data, "{\"name\":\"made-1\"}");
	ask(f, "POST", "/v1/things", ID, "{\"a\":1}", &again);
	assert_int_equal(again.status, 201);
	assert_string_equal(again.body.data, "{\"name\":\"made-1\"}");
	assert_non_null(strstr(again.head.data, "application/json"));
	assert_int_equal(seen.made, 1);

	ask(f, "POST", "/v1/things", ID, "{\"a\":2}", &other);
	assert_int_equal(other.status, 409);
	assert_non_null(strstr(other.body.data, "another request"));
	ask(f, "POST", "/v1/things", NULL, "{\"a\":1}", &plain);
	assert_int_equal(plain.status, 201);
	assert_int_equal(seen.made, 2);

	/* a refusal is an answer as well */
	for (int i = 0; i < 2; i++) {
		response_done(&failed);
		ask(f, "POST", "/v1/things/state/fail", "X-Request-Id: f\r\n", NULL, &failed);
		assert_int_equal(failed.status, 409);
	}

	/* and all of it is known to the next daemon */
	restart(f, NULL);
	response_done(&again);
	ask(f, "POST", "/v1/things", ID, "{\"a\":1}", &again);
	assert_string_equal(again.body.data, "{\"name\":\"made-1\"}");
	expect_audit(f,
	        "thingMake(made-1)=201:\nthingMake()=409:the request id \"one.2_3-4\" was used for another request: choose a new one\n"
	        "thingMake(made-2)=201:\nthingFail(state)=409:it is state\n");
}

static void test_recorded_bytes(void **state)
{
	struct front *f = *state;

	for (int i = 0; i < 3; i++) {
		_cleanup_response_ struct response r = { 0 };
		ask(f, "POST", "/v1/bytes", ID, NULL, &r);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body.data, "{\"a\":10}0");
	}
}

static void test_request_id_syntax(void **state)
{
	static const char *const bad[] = { "", "a b", "a/b", "\303\244",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct front *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_response_ struct response r = { 0 };
		char header[128];
		snprintf(header, sizeof(header), "X-Request-Id: %s\r\n", bad[i]);
		ask(f, "POST", "/v1/things", header, NULL, &r);
		assert_int_equal(r.status, 400);
		assert_non_null(strstr(r.body.data, "X-Request-Id"));
	}
	assert_int_equal(seen.made, 0);
}

static void test_late_answer(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 }, next = { 0 };
	_cleanup_close_ int fd = client_connect(f);

	send_text(f, fd, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\n\r\n");
	front_run(f, 0);
	assert_int_equal(seen.n_kept, 1);
	assert_int_equal(http_pending(f->http), 1);

	/* others are served meanwhile */
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");

	call_reply(seen.kept[0], 200, json_pack("{s:b}", "late", 1));
	assert_int_equal(http_pending(f->http), 0);
	client_receive(f, fd, &r);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body.data, "{\"late\":true}");

	/* the connection goes on */
	send_text(f, fd, "GET /v1/things/y HTTP/1.1\r\nHost: c\r\n\r\n");
	client_receive(f, fd, &next);
	assert_int_equal(next.status, 200);
	expect_audit(f, "thingKeep(x)=200:\n");
}

static void test_late_error_and_no_body(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 };
	_cleanup_close_ int fd = client_connect(f);
	struct ct_error err = { 0 };

	send_text(f, fd, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\n\r\n");
	front_run(f, 0);
	(void)ct_error_set(&err, -ENOENT, "x", "it went away");
	call_reply_error(seen.kept[0], &err);
	client_receive(f, fd, &r);
	assert_int_equal(r.status, 404);
	assert_non_null(strstr(r.body.data, "it went away"));
}

/* A daemon that goes down has not answered: the next one does it. */
static void test_going_down_is_no_answer(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 };
	_cleanup_close_ int fd = client_connect(f), again = -1;
	struct ct_error err = { 0 };

	send_text(f, fd, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: d\r\n\r\n");
	front_run(f, 0);
	(void)ct_error_set(&err, -ESHUTDOWN, "x", "ctd is going down");
	call_reply_error(seen.kept[0], &err);
	client_receive(f, fd, &r);
	assert_int_equal(r.status, 503);
	assert_int_equal(store_request_reset(f->store, NULL), 0);
	restart(f, NULL);

	again = client_connect(f);
	send_text(f, again, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: d\r\n\r\n");
	front_run(f, 0);
	assert_int_equal(seen.n_kept, 2);
	call_reply(seen.kept[1], 200, json_object());
}

static void test_client_gone(void **state)
{
	struct front *f = *state;
	unsigned fds = count_fds();

	for (int i = 0; i < 3; i++) {
		int fd = client_connect(f);
		send_text(f, fd, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: g\r\n\r\n");
		front_run(f, 0);
		close(fd);
		front_run(f, 0);

		/* the first is the handler's, the others wait for it */
		assert_int_equal(seen.n_kept, 1);
	}

	call_reply(seen.kept[0], 200, json_pack("{s:b}", "late", 1));
	front_run(f, 0);
	assert_int_equal(count_fds(), fds);
	expect_audit(f, "thingKeep(x)=200:\n");

	_cleanup_response_ struct response r = { 0 };
	ask(f, "POST", "/v1/things/x/keep", "X-Request-Id: g\r\n", NULL, &r);
	assert_string_equal(r.body.data, "{\"late\":true}");
	assert_int_equal(seen.n_kept, 1);
}

static void test_repetition_waits(void **state)
{
	struct front *f = *state;
	const char *text = "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: w\r\n\r\n";
	int fds[4];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client_connect(f);
		send_text(f, fds[i], text);
		front_run(f, 0);
	}
	assert_int_equal(seen.n_kept, 1);
	assert_int_equal(http_pending(f->http), 4);

	/* the one that asked first has given up */
	close(fds[0]);
	call_reply(seen.kept[0], 200, json_pack("{s:i}", "n", 7));
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++) {
		_cleanup_response_ struct response r = { 0 };
		client_receive(f, fds[i], &r);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body.data, "{\"n\":7}");
		close(fds[i]);
	}
	assert_int_equal(http_pending(f->http), 0);
	expect_audit(f, "thingKeep(x)=200:\n");
}

static void test_pipelining(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response a = { 0 }, b = { 0 }, c = { 0 };
	_cleanup_close_ int fd = client_connect(f);

	send_text(f, fd,
	        "PUT /v1/things/a HTTP/1.1\r\nHost: c\r\nContent-Length: 7\r\n\r\n{\"a\":1}"
	        "GET /v1/keep HTTP/1.1\r\nHost: c\r\n\r\n"
	        "GET /v1/things/c HTTP/1.1\r\nHost: c\r\n\r\n");
	client_receive(f, fd, &a);
	assert_non_null(strstr(a.body.data, "\"name\":\"a\""));
	front_run(f, 0);
	assert_int_equal(seen.n_kept, 1);
	assert_int_equal(seen.echo, 1);

	call_reply(seen.kept[0], 200, json_pack("{s:s}", "name", "b"));
	client_receive(f, fd, &b);
	assert_string_equal(b.body.data, "{\"name\":\"b\"}");
	client_receive(f, fd, &c);
	assert_non_null(strstr(c.body.data, "\"name\":\"c\""));
}

static void test_stop_with_calls(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 };
	_cleanup_close_ int one = client_connect(f), two = client_connect(f), three = client_connect(f);

	send_text(f, one, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: s\r\n\r\n");
	send_text(f, two, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: s\r\n\r\n");
	send_text(f, three, "GET /v1/th");
	front_run(f, 0);
	http_free(TAKE_PTR(f->http));
	assert_int_equal(access(f->socket, F_OK), -1);

	assert_string_equal(call_param(seen.kept[0], "name"), "x");
	call_reply(seen.kept[0], 200, json_object());
	client_receive(f, one, &r);
	assert_int_equal(r.status, 0);
	expect_audit(f, "");

	/* the next daemon does it */
	assert_int_equal(store_request_reset(f->store, NULL), 0);
	front_start(f, routes, NULL);
	int again = client_connect(f);
	send_text(f, again, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: s\r\n\r\n");
	front_run(f, 0);
	assert_int_equal(seen.n_kept, 2);
	call_reply(seen.kept[1], 200, json_object());
	close(again);
}

/* Answers given just before the end are heard; who asks now is told to come again. */
static void test_last_words(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 }, refused = { 0 };
	_cleanup_close_ int one = client_connect(f), two = client_connect(f);

	send_text(f, one, "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\n\r\n");
	front_run(f, 0);
	send_text(f, two, "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\n\r\n");
	call_reply(seen.kept[0], 200, json_pack("{s:b}", "last", 1));
	http_free(TAKE_PTR(f->http));

	client_receive(f, one, &r);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body.data, "{\"last\":true}");
	client_receive(f, two, &refused);
	assert_int_equal(refused.status, 503);
	assert_int_equal(seen.echo, 0);
}

static void test_stop_listening(void **state)
{
	struct front *f = *state;
	_cleanup_response_ struct response r = { 0 };
	_cleanup_close_ int fd = client_connect(f);

	send_text(f, fd, "GET /v1/keep HTTP/1.1\r\nHost: c\r\n\r\n");
	front_run(f, 0);
	http_stop_listening(f->http);
	http_stop_listening(f->http);
	assert_int_equal(access(f->socket, F_OK), -1);

	call_reply(seen.kept[0], 200, json_object());
	client_receive(f, fd, &r);
	assert_int_equal(r.status, 200);
}

/* The verb was done: its answer is given though it cannot be recorded. */
static void test_record_fails(void **state)
{
	struct front *f = *state;

	assert_int_equal(store_exec(f->store, "PRAGMA query_only = ON", NULL), 0);
	expect(f, 201, "POST", "/v1/things", NULL, "made-1");
	expect(f, 201, "POST", "/v1/things", NULL, "made-2");
	assert_int_equal(store_exec(f->store, "PRAGMA query_only = OFF", NULL), 0);
	expect(f, 201, "POST", "/v1/things", NULL, "made-3");
	expect_audit(f, "thingMake(made-3)=201:\n");
}

/* What has come until the text is in it. */
static void read_until(struct front *f, int fd, struct strbuf *got, const char *text)
{
	const uint64_t deadline = now_monotonic_usec() + 60 * USEC_PER_SEC;

	while (!got->data || !strstr(got->data, text)) {
		char buf[4096];
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n > 0)
			assert_int_equal(strbuf_add(got, buf, (size_t)n), 0);
		assert_true(now_monotonic_usec() < deadline);
		front_run(f, 1000);
	}
}

static int stream_open(struct front *f, struct strbuf *got)
{
	int fd = client_connect(f);

	send_text(f, fd, "GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n");
	read_until(f, fd, got, "\r\n\r\n");
	assert_non_null(strstr(got->data, "chunked"));
	return fd;
}

static void test_stream(void **state)
{
	_cleanup_strbuf_ struct strbuf got = STRBUF_INIT;
	struct front *f = *state;

	seen.left = 3;
	_cleanup_close_ int fd = stream_open(f, &got);
	read_until(f, fd, &got, "line 1\n");
	assert_non_null(strstr(got.data, "line 3\n"));
	front_run(f, 0);
	stream_wake(seen.stream); /* for nothing */
	front_run(f, 0);
	strbuf_reset(&got);
	seen.left = 1;
	stream_wake(seen.stream);
	read_until(f, fd, &got, "line 1\n");
	assert_int_equal(seen.n_gone, 0);

	/* It waits without what it had, however long that is. */
	seen.left = 0;
	seen.kept_bytes = 1;
	front_run(f, 0);
	stream_wake(seen.stream);
	front_run(f, 0);
	assert_int_equal(seen.kept_bytes, 0);

	stream_end(seen.stream);
	read_until(f, fd, &got, "0\r\n\r\n");
	front_run(f, 0);
	assert_int_equal(seen.n_gone, 1);
	expect(f, 200, "GET", "/v1/things/x", NULL, "name");
}

/* It is found when there is something for it. */
static void test_stream_of_nobody(void **state)
{
	_cleanup_strbuf_ struct strbuf got = STRBUF_INIT;
	struct front *f = *state;
	int fd = stream_open(f, &got);

	front_run(f, 0);
	close(fd);
	for (unsigned i = 0; i < 5 && seen.n_gone == 0; i++) {
		seen.left = 1;
		stream_wake(seen.stream);
		front_run(f, 0);
	}
	assert_int_equal(seen.n_gone, 1);
}

static void test_stream_at_the_end(void **state)
{
	_cleanup_strbuf_ struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
	struct front *f = *state;
	_cleanup_close_ int waits = stream_open(f, &first);

	front_run(f, 0);
	struct stream *suspended = seen.stream;
	seen.left = 10000000;
	_cleanup_close_ int full = stream_open(f, &second); /* nobody reads it */
	front_run(f, 0);
	seen.left = 0;
	stream_end(seen.stream);
	stream_end(suspended);
	restart(f, NULL);
	assert_int_equal(seen.n_gone, 2);
	assert_true(waits >= 0 && full >= 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_routes),
		TEST(test_encoding_is_strict),
		TEST(test_queries),
		TEST(test_bodies),
		TEST(test_body_size),
		TEST(test_body_without_end),
		TEST(test_errors),
		TEST(test_audit),
		TEST(test_request_ids),
		TEST(test_recorded_bytes),
		TEST(test_request_id_syntax),
		TEST(test_late_answer),
		TEST(test_late_error_and_no_body),
		TEST(test_going_down_is_no_answer),
		TEST(test_client_gone),
		TEST(test_repetition_waits),
		TEST(test_pipelining),
		TEST(test_stop_with_calls),
		TEST(test_last_words),
		TEST(test_stop_listening),
		TEST(test_record_fails),
		TEST(test_stream),
		TEST(test_stream_of_nobody),
		TEST(test_stream_at_the_end),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
