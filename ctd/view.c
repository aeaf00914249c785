/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd's side of the view inside.
 *
 * ct-view (view-main.c) serves one FUSE file system for all containers, mounted on RUNTIME/view; it tells
 * them apart by who reads. A start binds its files over those of the container's /proc and /sys, before its
 * init, and locked as the masks are: nobody inside can take them off.
 *
 * ct-view outlives us. Which process it is says RUNTIME/view.pid, with the start time; the next ctd takes a
 * duplicate of its /dev/fuse by pidfd_getfd(2). As long as one of the two has that descriptor the mounts
 * live, so ct-view may die, too: it is started again on the same descriptor. It is our own instance of lxcfs
 * that it starts, not the distribution's: that one has other options, is not confined, may be stopped or
 * upgraded by anybody, and takes all its mounts with it.
 *
 * What ends the file system all the same is the kernel's abort (/sys/fs/fuse/connections/N/abort), or the
 * death of ct-view while there is no ctd. Then another is made, for containers that start from then on. Those
 * that run keep the dead one: its files are locked below whatever a tenant has put there, and only a start
 * binds them anew. view-lost.c tells which they are.
 *
 * ct-view and its lxcfs are in a cgroup of their own. Its weight is high, as every container waits for them,
 * and its cap one CPU; what it may have of memory and processes is far more than they need, and far less than
 * a host.
 *
 * We hold that descriptor only after the files have been opened. A file system whose server has died with
 * nobody else holding it gives an error; one that is held would make us wait for ever.
 */
#include "ctd/view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/process.h"
#include "ctd/manager.h"

#define LXCFS      "/usr/bin/lxcfs"
#define PID_FILE   "view.pid"
#define PAUSE_USEC USEC_PER_SEC /* between two starts of ct-view */
#define ATTR       (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct view {
	char *program, *where;
	int files[VIEW_FILES]; /* O_PATH; -1: not on this host */
	int fuse_fd, pending_fd, pidfd;
	pid_t pid;
	uint64_t started_usec;
	sd_event_source *death, *again;
	dev_t dev; /* of the file system */
	bool usable;
	bool remade; /* an earlier one has ended, and nobody was told yet */
	char missing[256];
};

static void view_free(struct view *v)
{
	if (!v)
		return;
	(void)sd_event_source_disable_unref(v->death); /* always NULL, as the next */
	(void)sd_event_source_disable_unref(v->again);
	for (unsigned i = 0; i < VIEW_FILES; i++)
		(void)fd_close(v->files[i]);
	(void)fd_close(v->fuse_fd);
	(void)fd_close(v->pending_fd);
	(void)fd_close(v->pidfd);
	free(v->program);
	free(v->where);
	free(v);
}

/* ---- the process */

static int save_pid(struct manager *m, pid_t pid)
{
	_cleanup_close_ int dir = open(m->conf.runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t start = 0;
	char text[48];
	int r;

	r = dir < 0 ? -errno : process_start_time(pid, &start);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "%d %llu\n", (int)pid, (unsigned long long)start);
	return replace_file_at(dir, PID_FILE, text, strlen(text), 0600, false);
}

static int on_death(sd_event_source *source, int fd, uint32_t events, void *userdata);

static int watch(struct manager *m)
{
	return sd_event_add_io(m->event, &m->view->death, m->view->pidfd, EPOLLIN, on_death, m);
}

static void stop_program(struct view *v)
{
	v->death = sd_event_source_disable_unref(v->death);
	if (v->pidfd < 0)
		return;
	(void)pidfd_send_signal(v->pidfd, SIGKILL, NULL, 0); /* it may have ended */
	(void)process_wait(v->pidfd, USEC_PER_SEC);          /* not ours: it is waited for by init */
	v->pidfd = fd_close(v->pidfd);
}

/* What nobody serves nor will serve must not be held: who reads from it would wait for ever. */
static void give_up(struct view *v)
{
	stop_program(v);
	v->fuse_fd = fd_close(v->fuse_fd);
	v->pending_fd = fd_close(v->pending_fd);
}

