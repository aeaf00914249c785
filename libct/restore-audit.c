/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has been restored is looked at before it runs; and so that nothing is saved that would then be
 * refused, also before it is saved.
 *
 * Images say who a task is; whoever could write them could say that it is root of the host. So nothing is
 * thawed that is not, by what the kernel says of it, what a start by us would have made. Of each thread: its
 * ids are the container's, its capabilities and limits are within those that a container may have, it has a
 * seccomp filter, and its namespaces are those of the container's init, but for mounts, of which services
 * have their own (restore-audit-mounts.c); it has no directory of /proc or /sys, which CRIU would open before
 * their masks are there, and from which one walks around them. Of init: the user namespace belongs to the
 * base id and maps its range and no other. And no process of the container's pid namespace is outside of its
 * cgroup.
 *
 * The threads are those of the cgroup and all below it; that there are no others tells /proc.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "libct/restore-audit.h"
#include "libct/restore.h"
#include "libct/sys.h"

#define FILE_MAX  (1024 * 1024)
#define DEPTH_MAX 32

/* The last need not be other than ours. */
static const char *const kinds[AUDIT_KINDS] = { "user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time" };
#define N_OWN (AUDIT_KINDS - 1)

int audit_refuse(struct audit *a, pid_t pid, const char *what)
{
	return ct_error_kind_set(
	        a->err, CT_ERROR_REFUSED, -EPERM, "process %d inside is not as it must be: %s", pid, what);
}

static const char *line_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? at + strlen(key) : NULL;
}

/* Four numbers, or in the line of groups any. */
static bool ids_fit(const char *line, uint32_t base)
{
	const char *end = line ? strchrnul(line, '\n') : NULL;

	while (line && line < end) {
		char *after;
		unsigned long id = strtoul(line, &after, 10);

		if (after == line || after > end)
			return true; /* a blank at the end */
		if (id < base || id - base >= CT_ID_COUNT)
			return false;
		line = after;
	}
	return line;
}

static bool caps_fit(const char *line, uint64_t allowed)
{
	return line && (strtoull(line, NULL, 16) & ~allowed) == 0;
}

static ino_t namespace_of(pid_t pid, const char *kind)
{
	char path[48];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

/* A process of the container's pid namespace, named by its number on the host. */
static bool is_inside(const struct audit *a, const char *number)
{
	pid_t pid = number ? (pid_t)strtol(number, NULL, 10) : 0;

	return pid > 0 && namespace_of(pid, kinds[AUDIT_PID_NS]) == a->own[AUDIT_PID_NS];
}

/* The innermost of its numbers. */
static pid_t number_inside(const char *line)
{
	const char *end = strchrnul(line, '\n'), *last = memrchr(line, '\t', (size_t)(end - line));

	return (pid_t)strtol(last ? last : line, NULL, 10);
}

static int note_thread(struct audit *a, pid_t tid, pid_t leader, const char *status)
{
	struct restore_threads *threads = a->want->threads;
	const char *number = line_of(status, "\nNSpid:\t"), *bound = line_of(status, "\nNoNewPrivs:\t");

	if (!threads)
		return 0;
	if (!number || !bound)
		return audit_refuse(a, tid, "its status is not whole");
	if (threads->n == threads->max) {
		const size_t max = threads->max ? 2 * threads->max : 64;
		struct restore_thread *larger = reallocarray(threads->list, max, sizeof(*larger));

		if (!larger)
			return ct_error_set(a->err, -ENOMEM, "audit", "out of memory");
		threads->list = larger;
		threads->max = max;
	}
	threads->list[threads->n++] = (struct restore_thread){
		.tid = tid,
		.leader = leader,
		.inside = number_inside(number),
		.no_new_privs = *bound == '1',
	};
	return 0;
}

static int check_status(struct audit *a, pid_t pid, pid_t *ret_leader)
{
	static const char *const sets[] = { "\nCapInh:\t", "\nCapPrm:\t", "\nCapEff:\t", "\nCapBnd:\t",
		"\nCapAmb:\t" };
	static const char *const ids[] = { "\nUid:\t", "\nGid:\t", "\nGroups:\t" };
	_cleanup_free_ char *text = NULL;
	char path[40];
	const char *mode, *leader;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL) < 0)
		return audit_refuse(a, pid, "it has no status");
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if (!ids_fit(line_of(text, ids[i]), a->want->base_id))
			return audit_refuse(a, pid, "its ids are not the container's");
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (!caps_fit(line_of(text, sets[i]), a->want->capabilities))
			return audit_refuse(a, pid, "it has capabilities that a container must not have");
	if (pid != a->init && !is_inside(a, line_of(text, "\nPPid:\t")))
		return audit_refuse(
		        a, pid, "its parent is not inside (a command of ctctl exec: wait for it, or end it)");
	leader = line_of(text, "\nTgid:\t");
	*ret_leader = leader ? (pid_t)strtol(leader, NULL, 10) : pid;
	mode = line_of(text, "\nSeccomp:\t");
	return mode && *mode == '2' ? note_thread(a, pid, *ret_leader, text)
	                            : audit_refuse(a, pid, "it has no seccomp filter");
}

