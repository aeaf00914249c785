/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What root inside a container cannot do. Needs root. */
#include "libct/test-case.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

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

/* Budgets are the namespace's own and not the tenant's to change. */
static void budgets_are_set(void **state)
{
	const struct ct_user_limit limits[] = {
		{ "max_inotify_instances", 77 },
		{ "max_no_such_thing", 1 },
	};
	const struct ct_user_limit wrong = { "../kernel/sysrq", 1 },
	                           negative = { "max_inotify_instances", -1 };

	assert_int_equal(ct_userns_limit(spec.userns_fd, limits, 2, &err), 0);
	assert_int_equal(ct_userns_limit(spec.userns_fd, &wrong, 1, &err), -EINVAL);
	assert_int_equal(ct_userns_limit(spec.userns_fd, &negative, 1, &err), -EINVAL);
	must_start();
	assert_string_equal(inside(ARGV("/probe", "cat", "/proc/sys/user/max_inotify_instances")), "77\n");
	expect(inside(ARGV("/probe", "write", "/proc/sys/user/max_inotify_instances", "999")), "write",
	        "EACCES");
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(mounts_cannot_be_undone),
		TEST(masked_paths_are_empty),
		TEST(syscalls_are_confined),
		TEST(sockets_are_confined),
		TEST(nesting_is_possible),
		TEST(budgets_are_set),
		TEST(devices_do_not_open),
	};

	return RUN(argc, argv, tests);
}
