/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Consoles of the real keeper: scrollback, several who look at once, those who do not read, floods, what is
 * left after the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper-ring.h"
#include "ctd/test-keeper-rig.h"

static struct rig rig;

/* Says what it is told, until it is told to exit. */
static const char *const parrot =
        "echo ready; while read line; do [ \"$line\" = exit ] && exit 4; echo \"said $line\"; done";

static void test_scrollback_and_live(void **state)
{
	struct keeper_process process;
	struct box box;
	int first, second, late;

	assert_int_equal(rig_start(&rig, &box, "c/talk", parrot, true, NULL), 0);
	rig_expect_scrollback(&rig, "c/talk", "ready\r\n");
	first = rig_attach(&rig, "c/talk", 0);
	second = rig_attach(&rig, "c/talk", 0);
	rig_expect(first, "ready\r\n", NULL);
	rig_expect(second, "ready\r\n", NULL);

	/* What one types all see, and the terminal's echo of it. */
	assert_int_equal(write(first, "hello\n", 6), 6);
	rig_expect(first, "said hello\r\n", NULL);
	rig_expect(second, "hello\r\nsaid hello\r\n", NULL);
	assert_int_equal(write(second, "again\n", 6), 6);
	rig_expect(first, "said again\r\n", NULL);
	close(second);

	late = rig_attach(&rig, "c/talk", KEEPER_ATTACH_NO_SCROLLBACK);
	assert_int_equal(write(late, "x\n", 2), 2);
	_cleanup_free_ char *seen = NULL;
	rig_expect(late, "said x\r\n", &seen);
	assert_null(strstr(seen, "ready"));

	/* Its end is the end of their streams; the scrollback is still there. */
	assert_int_equal(write(first, "exit\n", 5), 5);
	assert_true(rig_expect_end(first, NULL));
	assert_true(rig_expect_end(late, NULL));
	process = rig_await_exit(&rig, "c/talk");
	assert_int_equal(process.exit_code, 4);
	assert_true(process.has_console);
	close(first);
	close(late);

	_cleanup_free_ char *left = rig_scrollback(&rig, "c/talk");
	assert_true(str_has_prefix(left, "ready\r\n"));
	assert_non_null(strstr(left, "said x\r\nexit\r\n"));
	late = rig_attach(&rig, "c/talk", 0);
	rig_expect(late, "said x\r\nexit\r\n", NULL);
	assert_true(rig_expect_end(late, NULL));
	close(late);
	rig_box_done(&rig, &box, "c/talk");
}

static void test_scrollback_is_the_end(void **state)
{
	struct box box;
	size_t len;

	assert_int_equal(rig_start(&rig, &box, "c/much",
	                         "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", true, NULL),
	        0);
	(void)rig_await_exit(&rig, "c/much");
	_cleanup_free_ char *text = rig_scrollback(&rig, "c/much");
	len = strlen(text);
	assert_int_equal(len, KEEPER_RING_MAX);
	assert_string_equal(text + len - strlen("line 2998\r\nline 2999\r\n"), "line 2998\r\nline 2999\r\n");
	rig_box_done(&rig, &box, "c/much");
}

static void test_last_words(void **state)
{
	struct box box;

	/* Printed at once before the end: still in the terminal's buffer when init is gone. */
	assert_int_equal(rig_start(&rig, &box, "c/last",
	                         "yes last | head -c 3000; echo; echo goodbye; exit 0", true, NULL),
	        0);
	(void)rig_await_exit(&rig, "c/last");
	_cleanup_free_ char *text = rig_scrollback(&rig, "c/last");
	assert_true(str_has_suffix(text, "goodbye\r\n"));
	assert_true(strlen(text) > 3000);
	rig_box_done(&rig, &box, "c/last");
}

/* Frozen, it has printed what the answer ends with, and no more comes: not that which was in the terminal,
 * held back because it prints too much or because somebody who looks is slow. */
