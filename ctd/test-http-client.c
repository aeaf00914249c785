/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What test-http.h declares. */

#include "ctd/test-http.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define DEADLINE_USEC (60 * USEC_PER_SEC)

void front_start(struct front *f, const struct api_route *routes, const struct http_config *config)
{
	struct http_config c = config ? *config : (struct http_config){ 0 };
	struct ct_error err = { 0 };

	if (!f->store) {
		snprintf(f->dir, sizeof(f->dir), "/tmp/ctd-test-http.XXXXXX");
		assert_non_null(mkdtemp(f->dir));
		snprintf(f->socket, sizeof(f->socket), "%s/ctd.sock", f->dir);
		snprintf(f->database, sizeof(f->database), "%s/ctd.db", f->dir);
		assert_int_equal(sd_event_new(&f->event), 0);
		if (store_open(f->database, &f->store, &err) < 0)
			fail_msg("%s", err.text);
	}

	c.event = f->event;
	c.store = f->store;
	c.routes = routes;
	c.path = f->socket;
	if (http_new(&c, &f->http, &err) < 0)
		fail_msg("%s", err.text);
}

void front_stop(struct front *f)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };

	http_free(TAKE_PTR(f->http));
	store_close(TAKE_PTR(f->store));
	sd_event_unref(f->event);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s%s", f->database, suffixes[i]);
		(void)unlink(path); /* may not be there */
	}
	assert_int_equal(rmdir(f->dir), 0); /* the socket is gone by itself */
}

void front_run(struct front *f, uint64_t usec)
{
	uint64_t end = now_monotonic_usec() + usec;

	for (;;) {
		uint64_t now = now_monotonic_usec();
		if (usec > 0 && now >= end)
			return;

		int r = sd_event_run(f->event, usec > 0 ? end - now : 20 * USEC_PER_MSEC);
		assert_true(r >= 0);
		if (r == 0 && usec == 0)
			return;
	}
}

int client_connect(const struct front *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, f->socket, strlen(f->socket));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

bool client_send(struct front *f, int fd, const void *data, size_t len)
{
	uint64_t end = now_monotonic_usec() + DEADLINE_USEC;
	const char *at = data;

	while (len > 0) {
		assert_true(now_monotonic_usec() < end);
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
			continue;
		}
		if (n < 0)
			return false;
		at += n;
		len -= (size_t)n;
	}

	return true;
}

void send_text(struct front *f, int fd, const char *text)
{
	assert_true(client_send(f, fd, text, strlen(text)));
}

void response_done(struct response *r)
{
	strbuf_done(&r->head);
	strbuf_done(&r->body);
	*r = (struct response){ 0 };
}

/* Reads one byte at a time in the head, so that what follows stays in the socket for the next. 0: not
 * complete yet. */
static int receive_some(int fd, struct response *r, size_t *left)
{
	char buf[4096];

	for (;;) {
		bool in_head = !r->head.data || !str_has_suffix(r->head.data, "\r\n\r\n");
		size_t want = in_head ? 1 : *left < sizeof(buf) ? *left : sizeof(buf);
		if (want == 0)
			return 1;

		ssize_t n = recv(fd, buf, want, 0);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			r->closed = true;
			return 1;
		}

		strbuf_add(in_head ? &r->head : &r->body, buf, (size_t)n);
		if (!in_head) {
			*left -= (size_t)n;
		} else if (str_has_suffix(r->head.data, "\r\n\r\n")) {
			const char *length = strcasestr(r->head.data, "\r\nContent-Length:");
			assert_int_equal(sscanf(r->head.data, "HTTP/1.%*d %u", &r->status), 1);
			assert_non_null(length);
			*left = strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
			/* the go-ahead is not the answer */
			if (r->status == 100)
				strbuf_reset(&r->head);
		}
	}
}

void client_receive(struct front *f, int fd, struct response *ret)
{
	uint64_t end = now_monotonic_usec() + DEADLINE_USEC;
	size_t left = 0;

	*ret = (struct response){ 0 };
	while (receive_some(fd, ret, &left) == 0) {
		if (now_monotonic_usec() > end)
			fail_msg("no answer within a minute");
		assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
	}
	if (!ret->body.data)
		strbuf_puts(&ret->body, "");
	if (!ret->head.data)
		strbuf_puts(&ret->head, "");
}

void ask(struct front *f, const char *method, const char *path, const char *headers, const char *body,
        struct response *ret)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_close_ int fd = client_connect(f);

	strbuf_printf(&b, "%s %s HTTP/1.1\r\nHost: ctd\r\n%s", method, path, headers ? headers : "");
	if (body)
		strbuf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
	strbuf_printf(&b, "\r\n%s", body ? body : "");

	(void)client_send(f, fd, b.data, b.len); /* refused ones may be answered before they are whole */
	client_receive(f, fd, ret);
}

void expect(struct front *f, unsigned status, const char *method, const char *path, const char *body,
        const char *contains)
{
	_cleanup_response_ struct response r = { 0 };

	ask(f, method, path, NULL, body, &r);
	if (r.status != status || !strstr(r.body.data, contains))
		fail_msg("%s %s: %u %s, not %u %s", method, path, r.status, r.body.data, status, contains);
}

unsigned count_fds(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}