static int check_limits(struct audit *a, pid_t pid)
{
	for (size_t i = 0; i < a->want->n_rlimits; i++) {
		const struct ct_rlimit *want = &a->want->rlimits[i];
		struct rlimit is;

		if (prlimit(pid, (__rlimit_resource_t)want->resource, NULL, &is) < 0)
			return audit_refuse(a, pid, "its limits cannot be read");
		if (is.rlim_max > want->hard)
			return audit_refuse(
			        a, pid, "its limits are wider than the container's are now (restart it)");
	}
	return 0;
}

static int check_maps(struct audit *a, pid_t pid)
{
	static const char *const maps[] = { "uid_map", "gid_map" };

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		_cleanup_free_ char *text = NULL;
		unsigned int inside, outside, count;
		char path[40];
		int end = 0;

		(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, maps[i]);
		if (read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0 ||
		        sscanf(text, "%u %u %u %n", &inside, &outside, &count, &end) != 3 || text[end] ||
		        inside != 0 || outside != a->want->base_id || count != CT_ID_COUNT)
			return audit_refuse(a, pid, "its ids are mapped to others");
	}
	return 0;
}

static int check_init(struct audit *a, pid_t pid)
{
	_cleanup_close_ int userns = -1;
	char path[40];
	uid_t owner;

	for (size_t i = 0; i < AUDIT_KINDS; i++)
		a->own[i] = namespace_of(pid, kinds[i]);
	for (size_t i = 0; i < N_OWN; i++)
		if (a->own[i] == 0 || a->own[i] == namespace_of(getpid(), kinds[i]))
			return audit_refuse(a, pid, "a namespace of its own is missing");
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	userns = open(path, O_RDONLY | O_CLOEXEC);
	if (userns < 0 || ioctl(userns, NS_GET_OWNER_UID, &owner) < 0 || owner != a->want->base_id)
		return audit_refuse(a, pid, "its user namespace belongs to somebody else");
	return check_maps(a, pid);
}

static int check_place(struct audit *a, pid_t pid, int dir_fd, const char *name)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_PATH | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (S_ISDIR(st.st_mode) && fstatfs(fd, &fs) < 0))
		return audit_refuse(a, pid, "what it has open cannot be looked at");
	if (S_ISDIR(st.st_mode) && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC))
		return audit_refuse(a, pid, "it has a directory of /proc or /sys open: leave it");
	return 0;
}

static int check_fds(struct audit *a, pid_t pid, int dir_fd)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = 0;

	if (!dir)
		return audit_refuse(a, pid, "what it has open cannot be listed");
	while (r >= 0 && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			r = check_place(a, pid, dirfd(dir), e->d_name);
	return r;
}

/* With the leader of its threads, who is looked at himself. */
static bool shares(pid_t pid, pid_t leader, int what)
{
	return pid != leader && syscall(SYS_kcmp, pid, leader, what, 0, 0) == 0;
}

