/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The front under clients that mean no good: slow, too many, senseless, not permitted. */

#include "ctd/test-http.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctd/store-private.h"

static unsigned served;
static struct call *kept;

static int handle_ok(struct manager *m, struct call *call, struct ct_error *err)
{
	served++;
	call_reply(call, 200, json_pack("{s:s?}", "name", call_param(call, "name")));
	return 0;
}

static int handle_keep(struct manager *m, struct call *call, struct ct_error *err)
{
	kept = call;
	return 0;
}

static int handle_data(struct manager *m, struct call *call, struct ct_error *err)
{
	uint64_t len;
	int r = call_query_u64(call, "len", 0, 64 * 1024 * 1024, &len, err);
	if (r < 0)
		return r;

	char *data = malloc(len + 1);
	memset(data, 'd', len + 1);
	call_reply_data(call, 200, "text/plain", data, len);
	return 0;
}

static const struct api_route routes[] = {
	{ "GET", "/v1/things/{name}", "thingShow", false, handle_ok },
	{ "PUT", "/v1/things/{name}", "thingSet", true, handle_ok },
	{ "POST", "/v1/things", "thingMake", true, handle_ok },
	{ "GET", "/v1/keep", "keepShow", false, handle_keep },
	{ "GET", "/v1/data", "dataShow", false, handle_data, "len" },
	{ 0 },
};

