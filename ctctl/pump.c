/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pump.
 *
 * The relay of exec has three of them in one loop, and none may make another wait: a program that writes
 * while we wait to write to it would never end. The container's side is non-blocking, the fds are ours. Our
 * own standard fds are shared with the shell and whoever else, so O_NONBLOCK must not be set on them.
 * Instead: read only after POLLIN, write only after POLLOUT, and never more than the kernel takes then: a
 * pipe that is writable takes PIPE_BUF bytes (pipe(7)), and so do sockets and terminals in practice; regular
 * files do not wait.
 *
 * A pump reads only into an empty buffer: what it does next is decided by len alone.
 */

#include "ctctl/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t write_max_of(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_NONBLOCK))
		return PUMP_BUFFER;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return PUMP_BUFFER;

	return PIPE_BUF;
}

int pump_init(struct pump *p, int from, int to)
{
	*p = (struct pump){
		.from = from,
		.to = to,
		.state = from < 0 ? PUMP_FINISHED : PUMP_RUNNING,
		.ended = from < 0,
		.limit = SIZE_MAX,
		.write_max = to < 0 ? 0 : write_max_of(to),
		.data = malloc(PUMP_BUFFER),
	};

	return p->data ? 0 : -ENOMEM;
}

void pump_done(struct pump *p)
{
	free(p->data);
	p->data = NULL;
}

void pump_events(const struct pump *p, struct pollfd fds[2])
{
	bool running = p->state == PUMP_RUNNING, reads = running && p->len == 0 && !p->ended;

	/* A source that hung up would wake poll at once and for ever: it is left out while there is something
	 * to write. */
	fds[0] = (struct pollfd){ .fd = reads ? p->from : -1, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = running ? p->to : -1, .events = p->len > 0 ? POLLOUT : 0 };
}

static void settle(struct pump *p)
{
	if (p->state == PUMP_RUNNING && p->len == 0 && (p->ended || p->limit == 0))
		p->state = PUMP_FINISHED;
}

void pump_append(struct pump *p, const char *data, size_t len)
{
	if (p->state == PUMP_READER_GONE || p->len + len > PUMP_BUFFER)
		return;

	memmove(p->data, p->data + p->start, p->len);
	memcpy(p->data + p->len, data, len);
	p->start = 0;
	p->len += len;
	p->state = PUMP_RUNNING;
}

static void pump_read(struct pump *p)
{
	size_t room = p->limit < PUMP_BUFFER - 1 ? p->limit : PUMP_BUFFER - 1; /* a filter may add one byte */

	ssize_t n = read(p->from, p->data, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;

	/* EIO is how a pty's master says that nobody has its other side open, and a terminal that it is gone.
	 */
	if (n <= 0) {
		p->ended = true;
		return;
	}

	if (p->limit != SIZE_MAX)
		p->limit -= (size_t)n;
	p->start = 0;
	p->len = p->filter ? p->filter(p->userdata, p->data, (size_t)n) : (size_t)n;
}

static void pump_write(struct pump *p)
{
	size_t len = p->len < p->write_max ? p->len : p->write_max;

	ssize_t n = write(p->to, p->data + p->start, len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		p->state = PUMP_READER_GONE;
		p->len = 0;
		return;
	}

	p->start += (size_t)n;
	p->len -= (size_t)n;
}

void pump_run(struct pump *p, const struct pollfd fds[2])
{
	if (p->state != PUMP_RUNNING)
		return;

	if (fds[1].revents & (POLLERR | POLLNVAL)) {
		p->state = PUMP_READER_GONE;
		p->len = 0;
		return;
	}
	if (fds[1].revents && p->len > 0)
		pump_write(p);
	else if (fds[0].revents)
		pump_read(p);

	settle(p);
}
