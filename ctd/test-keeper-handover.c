/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper replaced in place, and the keeper killed: what lives on, and what is still known. */
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
#include <sys/pidfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/keeper-ring.h"
#include "ctd/test-keeper-rig.h"

static struct rig rig;

static const char *const parrot =
        "echo ready; while read line; do [ \"$line\" = exit ] && exit 4; echo \"said $line\"; done";

static int reexec(const char *path, struct keeper_reply *reply)
{
	struct ct_error error = { 0 };
	int r = keeper_client_reexec(rig.client, path, keeper_reply_store, reply, &error);

	return r < 0 ? r : rig_wait(&rig, r, reply);
}

/* A build that was linked with a sanitizer is not static and cannot be executed in the keeper's mount
 * namespace. */
static bool can_reexec(void)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	return reexec(rig.binary, &reply) == 0;
}

static void test_reexec_keeps_all(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, run = KEEPER_REPLY_INIT,
	                                           reply = KEEPER_REPLY_INIT;
	struct keeper_hello before = *keeper_client_hello(rig.client);
	struct keeper_process process;
	struct box box, gone;
	size_t fds;
	int looker;

	if (!can_reexec())
		skip();

	assert_int_equal(rig_start(&rig, &box, "c/kept", parrot, true, &init), 0);
	box.init.pidfd = TAKE_FD(init.pidfd);
	assert_int_equal(rig_exec(&rig, &box, "x/kept", "sleep 1000", false, NULL, &run), 0);
	assert_int_equal(rig_start(&rig, &gone, "c/gone", "echo last words; exit 9", true, NULL), 0);
	(void)rig_await_exit(&rig, "c/gone");
	looker = rig_attach(&rig, "c/kept", 0);
	rig_expect(looker, "ready\r\n", NULL);
	fds = rig_count_fds(before.pid);

	assert_int_equal(reexec(rig.binary, &reply), 0);
	assert_int_equal(keeper_client_hello(rig.client)->pid, before.pid);
	assert_int_equal(keeper_client_hello(rig.client)->n_reexecs, before.n_reexecs + 2);
	assert_int_equal(keeper_client_hello(rig.client)->started_usec, before.started_usec);
	assert_int_equal(keeper_client_hello(rig.client)->n_processes, 3);
	assert_string_equal(keeper_client_hello(rig.client)->build_id, before.build_id);
	assert_int_equal(rig_count_fds(before.pid), fds);
	assert_int_equal(rig.lost, 0);

	/* The console goes on for who looked at it, the exit that was not forgotten is known, the children
	 * are still its own. */
	assert_int_equal(write(looker, "hello\n", 6), 6);
	rig_expect(looker, "said hello\r\n", NULL);
	rig_expect_scrollback(&rig, "c/kept", "ready\r\nhello\r\nsaid hello\r\n");
	rig_expect_scrollback(&rig, "c/gone", "last words\r\n");
	assert_true(rig_find(&rig, "c/gone", &process));
	assert_int_equal(process.exit_code, 9);
	assert_true(rig_find(&rig, "c/kept", &process));
	assert_false(process.adopted);
	assert_int_equal(process.start_time, init.process.start_time);

	assert_int_equal(keeper_client_signal(rig.client, "x/kept", SIGUSR1, NULL, NULL), 0);
	assert_int_equal(rig_await_exit(&rig, "x/kept").exit_signal, SIGUSR1);
	assert_int_equal(write(looker, "exit\n", 5), 5);
	assert_int_equal(rig_await_exit(&rig, "c/kept").exit_code, 4);
	assert_true(rig_expect_end(looker, NULL));
	close(looker);
	assert_int_equal(rig_forget(&rig, "x/kept"), 0);
	rig_box_done(&rig, &gone, "c/gone");
	rig_box_done(&rig, &box, "c/kept");
}