static void test_read_all(void **state)
{
	struct ct_error error = { 0 };
	struct box box;
	int sleeper;

	assert_int_equal(rig_start(&rig, &box, "c/still", "seq 1000000000 | cat", true, NULL), 0);
	sleeper = rig_attach(&rig, "c/still", KEEPER_ATTACH_NO_SCROLLBACK);
	for (size_t len = 0; len < KEEPER_RING_MAX;) {
		_cleanup_free_ char *text = rig_scrollback(&rig, "c/still");

		len = strlen(text);
	}
	for (int i = 0; i < 5; i++) {
		_cleanup_free_ char *all = NULL, *later = NULL, *alive = NULL;

		assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, true, 10 * USEC_PER_SEC, &error), 0);
		all = rig_read_console(&rig, "c/still", KEEPER_READ_ALL);
		assert_int_equal(strlen(all), KEEPER_RING_MAX);
		(void)usleep(250000); /* some of the keeper's windows */
		later = rig_scrollback(&rig, "c/still");
		assert_string_equal(later, all);
		assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, false, 10 * USEC_PER_SEC, &error), 0);

		/* Of one that prints without end it is an answer too, and the console goes on. */
		alive = rig_read_console(&rig, "c/still", KEEPER_READ_ALL);
		assert_string_not_equal(alive, "");
	}
	_cleanup_free_ char *before = rig_scrollback(&rig, "c/still"), *after = NULL;
	for (int i = 0; i < 100 && (!after || str_eq(after, before)); i++) {
		free(after);
		(void)usleep(100000);
		after = rig_scrollback(&rig, "c/still");
	}
	assert_string_not_equal(after, before);
	close(sleeper);
	rig_box_done(&rig, &box, "c/still");
}

static void test_resize(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT, none = KEEPER_REPLY_INIT;
	struct box box;

	assert_int_equal(
	        rig_start(&rig, &box, "c/size", "while read line; do stty size; done", true, NULL), 0);
	assert_int_equal(rig_wait(&rig,
	                         keeper_client_console_resize(
	                                 rig.client, "c/size", 41, 133, keeper_reply_store, &reply),
	                         &reply),
	        0);
	int fd = rig_attach(&rig, "c/size", 0);
	assert_int_equal(write(fd, "\n", 1), 1);
	rig_expect(fd, "41 133\r\n", NULL);
	close(fd);
	assert_int_equal(
	        rig_wait(&rig,
	                keeper_client_console_resize(rig.client, "c/nobody", 1, 1, keeper_reply_store, &none),
	                &none),
	        -ESRCH);
	rig_box_done(&rig, &box, "c/size");
}

static void test_without_console(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/mute", "sleep 1000", false, NULL), 0);
	assert_int_equal(
	        rig_wait(&rig,
	                keeper_client_console_read(rig.client, "c/mute", 0, keeper_reply_store, &reply),
	                &reply),
	        -ENOTTY);
	rig_box_done(&rig, &box, "c/mute");
}

/* Who reads slowly gets everything; who does not read at all is dropped, and until then costs the others a
 * moment only. */
static void test_who_does_not_read(void **state)
{
	size_t count = 0;
	struct box box;
	int reader, sleeper;

	assert_int_equal(
	        rig_start(&rig, &box, "c/flood",
	                "read go; dd if=/dev/zero bs=4096 count=250 2>/dev/null; echo; echo done; read go",
	                true, NULL),
	        0);
	sleeper = rig_attach(&rig, "c/flood", KEEPER_ATTACH_NO_SCROLLBACK);
	reader = rig_attach(&rig, "c/flood", KEEPER_ATTACH_NO_SCROLLBACK);
	assert_int_equal(write(reader, "go\n", 3), 3);

	while (count < 1024000 + strlen("go\r\n\r\ndone\r\n")) {
		struct pollfd p = { .fd = reader, .events = POLLIN };
		char chunk[65536];
		ssize_t n;

		assert_int_equal(poll(&p, 1, 60000), 1);
		n = read(reader, chunk, sizeof(chunk));
		assert_true(n > 0);
		count += (size_t)n;
	}
	assert_int_equal(count, 1024000 + strlen("go\r\n\r\ndone\r\n"));

	/* Dropped: what was in the socket, and then the end. */
	assert_true(rig_expect_end(sleeper, NULL));
	close(sleeper);
	close(reader);
	rig_box_done(&rig, &box, "c/flood");
}