/* Values are for files that a host without the controller has not. */
static void make_cgroup(struct manager *m)
{
	static const struct {
		const char *file, *value;
	} limits[] = {
		{ "memory.max", "134217728" },
		{ "memory.swap.max", "0" },
		{ "pids.max", "256" }, /* lxcfs forks for its look into a container */
		{ "cpu.max", "100000 100000" },
		{ "cpu.weight", "1000" },
	};
	_cleanup_close_ int fd = open_or_mkdir(m->cgroup.fd, VIEW_CGROUP, 0755);
	int r = fd < 0 ? fd : 0;

	for (size_t i = 0; i < ARRAY_SIZE(limits) && r >= 0; i++)
		if (faccessat(fd, limits[i].file, F_OK, 0) == 0)
			r = write_file_at(fd, limits[i].file, limits[i].value);
	if (r < 0)
		log_warning(
		        "ct-view has no limits of its own, its cgroup cannot be set up: %s", strerror(-r));
}

/* fuse_fd: given to it, and with it all requests of the mount. On failure none runs: two would answer each
 * other's requests. */
static int start_program(struct manager *m, int fuse_fd)
{
	struct view *v = m->view;
	_cleanup_free_ char *path = NULL;
	char fuse[12], pending[12];
	const char *const argv[] = { v->program, m->host.cgroup_mount, path, fuse, pending, NULL };
	const int keep[] = { fuse_fd, v->pending_fd };
	struct process_options options = PROCESS_OPTIONS_INIT;
	const char *args[ARRAY_SIZE(argv)];
	int r;

	(void)snprintf(fuse, sizeof(fuse), "%d", fuse_fd);
	(void)snprintf(pending, sizeof(pending), "%d", v->pending_fd);
	memcpy(args, argv, sizeof(args));
	args[2] = m->cgroup.path;
	options.stderr_fd = STDERR_FILENO;
	options.keep_fds = keep;
	options.n_keep = ARRAY_SIZE(keep);

	make_cgroup(m);
	(void)fd_close(v->pidfd);
	v->started_usec = now_monotonic_usec();
	v->pidfd = process_spawn(args, &options, &v->pid);
	if (v->pidfd < 0)
		return v->pidfd;
	r = save_pid(m, v->pid);
	if (r < 0) /* a full file system: it serves all the same */
		log_warning("the next ctd will not find ct-view, \"%s\" cannot be written: %s", PID_FILE,
		        strerror(-r));
	r = watch(m);
	if (r < 0)
		stop_program(v);
	return r;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct view *v = m->view;
	int r;

	v->again = sd_event_source_disable_unref(v->again);
	r = start_program(m, v->fuse_fd);
	if (r < 0) {
		log_error("cannot start ct-view, containers wait for it: %s", strerror(-r));
		(void)sd_event_add_time_relative(m->event, &v->again, CLOCK_MONOTONIC, PAUSE_USEC, 0,
		        on_again, m); /* else at ctd's next start */
	}
	return 0;
}

static bool is_cut_off(const struct view *v)
{
	struct pollfd fuse = { .fd = v->fuse_fd };

	return v->fuse_fd >= 0 && poll(&fuse, 1, 0) == 1 && (fuse.revents & POLLERR);
}

static void make_anew(struct manager *m);

static int on_death(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct manager *m = userdata;
	struct view *v = m->view;
	uint64_t lived = now_monotonic_usec() - v->started_usec;
	siginfo_t info;

	(void)waitid(P_PIDFD, (id_t)v->pidfd, &info, WEXITED | WNOHANG); /* ECHILD: of an earlier ctd */
	v->death = sd_event_source_disable_unref(v->death);
	v->pidfd = fd_close(v->pidfd);
	if (is_cut_off(v)) {
		make_anew(m);
		view_tell_lost(m);
		return 0;
	}
	log_warning("ct-view has ended and is started again");
	(void)sd_event_add_time_relative(m->event, &v->again, CLOCK_MONOTONIC,
	        lived < PAUSE_USEC ? PAUSE_USEC : 0, 0, on_again, m); /* else at ctd's next start */
	return 0;
}

/* ---- taking over */