/* While a start is under way: the answer comes from the new one. */
static void test_reexec_during_start(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply started = KEEPER_REPLY_INIT, replaced = KEEPER_REPLY_INIT;
	struct ct_error error = { 0 };
	struct ct_spec spec;
	struct box box;

	if (!can_reexec())
		skip();

	assert_int_equal(box_prepare(&rig.fixture, &box, &spec, &error), 0);
	spec.argv = (const char *const[]){ "/bin/sh", "-c", "echo here; sleep 1000", NULL };
	spec.console = true;
	assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, true, USEC_PER_SEC, &error), 0);
	assert_int_equal(
	        keeper_client_start(rig.client, "c/during", &spec, keeper_reply_store, &started, &error), 0);
	assert_int_equal(reexec(rig.binary, &replaced), 0);
	assert_false(started.done);
	assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, false, USEC_PER_SEC, &error), 0);
	assert_int_equal(keeper_client_wait(rig.client, &started, &error), 0);
	assert_int_equal(started.process.state, KEEPER_PROCESS_RUNNING);
	assert_true(started.console_fd >= 0);
	rig_expect_scrollback(&rig, "c/during", "here\r\n");
	rig_box_done(&rig, &box, "c/during");
}

static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	return fd < 0 ? -errno : write_all(fd, text, strlen(text));
}

static void test_reexec_refuses(void **state)
{
	static const char *const others[] = { "/bin/true", "/bin/busybox", "/bin/false" };
	_cleanup_free_ char *text = str_printf("%s/not-a-program", rig.fixture.dir);
	_cleanup_keeper_reply_ struct keeper_reply bad = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/stays", parrot, true, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

		assert_true(reexec(others[i], &reply) < 0);
		assert_true(reply.error.text[0]);
	}
	assert_int_equal(write_text(text, "#!/bin/true\n"), 0);
	assert_true(reexec(text, &bad) < 0);
	assert_true(reexec("/no/such/file", &bad) == -ENOENT);

	/* The old one goes on. */
	assert_true(rig_find(&rig, "c/stays", &process));
	rig_expect_scrollback(&rig, "c/stays", "ready");
	rig_box_done(&rig, &box, "c/stays");
}

static bool is_lost(struct rig *r, void *arg)
{
	return r->lost != 0;
}

static void kill_keeper(void)
{
	assert_int_equal(kill(keeper_client_hello(rig.client)->pid, SIGKILL), 0);
	assert_true(rig_run_until(&rig, is_lost, NULL, 5 * USEC_PER_SEC));
}

static int adopt_with(const struct keeper_adoption *adoption)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	return rig_wait(&rig, keeper_client_adopt(rig.client, adoption, keeper_reply_store, &reply), &reply);
}

static int adopt(const struct keeper_process *process, int pidfd, int console_fd)
{
	return adopt_with(
	        &(struct keeper_adoption){ .process = process, .pidfd = pidfd, .console_fd = console_fd });
}

/* Linux 6.15 tells the status of a process that is not a child to whoever has its pidfd. */
static bool knows_strangers(void)
{
	struct utsname name;
	unsigned int major = 0, minor = 0;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);
	return major > 6 || (major == 6 && minor >= 15);
}

static void test_adopt_with_console(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, again = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box;
	int looker;

	assert_int_equal(rig_start(&rig, &box, "c/adopted", parrot, true, &init), 0);
	assert_true(init.console_fd >= 0);
	rig_expect_scrollback(&rig, "c/adopted", "ready\r\n");

	kill_keeper();
	assert_int_equal(rig_open(&rig), KEEPER_CLIENT_SPAWNED);
	assert_int_equal(rig_count(&rig), 0);
	assert_int_equal(adopt(&init.process, init.pidfd, init.console_fd), 0);
	assert_int_equal(adopt(&init.process, init.pidfd, init.console_fd), -EEXIST);
	assert_true(rig_find(&rig, "c/adopted", &process));
	assert_true(process.adopted && process.has_console);
	assert_int_equal(process.pid, init.process.pid);

	/* The console that we kept is as it was, without the scrollback; the keeper gives both back to the
	 * next ctd. */
	looker = rig_attach(&rig, "c/adopted", 0);
	assert_int_equal(write(looker, "hello\n", 6), 6);
	rig_expect(looker, "said hello\r\n", NULL);
	assert_int_equal(
	        rig_wait(&rig, keeper_client_pidfd(rig.client, "c/adopted", keeper_reply_store, &again),
	                &again),
	        0);
	assert_true(again.pidfd >= 0 && again.console_fd >= 0);

	assert_int_equal(write(looker, "exit\n", 5), 5);
	process = rig_await_exit(&rig, "c/adopted");
	assert_true(process.adopted);
	assert_int_equal(process.exit_code, knows_strangers() ? 4 : -1);
	assert_true(rig_expect_end(looker, NULL));
	close(looker);
	rig_box_done(&rig, &box, "c/adopted");
}

