/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mount namespaces that CRIU has made for what it restores, before any task is in them.
 *
 * What a task has open is opened by its path inside. So the masks must be there before the first file; put on
 * later they would take away the mounts that files were opened in, and what has such a file cannot be saved
 * again. When CRIU says post-setup-namespaces, all mounts are made, and init is still in a namespace that
 * CRIU builds in. The others it keeps as fds, in messages that lie in a datagram socket, to itself, which all
 * of its processes share, and are read with MSG_PEEK at an offset, the fd's number in it (SO_PEEK_OFF: of the
 * socket, not of who reads).
 *
 * We take that socket and read it in the same way. At this one time nobody else does: CRIU waits for our
 * answer, and its only task waits for CRIU. Afterwards the offset is what it was. At any other time, a reader
 * in CRIU would get another fd than that it asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define STORED_MAX 65536

static int option_of(int sock, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(sock, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

/* A datagram socket that is connected to itself. */
static bool is_store(int fd)
{
	struct sockaddr_un own = { 0 }, peer = { 0 };
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && option_of(fd, SO_DOMAIN) == AF_UNIX &&
	       option_of(fd, SO_TYPE) == SOCK_DGRAM &&
	       getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
	       own_len > offsetof(struct sockaddr_un, sun_path) && own_len == peer_len &&
	       memcmp(&own, &peer, own_len) == 0;
}

/* In /proc/self/fdinfo. */
static pid_t pid_of(int pidfd)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd); /* fits */
	if (read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return -1;
	line = strstr(text, "\nPid:\t");
	return line ? (pid_t)strtol(line + 6, NULL, 10) : -1;
}

static int open_store(int criu_pidfd)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid_of(criu_pidfd)); /* fits */
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		_cleanup_close_ int fd = -1;

		if (e->d_name[0] == '.')
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, criu_pidfd, (int)strtol(e->d_name, NULL, 10), 0);
		if (fd >= 0 && is_store(fd))
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

/* The fd number i: it, or -ENOENT behind the last. */
static int peek(int store, int i)
{
	char byte, control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *head;
	int fd;

	if (setsockopt(store, SOL_SOCKET, SO_PEEK_OFF, &i, sizeof(i)) < 0)
		return -errno;
	if (recvmsg(store, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return errno == EAGAIN ? -ENOENT : -EIO;
	head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
	        head->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

static ino_t number_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool is_mounts_of(int fd, ino_t userns)
{
	_cleanup_close_ int owner = -1;

	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNS)
		return false;
	owner = ioctl(fd, NS_GET_USERNS);
	return number_of(owner) == userns;
}

static int collect(int store, ino_t userns, struct criu_namespaces *ret)
{
	for (int i = 0; i < STORED_MAX; i++) {
		_cleanup_close_ int fd = peek(store, i);
		bool seen = false;

		if (fd == -ENOENT)
			return 0;
		if (fd < 0)
			return fd;
		if (!is_mounts_of(fd, userns))
			continue;
		for (size_t k = 0; k < ret->n; k++)
			seen |= number_of(ret->fds[k]) == number_of(fd);
		if (!seen && ret->n == CRIU_NAMESPACES_MAX)
			return -E2BIG;
		if (!seen)
			ret->fds[ret->n++] = TAKE_FD(fd);
	}
	return -E2BIG;
}

void criu_namespaces_done(struct criu_namespaces *namespaces)
{
	for (size_t i = 0; i < namespaces->n; i++)
		(void)fd_close(namespaces->fds[i]);
	namespaces->n = 0;
}

int criu_namespaces_find(int criu_pidfd, int userns_fd, struct criu_namespaces *ret, struct ct_error *err)
{
	_cleanup_close_ int store = open_store(criu_pidfd);
	int before = store < 0 ? -1 : option_of(store, SO_PEEK_OFF), r = store;

	if (r >= 0)
		r = collect(store, number_of(userns_fd), ret);
	if (store >= 0 && setsockopt(store, SOL_SOCKET, SO_PEEK_OFF, &before, sizeof(before)) < 0 && r >= 0)
		r = -errno;
	if (r >= 0 && ret->n == 0)
		r = -ENOENT;
	return r < 0 ? ct_error_set(
	                       err, r, "criu", "cannot find the mounts that criu has made: %s", strerror(-r))
	             : 0;
}