static int check_open(struct audit *a, pid_t pid, pid_t leader)
{
	_cleanup_close_ int dir = -1;
	char path[32];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return audit_refuse(a, pid, "what it has open cannot be looked at");
	if (!shares(pid, leader, KCMP_FS)) {
		r = check_place(a, pid, dir, "cwd");
		if (r >= 0)
			r = check_place(a, pid, dir, "root");
	}
	if (r >= 0 && !shares(pid, leader, KCMP_FILES))
		r = check_fds(a, pid, dir);
	return r;
}

static int check_task(struct audit *a, pid_t pid)
{
	pid_t leader = pid;
	int r;

	for (size_t i = 0; i < AUDIT_KINDS; i++) {
		ino_t is = namespace_of(pid, kinds[i]);

		if (is != a->own[i] && (i != AUDIT_MNT_NS || is == 0))
			return audit_refuse(a, pid,
			        "it is in a network, IPC or other namespace of its own, as services of systemd with PrivateNetwork= are (stop it)");
		if (is != a->own[i]) {
			r = audit_mounts(a, pid, is);
			if (r < 0)
				return r;
		}
	}
	r = check_status(a, pid, &leader);
	if (r >= 0)
		r = check_limits(a, pid);
	return r < 0 ? r : check_open(a, pid, leader);
}

/* The threads of a cgroup and of all below it. */
static int check_cgroup(struct audit *a, int dir_fd, unsigned depth)
{
	_cleanup_free_ char *list = NULL;
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	int r;

	r = read_file_at(dir_fd, "cgroup.threads", FILE_MAX, &list, NULL);
	if (r < 0)
		return ct_error_set(
		        a->err, r, "audit", "cannot list the restored processes: %s", sys_reason(r));
	for (char *at = list; *at;) {
		pid_t task = (pid_t)strtol(at, &at, 10);

		at += *at == '\n';
		a->seen_init |= task == a->init;
		r = check_task(a, task);
		if (r < 0)
			return r;
	}

	dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!dir || depth == DEPTH_MAX)
		return ct_error_set(a->err, -E2BIG, "audit", "cannot look into the restored cgroups");
	while (r >= 0 && (e = readdir(dir))) {
		_cleanup_close_ int sub = -1;

		if (e->d_type != DT_DIR || str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		sub = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = sub < 0 ? ct_error_set(a->err, -errno, "audit", "cannot look into a restored cgroup")
		            : check_cgroup(a, sub, depth + 1);
	}
	return r < 0 ? r : 0;
}

bool audit_is_below(const char *path, const char *name)
{
	const size_t len = strlen(name);

	for (const char *at = path; (at = strstr(at, name)); at++)
		if (at > path && at[-1] == '/' && (at[len] == '/' || at[len] == '\n' || !at[len]))
			return true;
	return false;
}

/* Whoever is in the container's pid namespace is in its cgroup. */
static int check_strays(struct audit *a)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *e;

	if (!proc)
		return ct_error_set(a->err, -errno, "audit", "cannot list processes: %s", strerror(errno));
	while ((e = readdir(proc))) {
		_cleanup_free_ char *cgroup = NULL;
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		char path[40];

		if (pid <= 0 || namespace_of(pid, kinds[AUDIT_PID_NS]) != a->own[AUDIT_PID_NS])
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
		if (read_file_at(AT_FDCWD, path, 65536, &cgroup, NULL) < 0 ||
		        !audit_is_below(cgroup, a->want->cgroup_name))
			return audit_refuse(a, pid, "it is not in the container's cgroup");
	}
	return 0;
}

int restore_audit(int cgroup_fd, pid_t pid, const struct restore_want *want, struct ct_error *err)
{
	struct audit a = { .want = want, .init = pid, .err = err };
	int r;

	r = check_init(&a, pid);
	if (r >= 0)
		r = check_cgroup(&a, cgroup_fd, 0);
	if (r >= 0 && !a.seen_init)
		r = audit_refuse(&a, pid, "it is not in the container's cgroup");
	if (r >= 0)
		r = check_strays(&a);
	if (r >= 0)
		r = audit_mounts(&a, pid, a.own[AUDIT_MNT_NS]);
	free(a.seen);
	return r < 0 ? r : 0;
}
