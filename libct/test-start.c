/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting containers on this machine, with the probe as their init and as the attacker inside. Needs root.
 *
 *      test-libct-start PROBE
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "libct/test-fixture.h"

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct fixture fixture;
static char output[65536];

/* cmocka leaves a test by longjmp, so what a failed one had running is found here. */
static struct box box = { .shell = { .userns_fd = -1, .netns_fd = -1 },
	.init = { .pidfd = -1, .status_fd = -1, .console_fd = -1 },
	.cgroup_fd = -1,
	.root_fd = -1 };
static struct ct_spec spec;
static struct ct_error err;

static int set_up(void **state)
{
	err = (struct ct_error){ 0 };
	fixture.lower = "lower";
	return box_prepare(&fixture, &box, &spec, &err);
}

static int tear_down(void **state)
{
	box_done(&fixture, &box);
	return 0;
}

static void must_start(void)
{
	if (box_start(&box, &spec, &err) < 0)
		fail_msg("%s: %s", err.step, err.text);
}

/* The output of a command inside. */
static const char *inside(const char *const *argv)
{
	if (box_run(&fixture, &box, argv, output, sizeof(output), &err) < 0)
		fail_msg("%s: %s", err.step, err.text);
	return output;
}

/* The output of a command that is init itself, by the console. */
static const char *as_init(const char *const *argv)
{
	spec.argv = argv;
	spec.console = true;
	must_start();
	assert_true(box.init.console_fd >= 0);
	collect_output(box.init.console_fd, output, sizeof(output));
	return output;
}

static void expect(const char *text, const char *name, const char *value)
{
	if (!has_line(text, name, value))
		fail_msg("no line \"%s %s\" in:\n%s", name, value, text);
}

/* ---- what init is given ---- */

static void init_gets_what_it_should(void **state)
{
	const char *s = as_init(ARGV("/probe", "status"));

	expect(s, "uid", "0 0 gid 0 0 groups 0");
	expect(s, "umask", "0022 signals 0 cwd / tty yes session 1");
	assert_non_null(strstr(s, "CapInh:\t0000000000000000"));
	assert_non_null(strstr(s, "CapAmb:\t0000000000000000"));
	assert_non_null(strstr(s, "NoNewPrivs:\t0"));
	assert_non_null(strstr(s, "Seccomp:\t2"));
	assert_non_null(strstr(s, "Seccomp_filters:\t1"));

	char caps[64];
	static const char *const sets[] = { "CapPrm", "CapEff", "CapBnd" };
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(caps, sizeof(caps), "%s:\t%016llx", sets[i],
		        (unsigned long long)ct_capabilities_default());
		assert_non_null(strstr(s, caps));
	}
}

static void init_has_three_fds(void **state)
{
	const char *s = as_init(ARGV("/probe", "fds"));

	expect(s, "fd", "0 /dev/console");
	expect(s, "fd", "1 /dev/console");
	expect(s, "fd", "2 /dev/console");
	assert_null(strstr(s, "fd 3"));
	assert_null(strstr(s, "socket"));
}

static void argv_and_environment_arrive(void **state)
{
	spec.env = ARGV("container=ctd", "X=a b");
	const char *s = as_init(ARGV("/probe", "environment"));

	assert_non_null(strstr(s, "container=ctd\r\nX=a b\r\n"));
}

static void without_console_stdio_is_null(void **state)
{
	must_start();
	assert_int_equal(box.init.console_fd, -1);
	expect(inside(ARGV("/probe", "files", "/dev/console")), "/dev/console", "ENOENT");
	assert_string_equal(inside(ARGV("/probe", "cat", "/proc/1/comm")), "init\n");
}

/* ---- namespaces, ids, cgroup ---- */

