/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The attach socket as its clients see it. */

#include "ctd/attach.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

struct fixture {
	char dir[64], path[96];
	sd_event *event;
	struct attach *attach;
	struct strbuf log; /* what was called back */
	unsigned fds;
};

static void log_signal(const char *id, int signo, void *userdata)
{
	struct fixture *f = userdata;

	strbuf_printf(&f->log, "signal %.2s %d;", id, signo);
}

static void log_resize(const char *id, uint16_t rows, uint16_t columns, void *userdata)
{
	struct fixture *f = userdata;

	strbuf_printf(&f->log, "resize %.2s %ux%u;", id, rows, columns);
}

static void log_attached(const char *id, void *userdata)
{
	struct fixture *f = userdata;

	strbuf_printf(&f->log, "attached %.2s;", id);
}

static void log_expired(const char *id, void *userdata)
{
	struct fixture *f = userdata;

	strbuf_printf(&f->log, "expired %.2s;", id);
}

static void log_detached(const char *id, void *userdata)
{
	struct fixture *f = userdata;

	strbuf_printf(&f->log, "detached %.2s;", id);
}

static const struct attach_ops ops = {
	.signal = log_signal,
	.resize = log_resize,
	.attached = log_attached,
	.expired = log_expired,
	.detached = log_detached,
};

static unsigned count_fds(void)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}

static void start(struct fixture *f, const struct attach_config *more)
{
	struct attach_config config = more ? *more : (struct attach_config){ 0 };
	struct ct_error err = { 0 };

	config.event = f->event;
	config.path = f->path;
	config.ops = &ops;
	config.userdata = f;
	if (attach_new(&config, &f->attach, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/ctd-test-attach.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/attach.sock", f->dir);
	f->fds = count_fds();
	assert_int_equal(sd_event_new(&f->event), 0);
	start(f, NULL);
	strbuf_puts(&f->log, "");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	attach_free(f->attach);
	sd_event_unref(f->event);
	assert_int_equal(count_fds(), f->fds);
	assert_int_equal(rmdir(f->dir), 0);
	strbuf_done(&f->log);
	free(f);
	return 0;
}

/* Drives the loop for so long, or until it has nothing to do for 20 ms. */
static void run(struct fixture *f, uint64_t usec)
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

/* One turn of the loop; something must come of it. */
static void step(struct fixture *f)
{
	if (sd_event_run(f->event, 30 * USEC_PER_SEC) <= 0)
		fail_msg("nothing happens any more");
}

static void expect_log(struct fixture *f, const char *expected)
{
	run(f, 0);
	assert_string_equal(f->log.data, expected);
	strbuf_reset(&f->log);
}

static int client_connect(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, f->path, strlen(f->path));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void client_send(struct fixture *f, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	run(f, 0);
}

/* One packet must be there and be exactly this; fds go to ret. */
static void expect_packet(int fd, const char *expected, int *ret_fds, size_t n_fds)
{
	char buf[4096];
	int fds[8];
	size_t n = ARRAY_SIZE(fds);

	assert_int_equal(fd_set_nonblock(fd, true), 0);
	ssize_t len = recv_fds(fd, buf, sizeof(buf) - 1, fds, &n);
	assert_true(len >= 0);
	buf[len] = '\0';
	if (!strstr(buf, expected))
		fail_msg("%s instead of %s", buf, expected);
	assert_int_equal(n, n_fds);
	if (n > 0)
		memcpy(ret_fds, fds, n * sizeof(int));
}

static void expect_end(int fd)
{
	char byte;

	assert_int_equal(fd_set_nonblock(fd, true), 0);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* A connection that has said the id. */
static int attach_to(struct fixture *f, const char *id)
{
	char text[64];
	int fd = client_connect(f);

	snprintf(text, sizeof(text), "{\"id\": \"%s\"}", id);
	client_send(f, fd, text);
	return fd;
}

/* Three pipes as ctd would make them; ours are the other ends. */
static void make_pipes(int theirs[3], int ours[3])
{
	for (int i = 0; i < 3; i++) {
		int p[2];
		assert_int_equal(pipe2(p, O_CLOEXEC), 0);
		theirs[i] = i == 0 ? p[1] : p[0];
		ours[i] = i == 0 ? p[0] : p[1];
	}
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static const char id_a[] = "aa000000000000000000000000000001", id_b[] = "bb000000000000000000000000000002";

static void test_ids(void **state)
{
	struct fixture *f = *state;
	char one[ATTACH_ID_SIZE], two[ATTACH_ID_SIZE];
	struct ct_error err = { 0 };

	assert_int_equal(attach_id_new(one), 0);
	assert_int_equal(attach_id_new(two), 0);
	assert_int_equal(strlen(one), 32);
	assert_int_equal(strspn(one, "0123456789abcdef"), 32);
	assert_string_not_equal(one, two);
	assert_int_equal(attach_expect(f->attach, one, &err), 0);
	assert_int_equal(attach_expect(f->attach, one, &err), -EEXIST);
	assert_int_equal(attach_expect(f->attach, "../../etc", &err), -EINVAL);
}

static void test_pipes(void **state)
{
	struct fixture *f = *state;
	int theirs[3], ours[3], got[3];
	char buf[8];

	make_pipes(theirs, ours);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_EXEC_PIPES, theirs, 3, NULL), 0);
	assert_int_equal(attach_exit_code(f->attach, id_a), -EINPROGRESS);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "{\"type\":\"attached\",\"kind\":\"exec-pipes\"}", got, 3);
	expect_log(f, "attached aa;");

	/* bytes go by us, and no copy of the ends is left here */
	assert_int_equal(write(got[0], "in", 2), 2);
	assert_int_equal(read(ours[0], buf, sizeof(buf)), 2);
	assert_int_equal(write(ours[1], "out", 3), 3);
	assert_int_equal(read(got[1], buf, sizeof(buf)), 3);
	close(got[0]);
	assert_int_equal(read(ours[0], buf, sizeof(buf)), 0);

	client_send(f, fd, "{\"type\":\"signal\",\"signal\":15}");
	client_send(f, fd, "{\"type\":\"resize\",\"rows\":24,\"columns\":80}");
	expect_log(f, "signal aa 15;resize aa 24x80;");

	attach_exit(f->attach, id_a, 7);
	attach_exit(f->attach, id_a, 8);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":7}", NULL, 0);
	expect_end(fd);
	assert_int_equal(attach_exit_code(f->attach, id_a), 7);
	close(fd);
	close_all(got + 1, 2);
	close_all(ours, 3);
}

