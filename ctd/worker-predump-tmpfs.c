/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Archives of each tmpfs that init has mounted, one behind the other in one file.
 *
 * They are made as CRIU makes its own in a dump, by the same program with the same options, in the user
 * namespace of the container: so most of what is there is found in them again. What a tmpfs of another mount
 * namespace has, or one that something covers, is written in the freeze alone, as is what is there later.
 *
 * Where a tmpfs is mounted is a tenant's: the way there may lead through a file system that never answers,
 * and what is there may grow while it is read. So all is done by a process of its own, which has a deadline;
 * what it reads it reads as root inside and no more, and it writes no more than the container has of memory.
 */
#include "ctd/worker-predump-tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu-archive.h"
#include "ctd/worker-copy.h"
#include "ctd/worker-main.h"
#include "libct/ct.h"

#define MOUNTS_MAX    (1024 * 1024)
#define TMPFS_MAX     32
#define DEADLINE_USEC 60000000ULL /* of all */
#define EXIT_ERROR    127

struct tmpfs {
	dev_t dev;
	const char *point; /* inside */
};

struct ahead {
	int mntns_fd, our_mntns_fd, userns_fd, out_fd;
	uint64_t max_bytes;
	const char *program;
	uint64_t deadline_usec;
};

/* One line of mountinfo: the root of a tmpfs, and no name that is written with escapes. */
static bool read_line(char *line, struct tmpfs *ret)
{
	const char *type = strstr(line, " - tmpfs "), *root;
	unsigned int major, minor;
	char *device;

	(void)strsep(&line, " "); /* ids */
	(void)strsep(&line, " ");
	device = strsep(&line, " ");
	root = strsep(&line, " ");
	ret->point = strsep(&line, " ");
	if (!type || !ret->point || !str_eq(root, "/") || strchr(ret->point, '\\') ||
	        sscanf(device, "%u:%u", &major, &minor) != 2)
		return false;
	ret->dev = makedev(major, minor);
	return true;
}

static size_t list_tmpfs(char *text, struct tmpfs list[static TMPFS_MAX])
{
	size_t n = 0;
	char *line;

	while (n < TMPFS_MAX && (line = strsep(&text, "\n")) && *line) {
		bool known = !read_line(line, &list[n]);

		for (size_t i = 0; !known && i < n; i++)
			known = list[i].dev == list[n].dev;
		n += !known;
	}
	return n;
}

/* Of the mount alone, as CRIU sees it: not what is mounted in it, which may be the same once more. What is
 * read there leaves no time and holds no mount of theirs. After a failure the child may be among their
 * mounts, where a name is theirs: then it opens nothing more. */
static int clone_mount(const struct ahead *a, const struct tmpfs *t)
{
	struct mount_attr quiet = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME,
		.attr_clr = MOUNT_ATTR__ATIME };
	_cleanup_close_ int root = -1, point = -1, clone = -1;
	struct statfs fs;
	struct stat st;

	if (setns(a->mntns_fd, CLONE_NEWNS) < 0)
		return -errno;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	point = root < 0 ? -errno : open_in_root(root, t->point, O_PATH | O_DIRECTORY, 0);
	if (point < 0)
		return point;
	clone = open_tree(point, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (clone < 0 || setns(a->our_mntns_fd, CLONE_NEWNS) < 0 ||
	        mount_setattr(clone, "", AT_EMPTY_PATH, &quiet, sizeof(quiet)) < 0 || fstat(clone, &st) < 0 ||
	        fstatfs(clone, &fs) < 0)
		return -errno;
	return st.st_dev == t->dev && fs.f_type == TMPFS_MAGIC ? TAKE_FD(clone) : -ESTALE; /* it is covered */
}