static ino_t namespace_of(pid_t pid, const char *name)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static void namespaces_are_its_own(void **state)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "user", "uts" };
	static const int flags[] = { CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS,
		CLONE_NEWCGROUP };
	uid_t owner = 0;

	must_start();
	const char *s = inside(ARGV("/probe", "namespaces"));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char value[64];
		ino_t theirs = namespace_of(box.init.pid, names[i]);

		assert_true(theirs != namespace_of(getpid(), names[i]));
		(void)snprintf(value, sizeof(value), "%s:[%llu]", names[i], (unsigned long long)theirs);
		expect(s, names[i], value); /* and what is executed is in the same */
	}

	int user = ct_process_namespace(box.init.pid, CLONE_NEWUSER);
	assert_int_equal(ioctl(user, NS_GET_OWNER_UID, &owner), 0);
	assert_int_equal(owner, spec.base_id);

	struct stat user_st, owner_st;
	assert_int_equal(fstat(user, &user_st), 0);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		int ns = ct_process_namespace(box.init.pid, flags[i]);
		int owning = ioctl(ns, NS_GET_USERNS);
		assert_int_equal(fstat(owning, &owner_st), 0);
		assert_int_equal(owner_st.st_ino, user_st.st_ino);
		fd_close(ns);
		fd_close(owning);
	}
	fd_close(user);
}

static void ids_and_name_are_mapped(void **state)
{
	char path[64], *text = NULL;
	size_t len;

	spec.hostname = "web-1";
	must_start();
	(void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)box.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, &len), 0);
	unsigned int inside_id, outside_id, count;
	assert_int_equal(sscanf(text, "%u %u %u", &inside_id, &outside_id, &count), 3);
	assert_true(inside_id == 0 && outside_id == spec.base_id && count == CT_ID_COUNT);
	free(text);
	assert_string_equal(inside(ARGV("/probe", "cat", "/proc/sys/kernel/hostname")), "web-1\n");
}

static void cgroup_is_its_own_root(void **state)
{
	char path[64], tail[128], *text = NULL;

	must_start();
	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)box.init.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, 4096, &text, NULL), 0);
	(void)snprintf(tail, sizeof(tail), "0::/%s/%s\n", fixture.cgroup_name, box.name);
	assert_non_null(strstr(text, tail));
	free(text);

	assert_non_null(strstr(inside(ARGV("/probe", "cat", "/proc/self/cgroup")), "0::/\n"));
	/* Delegated: the tenant makes a group below and moves himself there; limits are not his. */
	expect(inside(ARGV("/probe", "files", "/sys/fs/cgroup/cgroup.procs")), "/sys/fs/cgroup/cgroup.procs",
	        "mode 100644 owner 0:0 device 0:0 size 0");
	expect(inside(ARGV("/probe", "files", "/sys/fs/cgroup/cgroup.freeze")),
	        "/sys/fs/cgroup/cgroup.freeze", "mode 100644 owner 65534:65534 device 0:0 size 0");
	expect(inside(ARGV("/probe", "write", "/sys/fs/cgroup/cgroup.freeze", "1")), "write", "EACCES");
}

static void clocks_are_offset(void **state)
{
	long long monotonic = 0, boottime = 0, after_m = 0, after_b = 0;

	if (access("/proc/self/ns/time", F_OK) < 0)
		skip();
	spec.set_clocks = true;
	spec.monotonic_offset_sec = 1000000;
	spec.boottime_offset_sec = 2000000;
	must_start();
	assert_int_equal(sscanf(inside(ARGV("/probe", "clocks")), "monotonic %lld boottime %lld", &monotonic,
	                         &boottime),
	        2);

	struct timespec m, b;
	(void)clock_gettime(CLOCK_MONOTONIC, &m);
	(void)clock_gettime(CLOCK_BOOTTIME, &b);
	after_m = m.tv_sec + 1000000;
	after_b = b.tv_sec + 2000000;
	assert_true(after_m - monotonic >= 0 && after_m - monotonic < 10);
	assert_true(after_b - boottime >= 0 && after_b - boottime < 10);
}

/* ---- confinement ---- */

