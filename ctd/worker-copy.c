/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a disk that is in use.
 *
 * An overlay is mounted once only, and the mount that the container has cannot be cloned without those that
 * are locked on top of it (libct/lock.c). So it is read where the container has it, and what something is
 * mounted on, which nobody inside sees either, is left for the end, when it is at rest. What is mounted there
 * may be a tenant's that never answers: nothing is ever asked of it (open_beneath_mount). Not left for the
 * end are native directories (quota/native.c), where a server has most of what it has: what is mounted there
 * is a directory of the upper layer as it is, and so it is read there.
 *
 * Its ids are shifted, and so are those in ACLs and file capabilities. They are read as they are inside by a
 * child in the container's user namespace, where it is root; the template is seen through the same shift. The
 * child has no other privileges, no process inside sees it, and it dies with the worker.
 *
 * A page that is mapped for writing shows a change only once it was clean; so all is written through before a
 * round. Only file systems of which that is known are copied in use.
 */
#include "ctd/worker-copy.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "ctd/worker-main.h"
#include "libct/ct.h"
#include "quota/overlay.h"

void disk_view_done(struct disk_view *v)
{
	v->root_fd = fd_close(v->root_fd);
	v->template_fd = fd_close(v->template_fd);
	v->userns_fd = fd_close(v->userns_fd);
	v->pidfd = fd_close(v->pidfd);
	disk_natives_done(&v->natives);
}

bool disk_shows_changes(int fd)
{
	static const long known[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC };
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (fs.f_type == known[i])
			return true;
	return false;
}

static int check_root(int root_fd, int template_fd, struct ct_error *err)
{
	struct statx stx;

	if (!disk_shows_changes(template_fd))
		return ct_error_set(err, -EOPNOTSUPP, "copy",
		        "the file system of the store is not one whose disks are copied in use");
	if (root_fd < 0 || statx(root_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0)
		return ct_error_set(
		        err, -errno, "copy", "cannot open the container's root: %s", strerror(errno));
	if (!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return ct_error_set(
		        err, -EOPNOTSUPP, "copy", "the container's init has another root than its disk");
	return 0;
}

int disk_view_open(
        struct disk_view *v, const char *root_path, pid_t pid, int consume_template_fd, struct ct_error *err)
{
	_cleanup_close_ int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC), template = -1;
	int r;

	template = consume_template_fd;
	r = check_root(root, template, err);
	if (r < 0)
		return r;
	v->pidfd = pidfd_open(pid, 0);
	v->userns_fd = ct_process_namespace(pid, CLONE_NEWUSER);
	if (v->pidfd < 0 || v->userns_fd < 0)
		return ct_error_set(err, -ESRCH, "copy", "the container ended");
	r = v->template_fd = tree_clone(template, v->userns_fd, err);
	if (r < 0)
		return r;
	v->root_fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->root_fd < 0)
		return ct_error_set(err, -errno, "copy", "cannot open its disk: %s", strerror(errno));
	return disk_view_check(v, err);
}

void disk_view_add_natives(struct disk_view *v, int upper_fd, const char *const *paths)
{
	for (; *paths && v->natives.n < DISK_NATIVES_MAX; paths++) {
		int fd = open_beneath(upper_fd, *paths + 1, O_RDONLY | O_DIRECTORY, 0);

		if (fd >= 0)
			v->natives.items[v->natives.n++] = (struct disk_native){ *paths, fd };
	}
}

int disk_view_check(const struct disk_view *v, struct ct_error *err)
{
	struct pollfd p = { .fd = v->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) != 0 ? ct_error_kind_set(err, CT_ERROR_STATE, -ESRCH,
	                                     "it ended, or began anew, while it was copied")
	                           : 0;
}

/* ---- reading */

struct reading {
	int result;
	struct ct_error error;
	struct manifest_result found;
	uint64_t removed_bytes;
};

static int read_disk(struct manifest_round *round, struct manifest *new, int out_fd, struct reading *ret)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	int r;

	round->removed = &removed;
	r = manifest_make(round, new, &ret->found, &ret->error);
	if (r < 0)
		return r;
	ret->removed_bytes = removed.len;
	r = write_all(out_fd, removed.data ?: "", removed.len);
	if (r < 0)
		return ct_error_set(&ret->error, r, "copy", "cannot write to the store: %s", strerror(-r));
	return manifest_archive(round, new, out_fd, &ret->error);
}