/* With the options that CRIU has. */
__attribute__((noreturn)) static void archive_inside(
        const struct ahead *a, const struct tmpfs *t, pid_t parent)
{
	static const char *const args[] = { "tar", "--create", "--gzip", "--no-unquote", "--no-wildcards",
		"--one-file-system", "--check-links", "--preserve-permissions", "--sparse", "--numeric-owner",
		CRIU_ARCHIVE_BLOCKING, ".", NULL };
	static const char *const env[] = { "LANG=C.UTF-8", NULL };
	const struct rlimit size = { a->max_bytes, a->max_bytes };
	_cleanup_close_ int null =
	        open("/dev/null", O_RDWR | O_CLOEXEC); /* ours: a clone may leave us there */
	_cleanup_close_ int dir = clone_mount(a, t);

	/* A file that keeps growing, or moves ahead of tar, has no quota here. */
	if (dir < 0 || null < 0 || disk_view_become(a->userns_fd, parent) < 0 ||
	        setrlimit(RLIMIT_FSIZE, &size) < 0 || signal(SIGXFSZ, SIG_IGN) == SIG_ERR ||
	        fchdir(dir) < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(a->out_fd, STDOUT_FILENO) < 0 ||
	        dup2(null, STDERR_FILENO) < 0)
		_exit(EXIT_ERROR);
	(void)execve(a->program, (char *const *)args, (char *const *)env);
	_exit(EXIT_ERROR);
}

static void archive(const struct ahead *a, const struct tmpfs *t)
{
	_cleanup_close_ int pidfd = -1;
	const pid_t parent = getpid(),
	            pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
	struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
		{ .fd = worker_stop_fd(), .events = POLLIN } };
	uint64_t now = now_monotonic_usec();

	if (pid == 0)
		archive_inside(a, t, parent);
	if (pid < 0)
		return;
	fds[0].fd = pidfd;
	while (now < a->deadline_usec &&
	        poll(fds, ARRAY_SIZE(fds), (int)((a->deadline_usec - now) / 1000) + 1) < 0 && errno == EINTR)
		now = now_monotonic_usec();
	if (!(fds[0].revents & POLLIN))
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* ESRCH: it has ended */
	(void)process_wait(pidfd, UINT64_MAX); /* what it has written is as good as it is */
}

static void archive_all(const struct ahead *a, pid_t pid)
{
	struct tmpfs list[TMPFS_MAX];
	_cleanup_free_ char *text = NULL;
	char path[40];
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	if (read_file_at(AT_FDCWD, path, MOUNTS_MAX, &text, NULL) < 0)
		return;
	n = list_tmpfs(text, list);
	for (size_t i = 0; i < n && now_monotonic_usec() < a->deadline_usec && worker_check(NULL) >= 0; i++)
		archive(a, &list[i]);
}

void predump_tmpfs(pid_t pid, const char *tools, int round_fd, uint64_t max_bytes)
{
	_cleanup_free_ char *program = str_printf("%s/tar", tools);
	_cleanup_close_ int mntns = ct_process_namespace(pid, CLONE_NEWNS), out = -1,
	                    ours = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC),
	                    userns = ct_process_namespace(pid, CLONE_NEWUSER);
	struct stat st;

	if (!program || userns < 0 || mntns < 0 || ours < 0)
		return;
	out = openat(round_fd, CRIU_ARCHIVE_BASE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return;
	archive_all(&(struct ahead){ .mntns_fd = mntns,
	                    .our_mntns_fd = ours,
	                    .userns_fd = userns,
	                    .out_fd = out,
	                    .max_bytes = max_bytes,
	                    .program = program,
	                    .deadline_usec = now_monotonic_usec() + DEADLINE_USEC },
	        pid);
	/* To be read inside the user namespace, as CRIU reads images. What is small is written in the time
	 * that it would take to look it up. */
	if (fstat(out, &st) < 0 || st.st_size < CRIU_ARCHIVE_FEW || fchmod(out, 0644) < 0)
		(void)unlinkat(round_fd, CRIU_ARCHIVE_BASE, 0); /* the directory is ours */
}
