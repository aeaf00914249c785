/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real keeper: start, exec, exit, signals, what is kept and what leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper-binary.h"
#include "ctd/keeper-proto.h"
#include "ctd/test-keeper-rig.h"

static struct rig rig;

static void test_exit_status(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/exit", "exit 7", false, &reply), 0);
	assert_string_equal(reply.process.key, "c/exit");
	assert_int_equal(reply.process.state, KEEPER_PROCESS_RUNNING);
	assert_true(reply.pidfd >= 0);
	assert_int_equal(reply.console_fd, -1);

	process = rig_await_exit(&rig, "c/exit");
	assert_int_equal(process.exit_code, 7);
	assert_int_equal(process.exit_signal, 0);
	assert_int_equal(process.pid, reply.process.pid);
	assert_true(now_realtime_usec() - process.exited_usec < 60 * USEC_PER_SEC);

	/* Kept until it is forgotten. */
	assert_true(rig_find(&rig, "c/exit", &process));
	assert_int_equal(process.state, KEEPER_PROCESS_EXITED);
	assert_int_equal(process.exit_code, 7);
	assert_int_equal(rig_forget(&rig, "c/exit"), 0);
	assert_int_equal(rig_forget(&rig, "c/exit"), -ESRCH);
	assert_int_equal(rig_count(&rig), 0);
	rig_box_done(&rig, &box, "c/exit");
}

static void test_key_is_used_again(void **state)
{
	struct box first, second, third;
	struct keeper_process process;

	assert_int_equal(rig_start(&rig, &first, "c/again", "exit 1", false, NULL), 0);
	(void)rig_await_exit(&rig, "c/again");
	assert_int_equal(rig_start(&rig, &second, "c/again", "sleep 1000", false, NULL), 0);
	assert_int_equal(rig_start(&rig, &third, "c/again", "sleep 1000", false, NULL), -EEXIST);
	assert_int_equal(rig_forget(&rig, "c/again"), -EBUSY);
	assert_true(rig_find(&rig, "c/again", &process));
	assert_int_equal(process.state, KEEPER_PROCESS_RUNNING);

	box_done(&rig.fixture, &third);
	box_done(&rig.fixture, &first);
	rig_box_done(&rig, &second, "c/again");
}

static void test_failed_start_leaves_nothing(void **state)
{
	static const char *const argv[] = { "/no/such/init", NULL };
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct box box;

	assert_int_equal(rig_start_argv(&rig, &box, "c/none", argv, true, &reply), -ENOENT);
	assert_true(strstr(reply.error.text, "/no/such/init") != NULL);
	assert_int_equal(rig_count(&rig), 0);
	assert_int_equal(ct_cgroup_is_populated(box.cgroup_fd), 0);
	box_done(&rig.fixture, &box);
}

static void test_bad_specification(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	const struct ct_spec nothing = { .root_fd = -1, .userns_fd = -1, .netns_fd = -1, .cgroup_fd = -1 };

	assert_int_equal(
	        rig_wait(&rig,
	                keeper_client_start(rig.client, "c/bad", &nothing, keeper_reply_store, &reply, NULL),
	                &reply),
	        -EINVAL);
	assert_true(reply.error.text[0]);
	assert_int_equal(rig_count(&rig), 0);
}

static void test_signals(void **state)
{
	static const char *const traps = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
	_cleanup_keeper_reply_ struct keeper_reply sent = KEEPER_REPLY_INIT, killed = KEEPER_REPLY_INIT,
	                                           late = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box, other;

	assert_int_equal(rig_start(&rig, &box, "c/term", traps, true, NULL), 0);
	rig_expect_scrollback(&rig, "c/term", "ready");
	assert_int_equal(
	        rig_wait(&rig, keeper_client_signal(rig.client, "c/term", SIGTERM, keeper_reply_store, &sent),
	                &sent),
	        0);
	process = rig_await_exit(&rig, "c/term");
	assert_int_equal(process.exit_code, 3);
	assert_int_equal(
	        rig_wait(&rig, keeper_client_signal(rig.client, "c/term", SIGTERM, keeper_reply_store, &late),
	                &late),
	        -ESRCH);

	assert_int_equal(rig_start(&rig, &other, "c/kill", "sleep 1000", false, NULL), 0);
	assert_int_equal(
	        rig_wait(&rig,
	                keeper_client_signal(rig.client, "c/kill", SIGKILL, keeper_reply_store, &killed),
	                &killed),
	        0);
	process = rig_await_exit(&rig, "c/kill");
	assert_int_equal(process.exit_code, 128 + SIGKILL);
	assert_int_equal(process.exit_signal, SIGKILL);

	rig_box_done(&rig, &box, "c/term");
	rig_box_done(&rig, &other, "c/kill");
}

