/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HTTP/1.1 over a Unix socket.
 *
 * Small on purpose: one connection, one request at a time, the answer read whole into memory and split by
 * http_parser. The connection is kept for the next request. If a kept connection turns out to be closed (the
 * daemon was restarted) before one byte of an answer came, a GET is sent again on a new one; anything that
 * changes something is not, because it may have been carried out: that is said instead.
 *
 * Answers are bounded, so that a daemon gone wrong cannot fill this process.
 */

#include "ctctl/client.h"

#include <errno.h>
#include <http_parser.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"

#define ANSWER_MAX (64 * 1024 * 1024)
#define READ_SIZE  (32 * 1024)

void client_done(struct client *c)
{
	c->fd = fd_close(c->fd);
}

void response_done(struct response *r)
{
	strbuf_done(&r->body);
}

static void add_encoded(struct strbuf *path, const char *s)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (; *s; s++) {
		if (strchr(plain, *s))
			(void)strbuf_putc(path, *s); /* failures are kept in the buffer */
		else
			(void)strbuf_printf(path, "%%%02X", (unsigned char)*s);
	}
}

int path_add_segment(struct strbuf *path, const char *segment)
{
	(void)strbuf_putc(path, '/');
	/* "." and ".." would be resolved away by whoever normalises paths. */
	if (str_eq(segment, ".") || str_eq(segment, ".."))
		return strbuf_puts(path, segment[1] ? "%2E%2E" : "%2E");
	add_encoded(path, segment);

	return path->error;
}

int path_add_query(struct strbuf *path, const char *key, const char *value)
{
	(void)strbuf_printf(path, "%c%s=", path->data && strchr(path->data, '?') ? '&' : '?', key);
	add_encoded(path, value);

	return path->error;
}

static int fail_connect(const char *path, int r, struct ct_error *err)
{
	if (r == -EACCES || r == -EPERM)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, r,
		        "may not connect to \"%s\": be root or a member of its group", path);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return ct_error_kind_set(err, CT_ERROR_FAILED, r,
		        "no daemon listens on \"%s\": start ctd, or name its socket with --socket", path);

	return ct_error_kind_set(err, CT_ERROR_FAILED, r, "cannot connect to \"%s\": %s", path, strerror(-r));
}

int client_connect_socket(const char *path, int kind, struct ct_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(address.sun_path))
		return ct_error_kind_set(err, CT_ERROR_USAGE, -ENAMETOOLONG,
		        "\"%s\" is no path of a socket: 1 to %zu bytes are taken", path,
		        sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, len);

	_cleanup_close_ int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -errno, "cannot make a socket: %m");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail_connect(path, -errno, err);

	return TAKE_FD(fd);
}

static int client_connect(struct client *c, struct ct_error *err)
{
	if (c->fd >= 0)
		return 0;

	int fd = client_connect_socket(c->socket_path, SOCK_STREAM, err);
	if (fd < 0) {
		c->unreachable = fd != -EACCES && fd != -EPERM && fd != -ENAMETOOLONG;
		return fd;
	}

	c->fd = fd;
	return 0;
}

struct answer {
	struct response *response;
	bool complete;
	bool keep;
};

static int on_body(http_parser *p, const char *data, size_t len)
{
	struct answer *a = p->data;

	if (a->response->body.len + len > ANSWER_MAX)
		return 1;
	return strbuf_add(&a->response->body, data, len) < 0;
}

static int on_complete(http_parser *p)
{
	struct answer *a = p->data;

	a->complete = true;
	a->keep = http_should_keep_alive(p);
	a->response->status = p->status_code;
	return 0;
}

/* Blocks until the connection has something to read; -EINTR when the interrupt fd has. */
static int wait_readable(const struct client *c)
{
	struct pollfd fds[] = {
		{ .fd = c->fd, .events = POLLIN },
		{ .fd = c->interrupt_fd, .events = POLLIN },
	};

	if (c->interrupt_fd < 0)
		return 0; /* read blocks by itself */

	for (;;) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (fds[1].revents)
			return -EINTR;
		if (fds[0].revents)
			return 0;
	}
}

static ssize_t read_some(const struct client *c, char *buf, size_t size)
{
	int r = wait_readable(c);
	if (r < 0)
		return r;

	ssize_t n;
	do
		n = read(c->fd, buf, size);
	while (n < 0 && errno == EINTR);

	return n < 0 ? -errno : n;
}

/* *ret_any: whether a byte of an answer came before it failed. */
static int read_answer(struct client *c, struct answer *a, bool *ret_any, struct ct_error *err)
{
	static const http_parser_settings settings = { .on_body = on_body,
		.on_message_complete = on_complete };
	http_parser parser;
	char buf[READ_SIZE];

	http_parser_init(&parser, HTTP_RESPONSE);
	parser.data = a;
	while (!a->complete) {
		ssize_t n = read_some(c, buf, sizeof(buf));
		if (n < 0)
			return (int)n;

		*ret_any = *ret_any || n > 0;
		size_t used = http_parser_execute(&parser, &settings, buf, (size_t)n);
		if (n == 0 && !a->complete)
			return -ECONNRESET;
		if (used != (size_t)n || HTTP_PARSER_ERRNO(&parser) != HPE_OK)
			return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG,
			        "\"%s\" answers what is not understood (%s): is it ctd?", c->socket_path,
			        http_errno_name(HTTP_PARSER_ERRNO(&parser)));
	}

	return 0;
}