static void mounts_cannot_be_undone(void **state)
{
	int source = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct ct_bind bind = { source, "/data/shared", true, true };

	spec.binds = &bind;
	spec.n_binds = 1;
	must_start();
	fd_close(source);

	const char *s = inside(ARGV("/probe", "mounts", "/data/shared"));
	expect(s, "umount:/proc/cmdline", "EINVAL");
	expect(s, "umount:/proc", "EINVAL");
	expect(s, "umount:/sys/firmware", "EINVAL");
	expect(s, "umount:/sys", "EINVAL");
	expect(s, "umount:/dev", "EINVAL");
	expect(s, "remount-dev", "EPERM");
	expect(s, "remount-sys-rw", "EPERM");
	expect(s, "remount-bind-rw", "EPERM");
	expect(s, "second-proc", "EPERM");
	expect(s, "second-sysfs", "EPERM");
	expect(s, "bind-proc", "EINVAL");
	expect(s, "own-tmpfs", "ok");
	expect(s, "own-umount", "ok");
	expect(s, "umount:/dev/shm", "ok");
	assert_null(strstr(s, "host-block ok"));
	assert_null(strstr(s, "debugfs ok"));
	expect(inside(ARGV("/probe", "write", "/data/shared/x", "1")), "write", "EROFS");
}

static void masked_paths_are_empty(void **state)
{
	static const char *const files[] = { "/proc/cmdline", "/proc/kcore", "/proc/kallsyms", "/proc/keys",
		"/proc/sysrq-trigger", "/proc/swaps", "/sys/kernel/notes" };
	static const char *const hosts[] = { "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
		"/proc/sys/kernel/sysrq", "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max",
		"/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/proc/irq/default_smp_affinity",
		"/sys/power/state" };

	must_start();
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (access(files[i], F_OK) < 0)
			continue;
		const char *s = inside(ARGV("/probe", "files", files[i]));
		assert_non_null(strstr(s, "device 1:3"));
		assert_string_equal(inside(ARGV("/probe", "cat", files[i])), "");
	}
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (access(hosts[i], F_OK) == 0)
			assert_null(strstr(inside(ARGV("/probe", "write", hosts[i], "x")), "write ok"));

	/* No path of the host: where the layers are, where the cgroup is. */
	const char *s =
	        inside(ARGV("/probe", "cat", "/proc/self/mountinfo", "/proc/1/cgroup", "/proc/self/mounts"));
	assert_null(strstr(s, fixture.dir));
	assert_null(strstr(s, fixture.cgroup_name));
}

static void syscalls_are_confined(void **state)
{
	static const struct {
		const char *name, *result;
	} table[] = {
		{ "keyctl", "ENOSYS" },
		{ "add_key", "ENOSYS" },
		{ "bpf", "EPERM" },
		{ "perf_event_open", "EPERM" },
		{ "userfaultfd", "EPERM" },
		{ "io_uring_setup", "ENOSYS" },
		{ "kexec_load", "EPERM" },
		{ "init_module", "EPERM" },
		{ "open_by_handle_at", "EPERM" },
		{ "quotactl", "EPERM" },
		{ "swapon", "EPERM" },
		{ "syslog", "EPERM" },
		{ "clone3", "ENOSYS" },
		{ "unshare-user", "EPERM" },
		{ "unshare-pid", "EPERM" },
		{ "unshare-time", "EPERM" },
		{ "clone-user", "EPERM" },
		{ "unshare-mount", "ok" },
		{ "unshare-net", "ok" },
		{ "socketpair-inet", "EAFNOSUPPORT" },
		{ "settime", "EPERM" },
		{ "raise-user-limit", "EACCES" },
	};

	must_start();
	const char *s = inside(ARGV("/probe", "syscalls"));
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		expect(s, table[i].name, table[i].result);
}

static void sockets_are_confined(void **state)
{
	must_start();
	const char *s = inside(ARGV("/probe", "sockets"));

	for (int family = 0; family < 48; family++) {
		char name[32];
		bool good = family == 1 || family == 2 || family == 10 || family == 17;

		(void)snprintf(name, sizeof(name), "family-%d", family);
		if (family != 16 && (family != 10 || access("/proc/net/if_inet6", F_OK) == 0))
			expect(s, name, good ? "ok" : "EAFNOSUPPORT");
	}
	expect(s, "netlink-0", "ok");
	expect(s, "netlink-6", "EPROTONOSUPPORT");
	expect(s, "netlink-9", "EPROTONOSUPPORT");
	expect(s, "netlink-15", "ok");
	expect(s, "unix-dgram", "ok");
	expect(s, "tcp", "ok");
	expect(s, "raw-icmp", "ok");
	expect(s, "sctp", "EPROTONOSUPPORT");
	expect(s, "sctp-seqpacket", "ESOCKTNOSUPPORT");
	expect(s, "mptcp", "EPROTONOSUPPORT");
	expect(s, "alg-high-bits", "EAFNOSUPPORT");
	expect(s, "tcp-ulp", "ENOPROTOOPT");
	expect(s, "tcp-ulp-high-bits", "ENOPROTOOPT");
	expect(s, "tcp-nodelay", "ok");
}

