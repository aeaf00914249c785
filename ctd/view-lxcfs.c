/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lxcfs, without its mount.
 *
 * libfuse accepts the number of an open descriptor in place of a mount point (/dev/fd/N) and then neither
 * mounts nor opens /dev/fuse, but reads requests from there. What we give it is one end of a socket that
 * keeps message boundaries, and we play the kernel at the other. So lxcfs can die and be started again, and
 * no mount, open file or waiting process of a container knows it.
 *
 * The protocol is that of linux/fuse.h, as of minor version 13: from 14 on libfuse would splice, which such
 * sockets cannot. Three requests are enough: LOOKUP while it starts, then OPEN, READ, RELEASE for each text,
 * with the pid of who asks in the header: lxcfs finds the container by it. What comes back is only measured
 * and copied; of an open the handle is taken, which goes back to the same process and no other.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "ctd/view-lxcfs.h"
#include "ctd/view-sandbox.h"

#define MINOR_WITHOUT_SPLICE 13
#define LONG_LIFE_USEC       (10 * USEC_PER_SEC)
#define PAUSE_USEC           (100 * USEC_PER_MSEC)
#define PAUSES_MAX           50 /* times PAUSE_USEC */

static uint64_t send_request(
        struct lxcfs *l, uint32_t opcode, uint64_t node, uint32_t pid, const void *body, size_t len)
{
	struct fuse_in_header header = {
		.len = (uint32_t)(sizeof(header) + len),
		.opcode = opcode,
		.unique = ++l->last_unique,
		.nodeid = node,
		.pid = pid,
	};
	struct iovec parts[] = { { &header, sizeof(header) }, { (void *)body, len } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	/* Never waits: it has room for more requests than we have under way, or it does not read. */
	return sendmsg(l->sock, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)header.len ? header.unique
	                                                                                      : 0;
}

void lxcfs_stop(struct lxcfs *l)
{
	bool lived = l->pid > 0 && now_monotonic_usec() - l->started_usec > LONG_LIFE_USEC;

	l->sock = fd_close(l->sock);
	if (l->pid > 0) {
		(void)kill(l->pid, SIGKILL); /* our child, not yet waited for: it is no other */
		while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	l->pid = -1;
	l->state = LXCFS_DOWN;
	l->failures = lived ? 0 : l->failures + 1;
	l->retry_usec =
	        now_monotonic_usec() + PAUSE_USEC * (l->failures < PAUSES_MAX ? l->failures : PAUSES_MAX);
}

void lxcfs_start(struct lxcfs *l)
{
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = MINOR_WITHOUT_SPLICE };
	int r;

	l->started_usec = now_monotonic_usec();
	r = view_sandbox_start(&l->sock, &l->pid);
	if (r < 0)
		log_error("cannot start lxcfs: %s", strerror(-r));
	if (r < 0 || !send_request(l, FUSE_INIT, 0, (uint32_t)getpid(), &init, sizeof(init))) {
		lxcfs_stop(l);
		return;
	}
	l->state = LXCFS_STARTING;
	l->file = 0;
	l->rest = NULL;
}

/* The next component of the path of the file that is looked up. */
static int look_up(struct lxcfs *l)
{
	char name[32];
	size_t len = strcspn(l->rest, "/");

	if (len >= sizeof(name))
		return -ENAMETOOLONG;
	memcpy(name, l->rest, len);
	name[len] = '\0';
	l->rest += len + (l->rest[len] == '/');
	return send_request(l, FUSE_LOOKUP, l->parent, (uint32_t)getpid(), name, len + 1) ? 0 : -EPIPE;
}

/* To the next file that comes from lxcfs. */
static int look_up_file(struct lxcfs *l)
{
	while (l->file < VIEW_FILES && !view_from_lxcfs(l->file))
		l->file++;
	if (l->file == VIEW_FILES) {
		l->state = LXCFS_READY;
		return 0;
	}
	l->parent = FUSE_ROOT_ID;
	l->rest = view_files[l->file].target + 1;
	return look_up(l);
}

static int go_on(struct lxcfs *l, int error, const void *body, size_t len)
{
	struct fuse_entry_out entry;

	if (error < 0 || (!l->rest && len < 8))
		return error < 0 ? error : -EPROTO;
	if (!l->rest) /* the answer to INIT */
		return look_up_file(l);

	if (len < sizeof(entry))
		return -EPROTO;
	memcpy(&entry, body, sizeof(entry));
	l->parent = entry.nodeid;
	if (*l->rest)
		return look_up(l);
	l->nodes[l->file++] = entry.nodeid;
	return look_up_file(l);
}

uint64_t lxcfs_open(struct lxcfs *l, unsigned file, uint32_t pid)
{
	struct fuse_open_in in = { 0 };

	return send_request(l, FUSE_OPEN, l->nodes[file], pid, &in, sizeof(in));
}

uint64_t lxcfs_read(struct lxcfs *l, unsigned file, uint32_t pid, uint64_t handle, uint64_t offset)
{
	struct fuse_read_in in = { .fh = handle, .offset = offset, .size = LXCFS_CHUNK };

	return send_request(l, FUSE_READ, l->nodes[file], pid, &in, sizeof(in));
}

void lxcfs_release(struct lxcfs *l, unsigned file, uint64_t handle)
{
	struct fuse_release_in in = { .fh = handle };

	(void)send_request(
	        l, FUSE_RELEASE, l->nodes[file], (uint32_t)getpid(), &in, sizeof(in)); /* a dead one has
	                                                                                  no handles */
}

int lxcfs_receive(struct lxcfs *l, struct lxcfs_answer *ret)
{
	struct fuse_out_header header;
	struct iovec parts[] = { { &header, sizeof(header) }, { ret->data, sizeof(ret->data) } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n = recvmsg(l->sock, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if ((size_t)n < sizeof(header) || (message.msg_flags & MSG_TRUNC) || header.len != (size_t)n ||
	        header.error > 0 || header.error < -4095)
		return n == 0 ? -EPIPE : -EPROTO;

	ret->unique = header.unique;
	ret->error = header.error;
	ret->len = (size_t)n - sizeof(header);
	if (l->state != LXCFS_STARTING)
		return 1;
	return header.unique == l->last_unique ? go_on(l, ret->error, ret->data, ret->len) : -EPROTO;
}