static int read_pid(struct manager *m, pid_t *ret_pid, uint64_t *ret_start)
{
	_cleanup_free_ char *path = str_printf("%s/" PID_FILE, m->conf.runtime_dir), *text = NULL;
	unsigned long long start = 0;
	int pid = 0, r;

	if (!path)
		return -ENOMEM;
	r = read_file_at(AT_FDCWD, path, 64, &text, NULL);
	if (r < 0)
		return r;
	if (sscanf(text, "%d %llu", &pid, &start) != 2 || pid <= 0)
		return -EINVAL;
	*ret_pid = pid;
	*ret_start = start;
	return 0;
}

/* A pidfd of the ct-view that an earlier ctd has started. */
static int find_process(struct manager *m, pid_t *ret_pid)
{
	_cleanup_close_ int pidfd = -1;
	uint64_t wanted = 0, start = 0;
	int r;

	r = read_pid(m, ret_pid, &wanted);
	if (r < 0)
		return r;
	pidfd = pidfd_open(*ret_pid, 0);
	if (pidfd < 0)
		return -errno;
	r = process_start_time(*ret_pid, &start);
	if (r < 0)
		return r;
	return start == wanted ? TAKE_FD(pidfd) : -ESRCH;
}

/* Whether it runs the program that we would start. */
static bool is_current(const struct view *v)
{
	struct stat is, wanted;
	char exe[40];

	(void)snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)v->pid);
	return stat(exe, &is) == 0 && stat(v->program, &wanted) == 0 && is.st_dev == wanted.st_dev &&
	       is.st_ino == wanted.st_ino;
}