/* With the nesting profile a tenant makes containers of his own. */
static void nesting_is_possible(void **state)
{
	struct ct_seccomp_program program = { 0 }, kept = fixture.seccomp;

	assert_int_equal(ct_seccomp_compile(CT_SECCOMP_NESTING, &program, &err), 0);
	fixture.seccomp = spec.seccomp = program;
	spec.nesting = true;
	int r = box_start(&box, &spec, &err);
	if (r == 0)
		r = box_run(&fixture, &box, ARGV("/probe", "syscalls"), output, sizeof(output), &err);
	static char mounts[8192];
	if (r == 0)
		r = box_run(&fixture, &box, ARGV("/probe", "mounts"), mounts, sizeof(mounts), &err);
	fixture.seccomp = kept;
	ct_seccomp_program_done(&program);

	assert_int_equal(r, 0);
	expect(output, "unshare-user", "ok");
	expect(output, "unshare-pid", "ok");
	expect(output, "bpf", "EPERM");
	expect(mounts, "second-proc", "ok");
	expect(mounts, "second-sysfs", "ok");
	expect(mounts, "umount:/proc", "EINVAL");
	expect(mounts, "remount-dev", "EPERM");
}

static void devices_do_not_open(void **state)
{
	int lower = fixture_add_lower(&fixture, "lower-nodes");

	assert_true(lower >= 0);
	assert_int_equal(mknodat(lower, "mem", S_IFCHR | 0666, makedev(1, 1)), 0);
	assert_int_equal(mknodat(lower, "zero", S_IFCHR | 0666, makedev(1, 5)), 0);
	fd_close(lower);

	box_done(&fixture, &box);
	fixture.lower = "lower-nodes";
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	if (ct_cgroup_set_devices(box.cgroup_fd, NULL, 0, &err) < 0)
		print_message("without a device program: %s\n", err.text);
	assert_int_equal(ct_cgroup_set_devices(box.cgroup_fd, NULL, 0, &err), 0); /* replaces itself */
	must_start();

	const char *s = inside(ARGV("/probe", "devices", "/mem", "/zero", "/dev/zero", "/dev/tty",
	        "/dev/ptmx", "/dev/kmsg", "/dev/mem"));
	expect(s, "mknod-disk", "EPERM");
	expect(s, "mknod-mem", "EPERM");
	expect(s, "open-null", "ok");
	expect(s, "/mem", "EACCES");
	expect(s, "/zero", "EACCES");
	expect(s, "/dev/zero", "ok");
	expect(s, "/dev/ptmx", "ok");
	expect(s, "/dev/kmsg", "ENOENT");
	expect(s, "/dev/mem", "ENOENT");
}

/* ---- hostile and odd roots ---- */

static void start_with_lower(const char *name, void (*fill)(int lower))
{
	int lower = fixture_add_lower(&fixture, name);

	assert_true(lower >= 0);
	fill(lower);
	fd_close(lower);
	box_done(&fixture, &box);
	fixture.lower = name;
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
}

static void link_proc(int lower)
{
	assert_int_equal(symlinkat("/tmp", lower, "proc"), 0);
}

static void link_dev(int lower)
{
	assert_int_equal(symlinkat("../../../../dev", lower, "dev"), 0);
}

static void file_run(int lower)
{
	assert_int_equal(mknodat(lower, "run", S_IFIFO | 0666, 0), 0);
}

