/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper's event loop, its connections and the table of requests.
 *
 * The keeper must outlive everything, so it never waits for anybody: every fd is non-blocking, a connection
 * whose socket buffer is full is shut down (ctd connects again and asks for the list), and what takes time
 * (an exec, a death) is an event like any other. A broken connection is only marked, by shutdown(2): the
 * epoll then reports it, and it is freed where nobody else holds it.
 *
 * sd-event would be nicer to read, but the keeper is static and small (every page of it is there once per
 * host, and in the way of every clone); what it needs of an event loop fits below.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper.h"

/* Room in the kernel for answers to a peer that is busy for a moment, and for a list of some thousand
 * processes; it costs only while it is used. */
#define SEND_BUFFER (1024 * 1024)

/* How often a keeper without a connection looks whether its socket is still there. */
#define LONELY_MSEC 5000

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

int keeper_init(struct keeper *k, struct ct_error *err)
{
	*k = (struct keeper){
		.epoll_fd = -1,
		.lock_fd = -1,
		.dir_fd = -1,
		.spare_fd = -1,
		.listener = { KEEPER_SOURCE_LISTENER, -1 },
		.next_connection_id = 1,
		.started_usec = now_realtime_usec(),
	};

	k->packet = malloc(KEEPER_MESSAGE_MAX);
	if (!k->packet)
		return ct_error_set(err, -ENOMEM, "keeper", "out of memory");

	k->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (k->epoll_fd < 0)
		return ct_error_set(err, -errno, "keeper", "cannot make an epoll: %s", strerror(errno));

	return 0;
}

static void connection_free(struct keeper *k, struct keeper_connection *c)
{
	struct keeper_connection **at = &k->connections;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;

	keeper_close_source(k, &c->source);
	free(c);
}

void keeper_done(struct keeper *k)
{
	while (k->connections)
		connection_free(k, k->connections);

	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		while (k->children[i])
			keeper_child_free(k, k->children[i]);

	keeper_close_source(k, &k->listener);
	k->dir_fd = fd_close(k->dir_fd);
	k->lock_fd = fd_close(k->lock_fd);
	k->epoll_fd = fd_close(k->epoll_fd);
	k->spare_fd = fd_close(k->spare_fd);
	free(k->runtime_dir);
	free(k->packet);
}