static void test_exit_before_attach(void **state)
{
	struct fixture *f = *state;
	int p[2], got[1];
	char buf[8];

	/* the output of a command that was quicker than its client is not lost */
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(write(p[1], "bye", 3), 3);
	close(p[1]);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_EXEC_TTY, p, 1, NULL), 0);
	attach_exit(f->attach, id_a, 3);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "\"kind\":\"exec-tty\"", got, 1);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":3}", NULL, 0);
	expect_end(fd);
	assert_int_equal(read(got[0], buf, sizeof(buf)), 3);
	close(got[0]);
	close(fd);

	/* and it may come again */
	fd = attach_to(f, id_a);
	expect_packet(fd, "exec-wait", NULL, 0);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":3}", NULL, 0);
	expect_end(fd);
	close(fd);
	expect_log(f, "attached aa;");
}

static void test_reconnect(void **state)
{
	struct fixture *f = *state;
	int theirs[3], ours[3], got[3];

	make_pipes(theirs, ours);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_EXEC_PIPES, theirs, 3, NULL), 0);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "exec-pipes", got, 3);
	close(fd);
	expect_log(f, "attached aa;detached aa;");

	/* a second and a third connection wait, too */
	fd = attach_to(f, id_a);
	int again = attach_to(f, id_a);
	expect_packet(fd, "{\"type\":\"attached\",\"kind\":\"exec-wait\"}", NULL, 0);
	expect_packet(again, "exec-wait", NULL, 0);
	client_send(f, again, "{\"type\":\"signal\",\"signal\":2}");
	attach_exit(f->attach, id_a, 130);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":130}", NULL, 0);
	expect_packet(again, "{\"type\":\"exit\",\"code\":130}", NULL, 0);
	expect_log(f, "signal aa 2;");
	close(fd);
	close(again);

	/* a new daemon knows only that it runs */
	attach_free(TAKE_PTR(f->attach));
	start(f, NULL);
	assert_int_equal(attach_expect(f->attach, id_b, NULL), 0);
	fd = attach_to(f, id_b);
	expect_packet(fd, "exec-wait", NULL, 0);
	attach_exit(f->attach, id_b, 0);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":0}", NULL, 0);
	close(fd);
	close_all(got, 3);
	close_all(ours, 3);
}

