/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands in running containers, friendly and hostile ones. Needs root. */
#include "libct/test-case.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* Runs a prepared specification to its end; the exit status or a negative errno. */
static int run(const struct ct_exec_spec *cmd)
{
	struct ct_process p = CT_PROCESS_INIT;

	int r = ct_exec(cmd, &p, &err);
	if (r == 0)
		r = process_result(&p, FIXTURE_TIMEOUT, &err);
	if (p.pidfd >= 0) {
		int status = process_join(p.pidfd, FIXTURE_TIMEOUT);
		r = r < 0 ? r : status;
	}
	ct_process_done(&p);
	return r;
}

/* The same on a terminal, with what it printed. */
static int run_on_terminal(struct ct_exec_spec *cmd)
{
	struct ct_process p = CT_PROCESS_INIT;

	cmd->tty = true;
	int r = ct_exec(cmd, &p, &err);
	if (r == 0)
		r = process_result(&p, FIXTURE_TIMEOUT, &err);
	if (r < 0)
		fail_msg("%s: %s", err.step, err.text);
	assert_true(p.console_fd >= 0);
	collect_output(p.console_fd, output, sizeof(output));
	r = process_join(p.pidfd, FIXTURE_TIMEOUT);
	ct_process_done(&p);
	return r;
}

/* ---- what a command is given ---- */

static void it_is_confined_as_init(void **state)
{
	char bounding[64];
	const char *s = inside(ARGV("/probe", "status"));

	(void)snprintf(bounding, sizeof(bounding), "CapBnd:\t%016llx",
	        (unsigned long long)ct_capabilities_default());
	expect(s, "uid", "0 0 gid 0 0 groups 0");
	expect(s, "umask", "0022 signals 0 cwd / tty no session 1");
	assert_non_null(strstr(s, "CapInh:\t0000000000000000"));
	assert_non_null(strstr(s, "CapAmb:\t0000000000000000"));
	assert_non_null(strstr(s, bounding));
	assert_non_null(strstr(s, "NoNewPrivs:\t0"));
	assert_non_null(strstr(s, "Seccomp:\t2"));
	assert_non_null(strstr(s, "Seccomp_filters:\t1"));
	expect(inside(ARGV("/probe", "syscalls")), "unshare-user", "EPERM");
	expect(inside(ARGV("/probe", "sockets")), "family-38", "EAFNOSUPPORT");
}

static void it_has_three_fds(void **state)
{
	const char *s = inside(ARGV("/probe", "fds"));

	expect(s, "fd", "0 /dev/null");
	assert_non_null(strstr(s, "fd 1 pipe:"));
	assert_null(strstr(s, "fd 3"));
}

static void exit_status_comes_through(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "42"));

	assert_int_equal(run(&cmd), 42);
	cmd.argv = ARGV("probe", "exit", "7"); /* by PATH */
	assert_int_equal(run(&cmd), 7);
}

static void what_is_missing_is_named(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/no/such"));

	assert_int_equal(run(&cmd), -ENOENT);
	assert_non_null(strstr(err.text, "/no/such"));
	cmd.argv = ARGV("nosuch");
	assert_int_equal(run(&cmd), -ENOENT);
	cmd.argv = ARGV("/probe", "status");
	cmd.cwd = "/no/dir";
	assert_int_equal(run(&cmd), -ENOENT);
	assert_string_equal(err.step, "cwd");
}

static void a_user_is_a_user(void **state)
{
	const uint32_t groups[] = { 4, 27 };
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "status"));

	cmd.uid = 1000;
	cmd.gid = 100;
	cmd.groups = groups;
	cmd.n_groups = 2;
	assert_int_equal(run_on_terminal(&cmd), 0);
	expect(output, "uid", "1000 1000 gid 100 100 groups 2");
	expect(output, "umask", "0022 signals 0 cwd / tty yes session 1");
	assert_non_null(strstr(output, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(output, "CapPrm:\t0000000000000000"));
}