/* reboot(2) in a pid namespace kills its init by a signal that says which kind it was. */
static void test_reboot_from_inside(void **state)
{
	static const char *const argv[] = { "/bin/busybox", "reboot", "-f", NULL };
	static const char *const halt[] = { "/bin/busybox", "poweroff", "-f", NULL };
	struct keeper_process process;
	struct box box, other;

	assert_int_equal(rig_start_argv(&rig, &box, "c/reboot", argv, false, NULL), 0);
	process = rig_await_exit(&rig, "c/reboot");
	assert_int_equal(process.exit_signal, SIGHUP);
	assert_int_equal(rig_start_argv(&rig, &other, "c/halt", halt, false, NULL), 0);
	process = rig_await_exit(&rig, "c/halt");
	assert_int_equal(process.exit_signal, SIGINT);

	rig_box_done(&rig, &box, "c/reboot");
	rig_box_done(&rig, &other, "c/halt");
}

static void test_exec(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, run = KEEPER_REPLY_INIT,
	                                           none = KEEPER_REPLY_INIT;
	struct box box;
	int in[2], out[2];
	char text[16] = "";

	assert_int_equal(rig_start(&rig, &box, "c/exec", "sleep 1000", false, &init), 0);
	box.init.pidfd = TAKE_FD(init.pidfd);

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(
	        rig_exec(&rig, &box, "x/1", "cat; exit 42", false, (int[]){ in[0], out[1], -1 }, &run), 0);
	close(in[0]);
	close(out[1]);
	assert_int_equal(write(in[1], "a\0b\n", 4), 4);
	close(in[1]);
	assert_int_equal(read_all(out[0], text, sizeof(text)), 4);
	assert_memory_equal(text, "a\0b\n", 4);
	close(out[0]);
	assert_int_equal(rig_await_exit(&rig, "x/1").exit_code, 42);
	assert_int_equal(rig_forget(&rig, "x/1"), 0);

	/* A command that is not there: an answer, no process. */
	const char *const argv[] = { "no-such-command", NULL };
	const struct ct_exec_spec spec = {
		.argv = argv,
		.env = (const char *const[]){ "PATH=/bin", NULL },
		.init_pidfd = box.init.pidfd,
		.cgroup_fd = box.cgroup_fd,
		.base_id = box.shell.base_id,
		.seccomp = rig.fixture.seccomp,
		.stdio = { -1, -1, -1 },
	};
	assert_int_equal(
	        rig_wait(&rig, keeper_client_exec(rig.client, "x/2", &spec, keeper_reply_store, &none, NULL),
	                &none),
	        -ENOENT);
	assert_int_equal(rig_count(&rig), 1);
	rig_box_done(&rig, &box, "c/exec");
}

static void test_exec_tty(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, run = KEEPER_REPLY_INIT;
	struct keeper_process process;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/tty", "sleep 1000", false, &init), 0);
	box.init.pidfd = TAKE_FD(init.pidfd);
	assert_int_equal(
	        rig_exec(&rig, &box, "x/tty", "stty size; tty; read line; echo \"got $line\"; sleep 1000",
	                true, NULL, &run),
	        0);
	assert_true(run.console_fd >= 0);
	rig_expect(run.console_fd, "33 111\r\n/dev/pts/", NULL);
	assert_int_equal(write(run.console_fd, "input\n", 6), 6);
	rig_expect(run.console_fd, "got input", NULL);

	/* The master is ours alone: when it closes, the command's session is hung up. */
	run.console_fd = fd_close(run.console_fd);
	process = rig_await_exit(&rig, "x/tty");
	assert_int_equal(process.exit_signal, SIGHUP);
	assert_int_equal(rig_forget(&rig, "x/tty"), 0);
	rig_box_done(&rig, &box, "c/tty");
}

/* init is killed while a command lingers: both end, both are reported. */
static void test_exec_dies_with_init(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT, run = KEEPER_REPLY_INIT;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/both", "sleep 1000", false, &init), 0);
	box.init.pidfd = TAKE_FD(init.pidfd);
	assert_int_equal(rig_exec(&rig, &box, "x/both", "sleep 1000", false, NULL, &run), 0);
	assert_int_equal(keeper_client_signal(rig.client, "c/both", SIGKILL, NULL, NULL), 0);
	assert_int_equal(rig_await_exit(&rig, "x/both").exit_signal, SIGKILL);
	assert_int_equal(rig_await_exit(&rig, "c/both").exit_signal, SIGKILL);
	assert_int_equal(rig_forget(&rig, "x/both"), 0);
	rig_box_done(&rig, &box, "c/both");
}