/* What the client said last was not read when it was told the end: it hears it all the same. */
static void test_exit_with_unread_packets(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "exec-wait", NULL, 0);
	for (int i = 0; i < 5; i++)
		assert_true(send(fd, "{\"type\":\"signal\",\"signal\":1}", 28, MSG_NOSIGNAL) > 0);
	attach_exit(f->attach, id_a, 1);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":1}", NULL, 0);
	expect_end(fd);
	close(fd);
}

static void test_console(void **state)
{
	struct fixture *f = *state;
	int pair[2], got[1];
	char buf[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_CONSOLE, pair, 1, NULL), 0);
	assert_int_equal(attach_exit_code(f->attach, id_a), -ENOENT);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "{\"type\":\"attached\",\"kind\":\"console\"}", got, 1);
	assert_int_equal(write(pair[1], "login:", 6), 6);
	assert_int_equal(read(got[0], buf, sizeof(buf)), 6);

	/* it cannot be given twice */
	int second = attach_to(f, id_a);
	expect_packet(second, "{\"type\":\"error\",\"message\":\"this console has a client", NULL, 0);
	expect_end(second);
	close(second);

	client_send(f, fd, "{\"type\":\"resize\",\"rows\":1,\"columns\":65535}");
	attach_exit(f->attach, id_a, 0);
	close(fd);
	expect_log(f, "attached aa;resize aa 1x65535;detached aa;");

	/* with its client it is gone */
	fd = attach_to(f, id_a);
	expect_packet(fd, "\"type\":\"error\"", NULL, 0);
	close(fd);
	close(got[0]);
	close(pair[1]);
}

static void test_bad_ids(void **state)
{
	static const char *const bad[] = { "{\"id\":\"cc000000000000000000000000000009\"}", "{\"id\":\"\"}",
		"{\"id\":7}", "{}", "[]", "x", "{\"id\":\"AA000000000000000000000000000001\"}",
		"{\"id\":\"aa000000000000000000000000000001\",\"more\":1}",
		"{\"id\":\"aa0000000000000000000000000000011\"}", "{\"type\":\"signal\",\"signal\":1}" };
	struct fixture *f = *state;

	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd = client_connect(f);
		client_send(f, fd, bad[i]);
		expect_packet(fd, "{\"type\":\"error\",\"message\":\"", NULL, 0);
		expect_end(fd);
		close(fd);
	}

	_cleanup_free_ char *large = calloc(1, 5001);
	memset(large, ' ', 5000);
	int fd = client_connect(f);
	client_send(f, fd, large);
	expect_packet(fd, "too large", NULL, 0);
	close(fd);
	expect_log(f, "");
}

static void test_bad_commands(void **state)
{
	static const char *const bad[] = { "{\"type\":\"signal\"}", "{\"type\":\"signal\",\"signal\":0}",
		"{\"type\":\"signal\",\"signal\":65}", "{\"type\":\"signal\",\"signal\":9,\"rows\":1}",
		"{\"type\":\"resize\",\"rows\":0,\"columns\":1}",
		"{\"type\":\"resize\",\"rows\":65536,\"columns\":1}", "{\"type\":\"resize\",\"rows\":5}",
		"{\"type\":\"exit\",\"code\":0}", "{\"signal\":9}",
		"{\"id\":\"aa000000000000000000000000000001\"}" };
	struct fixture *f = *state;

	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd = attach_to(f, id_a);
		expect_packet(fd, "exec-wait", NULL, 0);
		client_send(f, fd, bad[i]);
		expect_packet(fd, "{\"type\":\"error\",\"message\":\"", NULL, 0);
		expect_end(fd);
		close(fd);
		expect_log(f, "detached aa;");
	}
}

