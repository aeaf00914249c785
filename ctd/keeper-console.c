/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Consoles: the masters of the containers' /dev/console, drained whether anybody looks or not.
 *
 * What comes out of a master goes into a ring; whoever attaches has a position in the stream and is sent,
 * without waiting, what the ring holds from there on. So there is no buffer per client, and scrollback is
 * nothing but a position in the past. The ring grows in steps (most containers print little) up to
 * KEEPER_RING_MAX.
 *
 * Reading never overtakes a client: when the ring is full of what the slowest has not yet taken, the master
 * waits, as a terminal does behind a slow line. But no longer than STALL_USEC without a byte being taken;
 * then that client is dropped, because init of the container may be waiting in write(2). Nobody attached:
 * nobody waits.
 *
 * A tenant that floods its console gets WINDOW_BYTES in WINDOW_USEC and then waits too, so that the keeper,
 * which serves all, is not kept busy by one.
 *
 * The master is edge-triggered. When no process in the container has the slave open, the kernel reports
 * EPOLLHUP for as long as that lasts, and a level-triggered wait would spin; an edge comes when something is
 * printed later. epoll_ctl(EPOLL_CTL_MOD) makes a new edge where we stopped reading by ourselves.
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

/* How much may be read without running over what a client has not yet got. */
static size_t ring_room(const struct keeper_console *console)
{
	size_t room = KEEPER_RING_MAX;

	for (const struct keeper_client *client = console->clients; client; client = client->next) {
		uint64_t behind = console->ring.total - client->position;
		size_t left = behind < KEEPER_RING_MAX ? (size_t)(KEEPER_RING_MAX - behind) : 0;

		if (left < room)
			room = left;
	}
	return room;
}

static void client_free(struct keeper *k, struct keeper_client *client)
{
	struct keeper_client **at = &client->console->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;

	keeper_close_source(k, &client->source);
	free(client);
}

/* What of the client's socket is of interest now. */
static void client_rewatch(struct keeper *k, struct keeper_client *client)
{
	bool behind = client->position < client->console->ring.total;
	bool listens = !client->input_ended && client->input_len == 0 && client->console->master.fd >= 0;

	(void)keeper_rewatch(k, &client->source,
	        (behind ? EPOLLOUT : 0) | (listens ? EPOLLIN : 0)); /* it is there: cannot fail */
}

/* Sends what the client has not got. False if it has gone (and is freed). */
static bool client_flush(struct keeper *k, struct keeper_client *client)
{
	struct keeper_console *console = client->console;
	const char *piece;
	size_t len;

	if (client->position < keeper_ring_start(&console->ring))
		client->position = keeper_ring_start(&console->ring); /* only where the ring could not grow */

	while ((len = keeper_ring_peek(&console->ring, client->position, &piece)) > 0) {
		ssize_t n = send(client->source.fd, piece, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			client_free(k, client);
			return false;
		}
		if (n < 0) {
			if (!client->stalled_usec)
				client->stalled_usec = now_monotonic_usec();
			break;
		}
		client->position += (uint64_t)n;
		client->stalled_usec = 0;
	}

	if (console->master.fd < 0 && client->position == console->ring.total) {
		client_free(k, client); /* all told: end of stream */
		return false;
	}

	client_rewatch(k, client);
	return true;
}

static void flush_all(struct keeper *k, struct keeper_console *console)
{
	struct keeper_client *next;

	for (struct keeper_client *client = console->clients; client; client = next) {
		next = client->next;
		(void)client_flush(k, client); /* gone or not, the next one follows */
	}
}

