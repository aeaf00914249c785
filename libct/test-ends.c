/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts that fail or are interrupted, and how containers end. Needs root. */
#include "libct/test-case.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static void a_probe_of_the_host_leaves_nothing(void **state)
{
	struct ct_host host;
	char name[256];
	int fds = count_fds();

	assert_int_equal(ct_host_probe(&host, &err), 0);
	assert_int_equal(count_fds(), fds);
	assert_true(host.seccomp && host.openat2 && host.cgroup_v2);
	(void)snprintf(name, sizeof(name), "%s/ct-probe-%d", host.cgroup_mount, (int)getpid());
	assert_int_equal(access(name, F_OK), -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

static void failed_start(const char *const *argv, int code, const char *word)
{
	int fds = count_fds();

	spec.argv = argv;
	assert_int_equal(box_start(&box, &spec, &err), code);
	assert_string_equal(err.step, "exec");
	assert_non_null(strstr(err.text, word));
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 127);
	ct_process_done(&box.init);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

static void a_missing_init_is_named(void **state)
{
	failed_start(ARGV("/no/such"), -ENOENT, "/no/such");
}

static void a_directory_is_no_init(void **state)
{
	failed_start(ARGV("/sbin"), -EACCES, "/sbin");
}

/* On kernels before 6.15 the root is used up; another start says so instead of doing something odd. */
static void a_used_root_is_refused_or_works(void **state)
{
	must_start();
	struct ct_process second = CT_PROCESS_INIT;
	int r = ct_start(&spec, &second, &err);
	if (r == 0)
		r = process_result(&second, FIXTURE_TIMEOUT, &err);
	if (r < 0)
		assert_non_null(strstr(err.text, "another start"));
	if (second.pidfd >= 0) {
		(void)kill(second.pid, SIGKILL);
		(void)process_join(second.pidfd, FIXTURE_TIMEOUT);
	}
	ct_process_done(&second);
}

static void kill_after(useconds_t delay)
{
	int fds = count_fds();

	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	assert_int_equal(ct_start(&spec, &box.init, &err), 0);
	(void)usleep(delay / 2);
	int early = ct_start_result(&box.init, &err);
	(void)usleep(delay - delay / 2);
	assert_int_equal(ct_cgroup_kill(box.cgroup_fd, &err), 0);

	int r = early == 0 ? process_result(&box.init, FIXTURE_TIMEOUT, &err) : early == 1 ? 0 : early;
	assert_true(r == -ECANCELED || r == 0);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGKILL);
	box.init.pidfd = fd_close(box.init.pidfd);
	box_done(&fixture, &box);
	assert_int_equal(count_fds(), fds);
}

/* At whatever moment a start is killed, nothing is left. */
static void killed_while_starting(void **state)
{
	box_done(&fixture, &box);
	for (useconds_t delay = 0; delay < 3000; delay += 60)
		kill_after(delay);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

#define MANY 24

/* Starts that overlap, as a daemon that boots a host has them. */
static void many_start_at_once(void **state)
{
	static struct box boxes[MANY];
	static struct ct_spec specs[MANY];
	int running = 0, fds = count_fds();

	for (int i = 0; i < MANY; i++) {
		assert_int_equal(box_prepare(&fixture, &boxes[i], &specs[i], &err), 0);
		assert_int_equal(ct_start(&specs[i], &boxes[i].init, &err), 0);
	}
	for (int round = 0; round < 600000 && running < MANY; round++) {
		for (int i = 0; i < MANY; i++) {
			if (boxes[i].init.status_fd < 0)
				continue;
			int r = ct_start_result(&boxes[i].init, &err);
			if (r < 0)
				fail_msg("%s: %s", err.step, err.text);
			running += r;
		}
		(void)usleep(100);
	}
	assert_int_equal(running, MANY);
	for (int i = 0; i < MANY; i++)
		box_done(&fixture, &boxes[i]);
	assert_int_equal(count_fds(), fds);
}

static void shells_leave_nothing(void **state)
{
	int fds = count_fds();

	for (int i = 0; i < 200; i++) {
		struct ct_shell shell = CT_SHELL_INIT;
		assert_int_equal(ct_shell_new(FIXTURE_BASE_ID, &shell, &err), 0);
		assert_int_equal(shell.base_id, FIXTURE_BASE_ID);
		ct_shell_done(&shell);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

static void dies_with_its_parent(void **state)
{
	int status;

	pid_t pid = fork();
	if (pid == 0) {
		struct ct_process p = CT_PROCESS_INIT;
		_exit(ct_start(&spec, &p, NULL) == 0 ? 0 : 1); /* never asks for the outcome */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 6000 && ct_cgroup_is_populated(box.cgroup_fd) != 0; i++)
		(void)usleep(5000);
	assert_int_equal(ct_cgroup_is_populated(box.cgroup_fd), 0);
}

static void outlives_its_parent_once_started(void **state)
{
	int status;

	pid_t pid = fork();
	if (pid == 0)
		_exit(box_start(&box, &spec, NULL) == 0 ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)usleep(50000);
	assert_int_equal(ct_cgroup_is_populated(box.cgroup_fd), 1);
}

static void reboot_and_poweroff_end_init(void **state)
{
	must_start();
	(void)box_run(&fixture, &box, ARGV("/probe", "reboot", "restart"), output, sizeof(output), &err);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGHUP);
	box.init.pidfd = fd_close(box.init.pidfd);

	box_done(&fixture, &box);
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	must_start();
	(void)box_run(&fixture, &box, ARGV("/probe", "reboot", "off"), output, sizeof(output), &err);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGINT);
	box.init.pidfd = fd_close(box.init.pidfd);
}

static void rlimits_are_set(void **state)
{
	struct rlimit now;
	const struct ct_rlimit low = { RLIMIT_NOFILE, 100, 200 };

	spec.rlimits = &low;
	spec.n_rlimits = 1;
	must_start();
	assert_non_null(strstr(inside(ARGV("/probe", "cat", "/proc/1/limits")),
	        "Max open files            100                  200 "));

	/* Above our own hard limit it takes CAP_SYS_RESOURCE, and where that is missing a clear word. */
	box_done(&fixture, &box);
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &now), 0);
	if (now.rlim_max == RLIM_INFINITY)
		return;
	const struct ct_rlimit high = { RLIMIT_MEMLOCK, now.rlim_max, now.rlim_max + 4096 };
	spec.rlimits = &high;
	int r = box_start(&box, &spec, &err);
	if (r < 0)
		assert_non_null(strstr(err.text, "CAP_SYS_RESOURCE"));
}

