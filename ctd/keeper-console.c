/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Consoles: the masters of the containers' /dev/console, drained whether anybody looks or not.
 *
 * What comes out of a master goes into a ring; whoever attaches has a position in the stream and is sent,
 * without waiting, what the ring holds from there on. So there is no buffer per viewer, and scrollback is
 * nothing but a position in the past. The ring grows in steps (most containers print little) up to
 * KEEPER_RING_MAX.
 *
 * Reading never overtakes a viewer: when the ring is full of what the slowest has not yet taken, the master
 * waits, as a terminal does behind a slow line. But no longer than STALL_USEC without a byte being taken;
 * then that viewer is dropped, because init of the container may be waiting in write(2). Nobody attached:
 * nobody waits.
 *
 * A tenant that floods its console gets WINDOW_BYTES in WINDOW_USEC and then waits too; when many do, the
 * windows become longer, so that the keeper, which serves all, is not kept busy by some.
 *
 * The master is edge-triggered. When no process in the container has the slave open, the kernel reports
 * EPOLLHUP for as long as that lasts, and a level-triggered wait would spin; an edge comes when something is
 * printed later. Where we stop reading by ourselves there is no edge: the timer, or the event of the viewer
 * that we waited for, reads on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper.h"

#define CHUNK        4096u
#define WINDOW_USEC  (100 * USEC_PER_MSEC)
#define WINDOW_BYTES (64u * 1024u)
/* So many consoles may use all of their windows before the windows of all become longer. */
#define WINDOWS_AT_ONCE 4u
#define STALL_USEC      (2 * USEC_PER_SEC)

/* How much may be read without running over what a viewer has not yet got. */
static size_t ring_room(const struct keeper_console *console)
{
	size_t room = KEEPER_RING_MAX;

	for (const struct keeper_viewer *viewer = console->viewers; viewer; viewer = viewer->next) {
		uint64_t behind = console->ring.total - viewer->position;
		size_t left = behind < KEEPER_RING_MAX ? (size_t)(KEEPER_RING_MAX - behind) : 0;

		if (left < room)
			room = left;
	}
	return room;
}

static void viewer_free(struct keeper *k, struct keeper_viewer *viewer)
{
	struct keeper_viewer **at = &viewer->console->viewers;

	while (*at != viewer)
		at = &(*at)->next;
	*at = viewer->next;

	keeper_close_source(k, &viewer->source);
	free(viewer);
}

/* What of the viewer's socket is of interest now. */
static void viewer_rewatch(struct keeper *k, struct keeper_viewer *viewer)
{
	bool behind = viewer->position < viewer->console->ring.total;
	bool listens = !viewer->input_ended && viewer->input_len == 0 && viewer->console->master.fd >= 0;

	(void)keeper_rewatch(k, &viewer->source,
	        (behind ? EPOLLOUT : 0) | (listens ? EPOLLIN : 0)); /* it is there: cannot fail */
}

/* Sends what the viewer has not got. False if it has gone (and is freed). */
static bool viewer_flush(struct keeper *k, struct keeper_viewer *viewer)
{
	struct keeper_console *console = viewer->console;
	const char *piece;
	size_t len;

	if (viewer->position < keeper_ring_start(&console->ring))
		viewer->position = keeper_ring_start(&console->ring); /* only where the ring could not grow */

	while ((len = keeper_ring_peek(&console->ring, viewer->position, &piece)) > 0) {
		ssize_t n = send(viewer->source.fd, piece, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			viewer_free(k, viewer);
			return false;
		}
		if (n < 0) {
			if (!viewer->stalled_usec)
				viewer->stalled_usec = now_monotonic_usec();
			break;
		}
		viewer->position += (uint64_t)n;
		viewer->stalled_usec = 0;
	}

	if (console->master.fd < 0 && viewer->position == console->ring.total) {
		viewer_free(k, viewer); /* all told: end of stream */
		return false;
	}

	viewer_rewatch(k, viewer);
	return true;
}

static void flush_all(struct keeper *k, struct keeper_console *console)
{
	struct keeper_viewer *next;

	for (struct keeper_viewer *viewer = console->viewers; viewer; viewer = next) {
		next = viewer->next;
		(void)viewer_flush(k, viewer); /* gone or not, the next one follows */
	}
}