int disk_view_become(int userns_fd, pid_t parent)
{
	if (setns(userns_fd, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 ||
	        (setgroups(0, NULL) < 0 && errno != EPERM) || setresuid(0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ? -ESRCH : 0;
}

__attribute__((noreturn)) static void read_inside(const struct disk_view *v, struct manifest_round *round,
        struct manifest *new, int out_fd, int result_fd, pid_t parent)
{
	struct reading found = { 0 };

	found.result = disk_view_become(v->userns_fd, parent);
	if (found.result < 0)
		(void)ct_error_set(&found.error, found.result, "copy",
		        "cannot become root of the container: %s", strerror(-found.result));
	else
		found.result = read_disk(round, new, out_fd, &found);
	_exit(write_all(result_fd, &found, sizeof(found)) < 0);
}

/* Waits for the child, and kills it if the worker shall end. */
static int await_child(int pidfd, int result_fd, struct reading *ret, struct ct_error *err)
{
	struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
		{ .fd = worker_stop_fd(), .events = POLLIN } };
	int r, status;

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno == EINTR)
		;
	r = worker_check(err);
	if (r < 0)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* ESRCH: it has ended */
	status = process_wait(pidfd, UINT64_MAX);
	if (r < 0)
		return r;
	if (read_all(result_fd, ret, sizeof(*ret)) != sizeof(*ret))
		return ct_error_set(
		        err, -EIO, "copy", "the process that reads the disk ended with status %d", status);
	return 0;
}

static int read_by_child(const struct disk_view *v, struct manifest_round *round, struct manifest *new,
        int out_fd, struct reading *ret, struct ct_error *err)
{
	_cleanup_close_ int pidfd = -1, from = -1, to = -1;
	const pid_t parent = getpid();
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "copy", "cannot make a pipe: %s", strerror(errno));
	from = fds[0];
	to = fds[1];
	pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
	if (pid == 0)
		read_inside(v, round, new, out_fd, to, parent);
	if (pid < 0)
		return ct_error_set(err, -errno, "copy", "cannot fork: %s", strerror(errno));
	to = fd_close(to);
	return await_child(pidfd, from, ret, err);
}

int disk_view_read(const struct disk_view *v, struct manifest_round *round, struct manifest *new,
        struct payload *p, struct manifest_result *ret, struct ct_error *err)
{
	struct walk_graft grafts[DISK_NATIVES_MAX];
	struct reading found = { 0 };
	struct stat st;
	int r = 0;

	for (size_t i = 0; i < v->natives.n; i++)
		grafts[i] = (struct walk_graft){ v->natives.items[i].path + 1, v->natives.items[i].fd };
	round->grafts = grafts;
	round->n_grafts = v->natives.n;
	round->root_fd = v->root_fd;
	round->base_fd = v->template_fd;
	round->slack_usec = DISK_VIEW_SLACK_USEC;
	new->start_usec = now_realtime_usec();
	if (round->live && syncfs(v->root_fd) < 0)
		return ct_error_set(
		        err, -errno, "copy", "cannot write the disk through: %s", strerror(errno));
	if (v->userns_fd >= 0)
		r = read_by_child(v, round, new, p->fd, &found, err);
	else
		found.result = read_disk(round, new, p->fd, &found);
	if (r >= 0 && found.result < 0) {
		*err = found.error;
		r = found.result;
	}
	if (r < 0)
		return r;
	p->removed_bytes = found.removed_bytes;
	*ret = found.found;
	if (fstat(p->fd, &st) < 0 || lseek(p->fd, 0, SEEK_SET) < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot read what is to be sent: %s", strerror(errno));
	p->bytes = p->images_bytes + (uint64_t)st.st_size;
	return worker_check(err);
}

int file_unnamed(const char *dir, struct ct_error *err)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? ct_error_set(
	                        err, -errno, "move", "cannot make a file in the store: %s", strerror(errno))
	              : fd;
}