static void a_frozen_tree_is_killed_and_removed(void **state)
{
	must_start();
	for (int i = 0; i < 3; i++) {
		static const char *const dirs[] = { "a", "a/b", "c" };
		assert_int_equal(mkdirat(box.cgroup_fd, dirs[i], 0755), 0);
	}
	assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, true, FIXTURE_TIMEOUT, &err), 0);
	assert_int_equal(ct_cgroup_is_frozen(box.cgroup_fd), 1);
	assert_int_equal(ct_cgroup_remove(fixture.cgroup_fd, box.name, &err), -EBUSY);
	assert_int_equal(ct_cgroup_kill(box.cgroup_fd, &err), 0);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGKILL);
	box.init.pidfd = fd_close(box.init.pidfd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_probe_of_the_host_leaves_nothing),
		TEST(a_missing_init_is_named),
		TEST(a_directory_is_no_init),
		TEST(a_used_root_is_refused_or_works),
		TEST(killed_while_starting),
		TEST(many_start_at_once),
		TEST(shells_leave_nothing),
		TEST(dies_with_its_parent),
		TEST(outlives_its_parent_once_started),
		TEST(reboot_and_poweroff_end_init),
		TEST(rlimits_are_set),
		TEST(a_frozen_tree_is_killed_and_removed),
	};

	return RUN(argc, argv, tests);
}