/* The tenant's own setuid programs work: su, sudo. */
static void setuid_programs_work(void **state)
{
	expect(inside(ARGV("/probe", "install", "/su", "4755")), "install", "ok");
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/su", "status"));

	cmd.uid = cmd.gid = 1000;
	assert_int_equal(run_on_terminal(&cmd), 0);
	expect(output, "uid", "1000 0 gid 1000 1000 groups 0");
	assert_null(strstr(output, "CapEff:\t0000000000000000"));
}

static void a_terminal_is_the_containers(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "fds"));

	assert_int_equal(run_on_terminal(&cmd), 0);
	expect(output, "fd", "0 /dev/pts/0");
	assert_null(strstr(output, "fd 3"));

	cmd.argv = ARGV("/probe", "window");
	cmd.rows = 50;
	cmd.columns = 132;
	assert_int_equal(run_on_terminal(&cmd), 0);
	expect(output, "window", "50 132");

	cmd.argv = ARGV("/probe", "terminal");
	assert_int_equal(run_on_terminal(&cmd), 0);
	expect(output, "tiocsti", "EPERM");
	expect(output, "tiocsti-high-bits", "EPERM");
	expect(output, "tioclinux", "EPERM");
	expect(output, "host-tty", "ENOENT");
}

/* ---- cgroups ---- */

static void cgroup_of(pid_t pid, char *text, size_t size)
{
	_cleanup_free_ char *all = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &all, NULL), 0);
	char *line = strstr(all, "0::");
	assert_non_null(line);
	(void)snprintf(text, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void start_sleeper(struct ct_process *p)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "sleep", "100"));

	assert_int_equal(ct_exec(&cmd, p, &err), 0);
	assert_int_equal(process_result(p, FIXTURE_TIMEOUT, &err), 0);
}

static void end_sleeper(struct ct_process *p)
{
	assert_int_equal(kill(p->pid, SIGKILL), 0);
	assert_int_equal(process_join(p->pidfd, FIXTURE_TIMEOUT), 128 + SIGKILL);
	ct_process_done(p);
}

static void it_is_in_the_cgroup(void **state)
{
	struct ct_process p = CT_PROCESS_INIT;
	char here[512], tail[128];

	start_sleeper(&p);
	cgroup_of(p.pid, here, sizeof(here));
	(void)snprintf(tail, sizeof(tail), "0::/%s/%s", fixture.cgroup_name, box.name);
	assert_string_equal(here, tail);
	end_sleeper(&p);
}

/* Systemd moves all processes to groups below and enables controllers for those. */
static void a_busy_cgroup_has_a_leaf(void **state)
{
	struct ct_process p = CT_PROCESS_INIT;
	_cleanup_free_ char *controllers = NULL;
	char here[512], tail[160], enable[80];

	assert_int_equal(read_file_at(box.cgroup_fd, "cgroup.controllers", 4096, &controllers, NULL), 0);
	controllers[strcspn(controllers, " \n")] = '\0';
	if (!*controllers) {
		print_message("this host has no cgroup controllers to enable\n");
		skip();
	}

	assert_int_equal(mkdirat(box.cgroup_fd, "init.scope", 0755), 0);
	assert_int_equal(
	        write_file_printf_at(box.cgroup_fd, "init.scope/cgroup.procs", "%d", (int)box.init.pid), 0);
	(void)snprintf(enable, sizeof(enable), "+%s", controllers);
	assert_int_equal(write_file_at(box.cgroup_fd, "cgroup.subtree_control", enable), 0);

	start_sleeper(&p);
	cgroup_of(p.pid, here, sizeof(here));
	(void)snprintf(tail, sizeof(tail), "0::/%s/%s/.ct-exec", fixture.cgroup_name, box.name);
	assert_string_equal(here, tail);
	end_sleeper(&p);

	struct stat st;
	assert_int_equal(fstatat(box.cgroup_fd, ".ct-exec/cgroup.procs", &st, 0), 0);
	assert_int_equal(st.st_uid, box.shell.base_id);
}