static void test_thousand_execs(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply init = KEEPER_REPLY_INIT;
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	size_t before, own;
	unsigned long pss;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/thousand", "sleep 1000", false, &init), 0);
	box.init.pidfd = TAKE_FD(init.pidfd);
	before = rig_count_fds(keeper);
	own = rig_count_fds(getpid());
	pss = rig_pss(keeper);

	for (int i = 0; i < 1000; i++) {
		_cleanup_keeper_reply_ struct keeper_reply run = KEEPER_REPLY_INIT;
		char key[32];

		(void)snprintf(key, sizeof(key), "x/%d", i);
		assert_int_equal(
		        rig_exec(&rig, &box, key, i % 2 ? "exit 5" : "", i % 10 == 0, NULL, &run), 0);
		run.console_fd = fd_close(run.console_fd);
		(void)rig_await_exit(&rig, key);
		assert_int_equal(keeper_client_forget(rig.client, key, NULL, NULL), 0);
	}

	assert_int_equal(rig_count(&rig), 1);
	assert_int_equal(rig_count_fds(keeper), before);
	assert_int_equal(rig_count_fds(getpid()), own);
	rig_expect_no_growth(keeper, pss);
	rig_box_done(&rig, &box, "c/thousand");
}

/* A container that cannot get to its exec (its cgroup is frozen) keeps nobody waiting: others start
 * meanwhile, and it is killed at its deadline. */
static void test_deadline(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply stuck = KEEPER_REPLY_INIT;
	uint64_t begin = now_monotonic_usec();
	struct box frozen, other;
	struct ct_error error = { 0 };
	struct ct_spec spec;
	int r;

	assert_int_equal(box_prepare(&rig.fixture, &frozen, &spec, &error), 0);
	spec.argv = (const char *const[]){ "/bin/sh", NULL };
	assert_int_equal(ct_cgroup_freeze(frozen.cgroup_fd, true, USEC_PER_SEC, &error), 0);
	assert_int_equal(
	        keeper_client_start(rig.client, "c/frozen", &spec, keeper_reply_store, &stuck, &error), 0);

	assert_int_equal(rig_start(&rig, &other, "c/other", "sleep 1000", false, NULL), 0);
	assert_true(now_monotonic_usec() - begin < KEEPER_EXEC_DEADLINE_USEC);

	r = keeper_client_wait(rig.client, &stuck, &error);
	assert_int_equal(r, -ETIMEDOUT);
	assert_true(strstr(error.text, "10 s") != NULL); /* the keeper's sentence, not our own deadline's */
	assert_int_equal(rig_count(&rig), 1);
	assert_int_equal(ct_cgroup_is_populated(frozen.cgroup_fd), 0);
	box_done(&rig.fixture, &frozen);
	rig_box_done(&rig, &other, "c/other");
}

/* Runs busybox with the arguments as init of a container; what it has printed, to be freed. */
static char *output_of_init(const char *const *argv)
{
	struct box box;
	char *text;

	assert_int_equal(rig_start_argv(&rig, &box, "c/output", argv, true, NULL), 0);
	assert_int_equal(rig_await_exit(&rig, "c/output").exit_code, 0);
	text = rig_scrollback(&rig, "c/output");
	rig_box_done(&rig, &box, "c/output");
	return text;
}

/* What the keeper sets for itself must not reach the container, nor any of its files. */
static void test_what_a_container_inherits(void **state)
{
	static const char *const status[] = { "/bin/busybox", "cat", "/proc/self/oom_score_adj",
		"/proc/self/status", NULL };
	static const char *const fds[] = { "/bin/busybox", "ls", "/proc/self/fd", NULL };
	_cleanup_free_ char *of_status = output_of_init(status), *of_fds = output_of_init(fds);

	assert_true(str_has_prefix(of_status, "0\r\n"));
	assert_non_null(strstr(of_status, "SigBlk:\t0000000000000000\r\n"));
	assert_non_null(strstr(of_status, "SigIgn:\t0000000000000000\r\n"));
	assert_string_equal(of_fds, "0  1  2  3\r\n"); /* 3 is how it lists them */
}

static char *read_proc(pid_t pid, const char *name)
{
	_cleanup_free_ char *path = str_printf("/proc/%d/%s", (int)pid, name);
	char *text = NULL;

	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	return text;
}

/* What the keeper is while it serves: a sealed program, few mounts and none of the host's disks, no files
 * that are not its own. */