static void link_everywhere(int lower)
{
	assert_int_equal(mkdirat(lower, "etc", 0755), 0);
	assert_int_equal(symlinkat("/../../../../../../tmp", lower, "etc/escape"), 0);
	assert_int_equal(symlinkat("/etc/real", lower, "etc/link"), 0);
	assert_int_equal(mkdirat(lower, "etc/real", 0755), 0);
	assert_int_equal(mkdirat(lower, "tmp", 0755), 0);
}

static void refused_target(const char *name, void (*fill)(int), const char *word)
{
	start_with_lower(name, fill);
	assert_true(box_start(&box, &spec, &err) < 0);
	assert_string_equal(err.step, "mount");
	assert_non_null(strstr(err.text, word));
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 127);
	box.init.pidfd = fd_close(box.init.pidfd);
}

static void linked_targets_are_refused(void **state)
{
	refused_target("lower-proc", link_proc, "\"proc\"");
	refused_target("lower-dev", link_dev, "\"dev\"");
	refused_target("lower-run", file_run, "\"run\"");
}

static void binds_stay_inside(void **state)
{
	int source = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC),
	    file = open("/etc/passwd", O_PATH | O_CLOEXEC);
	const struct ct_bind binds[] = {
		{ source, "/etc/escape/ct-escape", true, true },
		{ file, "/etc/link/passwd", true, true },
	};

	start_with_lower("lower-links", link_everywhere);
	spec.binds = binds;
	spec.n_binds = 2;
	must_start();
	assert_int_equal(access("/tmp/ct-escape", F_OK), -1);
	assert_non_null(
	        strstr(inside(ARGV("/probe", "files", "/tmp/ct-escape/bin")), "/tmp/ct-escape/bin mode"));
	assert_non_null(strstr(inside(ARGV("/probe", "files", "/etc/real/passwd")), "/etc/real/passwd mode"));

	/* A file on a directory is refused, and a missing target named. */
	box_done(&fixture, &box);
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	const struct ct_bind wrong = { file, "/sbin", true, false };
	spec.binds = &wrong;
	spec.n_binds = 1;
	assert_true(box_start(&box, &spec, &err) < 0);
	assert_non_null(strstr(err.text, "\"/sbin\""));
	fd_close(source);
	fd_close(file);
}

/* ---- failures and ends ---- */

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

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

static void killed_while_starting(void **state)
{
	assert_int_equal(ct_start(&spec, &box.init, &err), 0);
	assert_int_equal(ct_cgroup_kill(box.cgroup_fd, &err), 0);
	int r = process_result(&box.init, FIXTURE_TIMEOUT, &err);
	assert_true(r == -ECANCELED || r == 0);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGKILL);
	box.init.pidfd = fd_close(box.init.pidfd);
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
	for (int i = 0; i < 400 && ct_cgroup_is_populated(box.cgroup_fd) != 0; i++)
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
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(init_gets_what_it_should),
		TEST(init_has_three_fds),
		TEST(argv_and_environment_arrive),
		TEST(without_console_stdio_is_null),
		TEST(namespaces_are_its_own),
		TEST(ids_and_name_are_mapped),
		TEST(cgroup_is_its_own_root),
		TEST(clocks_are_offset),
		TEST(mounts_cannot_be_undone),
		TEST(masked_paths_are_empty),
		TEST(syscalls_are_confined),
		TEST(sockets_are_confined),
		TEST(nesting_is_possible),
		TEST(devices_do_not_open),
		TEST(linked_targets_are_refused),
		TEST(binds_stay_inside),
		TEST(a_probe_of_the_host_leaves_nothing),
		TEST(a_missing_init_is_named),
		TEST(a_directory_is_no_init),
		TEST(a_used_root_is_refused_or_works),
		TEST(killed_while_starting),
		TEST(dies_with_its_parent),
		TEST(outlives_its_parent_once_started),
		TEST(reboot_and_poweroff_end_init),
		TEST(rlimits_are_set),
		TEST(a_frozen_tree_is_killed_and_removed),
	};

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s PROBE\n", argv[0]);
		return 2;
	}

	int r = fixture_init(&fixture, argv[1]);
	if (r != 0)
		return r;

	r = cmocka_run_group_tests_name("libct-start", tests, NULL, NULL);
	fixture_done(&fixture);
	return r;
}