static int setup(void **state)
{
	struct front *f = calloc(1, sizeof(*f));

	served = 0;
	kept = NULL;
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

static void run_until_closed(struct front *f, int fd)
{
	struct pollfd waiting = { .fd = fd };

	for (int i = 0; i < 3000 && poll(&waiting, 1, 0) == 0; i++)
		front_run(f, 10 * USEC_PER_MSEC);
	assert_true(waiting.revents & POLLHUP);
}

static void test_slow_clients(void **state)
{
	struct front *f = *state;
	const struct http_config config = { .receive_timeout_usec = 400 * USEC_PER_MSEC };
	_cleanup_response_ struct response late = { 0 };
	uint64_t start = now_monotonic_usec();
	unsigned quick = 0, slow = 0;

	restart(f, &config);
	_cleanup_close_ int drip = client_connect(f), mute = client_connect(f), deaf = client_connect(f),
	                    patient = client_connect(f);
	send_text(f, deaf, "GET /v1/data?len=16000000 HTTP/1.1\r\nHost: c\r\n\r\n");
	send_text(f, patient, "GET /v1/keep HTTP/1.1\r\nHost: c\r\n\r\n");
	send_text(f, drip, "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nX: ");

	/* a byte now and then does not keep a connection, and nobody else notices */
	while (client_send(f, drip, "y", 1)) {
		uint64_t before = now_monotonic_usec();
		assert_true(before - start < 30 * USEC_PER_SEC);
		expect(f, 200, "GET", "/v1/things/web", NULL, "name");
		*(now_monotonic_usec() - before < 300 * USEC_PER_MSEC ? &quick : &slow) += 1;
		front_run(f, 50 * USEC_PER_MSEC);
	}
	assert_true(quick >= slow); /* a busy machine makes one or the other late */
	assert_true(now_monotonic_usec() - start >= 400 * USEC_PER_MSEC);

	/* who says nothing, and who does not listen, go as well; who waits for us stays */
	run_until_closed(f, mute);
	run_until_closed(f, deaf);
	call_reply(kept, 200, json_object());
	client_receive(f, patient, &late);
	assert_int_equal(late.status, 200);
}

static void test_idle(void **state)
{
	struct front *f = *state;
	const struct http_config config = { .idle_timeout_usec = USEC_PER_SEC };
	_cleanup_response_ struct response r = { 0 };

	restart(f, &config);
	_cleanup_close_ int fd = client_connect(f);
	front_run(f, 2500 * USEC_PER_MSEC);
	client_receive(f, fd, &r);
	assert_true(r.closed);
}

static void test_too_many(void **state)
{
	struct front *f = *state;
	const struct http_config config = { .max_connections = 4 };
	int fds[4];

	restart(f, &config);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = client_connect(f);
	front_run(f, 0);
	for (int i = 0; i < 10; i++)
		expect(f, 503, "GET", "/v1/things/web", NULL, "\"code\":\"refused\"");

	/* those who were there are served, and a place that becomes free is given again */
	_cleanup_response_ struct response r = { 0 };
	send_text(f, fds[0], "GET /v1/things/web HTTP/1.1\r\nHost: c\r\n\r\n");
	client_receive(f, fds[0], &r);
	assert_int_equal(r.status, 200);
	close(fds[1]);
	front_run(f, 0);
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");

	/* far above the limit: they wait for their turn, nobody is forgotten */
	int many[60];
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = client_connect(f);
		send_text(f, many[i], "GET /v1/things/web HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		_cleanup_response_ struct response m = { 0 };
		client_receive(f, many[i], &m);
		assert_true(m.status == 200 || m.status == 503);
		close(many[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (i != 1)
			close(fds[i]);
}

/* Nothing to do is nothing done: neither for calls that wait, nor for idle connections, nor for those that
 * are not let in. */
static void test_no_spinning(void **state)
{
	struct front *f = *state;
	const struct http_config config = { .max_connections = 4 };
	unsigned turns = 0;
	int fds[50];

	restart(f, &config);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client_connect(f);
		if (i == 0)
			send_text(f, fds[i], "GET /v1/keep HTTP/1.1\r\nHost: c\r\n\r\n");
		if (i == 1)
			send_text(f, fds[i],
			        "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: 5\r\n\r\n{");
	}
	front_run(f, 0);

	for (uint64_t end = now_monotonic_usec() + 300 * USEC_PER_MSEC; now_monotonic_usec() < end; turns++)
		assert_true(sd_event_run(f->event, 50 * USEC_PER_MSEC) >= 0);
	assert_true(turns < 30);

	assert_non_null(kept);
	call_reply(kept, 200, json_object());
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	front_run(f, 0);
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");
}

/* Without the database's page cache, which grows to its bound as the audit table does. */
static size_t heap_in_use(struct front *f)
{
	(void)sqlite3_db_release_memory(f->store->db);
	return mallinfo2().uordblks;
}

/* A body that starts as JSON and is damaged somewhere, or is noise. */
static size_t damaged_body(unsigned n, char *buf, size_t size)
{
	static const char good[] =
	        "{\"name\":\"web\",\"config\":{\"net\":[{\"mode\":\"nat\",\"ip\":[\"10.0.0.1\"]}],\"n\":1.5e3,\"s\":\"\\u00e4\"}}";
	size_t len = sizeof(good) - 1;

	memcpy(buf, good, len);
	switch (n % 4) {
	case 0: /* cut short */ return 1 + (size_t)rand() % (len - 1);
	case 1: /* a byte that JSON has outside of strings nowhere */
		buf[len] = (char)(1 + rand() % 8);
		return len + 1;
	case 2: /* noise that cannot be an object */
		len = 1 + (size_t)rand() % (size - 1);
		for (size_t i = 0; i < len; i++)
			buf[i] = (char)rand();
		buf[0] = (char)(rand() % 2 ? '[' : '}');
		return len;
	case 3: /* opened more often than closed */
		for (size_t i = 0; i < size; i++)
			buf[i] = rand() % 2 ? '[' : '{';
		return 1 + (size_t)rand() % size;
	}

	return 0;
}

static void test_random_bodies(void **state)
{
	struct front *f = *state;
	unsigned fds = 0;
	size_t heap = 0;

	srand(2);
	for (unsigned i = 0; i < 1200; i++) {
		_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
		_cleanup_response_ struct response r = { 0 };
		_cleanup_close_ int fd = client_connect(f);
		char body[2048];
		size_t len = damaged_body(i, body, sizeof(body));

		strbuf_printf(&b, "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: %zu\r\n\r\n", len);
		strbuf_add(&b, body, len);
		assert_true(client_send(f, fd, b.data, b.len));
		client_receive(f, fd, &r);
		if (r.status != 400 ||
		        !str_has_prefix(r.body.data, "{\"error\":{\"code\":\"usage\",\"message\":\""))
			fail_msg("body %u: %u %s", i, r.status, r.body.data);

		/* the first two hundred fill the caches */
		if (i == 200) {
			fds = count_fds();
			heap = heap_in_use(f);
		}
	}
	front_run(f, 0);
	assert_int_equal(served, 0);
	assert_true(count_fds() <= fds);
	assert_true(heap_in_use(f) < heap + 65536);
}

/* On connections that are kept and on new ones; known and unknown paths, bad request lines, bad headers. */
static void test_ten_thousand_bad_requests(void **state)
{
	static const char *const texts[] = {
		"GET /v1/nothing HTTP/1.1\r\nHost: c\r\n\r\n",
		"BREW /v1/things/x HTTP/1.1\r\nHost: c\r\n\r\n",
		"GET /v1/things/x?a=b HTTP/1.1\r\nHost: c\r\n\r\n",
		"PUT /v1/things/%zz HTTP/1.1\r\nHost: c\r\nContent-Length: 2\r\n\r\n{}",
		"PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\n{]}",
		"POST /v1/things HTTP/1.1\r\nHost: c\r\nX-Request-Id: ?\r\n\r\n",
		"nonsense\r\n\r\n",
		"GET  HTTP/1.1\r\n\r\n",
		"PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: -5\r\n\r\n",
		"PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nContent-Length: 4000000000\r\n\r\n",
		"PUT /v1/things/x HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct front *f = *state;
	int fd = client_connect(f);
	unsigned fds = 0;
	size_t heap = 0;

	for (unsigned i = 0; i < 10000; i++) {
		_cleanup_response_ struct response r = { 0 };

		send_text(f, fd, texts[i % ARRAY_SIZE(texts)]);
		client_receive(f, fd, &r);
		if (r.status < 400 || r.status > 499)
			assert_true(r.closed && i % ARRAY_SIZE(texts) > 5);
		if (r.closed || i % ARRAY_SIZE(texts) > 5) {
			close(fd);
			fd = client_connect(f);
		}
		if (i == 1000) {
			fds = count_fds();
			heap = heap_in_use(f);
		}
	}

	assert_true(count_fds() <= fds + 1);
	assert_true(heap_in_use(f) < heap + 65536);
	close(fd);
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");
	assert_int_equal(served, 1);
}

/* Noise below HTTP: whatever comes, the next is served. */
static void test_noise(void **state)
{
	struct front *f = *state;

	srand(3);
	for (unsigned i = 0; i < 300; i++) {
		_cleanup_close_ int fd = client_connect(f);
		char noise[3000];
		size_t len = 1 + (size_t)rand() % sizeof(noise);

		for (size_t n = 0; n < len; n++)
			noise[n] = (char)(i % 2 ? rand() : "GET /\r\n: %?&=HTP1.0\0"[rand() % 21]);
		(void)client_send(f, fd, noise, len); /* it may be cut off in the middle */
		front_run(f, 1000);
	}
	front_run(f, 0);
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");
}

static void test_socket(void **state)
{
	struct front *f = *state;
	struct ct_error err = { 0 };
	struct http *other = NULL;
	struct http_config config = {
		.event = f->event, .store = f->store, .routes = routes, .path = f->socket
	};
	struct stat st;

	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* one is there */
	assert_int_equal(http_new(&config, &other, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another ctd answers"));
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");

	/* one was there */
	char aside[128];
	snprintf(aside, sizeof(aside), "%s.old", f->socket);
	assert_int_equal(rename(f->socket, aside), 0);
	http_free(TAKE_PTR(f->http));
	assert_int_equal(rename(aside, f->socket), 0);
	front_start(f, routes, NULL);
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");

	/* something else is there */
	http_free(TAKE_PTR(f->http));
	int fd = open(f->socket, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(http_new(&config, &other, &err), -EEXIST);
	assert_int_equal(access(f->socket, F_OK), 0);
	assert_int_equal(unlink(f->socket), 0);

	config.path = "relative";
	assert_int_equal(http_new(&config, &other, &err), -EINVAL);
	config.path = f->socket;
	config.group = "no-such-group-here";
	assert_int_equal(http_new(&config, &other, &err), -ENOENT);

	char group[16];
	snprintf(group, sizeof(group), "%u", getegid());
	config.group = group;
	front_start(f, routes, &config);
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, getegid());
	expect(f, 200, "GET", "/v1/things/web", NULL, "name");
}

/* What another user gets; 0 if it could not be tried. */
static unsigned status_as(struct front *f, uid_t uid, gid_t gid, gid_t extra)
{
	unsigned *status =
	        mmap(NULL, sizeof(*status), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *text = "PUT /v1/things/x HTTP/1.1\r\nHost: c\r\n\r\n";

	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(chmod(f->socket, 0666), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char buf[256] = "";
		if (setgroups(1, &extra) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(77);
		int fd = client_connect(f);
		if (fcntl(fd, F_SETFL, 0) < 0 || write(fd, text, strlen(text)) < 0 ||
		        read(fd, buf, sizeof(buf) - 1) < 0)
			_exit(1);
		_exit(sscanf(buf, "HTTP/1.1 %u", status) == 1 ? 0 : 1);
	}

	int wstatus;
	while (waitpid(pid, &wstatus, WNOHANG) == 0)
		front_run(f, 10 * USEC_PER_MSEC);
	assert_true(WIFEXITED(wstatus));
	if (WEXITSTATUS(wstatus) != 77)
		assert_int_equal(WEXITSTATUS(wstatus), 0);

	unsigned r = *status;
	munmap(status, sizeof(*status));
	return r;
}

static int take_uid(const struct audit_row *row, void *userdata)
{
	*(int64_t *)userdata = row->uid;
	return 0;
}

/* Whose request is the last in the audit. */
static int64_t last_uid(struct front *f)
{
	int64_t uid = -1;

	assert_int_equal(
	        store_audit_each(f->store, &(struct log_query){ .to_usec = LOG_QUERY_NO_END, .limit = 1000 },
	                take_uid, &uid, NULL),
	        0);
	return uid;
}

static void test_peers(void **state)
{
	struct front *f = *state;
	const struct http_config with_group = { .group = "4242" };

	if (geteuid() != 0) {
		print_message("other users cannot be tried without root: skipped\n");
		skip();
	}

	assert_int_equal(status_as(f, 12345, 12345, 12345), 403);
	assert_int_equal(status_as(f, 65534, 65534, 65534), 403);

	http_free(TAKE_PTR(f->http));
	front_start(f, routes, &with_group);
	assert_int_equal(status_as(f, 12345, 12345, 12345), 403);
	assert_int_equal(status_as(f, 12345, 4242, 12345), 200);
	assert_int_equal(last_uid(f), 12345);
	assert_int_equal(status_as(f, 12346, 12345, 4242), 200);
	assert_int_equal(last_uid(f), 12346);
	/* nobody is nobody, whatever its groups */
	assert_int_equal(status_as(f, 65534, 4242, 4242), 403);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_slow_clients),
		TEST(test_idle),
		TEST(test_too_many),
		TEST(test_no_spinning),
		TEST(test_random_bodies),
		TEST(test_ten_thousand_bad_requests),
		TEST(test_noise),
		TEST(test_socket),
		TEST(test_peers),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	return cmocka_run_group_tests_name("http-load", tests, NULL, NULL);
}