/* ---- hostile containers ---- */

static void a_thousand_leak_nothing(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "3"));
	int fds = count_fds();

	for (int i = 0; i < 1000; i++)
		assert_int_equal(run(&cmd), 3);

	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), 0); /* init only, and it runs */
	_cleanup_free_ char *procs = NULL;
	assert_int_equal(read_file_at(box.cgroup_fd, "cgroup.procs", 65536, &procs, NULL), 0);
	assert_int_equal(strtol(procs, NULL, 10), box.init.pid);
	assert_null(strchr(strchr(procs, '\n') + 1, '\n'));
}

struct attacker {
	struct ct_process process;
	int fd;
};

static void start_attacker(struct attacker *a, const char *const *argv)
{
	int pair[2];

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, argv);
	cmd.stdio[1] = pair[1];
	a->process = CT_PROCESS_INIT;
	a->fd = pair[0];
	assert_int_equal(ct_exec(&cmd, &a->process, &err), 0);
	fd_close(pair[1]);
	assert_int_equal(process_result(&a->process, FIXTURE_TIMEOUT, &err), 0);
}

static void end_attacker(struct attacker *a)
{
	collect_output(a->fd, output, sizeof(output));
	assert_int_equal(process_join(a->process.pidfd, FIXTURE_TIMEOUT), 0);
	fd_close(a->fd);
	ct_process_done(&a->process);
}

/* Whoever joins cannot be traced, opened or robbed of fds before it runs the tenant's program. */
static void joiners_cannot_be_robbed(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));
	struct attacker robber;
	uint64_t end = now_monotonic_usec() + 3 * USEC_PER_SEC;

	start_attacker(&robber, ARGV("/probe", "rob", "3"));
	while (now_monotonic_usec() < end)
		(void)run(&cmd); /* may fail: what is stopped or killed does not matter here */
	end_attacker(&robber);

	assert_non_null(strstr(output, "seen ")); /* or the attack has not taken place */
	assert_null(strstr(output, "robbed"));
}

/* A joiner that is stopped keeps nobody waiting and is gone when it is killed. */
static void stopped_joiners_do_no_harm(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));
	struct ct_process processes[300];
	struct attacker stopper;
	uint64_t longest = 0;
	int pending = 0, fds = count_fds();

	start_attacker(&stopper, ARGV("/probe", "stop", "3"));
	for (int i = 0; i < 300; i++) {
		uint64_t start = now_monotonic_usec();
		processes[i] = CT_PROCESS_INIT;
		assert_int_equal(ct_exec(&cmd, &processes[i], &err), 0);
		uint64_t took = now_monotonic_usec() - start;
		longest = took > longest ? took : longest;
		(void)usleep(2000);
	}
	end_attacker(&stopper);
	assert_true(longest < USEC_PER_SEC);

	for (int i = 0; i < 300; i++) {
		int r = 1;
		if (processes[i].status_fd >= 0)
			r = ct_start_result(&processes[i], &err);
		pending += r == 0;
		(void)kill(processes[i].pid, SIGKILL); /* our child, unreaped */
		assert_true(process_join(processes[i].pidfd, FIXTURE_TIMEOUT) >= 0);
		ct_process_done(&processes[i]);
	}
	print_message("%d of 300 had been stopped; the longest ct_exec took %llu us\n", pending,
	        (unsigned long long)longest);
	assert_true(pending > 0 || strstr(output, "stopped ") == NULL);
	assert_int_equal(count_fds(), fds);
}

/* Runs a verb of the probe with our own standard error for all streams: nothing inside is opened. */
static void tamper(const char *const *argv)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, argv);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	cmd.stdio[0] = cmd.stdio[1] = cmd.stdio[2] = null;
	assert_int_equal(run(&cmd), 0);
}

