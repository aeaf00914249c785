/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a container is given and what it is made of. Needs root. */
#include "libct/test-case.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

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

/* Each start is a boot. */
static void boot_id_is_its_own(void **state)
{
	static const char *const cat[] = { "/probe", "cat", "/proc/sys/kernel/random/boot_id", NULL };
	_cleanup_free_ char *hosts = NULL;
	char first[64];

	assert_int_equal(read_file_at(AT_FDCWD, cat[2], 64, &hosts, NULL), 0);
	must_start();
	(void)snprintf(first, sizeof(first), "%.63s", inside(cat));
	assert_int_equal(strlen(first), 37);
	assert_string_equal(inside(cat), first);
	assert_string_not_equal(first, hosts);

	box_done(&fixture, &box);
	assert_int_equal(box_prepare(&fixture, &box, &spec, &err), 0);
	must_start();
	assert_string_not_equal(inside(cat), first);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(init_gets_what_it_should),
		TEST(init_has_three_fds),
		TEST(argv_and_environment_arrive),
		TEST(without_console_stdio_is_null),
		TEST(namespaces_are_its_own),
		TEST(ids_and_name_are_mapped),
		TEST(cgroup_is_its_own_root),
		TEST(boot_id_is_its_own),
		TEST(clocks_are_offset),
		TEST(linked_targets_are_refused),
		TEST(binds_stay_inside),
	};

	return RUN(argc, argv, tests);
}