/* Types what the client has sent. What the terminal does not take waits for EPOLLOUT of the master. */
static void client_type(struct keeper *k, struct keeper_client *client)
{
	struct keeper_console *console = client->console;

	while (client->input_len > 0 && console->master.fd >= 0) {
		ssize_t n = write(console->master.fd, client->input + client->input_start, client->input_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			client->input_len =
			        0; /* EIO: nobody has the terminal open, so it is typed into the void */
		if (n <= 0)
			break;
		client->input_start = (uint16_t)(client->input_start + n);
		client->input_len = (uint16_t)(client->input_len - n);
	}

	if (client->input_len > 0 && console->master.fd >= 0 && !console->wants_output) {
		console->wants_output = true;
		(void)keeper_rewatch(
		        k, &console->master, EPOLLIN | EPOLLOUT | EPOLLET); /* it is there: cannot fail */
	}
}

void keeper_client_on_event(struct keeper *k, struct keeper_client *client, uint32_t events)
{
	struct keeper_console *console = client->console;

	while (!client->input_ended && client->input_len == 0) {
		ssize_t n = recv(client->source.fd, client->input, sizeof(client->input), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			client->input_ended = true;
			break;
		}
		client->input_start = 0;
		client->input_len = (uint16_t)n;
		client_type(k, client);
	}

	/* Closed for writing only, it goes on looking; closed altogether, it has detached. */
	if (events & (EPOLLHUP | EPOLLERR))
		client_free(k, client);
	else
		(void)client_flush(k, client); /* if it has gone, so it is */

	/* The slowest may have caught up, or gone. */
	keeper_console_on_event(k, console, 0);
}

int keeper_console_add_client(
        struct keeper *k, struct keeper_console *console, int fd, bool scrollback, struct keeper_client **ret)
{
	struct keeper_client *client;
	int r;

	client = calloc(1, sizeof(*client));
	if (!client) {
		(void)close(fd); /* nothing was written to it */
		return -ENOMEM;
	}

	*client = (struct keeper_client){
		.next = console->clients,
		.source = { KEEPER_SOURCE_CLIENT, fd },
		.console = console,
		.position = scrollback ? keeper_ring_start(&console->ring) : console->ring.total,
	};
	console->clients = client;

	r = keeper_watch(k, &client->source, EPOLLIN);
	if (r < 0) {
		client_free(k, client);
		return r;
	}

	*ret = client;
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

	while (console->clients)
		client_free(k, console->clients);

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

/* When to look again without an event: at the end of a pause, or when the slowest client has had its time. */
static void update_timer(struct keeper *k, struct keeper_console *console)
{
	uint64_t when = console->resume_usec;

	/* It matters only when somebody is kept waiting: the container, or the memory of one that has ended.
	 */
	if (ring_room(console) == 0 || console->master.fd < 0)
		for (struct keeper_client *client = console->clients; client; client = client->next)
			if (client->stalled_usec && (!when || client->stalled_usec + STALL_USEC < when))
				when = client->stalled_usec + STALL_USEC;

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

		for (struct keeper_client *client = console->clients; client && (events & EPOLLOUT);
		        client = client->next) {
			client_type(k, client);
			client_rewatch(k, client);
		}

		for (struct keeper_client *client = console->clients; client; client = client->next)
			waits = waits || client->input_len > 0;
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
	struct keeper_client *next;

	for (struct keeper_client *client = console->clients; client; client = next) {
		next = client->next;
		if (kept_waiting && client->stalled_usec && now - client->stalled_usec >= STALL_USEC)
			client_free(k, client);
	}

	keeper_console_on_event(k, console, 0);
}

void keeper_console_end(struct keeper *k, struct keeper_console *console)
{
	/* Its last words are worth more than the rate limit or a slow client, and no longer than the kernel's
	 * buffers. */
	for (;;) {
		char chunk[CHUNK];
		ssize_t n = read(console->master.fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		keeper_ring_add(&console->ring, chunk, (size_t)n);
	}

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
	struct keeper_client *client = NULL;
	int type = 0, r;

	console = find_console(k, m, &r, err);
	if (!console)
		return r;
	if (m->n_fds < 1 ||
	        getsockopt(m->fds[0], SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }) < 0 ||
	        type != SOCK_STREAM)
		return ct_error_set(err, -EBADMSG, "console", "no stream socket came with the request");

	r = keeper_console_add_client(
	        k, console, TAKE_FD(m->fds[0]), !(m->request.flags & KEEPER_ATTACH_NO_SCROLLBACK), &client);
	if (r < 0)
		return ct_error_set(
		        err, r, "console", "cannot attach to \"%s\": %s", m->request.key, strerror(-r));

	(void)client_flush(k, client); /* if it has gone already, attaching has worked all the same */
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