int keeper_watch(struct keeper *k, struct keeper_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

int keeper_rewatch(struct keeper *k, struct keeper_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(k->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void keeper_forget_source(struct keeper *k, struct keeper_source *source)
{
	if (source->fd >= 0)
		(void)epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL); /* ENOENT: was never in it */
}

void keeper_close_source(struct keeper *k, struct keeper_source *source)
{
	keeper_forget_source(k, source);
	source->fd = fd_close(source->fd);
}

void keeper_timer_set(struct keeper *k, uint64_t *timer, uint64_t when_usec)
{
	if (*timer && !when_usec)
		k->n_timers--;
	else if (!*timer && when_usec)
		k->n_timers++;

	*timer = when_usec;
}

struct keeper_connection *keeper_connection_find(struct keeper *k, uint64_t id)
{
	for (struct keeper_connection *c = k->connections; c; c = c->next)
		if (c->id == id)
			return c;

	return NULL;
}

int keeper_connection_add(struct keeper *k, int fd, uint64_t id, bool subscribed)
{
	struct keeper_connection *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		(void)close(fd); /* nothing was written to it */
		return -ENOMEM;
	}

	*c = (struct keeper_connection){
		.next = k->connections,
		.source = { KEEPER_SOURCE_CONNECTION, fd },
		.id = id,
		.subscribed = subscribed,
	};
	k->connections = c;

	r = keeper_watch(k, &c->source, EPOLLIN);
	if (r < 0)
		connection_free(k, c);
	return r;
}

void keeper_send(struct keeper_connection *c, const struct keeper_answer *answer)
{
	struct keeper_header header = {
		.type = answer->type,
		.serial = answer->serial,
		.result = answer->result,
		.more = answer->more,
		.length = (uint32_t)answer->len,
	};
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT;
	int r;

	(void)strbuf_add(&packet, &header, sizeof(header)); /* an error stays in the buffer */
	if (answer->len)
		(void)strbuf_add(&packet, answer->body, answer->len);

	r = packet.error;
	if (r >= 0)
		r = send_fds(c->source.fd, packet.data, packet.len, answer->fds, answer->n_fds);
	if (r < 0)
		(void)shutdown(c->source.fd,
		        SHUT_RDWR); /* seen as its end by the loop; fails only if it has ended */
}

void keeper_send_error(
        struct keeper_connection *c, uint32_t type, uint32_t serial, const struct ct_error *error)
{
	const struct keeper_answer answer = {
		.type = type,
		.serial = serial,
		.result = error->code,
		.body = error,
		.len = sizeof(*error),
	};

	keeper_send(c, &answer);
}

void keeper_broadcast_exit(struct keeper *k, const struct keeper_process *process)
{
	const struct keeper_answer event = {
		.type = KEEPER_EXITED, .body = process, .len = sizeof(*process)
	};

	for (struct keeper_connection *c = k->connections; c; c = c->next)
		if (c->subscribed)
			keeper_send(c, &event);
}

void keeper_hello_fill(const struct keeper *k, struct keeper_hello *ret)
{
	*ret = (struct keeper_hello){
		.major = KEEPER_VERSION_MAJOR,
		.minor = KEEPER_VERSION_MINOR,
		.pid = getpid(),
		.n_processes = k->n_children,
		.started_usec = k->started_usec,
		.n_reexecs = k->n_reexecs,
	};
	memcpy(ret->build_id, k->build_id, sizeof(ret->build_id));
}

static int handle_hello(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_hello hello;
	const struct keeper_answer answer = {
		.type = KEEPER_HELLO,
		.serial = m->header.serial,
		.body = &hello,
		.len = sizeof(hello),
	};

	keeper_hello_fill(k, &hello);
	keeper_send(c, &answer);
	return KEEPER_ANSWERED;
}

static int handle_subscribe(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	c->subscribed = true;
	return 0;
}

/* A process that lives, NULL: none. */
static const struct keeper_child *find_alive(const struct keeper *k)
{
	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (const struct keeper_child *child = k->children[i]; child; child = child->next)
			if (keeper_child_is_alive(child))
				return child;

	return NULL;
}

static int handle_quit(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	const struct keeper_child *child = find_alive(k);

	if (child)
		return ct_error_set(err, -EBUSY, "quit", "\"%s\" is running", child->info.key);

	k->quit = true;
	return 0;
}

static const struct request_kind {
	uint32_t type;
	bool has_key;
	int (*handle)(struct keeper *k, struct keeper_connection *c, struct keeper_message *m,
	        struct ct_error *err);
} request_kinds[] = {
	{ KEEPER_HELLO, false, handle_hello },
	{ KEEPER_START, true, keeper_handle_start },
	{ KEEPER_EXEC, true, keeper_handle_start },
	{ KEEPER_LIST, false, keeper_handle_list },
	{ KEEPER_SIGNAL, true, keeper_handle_signal },
	{ KEEPER_PIDFD, true, keeper_handle_pidfd },
	{ KEEPER_FORGET, true, keeper_handle_forget },
	{ KEEPER_CONSOLE_ATTACH, true, keeper_handle_console_attach },
	{ KEEPER_CONSOLE_READ, true, keeper_handle_console_read },
	{ KEEPER_CONSOLE_RESIZE, true, keeper_handle_console_resize },
	{ KEEPER_SUBSCRIBE, false, handle_subscribe },
	{ KEEPER_ADOPT, true, keeper_handle_adopt },
	{ KEEPER_REEXEC, false, keeper_handle_reexec },
	{ KEEPER_QUIT, false, handle_quit },
	{ KEEPER_RUN, true, keeper_handle_run },
};

static bool key_is_sound(const char *key)
{
	return *key && memchr(key, 0, KEEPER_KEY_MAX) && str_is_printable(key);
}

static int dispatch(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(request_kinds); i++) {
		const struct request_kind *kind = &request_kinds[i];

		if (kind->type != m->header.type)
			continue;
		if (kind->has_key && !key_is_sound(m->request.key))
			return ct_error_set(err, -EBADMSG, "request", "malformed key");

		return kind->handle(k, c, m, err);
	}

	return ct_error_set(err, -EOPNOTSUPP, "request",
	        "this keeper (version %u.%u) does not know request %u", KEEPER_VERSION_MAJOR,
	        KEEPER_VERSION_MINOR, m->header.type);
}

/* Takes a packet apart. A body without a whole struct keeper_request is padded with zeros. */
static int parse_packet(const char *packet, size_t len, struct keeper_message *m, struct ct_error *err)
{
	size_t body_len;
	uint32_t theirs = 0;

	if (len < sizeof(m->header))
		return ct_error_set(err, -EBADMSG, "request", "a message of %zu bytes has no header", len);

	memcpy(&m->header, packet, sizeof(m->header));
	packet += sizeof(m->header);
	body_len = len - sizeof(m->header);
	if (m->header.length != body_len)
		return ct_error_set(err, -EBADMSG, "request", "the header says %u bytes, %zu came",
		        m->header.length, body_len);

	if (body_len >= sizeof(theirs))
		memcpy(&theirs, packet, sizeof(theirs));
	if (theirs > body_len)
		return ct_error_set(
		        err, -EBADMSG, "request", "a request of %u bytes in a body of %zu", theirs, body_len);

	memcpy(&m->request, packet, theirs < sizeof(m->request) ? theirs : sizeof(m->request));
	m->spec = packet + theirs;
	m->spec_len = body_len - theirs;
	return 0;
}