/* MSG_NOSIGNAL: a daemon that went away is an error here, not a signal. */
static int send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;

		data += n;
		len -= (size_t)n;
	}

	return 0;
}

static int build_request(
        const struct client *c, const char *method, const char *path, const json_t *body, struct strbuf *out)
{
	_cleanup_free_ char *text = NULL;

	if (body) {
		text = json_dumps(body, JSON_COMPACT);
		if (!text)
			return -ENOMEM;
	}

	(void)strbuf_printf(
	        out, "%s %s HTTP/1.1\r\nHost: ctd\r\n", method, path); /* failures are kept in the buffer */
	if (c->request_id && !str_eq(method, "GET"))
		(void)strbuf_printf(out, "X-Request-Id: %s\r\n", c->request_id);
	if (text)
		(void)strbuf_printf(out, "Content-Type: application/json\r\n");
	if (!str_eq(method, "GET"))
		(void)strbuf_printf(out, "Content-Length: %zu\r\n", text ? strlen(text) : 0);
	(void)strbuf_puts(out, "\r\n");
	if (text)
		(void)strbuf_puts(out, text);

	return out->error;
}

/* One try on the connection as it is. */
static int exchange(
        struct client *c, const struct strbuf *request, struct answer *a, bool *ret_any, struct ct_error *err)
{
	int r = client_connect(c, err);
	if (r < 0)
		return r;

	/* A daemon that refuses a request early answers and closes: what it said is read even if it did not
	 * take all of ours. */
	int sent = send_all(c->fd, request->data, request->len);
	r = read_answer(c, a, ret_any, err);
	if (r == 0 && sent < 0)
		a->keep = false;

	return r;
}

static int fail_exchange(const struct client *c, int r, bool reading, struct ct_error *err)
{
	if (r == -EINTR)
		return ct_error_kind_set(err, CT_ERROR_FAILED, r, "interrupted");
	if (r == -ECONNRESET || r == -EPIPE)
		return ct_error_kind_set(err, CT_ERROR_FAILED, r,
		        "the daemon on \"%s\" went away before it answered%s", c->socket_path,
		        reading ? "" : "; what was asked for may or may not be done, \"ctctl list\" tells");
	if (!err || err->code == 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, r, "cannot talk to the daemon on \"%s\": %s",
		        c->socket_path, strerror(-r));

	return r;
}

static bool request_id_ok(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= 64 &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

int client_request(struct client *c, const char *method, const char *path, const json_t *body,
        struct response *ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf request = STRBUF_INIT;
	struct answer a = { .response = ret };
	bool reused = c->fd >= 0, any = false, reading = str_eq(method, "GET");

	if (c->request_id && !request_id_ok(c->request_id))
		return ct_error_field(err, "request-id",
		        "--request-id: \"%s\" is not 1 to 64 letters, digits, dots, dashes and underscores",
		        c->request_id);
	int r = build_request(c, method, path, body, &request);
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, r, "out of memory");

	r = exchange(c, &request, &a, &any, err);
	if ((r == -ECONNRESET || r == -EPIPE) && reused && !any && (reading || c->request_id)) {
		client_done(c);
		r = exchange(c, &request, &a, &any, err);
	}
	if (r < 0 || !a.keep)
		client_done(c);

	return r < 0 && !c->unreachable ? fail_exchange(c, r, reading, err) : r;
}

static int fail_status(const struct response *response, struct ct_error *err)
{
	_cleanup_json_ json_t *body =
	        json_loadb(response->body.data ? response->body.data : "", response->body.len, 0, NULL);
	const json_t *error = json_object_get(body, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *field = json_string_value(json_object_get(error, "field"));

	if (!code || !message)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EPROTO,
		        "the daemon answered with HTTP status %u", response->status);

	int r = ct_error_kind_set(err, ct_error_kind_from_name(code), -EREMOTEIO, "%s", message);
	if (err && field)
		(void)str_escape_to(err->field, sizeof(err->field), field, strlen(field));

	return r;
}

int client_call(struct client *c, const char *method, const char *path, const json_t *body, json_t **ret,
        struct ct_error *err)
{
	_cleanup_response_ struct response response = RESPONSE_INIT;

	int r = client_request(c, method, path, body, &response, err);
	if (r < 0)
		return r;
	if (response.status >= 400)
		return fail_status(&response, err);
	if (!ret)
		return 0;

	*ret = json_loadb(response.body.data ? response.body.data : "", response.body.len, 0, NULL);
	return *ret ? 0 : ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer is no JSON");
}

int client_fetch(struct client *c, const char *path, struct response *ret, struct ct_error *err)
{
	int r = client_request(c, "GET", path, NULL, ret, err);
	if (r < 0)
		return r;

	return ret->status >= 400 ? fail_status(ret, err) : 0;
}