static int open_files(struct view *v)
{
	_cleanup_close_ int dir = open(v->where, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (dir < 0)
		return -errno;
	for (unsigned i = 0; i < VIEW_FILES; i++) {
		if (access(view_files[i].target, F_OK) < 0)
			continue; /* a kernel without it */
		v->files[i] = openat(dir, view_files[i].name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (v->files[i] < 0 || fstat(v->files[i], &st) < 0)
			return -errno;
		v->dev = st.st_dev;
	}
	return 0;
}

static int take_fds(struct view *v)
{
	int *fds[] = { &v->fuse_fd, &v->pending_fd };
	static const int numbers[] = { VIEW_FUSE_FD, VIEW_PENDING_FD };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		(void)fd_close(*fds[i]);
		*fds[i] = pidfd_getfd(v->pidfd, numbers[i], 0);
		if (*fds[i] < 0)
			return -errno;
	}
	return 0;
}

static int adopt(struct manager *m)
{
	struct view *v = m->view;
	int r;

	v->pidfd = find_process(m, &v->pid);
	if (v->pidfd < 0)
		return v->pidfd;
	v->started_usec = now_monotonic_usec() - PAUSE_USEC;
	r = open_files(v);
	if (r >= 0)
		r = take_fds(v);
	if (r >= 0)
		r = watch(m);
	if (r >= 0 && !is_current(v))
		(void)pidfd_send_signal(v->pidfd, SIGKILL, NULL, 0); /* the next has the new program */
	return r;
}

/* ---- making it */

static int say_missing(struct view *v, int code, const char *text)
{
	if (code == 0)
		(void)snprintf(v->missing, sizeof(v->missing), "%s", text);
	else
		(void)snprintf(v->missing, sizeof(v->missing), "%s: %s", text, strerror(-code));
	return code ?: -EOPNOTSUPP;
}

static int mount_fuse(struct view *v, int fuse_fd)
{
	_cleanup_close_ int fs = fsopen("fuse", FSOPEN_CLOEXEC), tree = -1;
	char fd[12];

	(void)snprintf(fd, sizeof(fd), "%d", fuse_fd);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "ct-view", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "fd", fd, 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40555", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0 ||
	        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	tree = fsmount(fs, FSMOUNT_CLOEXEC, ATTR);
	if (tree < 0 || move_mount(tree, "", AT_FDCWD, v->where, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

static int make(struct manager *m)
{
	struct view *v = m->view;
	_cleanup_close_ int fuse = -1;
	int r;

	if (access(LXCFS, X_OK) < 0)
		return say_missing(v, 0, "lxcfs is not installed: apt install lxcfs, then restart ctd");
	if (access(v->program, X_OK) < 0)
		return say_missing(v, -errno, "there is no ct-view beside ct-keeper");
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		return say_missing(v, -errno, "cannot open /dev/fuse (modprobe fuse, then restart ctd)");

	v->pending_fd = memfd_create("view", MFD_CLOEXEC);
	if (v->pending_fd < 0 || ftruncate(v->pending_fd, sizeof(struct view_pending)) < 0)
		return say_missing(v, -errno, "cannot make a memory file");
	if (mkdir(v->where, 0700) < 0 && errno != EEXIST)
		return say_missing(v, -errno, "cannot make its directory");
	r = mount_fuse(v, fuse);
	if (r < 0)
		return say_missing(v, r, "cannot mount a FUSE file system");
	r = start_program(m, fuse);
	if (r < 0)
		return say_missing(v, r, "cannot start ct-view");
	fuse = fd_close(fuse); /* see above */
	r = open_files(v);
	if (r >= 0)
		r = take_fds(v);
	return r < 0 ? say_missing(v, r, "ct-view does not answer") : 0;
}

static void unmount(struct view *v)
{
	while (umount2(v->where, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
}

/* In place of one that has ended. */
static void make_anew(struct manager *m)
{
	struct view *v = m->view;

	give_up(v);
	for (unsigned i = 0; i < VIEW_FILES; i++)
		v->files[i] = fd_close(v->files[i]);
	unmount(v);
	v->dev = 0;
	v->remade = true;
	v->usable = make(m) >= 0;
	if (v->usable)
		return;
	log_warning("containers see the host's memory and CPUs in /proc: %s", v->missing);
	give_up(v);
	unmount(v);
}

void view_open(struct manager *m)
{
	const char *slash = strrchr(m->conf.keeper, '/');
	struct view *v;

	if (m->view)
		return;
	m->view = v = calloc(1, sizeof(*v));
	if (!v)
		return;
	*v = (struct view){ .fuse_fd = -1, .pending_fd = -1, .pidfd = -1 };
	for (unsigned i = 0; i < VIEW_FILES; i++)
		v->files[i] = -1;
	v->program = str_printf("%.*s/ct-view", slash ? (int)(slash - m->conf.keeper) : 0, m->conf.keeper);
	v->where = str_printf("%s/view", m->conf.runtime_dir);
	if (!v->program || !v->where) {
		(void)say_missing(v, 0, "out of memory");
		return;
	}

	if (adopt(m) >= 0 && !is_cut_off(v)) {
		v->usable = true;
		return;
	}
	make_anew(m);
}

static bool is_used(const struct manager *m)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (c->state != CONTAINER_STOPPED || c->run.slot) /* also one that was not looked at yet */
		return true;
	return false;
}

void view_close(struct manager *m)
{
	struct view *v = m->view;

	if (v && v->where && v->usable && !is_used(m)) {
		unmount(v);
		stop_program(v);
		(void)rmdir(v->where);                                   /* a leftover does no harm, */
		(void)unlinkat(m->cgroup.fd, VIEW_CGROUP, AT_REMOVEDIR); /* nor does this */
	}
	view_free(v);
	m->view = NULL;
}

/* ---- for those who use it */

size_t view_binds(const struct manager *m, struct ct_bind *ret)
{
	const struct view *v = m->view;
	size_t n = 0;

	if (!v || !v->usable)
		return 0;
	for (unsigned i = 0; i < VIEW_FILES; i++) {
		int fd = v->files[i] < 0 ? -1
		                         : open_tree(v->files[i], "",
		                                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

		if (fd >= 0) /* else the host's is seen */
			ret[n++] = (struct ct_bind){ .source_fd = fd, .target = view_files[i].target };
	}
	return n;
}

bool view_is_lost(const struct manager *m, const struct container *c)
{
	return container_has_init(c) && c->run.pid > 0 &&
	       view_is_other(c->run.pid, m->view ? m->view->dev : 0);
}

void view_tell_lost(struct manager *m)
{
	struct container *c, *next;

	if (!m->view || !m->view->remade)
		return;
	m->view->remade = false;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (view_is_lost(m, c)) {
		log_warning("\"%s\" cannot read its /proc/meminfo and others until it is restarted: "
		            "the file system of ct-view has ended",
		        c->row.name);
		manager_event(m, c, "view.lost", NULL);
	}
}

const char *view_missing(const struct manager *m)
{
	if (m->view && m->view->usable)
		return NULL;
	return m->view && *m->view->missing ? m->view->missing : "it could not be set up (see ctd's log)";
}
