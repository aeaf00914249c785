/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The front and the attach socket when memory is short: the same conversation again and again, each time with
 * another allocation failing, once alone and once with all that follow it.
 *
 * What is asserted: nobody is left without an end (an answer, or the connection closed), nothing crashes or
 * leaks (the run with sanitizers sees that), and the next request, with memory again, is served.
 *
 * Our own objects are linked with --wrap, jansson and SQLite are given allocators that count along. Only what
 * happens within the event loop counts: the clients of the test have no shortage.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/attach.h"
#include "ctd/test-http.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

#define NEVER (~0ul)

static bool armed, for_ever;
static unsigned long countdown, failed;

static bool fails(void)
{
	if (!armed)
		return false;
	if (countdown > 0 && --countdown > 0)
		return false;
	if (failed > 0 && !for_ever)
		return false;

	failed++;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static sqlite3_mem_methods sqlite_methods;

static void *sqlite_malloc(int size)
{
	return fails() ? NULL : sqlite_methods.xMalloc(size);
}

static void *sqlite_realloc(void *p, int size)
{
	return fails() ? NULL : sqlite_methods.xRealloc(p, size);
}

static struct call *kept[4];
static size_t n_kept;

static int handle_echo(struct manager *m, struct call *call, struct ct_error *err)
{
	call_set_object(call, "renamed");
	call_reply(call, 200,
	        json_pack("{s:s, s:O}", "name", call_param(call, "name"), "body", call_body(call)));
	return 0;
}

static int handle_keep(struct manager *m, struct call *call, struct ct_error *err)
{
	assert_true(n_kept < ARRAY_SIZE(kept));
	kept[n_kept++] = call;
	return 0;
}

static const struct api_route routes[] = {
	{ "PUT", "/v1/things/{name}", "thingSet", true, handle_echo, "state" },
	{ "POST", "/v1/things/{name}/keep", "thingKeep", true, handle_keep },
	{ 0 },
};

struct world {
	struct front front;
	struct attach *attach;
	char attach_path[96];
	unsigned scenarios;
};

static void nothing_signal(const char *id, int signo, void *userdata)
{
}

static void nothing_resize(const char *id, uint16_t rows, uint16_t columns, void *userdata)
{
}

static const struct attach_ops ops = { .signal = nothing_signal, .resize = nothing_resize };

/* The only place where memory is short. Until there is nothing to do for so long. */
static void pump(struct world *w, uint64_t quiet_usec)
{
	int r;

	do {
		armed = true;
		r = sd_event_run(w->front.event, quiet_usec);
		armed = false;
		assert_true(r >= 0);
	} while (r > 0);
}

static void say(struct world *w, int fd, const char *text)
{
	(void)send(fd, text, strlen(text), MSG_NOSIGNAL); /* it may have been closed */
	pump(w, 0);
}

/* Something has come, or the connection is closed: 0 then. */
static size_t heard(struct world *w, int fd)
{
	char buf[4096];

	for (unsigned i = 0; i < 100; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n >= 0)
			return (size_t)n;
		if (errno != EAGAIN)
			return 0;
		pump(w, USEC_PER_MSEC);
	}

	fail_msg("a client is left without an end");
	return 0;
}

static int attach_connect(const struct world *w)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, w->attach_path, strlen(w->attach_path));
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void talk_http(struct world *w)
{
	int one = client_connect(&w->front), two = client_connect(&w->front),
	    three = client_connect(&w->front);
	char text[512];

	snprintf(text, sizeof(text),
	        "PUT /v1/things/a%%20b?state=x%%20y HTTP/1.1\r\nHost: c\r\nX-Request-Id: p%u\r\nContent-Length: 19\r\n\r\n{\"a\":[1,2,{\"b\":3}]}",
	        w->scenarios);
	say(w, one, text);
	(void)heard(w, one);

	/* a call that is answered later, and its repetition */
	snprintf(text, sizeof(text),
	        "POST /v1/things/x/keep HTTP/1.1\r\nHost: c\r\nX-Request-Id: k%u\r\n\r\n", w->scenarios);
	say(w, two, text);
	say(w, three, text);
	pump(w, 0);
	while (n_kept > 0) {
		struct call *call = kept[--n_kept];
		json_t *body = json_pack("{s:b}", "late", 1);
		armed = true;
		call_reply(call, 200, body);
		armed = false;
		pump(w, 0);
	}
	(void)heard(w, two);
	(void)heard(w, three);

	/* refusals */
	say(w, one,
	        "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: 2\r\n\r\n{]DELETE /v1/things/x HTTP/1.1\r\nHost: c\r\n\r\n");
	(void)heard(w, one);
	close(one);
	close(two);
	close(three);
	pump(w, 0);
}

static void talk_attach(struct world *w)
{
	char id[ATTACH_ID_SIZE], text[64];
	int p[2];

	assert_int_equal(attach_id_new(id), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	armed = true;
	(void)attach_offer(w->attach, id, ATTACH_EXEC_TTY, p, 1, NULL); /* any outcome */
	armed = false;
	close(p[1]);

	int fd = attach_connect(w);
	snprintf(text, sizeof(text), "{\"id\":\"%s\"}", id);
	say(w, fd, text);
	say(w, fd, "{\"type\":\"resize\",\"rows\":5,\"columns\":6}");
	armed = true;
	attach_exit(w->attach, id, 3);
	armed = false;
	pump(w, 0);
	for (int i = 0; i < 4 && heard(w, fd) > 0; i++)
		;
	close(fd);
	pump(w, 0);
	attach_withdraw(w->attach, id, "over");
}

static void scenario(struct world *w)
{
	w->scenarios++;
	talk_http(w);
	talk_attach(w);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct ct_error err = { 0 };

	front_start(&w->front, routes, NULL);
	snprintf(w->attach_path, sizeof(w->attach_path), "%s/attach.sock", w->front.dir);
	const struct attach_config config = { .event = w->front.event, .path = w->attach_path, .ops = &ops };
	if (attach_new(&config, &w->attach, &err) < 0)
		fail_msg("%s", err.text);
	scenario(w); /* what is made once is made */
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	attach_free(w->attach);
	front_stop(&w->front);
	free(w);
	return 0;
}

static void fail_each(struct world *w)
{
	unsigned fds = count_fds();

	for (unsigned long nth = 1;; nth++) {
		countdown = nth;
		failed = 0;
		scenario(w);
		if (failed == 0) {
			print_message("%lu allocations\n", nth - 1);
			assert_true(nth > 100);
			return;
		}

		countdown = NEVER;
		expect(&w->front, 200, "PUT", "/v1/things/web", "{}", "web");
		front_run(&w->front, USEC_PER_MSEC);
		assert_int_equal(http_pending(w->front.http), 0);
		assert_true(count_fds() <= fds);
	}
}

static void test_one_fails(void **state)
{
	for_ever = false;
	fail_each(*state);
}

static void test_all_fail_from_one_on(void **state)
{
	for_ever = true;
	fail_each(*state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_fail_from_one_on, setup, teardown),
	};
	sqlite3_mem_methods methods;

	(void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	countdown = NEVER;
	json_set_alloc_funcs(__wrap_malloc, free);
	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_methods) != SQLITE_OK)
		return 1;
	methods = sqlite_methods;
	methods.xMalloc = sqlite_malloc;
	methods.xRealloc = sqlite_realloc;
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK)
		return 1;

	return cmocka_run_group_tests_name("front-alloc", tests, NULL, NULL);
}