static void expect_console(const char *key, const char *data, size_t len)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	assert_int_equal(
	        rig_wait(&rig, keeper_client_console_read(rig.client, key, 0, keeper_reply_store, &reply),
	                &reply),
	        0);
	assert_int_equal(reply.data_len, len);
	assert_memory_equal(reply.data, data, len);
}

/* What is given along comes first, whatever it is, then what the process prints; so it is after a replacement
 * of the keeper. */
static void test_adopt_with_scrollback(void **state)
{
	static const char said[] = "hello\r\nsaid hello\r\n";
	const size_t rest = KEEPER_RING_MAX - strlen(said);
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, replaced = KEEPER_REPLY_INIT;
	_cleanup_free_ char *text = malloc(KEEPER_RING_MAX + 1);
	struct keeper_adoption adoption = { .process = &init.process, .scrollback = text };
	struct box box;
	int looker;

	for (size_t i = 0; i <= KEEPER_RING_MAX; i++)
		text[i] = (char)(i * 2654435761u >> 13); /* all bytes that there are, NUL too */
	assert_int_equal(rig_start(&rig, &box, "c/moved", parrot, true, &init), 0);
	rig_expect_scrollback(&rig, "c/moved", "ready\r\n");
	kill_keeper();
	assert_int_equal(rig_open(&rig), KEEPER_CLIENT_SPAWNED);

	adoption.pidfd = init.pidfd;
	adoption.console_fd = init.console_fd;
	adoption.scrollback_len = KEEPER_RING_MAX + 1;
	assert_int_equal(adopt_with(&adoption), -EBADMSG);
	adoption.console_fd = -1;
	adoption.scrollback_len = 10;
	assert_int_equal(adopt_with(&adoption), -EBADMSG);
	assert_int_equal(rig_count(&rig), 0);
	adoption.console_fd = init.console_fd;
	adoption.scrollback_len = KEEPER_RING_MAX;
	assert_int_equal(adopt_with(&adoption), 0);
	expect_console("c/moved", text, KEEPER_RING_MAX);
	(void)reexec(rig.binary, &replaced); /* not of a sanitizer's build */
	expect_console("c/moved", text, KEEPER_RING_MAX);

	looker = rig_attach(&rig, "c/moved", KEEPER_ATTACH_NO_SCROLLBACK);
	assert_int_equal(write(looker, "hello\n", 6), 6);
	rig_expect(looker, "said hello\r\n", NULL);
	memmove(text, text + strlen(said), rest);
	memcpy(text + rest, said, strlen(said));
	expect_console("c/moved", text, KEEPER_RING_MAX);
	close(looker);
	rig_box_done(&rig, &box, "c/moved");
}

static void test_adopt_refuses(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT;
	struct keeper_process other, wrong;
	_cleanup_close_ int own = pidfd_open(getpid(), 0), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/real", "sleep 1000", false, &init), 0);
	other = init.process;
	(void)snprintf(other.key, sizeof(other.key), "c/other");

	wrong = other;
	wrong.start_time++;
	assert_int_equal(adopt(&wrong, init.pidfd, -1), -ESRCH);
	assert_int_equal(adopt(&other, own, -1), -ESRCH);
	assert_int_equal(adopt(&other, null, -1), -EBADF);

	assert_int_equal(keeper_client_signal(rig.client, "c/real", SIGKILL, NULL, NULL), 0);
	(void)rig_await_exit(&rig, "c/real");
	assert_int_equal(adopt(&other, init.pidfd, -1), -ESRCH);
	assert_int_equal(rig_count(&rig), 1);
	rig_box_done(&rig, &box, "c/real");
}

/* 0 if the process ends within the time. */
static int ends_within(int pidfd, int msec)
{
	return poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, msec) == 1 ? 0 : -ETIMEDOUT;
}

static uint64_t cpu_of_cgroup(int cgroup_fd)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long usage = 0;

	assert_int_equal(read_file_at(cgroup_fd, "cpu.stat", 4096, &text, NULL), 0);
	assert_int_equal(sscanf(text, "usage_usec %llu", &usage), 1);
	return usage;
}