/* The tenant's /dev is his: neither a file nor a fifo there is taken for what it is named. */
static void a_false_dev_is_refused(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));

	assert_int_equal(run(&cmd), 0);
	tamper(ARGV("/probe", "umount", "/dev/null"));
	assert_int_equal(run(&cmd), -ENODEV);
	assert_non_null(strstr(err.text, "/dev/null"));
	tamper(ARGV("/probe", "fifo", "/dev/null"));
	assert_int_equal(run(&cmd), -ENODEV);
}

static void a_false_ptmx_is_refused(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));

	cmd.tty = true;
	tamper(ARGV("/probe", "umount", "/dev/pts"));
	assert_int_equal(run(&cmd), -ENOENT);
	tamper(ARGV("/probe", "write", "/dev/pts/ptmx", "x"));
	assert_int_equal(run(&cmd), -ENOTTY);
	tamper(ARGV("/probe", "fifo", "/dev/pts/ptmx"));
	assert_int_equal(run(&cmd), -ENOTTY);
}

/* A directory of the host is not to be had through a working directory. */
static void cwd_is_inside(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));
	static const char *const tries[] = { "/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/7",
		"/proc/self/fd/8", "/proc/self/fd/9" };

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		cmd.cwd = tries[i];
		assert_true(run(&cmd) < 0);
		assert_string_equal(err.step, "cwd");
	}
}

static void a_dead_container_is_named(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "0"));
	struct ct_process p = CT_PROCESS_INIT;

	assert_int_equal(ct_cgroup_kill(box.cgroup_fd, &err), 0);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGKILL);
	assert_true(ct_exec(&cmd, &p, &err) < 0);
	assert_non_null(strstr(err.text, "exited"));
	assert_int_equal(p.pidfd, -1);
	box.init.pidfd = fd_close(box.init.pidfd);
}

/* In a frozen container a command waits with it, and nobody else does. */
static void a_frozen_container_keeps_nobody(void **state)
{
	struct ct_exec_spec cmd = box_exec_spec(&fixture, &box, ARGV("/probe", "exit", "5"));
	struct ct_process p = CT_PROCESS_INIT;

	assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, true, FIXTURE_TIMEOUT, &err), 0);
	assert_int_equal(ct_exec(&cmd, &p, &err), 0);
	(void)usleep(20000);
	assert_int_equal(ct_start_result(&p, &err), 0);
	assert_int_equal(ct_cgroup_freeze(box.cgroup_fd, false, FIXTURE_TIMEOUT, &err), 0);
	assert_int_equal(process_result(&p, FIXTURE_TIMEOUT, &err), 0);
	assert_int_equal(process_join(p.pidfd, FIXTURE_TIMEOUT), 5);
	ct_process_done(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_RUNNING(it_is_confined_as_init),
		TEST_RUNNING(it_has_three_fds),
		TEST_RUNNING(exit_status_comes_through),
		TEST_RUNNING(what_is_missing_is_named),
		TEST_RUNNING(a_user_is_a_user),
		TEST_RUNNING(setuid_programs_work),
		TEST_RUNNING(a_terminal_is_the_containers),
		TEST_RUNNING(it_is_in_the_cgroup),
		TEST_RUNNING(a_busy_cgroup_has_a_leaf),
		TEST_RUNNING(a_thousand_leak_nothing),
		TEST_RUNNING(joiners_cannot_be_robbed),
		TEST_RUNNING(stopped_joiners_do_no_harm),
		TEST_RUNNING(a_false_dev_is_refused),
		TEST_RUNNING(a_false_ptmx_is_refused),
		TEST_RUNNING(cwd_is_inside),
		TEST_RUNNING(a_dead_container_is_named),
		TEST_RUNNING(a_frozen_container_keeps_nobody),
	};

	return RUN(argc, argv, tests);
}