static void test_offers_expire(void **state)
{
	const struct attach_config quick = { .offer_timeout_usec = 300 * USEC_PER_MSEC,
		.exit_timeout_usec = 400 * USEC_PER_MSEC };
	struct fixture *f = *state;
	uint64_t begin = now_monotonic_usec();
	int theirs[3], ours[3], pair[2];
	char buf[8];

	attach_free(TAKE_PTR(f->attach));
	start(f, &quick);
	make_pipes(theirs, ours);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_EXEC_PIPES, theirs, 3, NULL), 0);
	assert_int_equal(attach_offer(f->attach, id_b, ATTACH_CONSOLE, pair, 1, NULL), 0);
	int mute = client_connect(f);
	while (f->log.len == 0)
		step(f);
	assert_true(now_monotonic_usec() - begin >= quick.offer_timeout_usec);
	while (f->log.len < strlen("expired aa;expired bb;"))
		step(f);
	assert_string_equal(f->log.data, "expired aa;expired bb;");
	while (poll(&(struct pollfd){ .fd = mute, .events = POLLIN }, 1, 0) == 0)
		step(f);
	expect_packet(mute, "no id was sent in time", NULL, 0);
	close(mute);

	/* the command sees its input end; the console's other end, too */
	assert_int_equal(read(ours[0], buf, sizeof(buf)), 0);
	assert_int_equal(read(pair[1], buf, sizeof(buf)), 0);
	close_all(ours, 3);
	close(pair[1]);

	/* the exit is still told, for a while */
	int fd = attach_to(f, id_a);
	expect_packet(fd, "exec-wait", NULL, 0);
	begin = now_monotonic_usec();
	attach_exit(f->attach, id_a, 5);
	expect_packet(fd, "{\"type\":\"exit\",\"code\":5}", NULL, 0);
	close(fd);
	while (attach_exit_code(f->attach, id_a) == 5)
		step(f);
	assert_int_equal(attach_exit_code(f->attach, id_a), -ENOENT);
	assert_true(now_monotonic_usec() - begin >= quick.exit_timeout_usec);

	/* with nothing left to wait for, nothing wakes us */
	assert_int_equal(sd_event_run(f->event, 300 * USEC_PER_MSEC), 0);
}

static void test_withdraw(void **state)
{
	struct fixture *f = *state;
	int pair[2];
	char buf[8];

	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	int fd = attach_to(f, id_a), other = attach_to(f, id_a);
	expect_packet(fd, "exec-wait", NULL, 0);
	expect_packet(other, "exec-wait", NULL, 0);
	attach_withdraw(f->attach, id_a, "the container is gone\033[0m");
	attach_withdraw(f->attach, id_a, "twice");
	expect_packet(fd, "{\"type\":\"error\",\"message\":\"the container is gone\\\\x1b[0m\"}", NULL, 0);
	expect_packet(other, "the container is gone", NULL, 0);
	expect_end(fd);
	close(fd);
	close(other);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(attach_offer(f->attach, id_a, ATTACH_CONSOLE, pair, 1, NULL), 0);
	attach_withdraw(f->attach, id_a, "gone");
	assert_int_equal(read(pair[1], buf, sizeof(buf)), 0);
	close(pair[1]);
}

static void test_offer_consumes(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	unsigned before = count_fds();
	int theirs[3], ours[3];

	for (int i = 0; i < 3; i++) {
		make_pipes(theirs, ours);
		close_all(ours, 3);
		if (i == 0) {
			assert_int_equal(
			        attach_offer(f->attach, id_a, ATTACH_CONSOLE, theirs, 3, &err), -EINVAL);
		} else if (i == 1) {
			assert_int_equal(attach_expect(f->attach, id_a, &err), 0);
			assert_int_equal(
			        attach_offer(f->attach, id_a, ATTACH_EXEC_PIPES, theirs, 3, &err), -EEXIST);
		} else {
			assert_int_equal(attach_offer(f->attach, "short", ATTACH_EXEC_PIPES, theirs, 3, &err),
			        -EINVAL);
		}
		assert_int_equal(count_fds(), before);
	}
}

static void test_limits(void **state)
{
	const struct attach_config small = { .max_clients = 3, .max_entries = 4 };
	struct fixture *f = *state;
	char id[ATTACH_ID_SIZE];
	int fds[3];

	attach_free(TAKE_PTR(f->attach));
	start(f, &small);

	/* exit codes make room for new ones, running commands do not */
	for (unsigned i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "%032x", i);
		assert_int_equal(attach_expect(f->attach, id, NULL), 0);
		attach_exit(f->attach, id, (int)i);
	}
	assert_int_equal(attach_exit_code(f->attach, id), 19);
	for (unsigned i = 100; i < 104; i++) {
		snprintf(id, sizeof(id), "%032x", i);
		assert_int_equal(attach_expect(f->attach, id, NULL), 0);
	}
	assert_int_equal(attach_expect(f->attach, id_a, NULL), -ENOSPC);

	for (int i = 0; i < 3; i++)
		fds[i] = client_connect(f);
	run(f, 0);
	int more = client_connect(f);
	run(f, 0);
	expect_packet(more, "too many clients", NULL, 0);
	expect_end(more);
	close(more);
	close(fds[0]);
	run(f, 0);
	more = attach_to(f, id);
	expect_packet(more, "exec-wait", NULL, 0);
	close(more);
	close_all(fds + 1, 2);
}

