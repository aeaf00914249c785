/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File descriptors.
 *
 * Every fd that is made here is CLOEXEC from birth; nothing sets the flag afterwards. EINTR is dealt with
 * here, so that no caller needs to know it.
 *
 * Kernel files (cgroupfs, procfs, sysfs) give no size and take a value in exactly one write(2); a short write
 * is a failure.
 *
 * Passing fds (unix(7)): when the control buffer is too small the kernel installs what fits and drops the
 * rest. The buffer here therefore always has room for all that one message can carry (SCM_MAX_FD, 253), so
 * that every fd which arrives is seen and can be closed if the message is refused: a peer that sends too many
 * must not be able to fill our fd table.
 */

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/str.h"

/* Above what a daemon opens and closes all the time. */
#define FD_ASIDE 1024

#define FDS_MAX 253 /* SCM_MAX_FD */

/* What the kernel takes in one write to one of its own files. */
#define KERNEL_WRITE_MAX 4096

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

/* Keeps errno, for use on error paths. */
int fd_close(int fd)
{
	int saved = errno;

	cleanup_closep(&fd);
	errno = saved;
	return -1;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;

	int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
		return -errno;

	return 0;
}

int fd_dup_cloexec(int fd)
{
	int r = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return r < 0 ? -errno : r;
}

/* On failure fd is left open. One that is high enough already is returned as it is. */
int fd_move_above(int fd, int min)
{
	if (fd >= min)
		return fd;

	int r = fcntl(fd, F_DUPFD_CLOEXEC, min);
	if (r < 0)
		return -errno;

	(void)fd_close(fd); /* always -1 */
	return r;
}

int fd_set_aside(int fd)
{
	int moved = fd < 0 ? fd : fd_move_above(fd, FD_ASIDE);

	return moved < 0 ? fd : moved;
}

int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;

		p += n;
		len -= (size_t)n;
	}

	return 0;
}

ssize_t read_all(int fd, void *data, size_t len)
{
	char *p = data;
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, p + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;

		done += (size_t)n;
	}

	return (ssize_t)done;
}

static int open_at(int dirfd, const char *path, int flags)
{
	int fd = openat(dirfd, path, flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

/* Doubles the buffer up to max + 1 bytes and the terminator: one byte more than allowed shows that the file
 * is too long. */
static int grow(char **buf, size_t *size, size_t max)
{
	size_t n = *size ? *size * 2 : 1024;
	if (n > max + 1)
		n = max + 1;

	char *p = realloc(*buf, n + 1);
	if (!p)
		return -ENOMEM;

	*buf = p;
	*size = n;
	return 0;
}

int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	size_t size = 0, len = 0;

	if (max > SIZE_MAX / 4)
		max = SIZE_MAX / 4;

	fd = open_at(dirfd, path, O_RDONLY);
	if (fd < 0)
		return fd;

	for (;;) {
		int r = grow(&buf, &size, max);
		if (r < 0)
			return r;

		ssize_t n = read_all(fd, buf + len, size - len);
		if (n < 0)
			return (int)n;

		len += (size_t)n;
		if (len < size)
			break;
		if (len > max)
			return -E2BIG;
	}

	buf[len] = '\0';
	*ret = TAKE_PTR(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int write_file_at(int dirfd, const char *path, const char *value)
{
	_cleanup_close_ int fd = -1;
	size_t len = strlen(value);
	ssize_t n;

	fd = open_at(dirfd, path, O_WRONLY);
	if (fd < 0)
		return fd;

	do {
		n = write(fd, value, len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	return (size_t)n == len ? 0 : -EIO;
}

int write_file_printf_at(int dirfd, const char *path, const char *format, ...)
{
	char value[KERNEL_WRITE_MAX];
	va_list ap;

	va_start(ap, format);
	int n = vsnprintf(value, sizeof(value), format, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n >= sizeof(value))
		return -E2BIG;

	return write_file_at(dirfd, path, value);
}

int read_u64_at(int dirfd, const char *path, uint64_t *ret)
{
	_cleanup_close_ int fd = -1;
	char text[64];

	fd = open_at(dirfd, path, O_RDONLY);
	if (fd < 0)
		return fd;

	ssize_t n = read_all(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	if (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';

	if (str_eq(text, "max")) {
		*ret = UINT64_MAX;
		return 0;
	}

	return parse_u64(text, ret);
}

/* Executable, for those who run a program from it: since 6.3 that may have to be asked for. */
static int memfd_new(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); /* Linux before 6.3 */

	return fd < 0 ? -errno : fd;
}

int memfd_sealed(const char *name, const void *data, size_t len)
{
	_cleanup_close_ int fd = -1;

	fd = memfd_new(name);
	if (fd < 0)
		return fd;

	int r = write_all(fd, data, len);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -errno;

	return TAKE_FD(fd);
}

union control {
	struct cmsghdr align;
	/* Behind the fds: credentials, if the socket asks for them. */
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int)) + CMSG_SPACE(3 * sizeof(int))];
};

/* An empty message is refused: to the receiver it would look like the end. */
int send_fds(int sock, const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	if (len == 0 || n_fds > FDS_MAX)
		return -EINVAL;

	if (n_fds > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));

		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}

	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	/* Only a stream socket cuts a message, and there the rest has no meaning of its own. */
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

/* Collects the fds of all control messages into fds, which has room for FDS_MAX. */
static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;

		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (n > FDS_MAX - count)
			n = FDS_MAX - count; /* cannot be: the kernel sends one such message */
		memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
		count += n;
	}

	return count;
}

ssize_t recv_fds(int sock, void *data, size_t size, int *ret_fds, size_t *ret_n_fds)
{
	struct iovec iov = { .iov_base = data, .iov_len = size };
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t room = ret_n_fds ? *ret_n_fds : 0;
	int fds[FDS_MAX];
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	size_t count = take_fds(&msg, fds);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || count > room) {
		for (size_t i = 0; i < count; i++)
			(void)fd_close(fds[i]); /* always -1 */
		return -EMSGSIZE;
	}

	if (count > 0)
		memcpy(ret_fds, fds, count * sizeof(int));
	if (ret_n_fds)
		*ret_n_fds = count;
	return n;
}

int peer_cred(int sock, struct ucred *ret)
{
	socklen_t len = sizeof(*ret);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, ret, &len) < 0)
		return -errno;

	return len == sizeof(*ret) ? 0 : -EIO;
}