static void test_the_keeper_itself(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	_cleanup_free_ char *mounts = read_proc(keeper, "mountinfo"),
	                    *exe = str_printf("/proc/%d/exe", (int)keeper);
	_cleanup_close_ int fd = open(exe, O_RDONLY | O_CLOEXEC);
	char target[64] = "";
	size_t lines = 0;

	assert_true(readlink(exe, target, sizeof(target) - 1) > 0);
	assert_true(str_has_prefix(target, "/memfd:ct-keeper"));
	assert_true(keeper_binary_is_sealed(fd));

	for (const char *line = mounts; *line; line = strchr(line, '\n') + 1)
		lines++;
	assert_int_equal(lines, 5);
	assert_null(strstr(mounts, " ext4 "));
	assert_null(strstr(mounts, " overlay "));

	/* Standard streams, epoll, a spare, directory, lock, socket, connection. */
	assert_true(rig_count_fds(keeper) <= 9);
}

static void test_start_is_quick(void **state)
{
	enum { ROUNDS = 40 };
	uint64_t times[ROUNDS];

	for (size_t i = 0; i < ROUNDS; i++) {
		_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
		struct ct_error error = { 0 };
		struct ct_spec spec;
		struct box box;
		uint64_t begin;

		assert_int_equal(box_prepare(&rig.fixture, &box, &spec, &error), 0);
		spec.argv = (const char *const[]){ "/bin/sleep", "1000", NULL };
		spec.console = true;
		begin = now_monotonic_usec();
		assert_int_equal(rig_wait(&rig,
		                         keeper_client_start(rig.client, "c/quick", &spec, keeper_reply_store,
		                                 &reply, &error),
		                         &reply),
		        0);
		times[i] = now_monotonic_usec() - begin;
		rig_box_done(&rig, &box, "c/quick");
	}

	for (size_t i = 0; i < ROUNDS; i++) /* insertion is enough for forty */
		for (size_t j = i; j > 0 && times[j] < times[j - 1]; j--) {
			uint64_t t = times[j];

			times[j] = times[j - 1];
			times[j - 1] = t;
		}
	printf("# START: median %llu us, worst of %d %llu us\n", (unsigned long long)times[ROUNDS / 2],
	        ROUNDS, (unsigned long long)times[ROUNDS - 1]);
	assert_true(times[ROUNDS / 2] <
	            500 * USEC_PER_MSEC); /* it would be wrong by far; bench/ has the budget */
}

static void test_quit_is_refused(void **state)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/quit", "sleep 1000", false, NULL), 0);
	assert_int_equal(
	        rig_wait(&rig, keeper_client_quit(rig.client, keeper_reply_store, &reply), &reply), -EBUSY);
	assert_true(keeper_client_is_connected(rig.client));
	rig_box_done(&rig, &box, "c/quit");
}

/* Of ctd's own programs: fd 3 is what was given, there is no other, and the end is told. */
static void test_program(void **state)
{
	static const char *const argv[] = { "sh", "-c", "echo hello >&3; ls /proc/self/fd >&3; exit 5",
		NULL };
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT, again = KEEPER_REPLY_INIT;
	_cleanup_close_ int program = open("/bin/sh", O_PATH | O_CLOEXEC);
	_cleanup_close_ int mntns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	struct keeper_program p = { .argv = argv, .program_fd = program, .mntns_fd = mntns };
	struct keeper_process process;
	char text[256];
	int fds[2];
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	p.third_fd = fds[1];
	assert_int_equal(
	        rig_wait(&rig, keeper_client_run(rig.client, "r/test", &p, keeper_reply_store, &reply),
	                &reply),
	        0);
	assert_true(reply.pidfd >= 0);
	fds[1] = fd_close(fds[1]);
	n = read_all(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "hello\n0\n1\n2\n3\n4\n"); /* 4 is the directory */
	fds[0] = fd_close(fds[0]);

	process = rig_await_exit(&rig, "r/test");
	assert_int_equal(process.exit_code, 5);
	assert_int_equal(process.pid, reply.process.pid);
	assert_int_equal(rig_forget(&rig, "r/test"), 0);
	assert_int_equal(rig_forget(&rig, "r/test"), -ESRCH);

	p.third_fd = -1; /* cannot be sent */
	assert_true(rig_wait(&rig, keeper_client_run(rig.client, "r/test", &p, keeper_reply_store, &again),
	                    &again) < 0);
	assert_int_equal(rig_count(&rig), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_key_is_used_again),
		cmocka_unit_test(test_failed_start_leaves_nothing),
		cmocka_unit_test(test_bad_specification),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_reboot_from_inside),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_exec_tty),
		cmocka_unit_test(test_exec_dies_with_init),
		cmocka_unit_test(test_thousand_execs),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_what_a_container_inherits),
		cmocka_unit_test(test_the_keeper_itself),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_start_is_quick),
		cmocka_unit_test(test_quit_is_refused),
	};
	int r;

	r = argc == 2 ? rig_init(&rig, argv[1]) : 2;
	if (r != 0)
		return r;

	r = cmocka_run_group_tests(tests, NULL, NULL);
	rig_done(&rig);
	return r;
}
