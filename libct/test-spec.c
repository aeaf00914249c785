/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a specification may not be, and the status socket, without privilege. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "libct/ct.h"
#include "libct/child.h"
#include "libct/process.h"

static const char *const argv[] = { "/sbin/init", NULL };
static const char *const env[] = { "container=ctd", NULL };
static char filter[8];

static struct ct_spec good(void)
{
	return (struct ct_spec){
		.argv = argv,
		.env = env,
		.hostname = "web-1.example",
		.base_id = 655360,
		.seccomp = { .filter = filter, .count = 1 },
	};
}

static void a_good_one_passes(void **state)
{
	struct ct_spec spec = good(); /* the fds are 0, which is open */

	assert_int_equal(ct_spec_check(&spec, NULL), 0);
}

static void refused(struct ct_spec spec, const char *field)
{
	struct ct_error err = { 0 };
	struct ct_process process = CT_PROCESS_INIT;

	assert_int_equal(ct_spec_check(&spec, &err), -EINVAL);
	assert_string_equal(err.field, field);
	assert_true(err.text[0]);
	assert_int_equal(ct_start(&spec, &process, NULL), -EINVAL);
	assert_int_equal(process.pidfd, -1);
}

#define REFUSED(field, ...)                                                                                  \
	do {                                                                                                 \
		struct ct_spec spec = good();                                                                \
		__VA_ARGS__;                                                                                 \
		refused(spec, field);                                                                        \
	} while (0)

static void each_field_is_checked(void **state)
{
	static const char *const relative[] = { "init", NULL }, *const bad_env[] = { "NOVALUE", NULL };
	static const char *const bad_unit[] = { "../etc/passwd", NULL };
	const struct ct_rlimit crossed = { RLIMIT_NOFILE, 10, 5 }, unknown = { 99, 1, 1 };
	const struct ct_bind dot = { 0, "etc/x", false, false }, slash = { 0, "/etc/", false, false },
	                     newline = { 0, "/etc/a\nb", false, false },
	                     closed = { 900, "/etc/x", false, false };
	char long_name[80];

	memset(long_name, 'a', sizeof(long_name));
	long_name[79] = '\0';

	REFUSED("argv", spec.argv = NULL);
	REFUSED("argv", spec.argv = relative);
	REFUSED("env", spec.env = NULL);
	REFUSED("env", spec.env = bad_env);
	REFUSED("hostname", spec.hostname = NULL);
	REFUSED("hostname", spec.hostname = "");
	REFUSED("hostname", spec.hostname = "a b");
	REFUSED("hostname", spec.hostname = "a\nb");
	REFUSED("hostname", spec.hostname = long_name);
	REFUSED("root_fd", spec.root_fd = -1);
	REFUSED("userns_fd", spec.userns_fd = 900);
	REFUSED("netns_fd", spec.netns_fd = -1);
	REFUSED("cgroup_fd", spec.cgroup_fd = -1);
	REFUSED("base_id", spec.base_id = 0);
	REFUSED("base_id", spec.base_id = 65535);
	REFUSED("seccomp", spec.seccomp.count = 0);
	REFUSED("seccomp", spec.unconfined = true);
	REFUSED("rlimits", (spec.rlimits = &crossed, spec.n_rlimits = 1));
	REFUSED("rlimits", (spec.rlimits = &unknown, spec.n_rlimits = 1));
	REFUSED("rlimits", spec.n_rlimits = 1);
	REFUSED("binds", spec.n_binds = 1);
	REFUSED("binds", spec.n_binds = CT_BINDS_MAX + 1);
	REFUSED("binds", (spec.binds = &dot, spec.n_binds = 1));
	REFUSED("binds", (spec.binds = &slash, spec.n_binds = 1));
	REFUSED("binds", (spec.binds = &newline, spec.n_binds = 1));
	REFUSED("binds", (spec.binds = &closed, spec.n_binds = 1));
	REFUSED("run_masks", spec.run_masks = bad_unit);
}

static void exec_is_checked(void **state)
{
	const struct ct_exec_spec base = {
		.argv = argv, .env = env, .base_id = 655360, .seccomp = { .filter = filter, .count = 1 }
	};
	struct ct_process process = CT_PROCESS_INIT;
	struct ct_exec_spec spec;
	struct ct_error err;

	spec = base, spec.uid = 65536;
	assert_int_equal(ct_exec(&spec, &process, &err), -EINVAL);
	assert_string_equal(err.field, "uid");
	spec = base, spec.gid = UINT32_MAX;
	assert_int_equal(ct_exec(&spec, &process, &err), -EINVAL);
	assert_string_equal(err.field, "gid");
	spec = base, spec.n_groups = 2;
	assert_int_equal(ct_exec(&spec, &process, &err), -EINVAL);
	assert_string_equal(err.field, "groups");
	spec = base, spec.cwd = "tmp";
	assert_int_equal(ct_exec(&spec, &process, &err), -EINVAL);
	assert_string_equal(err.field, "cwd");
	spec = base, spec.seccomp.count = 0;
	assert_int_equal(ct_exec(&spec, &process, &err), -EINVAL);
	assert_string_equal(err.field, "seccomp");
}