/* No descriptor is left for a connection: it waits, nothing spins, and it is served when there is one again.
 */
static void test_no_descriptors(void **state)
{
	const struct attach_config quick = { .offer_timeout_usec = 1000 * USEC_PER_MSEC };
	struct fixture *f = *state;
	struct rlimit old, limit;
	unsigned turns = 0;

	attach_free(TAKE_PTR(f->attach));
	start(f, &quick);
	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	int fd = client_connect(f);
	assert_true(send(fd, "{\"id\":\"aa000000000000000000000000000001\"}", 41, 0) > 0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = (rlim_t)fd + 1, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (uint64_t end = now_monotonic_usec() + 300 * USEC_PER_MSEC; now_monotonic_usec() < end; turns++)
		assert_true(sd_event_run(f->event, 50 * USEC_PER_MSEC) >= 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(turns < 30);

	while (poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 0)
		step(f);
	expect_packet(fd, "exec-wait", NULL, 0);
	close(fd);
}

/* Clients that come, say something and leave, at every moment of it. */
static void test_noise(void **state)
{
	struct fixture *f = *state;
	int pair[2];

	srand(5);
	for (unsigned i = 0; i < 2000; i++) {
		char noise[200];
		size_t len = (size_t)rand() % sizeof(noise);
		int fd = client_connect(f);

		for (size_t n = 0; n < len; n++)
			noise[n] = "{}[]\":,id0123 type\\u\xff"[rand() % 22];
		if (i % 3 == 0) {
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
			assert_int_equal(send_fds(fd, noise, len + 1, pair, 2), 0);
			close_all(pair, 2);
		} else if (len > 0) {
			assert_true(send(fd, noise, len, MSG_NOSIGNAL) > 0);
		}
		if (i % 2)
			assert_true(sd_event_run(f->event, 0) >= 0);
		close(fd);
		if (i % 50 == 0)
			run(f, 0);
	}
	run(f, 0);
	expect_log(f, "");

	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	int fd = attach_to(f, id_a);
	expect_packet(fd, "exec-wait", NULL, 0);
	close(fd);
}

static void test_socket(void **state)
{
	struct fixture *f = *state;
	struct attach_config config = { .event = f->event, .path = f->path, .ops = &ops };
	struct attach *other = NULL;
	struct ct_error err = { 0 };
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(attach_new(&config, &other, &err), -EADDRINUSE);
}

static void test_nobody(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0) {
		print_message("other users cannot be tried without root: skipped\n");
		skip();
	}

	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(chmod(f->path, 0666), 0);
	assert_int_equal(attach_expect(f->attach, id_a, NULL), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char buf[256] = "";
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		int fd = client_connect(f);
		(void)send(fd, "{\"id\":\"aa000000000000000000000000000001\"}", 41,
		        MSG_NOSIGNAL); /* may be refused already */
		ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);
		if (n < 0 && errno == ECONNRESET)
			n = recv(fd, buf, sizeof(buf) - 1, 0);
		_exit(n > 0 && strstr(buf, "\"type\":\"error\"") ? 0 : 1);
	}

	int status;
	while (waitpid(pid, &status, WNOHANG) == 0)
		run(f, 10 * USEC_PER_MSEC);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_ids),
		TEST(test_pipes),
		TEST(test_exit_before_attach),
		TEST(test_reconnect),
		TEST(test_exit_with_unread_packets),
		TEST(test_console),
		TEST(test_bad_ids),
		TEST(test_bad_commands),
		TEST(test_offers_expire),
		TEST(test_withdraw),
		TEST(test_offer_consumes),
		TEST(test_limits),
		TEST(test_no_descriptors),
		TEST(test_noise),
		TEST(test_socket),
		TEST(test_nobody),
	};

	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
