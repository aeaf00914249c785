/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has been restored is looked at before it runs; and so that nothing is saved that would then be
 * refused, also before it is saved.
 *
 * Images say who a task is; whoever could write them could say that it is root of the host. So nothing is
 * thawed that is not, by what the kernel says of it, what a start by us would have made. Of each thread: its
 * ids are the container's, its capabilities and limits are within those that a container may have, it has a
 * seccomp filter, and its namespaces are those of the container's init; it has no directory of /proc or /sys,
 * which CRIU would open before their masks are there, and from which one walks around them. Of init: the user
 * namespace belongs to the base id and maps its range and no other, and the mounts are of the kinds that a
 * start makes or a tenant can make. And no process of the container's pid namespace is outside of its cgroup.
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
#include "libct/restore.h"
#include "libct/sys.h"

#define FILE_MAX  (1024 * 1024)
#define DEPTH_MAX 32

/* In the order in which they are looked at; the last need not be other than ours. */
static const char *const kinds[] = { "user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time" };
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
#define N_OWN   (N_KINDS - 1)
#define PID_NS  1

struct audit {
	const struct restore_want *want;
	ino_t own[N_KINDS]; /* of init, in the order of kinds */
	pid_t init;
	bool seen_init;
	unsigned int n_proc, n_sys; /* mounts */
	struct ct_error *err;
};

static int refuse(struct audit *a, pid_t pid, const char *what)
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

	return pid > 0 && namespace_of(pid, kinds[PID_NS]) == a->own[PID_NS];
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
		return refuse(a, pid, "it has no status");
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if (!ids_fit(line_of(text, ids[i]), a->want->base_id))
			return refuse(a, pid, "its ids are not the container's");
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (!caps_fit(line_of(text, sets[i]), a->want->capabilities))
			return refuse(a, pid, "it has capabilities that a container must not have");
	if (pid != a->init && !is_inside(a, line_of(text, "\nPPid:\t")))
		return refuse(
		        a, pid, "its parent is not inside (a command of ctctl exec: wait for it, or end it)");
	leader = line_of(text, "\nTgid:\t");
	*ret_leader = leader ? (pid_t)strtol(leader, NULL, 10) : pid;
	mode = line_of(text, "\nSeccomp:\t");
	return mode && *mode == '2' ? 0 : refuse(a, pid, "it has no seccomp filter");
}

static int check_limits(struct audit *a, pid_t pid)
{
	for (size_t i = 0; i < a->want->n_rlimits; i++) {
		const struct ct_rlimit *want = &a->want->rlimits[i];
		struct rlimit is;

		if (prlimit(pid, (__rlimit_resource_t)want->resource, NULL, &is) < 0)
			return refuse(a, pid, "its limits cannot be read");
		if (is.rlim_max > want->hard)
			return refuse(
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
			return refuse(a, pid, "its ids are mapped to others");
	}
	return 0;
}

static int check_init(struct audit *a, pid_t pid)
{
	_cleanup_close_ int userns = -1;
	char path[40];
	uid_t owner;

	for (size_t i = 0; i < N_KINDS; i++)
		a->own[i] = namespace_of(pid, kinds[i]);
	for (size_t i = 0; i < N_OWN; i++)
		if (a->own[i] == 0 || a->own[i] == namespace_of(getpid(), kinds[i]))
			return refuse(a, pid, "a namespace of its own is missing");
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	userns = open(path, O_RDONLY | O_CLOEXEC);
	if (userns < 0 || ioctl(userns, NS_GET_OWNER_UID, &owner) < 0 || owner != a->want->base_id)
		return refuse(a, pid, "its user namespace belongs to somebody else");
	return check_maps(a, pid);
}

static int check_place(struct audit *a, pid_t pid, int dir_fd, const char *name)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_PATH | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (S_ISDIR(st.st_mode) && fstatfs(fd, &fs) < 0))
		return refuse(a, pid, "what it has open cannot be looked at");
	if (S_ISDIR(st.st_mode) && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC))
		return refuse(a, pid, "it has a directory of /proc or /sys open: leave it");
	return 0;
}

static int check_fds(struct audit *a, pid_t pid, int dir_fd)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = 0;

	if (!dir)
		return refuse(a, pid, "what it has open cannot be listed");
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
		return refuse(a, pid, "what it has open cannot be looked at");
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

	for (size_t i = 0; i < N_KINDS; i++)
		if (namespace_of(pid, kinds[i]) != a->own[i])
			return refuse(a, pid,
			        "it is in a namespace of its own, as services of systemd with PrivateTmp= or ProtectSystem= are (stop it)");
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

/* The path has the name as one of its parts. */
static bool is_below(const char *path, const char *name)
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

		if (pid <= 0 || namespace_of(pid, kinds[PID_NS]) != a->own[PID_NS])
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
		if (read_file_at(AT_FDCWD, path, 65536, &cgroup, NULL) < 0 ||
		        !is_below(cgroup, a->want->cgroup_name))
			return refuse(a, pid, "it is not in the container's cgroup");
	}
	return 0;
}

/* One line of mountinfo, taken apart. */
struct mount_line {
	const char *device, *root, *point, *type, *source, *options;
};

static bool is_device(const char *root)
{
	static const char *const names[] = { "/null", "/zero", "/full", "/random", "/urandom", "/tty" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_eq(root, names[i]))
			return true;
	return false;
}