static void handle_packet(struct keeper *k, struct keeper_connection *c, size_t len, struct keeper_message *m)
{
	struct ct_error error = { 0 };
	int r;

	r = parse_packet(k->packet, len, m, &error);
	if (r >= 0)
		r = dispatch(k, c, m, &error);

	if (r < 0) {
		keeper_send_error(c, m->header.type, m->header.serial, &error);
	} else if (r != KEEPER_ANSWERED) {
		const struct keeper_answer answer = { .type = m->header.type, .serial = m->header.serial };

		keeper_send(c, &answer);
	}
}

static void connection_on_event(struct keeper *k, struct keeper_connection *c, uint32_t events)
{
	struct keeper_message m = { .n_fds = KEEPER_FDS_MAX };
	ssize_t n;

	n = recv_fds(c->source.fd, k->packet, KEEPER_MESSAGE_MAX, m.fds, &m.n_fds);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		connection_free(k, c);
		return;
	}

	handle_packet(k, c, (size_t)n, &m);

	for (size_t i = 0; i < m.n_fds; i++)
		m.fds[i] = fd_close(m.fds[i]);
}

/* Without a free fd a connection could not be accepted, stayed in the queue, and woke us again and again: one
 * is kept for the purpose of turning it away. */
static void turn_away(struct keeper *k)
{
	k->spare_fd = fd_close(k->spare_fd);
	(void)fd_close(accept4(k->listener.fd, NULL, NULL, SOCK_CLOEXEC)); /* always -1 */
	k->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void listener_on_event(struct keeper *k)
{
	_cleanup_close_ int fd = accept4(k->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	size_t n = 0;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			turn_away(k);
		return;
	}

	for (struct keeper_connection *c = k->connections; c; c = c->next)
		n++;
	if (n >= KEEPER_CONNECTIONS_MAX || peer_cred(fd, &peer) < 0 || peer.uid != 0)
		return;

	/* FORCE needs CAP_NET_ADMIN; without it the system's limit has to do. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ SEND_BUFFER }, sizeof(int)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER }, sizeof(int));

	(void)keeper_connection_add(
	        k, TAKE_FD(fd), k->next_connection_id++, false); /* on failure it is closed */
}

static void on_event(struct keeper *k, struct keeper_source *source, uint32_t events)
{
	switch (source->kind) {
	case KEEPER_SOURCE_LISTENER: listener_on_event(k); break;
	case KEEPER_SOURCE_CONNECTION:
		connection_on_event(k, container_of(source, struct keeper_connection, source), events);
		break;
	case KEEPER_SOURCE_STATUS:
		keeper_child_on_status(k, container_of(source, struct keeper_child, status));
		break;
	case KEEPER_SOURCE_PIDFD:
		keeper_child_on_exit(k, container_of(source, struct keeper_child, pidfd));
		break;
	case KEEPER_SOURCE_CONSOLE:
		keeper_console_on_event(k, container_of(source, struct keeper_console, master), events);
		break;
	case KEEPER_SOURCE_VIEWER:
		keeper_viewer_on_event(k, container_of(source, struct keeper_viewer, source), events);
		break;
	}
}

/* Calls those whose time has come; returns how long to wait for the next, in ms, -1: for ever. */
static int run_timers(struct keeper *k)
{
	uint64_t now, next = UINT64_MAX;

	if (k->n_timers == 0)
		return -1;

	now = now_monotonic_usec();
	for (size_t i = 0; i < KEEPER_BUCKETS; i++) {
		struct keeper_child *following;

		for (struct keeper_child *child = k->children[i]; child; child = following) {
			struct keeper_console *console = child->console;

			following = child->next;
			if (console && console->timer_usec && console->timer_usec <= now)
				keeper_console_on_deadline(k, console);
			if (console && console->timer_usec && console->timer_usec < next)
				next = console->timer_usec;

			if (child->deadline_usec && child->deadline_usec <= now)
				keeper_child_on_deadline(k, child);
			else if (child->deadline_usec && child->deadline_usec < next)
				next = child->deadline_usec;
		}
	}

	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / USEC_PER_MSEC + 1);
}

int keeper_run(struct keeper *k)
{
	while (!k->quit) {
		int timeout = run_timers(k), n;
		struct epoll_event event;

		if (timeout < 0 && !k->connections)
			timeout = LONELY_MSEC;

		n = epoll_wait(k->epoll_fd, &event, 1, timeout);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			on_event(k, event.data.ptr, event.events);
		else if (!k->connections && !keeper_has_socket(k) && !find_alive(k))
			k->quit = true; /* nobody can ever reach it again, and it holds nothing */
	}

	return 0;
}