/* Nobody kept the master: the terminal hangs up. init must not notice, whether it is a script or busybox's
 * init with a shell on the console, and the shell that is started again and again must not keep the machine
 * busy. */
static void test_console_lost(void **state)
{
	static const char *const inits[][4] = {
		{ "/bin/sh", "-c", "exec 2>&-; while :; do echo tick; read -t 1 line; sleep 0.2; done",
		        NULL },
		{ "/sbin/init", NULL },
	};

	_cleanup_free_ char *inittab = str_printf("%s/lower/etc/inittab", rig.fixture.dir);

	assert_int_equal(write_text(inittab, "::respawn:-/bin/sh\n::once:/bin/sleep 1000\n"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(inits); i++) {
		_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT;
		struct keeper_process process;
		struct box box;
		uint64_t cpu;

		assert_int_equal(rig_start_argv(&rig, &box, "c/lost", inits[i], true, &init), 0);
		(void)usleep(300000);
		init.console_fd = fd_close(init.console_fd);
		kill_keeper();
		assert_int_equal(ends_within(init.pidfd, 1500), -ETIMEDOUT);
		cpu = cpu_of_cgroup(box.cgroup_fd);
		assert_int_equal(ends_within(init.pidfd, 2500), -ETIMEDOUT);
		cpu = cpu_of_cgroup(box.cgroup_fd) - cpu;
		printf("# without its console: %s used %llu ms in 2.5 s\n", inits[i][0],
		        (unsigned long long)cpu / 1000);
		assert_true(cpu < USEC_PER_SEC);

		assert_int_equal(rig_open(&rig), KEEPER_CLIENT_SPAWNED);
		assert_int_equal(adopt(&init.process, init.pidfd, -1), 0);
		assert_true(rig_find(&rig, "c/lost", &process));
		assert_false(process.has_console);
		assert_int_equal(keeper_client_signal(rig.client, "c/lost", SIGKILL, NULL, NULL), 0);
		assert_int_equal(rig_await_exit(&rig, "c/lost").exit_signal, knows_strangers() ? SIGKILL : 0);
		rig_box_done(&rig, &box, "c/lost");
	}
}

/* A new ctd finds what the old one left, and hears of exits from then on. */
static void test_ctd_restarts(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply again = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box, ended;

	assert_int_equal(rig_start(&rig, &box, "c/found", parrot, true, NULL), 0);
	assert_int_equal(rig_start(&rig, &ended, "c/ended", "read line; exit 5", true, NULL), 0);
	int typist = rig_attach(&rig, "c/ended", 0);
	keeper_client_free(TAKE_PTR(rig.client));

	/* It ends while there is no ctd. */
	assert_int_equal(write(typist, "\n", 1), 1);
	assert_true(rig_expect_end(typist, NULL));
	close(typist);

	assert_int_equal(rig_open(&rig), KEEPER_CLIENT_FOUND);
	assert_int_equal(rig_count(&rig), 2);
	assert_true(rig_find(&rig, "c/ended", &process));
	assert_int_equal(process.state, KEEPER_PROCESS_EXITED);
	assert_int_equal(process.exit_code, 5);
	assert_int_equal(
	        rig_wait(
	                &rig, keeper_client_pidfd(rig.client, "c/found", keeper_reply_store, &again), &again),
	        0);
	assert_true(again.pidfd >= 0 && again.console_fd >= 0);
	assert_int_equal(keeper_client_signal(rig.client, "c/found", SIGKILL, NULL, NULL), 0);
	assert_int_equal(rig_await_exit(&rig, "c/found").exit_signal, SIGKILL);
	rig_box_done(&rig, &ended, "c/ended");
	rig_box_done(&rig, &box, "c/found");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reexec_keeps_all),
		cmocka_unit_test(test_reexec_during_start),
		cmocka_unit_test(test_reexec_refuses),
		cmocka_unit_test(test_adopt_with_console),
		cmocka_unit_test(test_adopt_with_scrollback),
		cmocka_unit_test(test_adopt_refuses),
		cmocka_unit_test(test_console_lost),
		cmocka_unit_test(test_ctd_restarts),
	};
	int r;

	r = argc == 2 ? rig_init(&rig, argv[1]) : 2;
	if (r != 0)
		return r;

	r = cmocka_run_group_tests(tests, NULL, NULL);
	rig_done(&rig);
	return r;
}