static uint64_t cpu_usec(pid_t pid)
{
	_cleanup_free_ char *path = str_printf("/proc/%d/stat", (int)pid);
	_cleanup_free_ char *text = NULL;
	unsigned long user = 0, system = 0;

	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	assert_int_equal(sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
	                         &user, &system),
	        2);
	return (user + system) * (USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* A container that prints without end has no more of the keeper than its share; others are answered. */
static void test_flood(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	unsigned int answers = 0, late = 0;
	uint64_t begin, cpu, slowest = 0;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/spam", "while :; do yes; done", true, NULL), 0);
	begin = now_monotonic_usec();
	cpu = cpu_usec(keeper);
	while (answers < 20 || now_monotonic_usec() - begin < 2 * USEC_PER_SEC) {
		uint64_t before = now_monotonic_usec(), took;

		(void)rig_count(&rig);
		took = now_monotonic_usec() - before;
		slowest = took > slowest ? took : slowest;
		answers++;
		late += took >= 200 * USEC_PER_MSEC;
		(void)usleep(20000);
	}
	cpu = cpu_usec(keeper) - cpu;
	begin = now_monotonic_usec() - begin;
	printf("# under a flood: the keeper used %llu ms of %llu, the slowest answer took %llu us\n",
	        (unsigned long long)cpu / 1000, (unsigned long long)begin / 1000,
	        (unsigned long long)slowest);
	assert_true(cpu < begin / 2);
	assert_true(late * 10 <= answers); /* a busy machine makes one or the other late */
	rig_box_done(&rig, &box, "c/spam");
}

/* The slave closed by all must not make the keeper spin, and what is printed later must still come. */
static void test_nobody_has_it_open(void **state)
{
	static const char *const script =
	        "exec 0</dev/null 1>/dev/null 2>&1; sleep 1; echo back >/dev/console; sleep 1000";
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	uint64_t cpu = cpu_usec(keeper);
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/closed", script, true, NULL), 0);
	rig_expect_scrollback(&rig, "c/closed", "back\r\n");
	assert_true(cpu_usec(keeper) - cpu < 300 * USEC_PER_MSEC);
	rig_box_done(&rig, &box, "c/closed");
}

/* More is typed than the terminal takes while nobody reads it: nothing hangs, nobody else is disturbed. */
static void test_typing_into_the_void(void **state)
{
	_cleanup_free_ char *much = malloc(1024 * 1024);
	struct box box;
	ssize_t n, sent = 0;
	int fd;

	memset(much, 'x', 1024 * 1024);
	assert_int_equal(
	        rig_start(&rig, &box, "c/deaf", "stty raw -echo; echo set; sleep 1000", true, NULL), 0);
	rig_expect_scrollback(&rig, "c/deaf", "set");
	fd = rig_attach(&rig, "c/deaf", KEEPER_ATTACH_NO_SCROLLBACK);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	for (int i = 0; i < 50; i++) {
		n = write(fd, much, 1024 * 1024);
		sent += n > 0 ? n : 0;
		assert_int_equal(rig_count(&rig), 1);
	}
	assert_true(sent < 1024 * 1024); /* it was held back, not thrown away without bound */
	close(fd);
	rig_expect_scrollback(&rig, "c/deaf", "set");
	rig_box_done(&rig, &box, "c/deaf");
}

static void test_many_come_and_go(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	size_t before;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/many", parrot, true, NULL), 0);
	rig_expect_scrollback(&rig, "c/many", "ready");
	before = rig_count_fds(keeper);
	for (int i = 0; i < 200; i++) {
		int fd = rig_attach(&rig, "c/many", 0);

		if (i % 2)
			rig_expect(fd, "ready", NULL);
		close(fd);
	}
	for (int i = 0; i < 1000 && rig_count_fds(keeper) != before; i++)
		(void)usleep(10000);
	assert_int_equal(rig_count_fds(keeper), before);
	rig_box_done(&rig, &box, "c/many");
}

/* Half closed: types no more, but looks on, as `ctctl console <file` does. */
static void test_half_closed(void **state)
{
	struct box box;
	int fd;

	assert_int_equal(rig_start(&rig, &box, "c/half", parrot, true, NULL), 0);
	fd = rig_attach(&rig, "c/half", 0);
	assert_int_equal(write(fd, "one\n", 4), 4);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	rig_expect(fd, "said one\r\n", NULL);
	assert_int_equal(keeper_client_signal(rig.client, "c/half", SIGKILL, NULL, NULL), 0);
	assert_true(rig_expect_end(fd, NULL));
	close(fd);
	rig_box_done(&rig, &box, "c/half");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scrollback_and_live),
		cmocka_unit_test(test_scrollback_is_the_end),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_read_all),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_without_console),
		cmocka_unit_test(test_who_does_not_read),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_nobody_has_it_open),
		cmocka_unit_test(test_typing_into_the_void),
		cmocka_unit_test(test_many_come_and_go),
		cmocka_unit_test(test_half_closed),
	};
	int r;

	r = argc == 2 ? rig_init(&rig, argv[1]) : 2;
	if (r != 0)
		return r;

	r = cmocka_run_group_tests(tests, NULL, NULL);
	rig_done(&rig);
	return r;
}