/* What needs nothing of the host, so that a container's root may mount it by himself. */
static bool is_virtual(const char *type)
{
	static const char *const types[] = { "tmpfs", "devpts", "mqueue" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (str_eq(type, types[i]))
			return true;
	return false;
}

static bool is_whole(const struct mount_line *m, const char *point)
{
	return str_eq(m->point, point) && str_eq(m->root, "/");
}

static bool is_native(const struct audit *a, const struct mount_line *m)
{
	for (size_t i = 0; i < a->want->n_natives; i++) {
		const struct restore_native *native = &a->want->natives[i];
		const char *rest =
		        str_has_prefix(m->root, native->root) ? m->root + strlen(native->root) : NULL;

		if (rest && (*rest == '/' || !*rest) && str_eq(m->device, native->device))
			return strstr(m->options, "nodev");
	}
	return false;
}

/* CRIU knows what comes from outside by where it is mounted, and would put the native directory in the place
 * of all that is mounted over it. */
static bool is_over_native(const struct audit *a, const struct mount_line *m)
{
	for (size_t i = 0; i < a->want->n_natives; i++) {
		const struct restore_native *native = &a->want->natives[i];

		if (str_eq(m->point, native->point))
			return !str_eq(m->root, native->root) || !str_eq(m->device, native->device);
	}
	return false;
}

/* The masks are put on one of each: any other, a copy of a part of it too, would come back without. */
static bool mount_fits(struct audit *a, const struct mount_line *m, const char *device)
{
	if (str_eq(m->type, "proc"))
		return is_whole(m, "/proc") && ++a->n_proc == 1;
	if (str_eq(m->type, "sysfs"))
		return is_whole(m, "/sys") && ++a->n_sys == 1;
	if (str_eq(m->point, "/proc") || str_eq(m->point, "/sys"))
		return false; /* there they are looked for */
	if (is_over_native(a, m))
		return false;
	if (str_eq(m->type, "overlay"))
		return str_eq(m->device, device) && strstr(m->options, "nodev");
	if (str_eq(m->type, "cgroup2"))
		return is_below(m->root, a->want->cgroup_name);
	if (str_eq(m->type, "devtmpfs"))
		return is_device(m->root);
	if (str_has_prefix(m->type, "fuse"))
		return str_eq(m->source, "ct-view");
	return is_virtual(m->type) || is_native(a, m);
}

struct mounts {
	int mntns_fd, proc_fd;
	int list_fd;
};

/* From the root of the namespace: init's own may be another, from which not all of them are seen. */
static int list_helper(void *arg)
{
	struct mounts *m = arg;

	if (setns(m->mntns_fd, CLONE_NEWNS) < 0)
		return sys_error();
	m->list_fd = openat(m->proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	return m->list_fd < 0 ? sys_error() : 0;
}

static int list_mounts(struct audit *a, pid_t pid, char **ret)
{
	_cleanup_close_ int mntns = ct_process_namespace(pid, CLONE_NEWNS);
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mounts m = { .mntns_fd = mntns, .proc_fd = proc, .list_fd = -1 };
	_cleanup_free_ char *text = malloc(FILE_MAX + 1);
	_cleanup_close_ int list = -1;
	ssize_t n = -ENOMEM;
	int r;

	if (mntns < 0 || proc < 0)
		return refuse(a, pid, "it has no mounts");
	r = helper_run(list_helper, &m, a->err);
	if (r < 0)
		return refuse(a, pid, "its mounts cannot be listed");
	list = m.list_fd;
	if (text)
		n = read_all(list, text, FILE_MAX);
	if (n < 0 || n == FILE_MAX)
		return refuse(a, pid, "its mounts do not read");
	text[n] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

static int check_mounts(struct audit *a, pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char device[32], *rest, *line;
	int r = list_mounts(a, pid, &text);

	if (r < 0)
		return r;
	(void)snprintf(device, sizeof(device), "%u:%u", major(a->want->root_dev), minor(a->want->root_dev));

	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		struct mount_line m;
		char *tail = strstr(line, " - ");

		(void)strsep(&line, " "); /* ids */
		(void)strsep(&line, " ");
		m.device = strsep(&line, " ");
		m.root = strsep(&line, " ");
		m.point = strsep(&line, " ");
		m.options = strsep(&line, " ");
		if (!tail || !m.options)
			return refuse(a, pid, "its mounts do not read");
		tail += 3;
		m.type = strsep(&tail, " ");
		m.source = strsep(&tail, " ");
		if (!m.source || !mount_fits(a, &m, device))
			return ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
			        "\"%.200s\" inside is a mount of a kind that is not kept (\"%.40s\"): unmount it",
			        m.point, m.type);
	}
	return a->n_proc == 1 && a->n_sys == 1
	               ? 0
	               : ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
	                         "\"/proc\" or \"/sys\" is not mounted inside, as a start has it (restart it)");
}

int restore_audit(int cgroup_fd, pid_t pid, const struct restore_want *want, struct ct_error *err)
{
	struct audit a = { .want = want, .init = pid, .err = err };
	int r;

	r = check_init(&a, pid);
	if (r >= 0)
		r = check_cgroup(&a, cgroup_fd, 0);
	if (r >= 0 && !a.seen_init)
		r = refuse(&a, pid, "it is not in the container's cgroup");
	if (r >= 0)
		r = check_strays(&a);
	if (r >= 0)
		r = check_mounts(&a, pid);
	return r < 0 ? r : 0;
}