static void namespaces_are_checked(void **state)
{
	const struct ct_id_extent empty = { 0, 655360, 0 }, beyond = { 0, UINT32_MAX - 5, 10 };
	struct ct_shell shell = CT_SHELL_INIT;

	assert_int_equal(ct_userns_new(655360, NULL, 0, NULL), -EINVAL);
	assert_int_equal(ct_userns_new(655360, &empty, 1, NULL), -EINVAL);
	assert_int_equal(ct_userns_new(655360, &beyond, 1, NULL), -EINVAL);
	assert_int_equal(ct_idmap_userns_new(0, NULL), -EINVAL);
	assert_int_equal(ct_shell_new(1000, &shell, NULL), -EINVAL);
	assert_int_equal(ct_process_namespace(getpid(), CLONE_VM), -EINVAL);
	assert_int_equal(ct_process_namespace(1 << 30, CLONE_NEWNET), -ESRCH);
}

static void default_capabilities_do_not_reach_the_host(void **state)
{
	static const int never[] = { CAP_SYS_RESOURCE, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME,
		CAP_SYS_PACCT, CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_SYSLOG, CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND,
		CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_BPF, CAP_PERFMON, CAP_CHECKPOINT_RESTORE };
	static const int always[] = { CAP_CHOWN, CAP_SETUID, CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW,
		CAP_SYS_CHROOT, CAP_AUDIT_WRITE, CAP_SYS_BOOT, CAP_SETPCAP };
	uint64_t caps = ct_capabilities_default();

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_false(caps & 1ULL << never[i]);
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		assert_true(caps & 1ULL << always[i]);
}

/* In a child: cmocka's own descriptors are closed too. */
static int keep_some(void)
{
	int high = fcntl(0, F_DUPFD_CLOEXEC, 40), low = fcntl(0, F_DUPFD_CLOEXEC, 10);
	const int keep[] = { high, -1, 1, low, high };

	if (high < 0 || low < 0 || fcntl(0, F_DUPFD_CLOEXEC, 20) < 0 || fcntl(0, F_DUPFD_CLOEXEC, 300) < 0)
		return 1;
	if (child_keep_fds(keep, 5, NULL) < 0)
		return 2;
	for (int fd = 0; fd < 400; fd++) {
		bool kept = fd == 1 || fd == low || fd == high;
		if ((fcntl(fd, F_GETFD) >= 0) != kept)
			return 3;
	}
	return child_keep_fds(NULL, 0, NULL) < 0 || fcntl(1, F_GETFD) >= 0 ? 4 : 0;
}

static void only_what_is_named_is_kept(void **state)
{
	int status;

	pid_t pid = fork();
	if (pid == 0)
		_exit(keep_some());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- the status socket ---- */

static void connect_pair(struct ct_process *p, int *ret_child)
{
	*p = CT_PROCESS_INIT;
	assert_int_equal(status_pair(&p->status_fd, ret_child, NULL), 0);
}

static void ready_then_end_is_success(void **state)
{
	struct ct_process p;
	int child;

	connect_pair(&p, &child);
	assert_int_equal(ct_start_result(&p, NULL), 0);
	assert_int_equal(status_send(child, STATUS_CONSOLE, 2), 0);
	assert_int_equal(status_send(child, STATUS_READY, -1), 0);
	assert_int_equal(ct_start_result(&p, NULL), 0);
	assert_true(p.console_fd > 2);
	assert_true(fcntl(p.console_fd, F_GETFD) & FD_CLOEXEC);
	fd_close(child);
	assert_int_equal(ct_start_result(&p, NULL), 1);
	assert_int_equal(p.status_fd, -1);
	assert_int_equal(ct_start_result(&p, NULL), -EINVAL);
	ct_process_done(&p);
}

static void end_without_ready_is_death(void **state)
{
	struct ct_process p;
	struct ct_error err = { 0 };
	int child;

	connect_pair(&p, &child);
	assert_int_equal(status_send(child, STATUS_CONSOLE, 2), 0);
	fd_close(child);
	assert_int_equal(ct_start_result(&p, &err), -ECANCELED);
	assert_int_equal(p.console_fd, -1);
	assert_true(err.text[0]);
	ct_process_done(&p);
}

/* Also when GO was never read, which the kernel reports as a reset of the connection. */
static void a_failure_arrives(void **state)
{
	struct ct_process p;
	struct ct_error sent, err = { 0 };
	int child;

	connect_pair(&p, &child);
	assert_int_equal(status_send_go(p.status_fd, -1), 0);
	ct_error_set(&sent, -ENOENT, "exec", "there is no program \"%s\" inside", "/x");
	status_send_failed(child, &sent);
	fd_close(child);
	assert_int_equal(ct_start_result(&p, &err), -ENOENT);
	assert_string_equal(err.text, sent.text);
	assert_string_equal(err.step, "exec");
	ct_process_done(&p);
}

static void a_dead_parent_is_noticed(void **state)
{
	struct ct_process p;
	int child, fd = -1;

	connect_pair(&p, &child);
	assert_int_equal(status_send_go(p.status_fd, 2), 0);
	assert_int_equal(status_await_go(child, &fd), 0);
	assert_true(fd > 2);
	fd_close(fd);
	ct_process_done(&p);
	assert_int_equal(status_await_go(child, NULL), -EPIPE);
	fd_close(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_one_passes),
		cmocka_unit_test(each_field_is_checked),
		cmocka_unit_test(exec_is_checked),
		cmocka_unit_test(namespaces_are_checked),
		cmocka_unit_test(default_capabilities_do_not_reach_the_host),
		cmocka_unit_test(only_what_is_named_is_kept),
		cmocka_unit_test(ready_then_end_is_success),
		cmocka_unit_test(end_without_ready_is_death),
		cmocka_unit_test(a_failure_arrives),
		cmocka_unit_test(a_dead_parent_is_noticed),
	};

	return cmocka_run_group_tests_name("libct-spec", tests, NULL, NULL);
}