/* Types what the viewer has sent. What the terminal does not take waits for EPOLLOUT of the master. */
static void viewer_type(struct keeper *k, struct keeper_viewer *viewer)
{
	struct keeper_console *console = viewer->console;

	while (viewer->input_len > 0 && console->master.fd >= 0) {
		ssize_t n = write(console->master.fd, viewer->input + viewer->input_start, viewer->input_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			viewer->input_len =
			        0; /* EIO: nobody has the terminal open, so it is typed into the void */
		if (n <= 0)
			break;
		viewer->input_start = (uint16_t)(viewer->input_start + n);
		viewer->input_len = (uint16_t)(viewer->input_len - n);
	}

	if (viewer->input_len > 0 && console->master.fd >= 0 && !console->wants_output) {
		console->wants_output = true;
		(void)keeper_rewatch(
		        k, &console->master, EPOLLIN | EPOLLOUT | EPOLLET); /* it is there: cannot fail */
	}
}

void keeper_viewer_on_event(struct keeper *k, struct keeper_viewer *viewer, uint32_t events)
{
	struct keeper_console *console = viewer->console;

	while (!viewer->input_ended && viewer->input_len == 0) {
		ssize_t n = recv(viewer->source.fd, viewer->input, sizeof(viewer->input), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			viewer->input_ended = true;
			break;
		}
		viewer->input_start = 0;
		viewer->input_len = (uint16_t)n;
		viewer_type(k, viewer);
	}

	/* Closed for writing only, it goes on looking; closed altogether, it has detached. */
	if (events & (EPOLLHUP | EPOLLERR))
		viewer_free(k, viewer);
	else
		(void)viewer_flush(k, viewer); /* if it has gone, so it is */

	/* The slowest may have caught up, or gone. */
	keeper_console_on_event(k, console, 0);
}

int keeper_console_add_viewer(
        struct keeper *k, struct keeper_console *console, int fd, bool scrollback, struct keeper_viewer **ret)
{
	struct keeper_viewer *viewer;
	int r;

	viewer = calloc(1, sizeof(*viewer));
	if (!viewer) {
		(void)close(fd); /* nothing was written to it */
		return -ENOMEM;
	}

	*viewer = (struct keeper_viewer){
		.next = console->viewers,
		.source = { KEEPER_SOURCE_VIEWER, fd },
		.console = console,
		.position = scrollback ? keeper_ring_start(&console->ring) : console->ring.total,
	};
	console->viewers = viewer;

	r = keeper_watch(k, &viewer->source, EPOLLIN);
	if (r < 0) {
		viewer_free(k, viewer);
		return r;
	}

	*ret = viewer;
	return 0;
}

static void resume(struct keeper *k, struct keeper_console *console)
{
	if (!console->resume_usec)
		return;

	console->resume_usec = 0;
	k->n_paused--;
}

int keeper_console_new(struct keeper *k, int master, struct keeper_console **ret)
{
	_cleanup_close_ int fd = master;
	struct keeper_console *console;
	int r;

	console = calloc(1, sizeof(*console));
	if (!console)
		return -ENOMEM;

	console->master = (struct keeper_source){ KEEPER_SOURCE_CONSOLE, TAKE_FD(fd) };
	if (console->master.fd >= 0) {
		r = fd_set_nonblock(console->master.fd, true);
		if (r >= 0)
			r = keeper_watch(k, &console->master, EPOLLIN | EPOLLET);
		if (r < 0) {
			keeper_console_free(k, console);
			return r;
		}
	}

	*ret = console;
	return 0;
}

void keeper_console_free(struct keeper *k, struct keeper_console *console)
{
	if (!console)
		return;

	while (console->viewers)
		viewer_free(k, console->viewers);

	resume(k, console);
	keeper_timer_set(k, &console->timer_usec, 0);
	keeper_close_source(k, &console->master);
	keeper_ring_done(&console->ring);
	free(console);
}

/* The more are held back at the same time, the longer each: what all of them together may print is bounded
 * too. */
static void pause_reading(struct keeper *k, struct keeper_console *console)
{
	uint64_t windows = ++k->n_paused / WINDOWS_AT_ONCE;

	console->resume_usec = console->window_usec + WINDOW_USEC * (windows ? windows : 1);
}

/* When to look again without an event: at the end of a pause, or when the slowest viewer has had its time. */
static void update_timer(struct keeper *k, struct keeper_console *console)
{
	uint64_t when = console->resume_usec;

	/* It matters only when somebody is kept waiting: the container, or the memory of one that has ended.
	 */
	if (ring_room(console) == 0 || console->master.fd < 0)
		for (struct keeper_viewer *viewer = console->viewers; viewer; viewer = viewer->next)
			if (viewer->stalled_usec && (!when || viewer->stalled_usec + STALL_USEC < when))
				when = viewer->stalled_usec + STALL_USEC;

	keeper_timer_set(k, &console->timer_usec, when);
}

/* Bytes that the rate limit still allows; opens a new window when the old one is over. */
static size_t window_room(struct keeper *k, struct keeper_console *console)
{
	uint64_t now = now_monotonic_usec();

	if (console->resume_usec > now)
		return 0;

	if (console->resume_usec || now - console->window_usec >= WINDOW_USEC) {
		resume(k, console);
		console->window_usec = now;
		console->window_bytes = 0;
	}
	return WINDOW_BYTES - console->window_bytes;
}

/* Reads once. False when there is nothing more to be had for now. */
static bool console_read(struct keeper *k, struct keeper_console *console)
{
	char chunk[CHUNK];
	size_t room = ring_room(console), window = window_room(k, console);
	ssize_t n;

	if (room > window)
		room = window;
	if (room > sizeof(chunk))
		room = sizeof(chunk);
	if (room == 0)
		return false;

	n = read(console->master.fd, chunk, room);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return false; /* EAGAIN; EIO: no process has it open now, but one may later */

	console->window_bytes += (uint32_t)n;
	if (console->window_bytes == WINDOW_BYTES)
		pause_reading(k, console);
	keeper_ring_add(&console->ring, chunk, (size_t)n);
	flush_all(k, console);
	return true;
}

void keeper_console_on_event(struct keeper *k, struct keeper_console *console, uint32_t events)
{
	bool waits = false;

	if (console->master.fd >= 0) {
		while (console_read(k, console))
			;

		for (struct keeper_viewer *viewer = console->viewers; viewer && (events & EPOLLOUT);
		        viewer = viewer->next) {
			viewer_type(k, viewer);
			viewer_rewatch(k, viewer);
		}

		for (struct keeper_viewer *viewer = console->viewers; viewer; viewer = viewer->next)
			waits = waits || viewer->input_len > 0;
		if (console->wants_output && !waits) {
			console->wants_output = false;
			(void)keeper_rewatch(
			        k, &console->master, EPOLLIN | EPOLLET); /* it is there: cannot fail */
		}
	}

	update_timer(k, console);
}

void keeper_console_on_deadline(struct keeper *k, struct keeper_console *console)
{
	uint64_t now = now_monotonic_usec();
	bool kept_waiting = ring_room(console) == 0 || console->master.fd < 0;
	struct keeper_viewer *next;

	for (struct keeper_viewer *viewer = console->viewers; viewer; viewer = next) {
		next = viewer->next;
		if (kept_waiting && viewer->stalled_usec && now - viewer->stalled_usec >= STALL_USEC)
			viewer_free(k, viewer);
	}

	keeper_console_on_event(k, console, 0);
}

/* What the kernel's buffers hold, which is less than WINDOW_BYTES: worth more than the rate limit or a slow
 * viewer, where who printed it has ended or stands still. */
static void drain(struct keeper *k, struct keeper_console *console)
{
	for (size_t sum = 0; sum < WINDOW_BYTES;) {
		char chunk[CHUNK];
		ssize_t n = read(console->master.fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		sum += (size_t)n;
		keeper_ring_add(&console->ring, chunk, (size_t)n);
		flush_all(k, console);
	}
}

void keeper_console_end(struct keeper *k, struct keeper_console *console)
{
	drain(k, console);
	resume(k, console);
	keeper_close_source(k, &console->master);
	flush_all(k, console);
	update_timer(k, console);
}

static struct keeper_console *find_console(
        struct keeper *k, struct keeper_message *m, int *r, struct ct_error *err)
{
	struct keeper_child *child = keeper_child_find(k, m->request.key);

	if (!child)
		*r = ct_error_set(err, -ESRCH, "console", "no process \"%s\"", m->request.key);
	else if (!child->console)
		*r = ct_error_set(err, -ENOTTY, "console", "\"%s\" has no console", m->request.key);
	return child ? child->console : NULL;
}

int keeper_handle_console_attach(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_console *console;
	struct keeper_viewer *viewer = NULL;
	int type = 0, r;

	console = find_console(k, m, &r, err);
	if (!console)
		return r;
	if (m->n_fds < 1 ||
	        getsockopt(m->fds[0], SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }) < 0 ||
	        type != SOCK_STREAM)
		return ct_error_set(err, -EBADMSG, "console", "no stream socket came with the request");

	r = keeper_console_add_viewer(
	        k, console, TAKE_FD(m->fds[0]), !(m->request.flags & KEEPER_ATTACH_NO_SCROLLBACK), &viewer);
	if (r < 0)
		return ct_error_set(
		        err, r, "console", "cannot attach to \"%s\": %s", m->request.key, strerror(-r));

	(void)viewer_flush(k, viewer); /* if it has gone already, attaching has worked all the same */
	update_timer(k, console);
	return 0;
}

int keeper_handle_console_read(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_console *console;
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	const char *piece;
	uint64_t position;
	size_t n;
	int r;

	console = find_console(k, m, &r, err);
	if (!console)
		return r;

	if ((m->request.flags & KEEPER_READ_ALL) && console->master.fd >= 0) {
		drain(k, console);
		keeper_console_on_event(k, console, 0); /* of one that prints on, no edge is lost */
	}

	position = keeper_ring_start(&console->ring);
	while ((n = keeper_ring_peek(&console->ring, position, &piece)) > 0) {
		(void)strbuf_add(&text, piece, n); /* an error stays in the buffer */
		position += n;
	}
	if (text.error)
		return ct_error_set(err, text.error, "console", "out of memory");

	const struct keeper_answer answer = {
		.type = KEEPER_CONSOLE_READ,
		.serial = m->header.serial,
		.body = text.data,
		.len = text.len,
	};

	keeper_send(c, &answer);
	return KEEPER_ANSWERED;
}

int keeper_handle_console_resize(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct winsize size = { .ws_row = m->request.rows, .ws_col = m->request.columns };
	struct keeper_console *console;
	int r;

	console = find_console(k, m, &r, err);
	if (!console)
		return r;

	if (console->master.fd < 0 || ioctl(console->master.fd, TIOCSWINSZ, &size) < 0)
		return ct_error_set(err, -EIO, "console", "the console of \"%s\" is gone", m->request.key);
	return 0;
}
