/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's end of the connection to the keeper: sending, receiving, deadlines, loss.
 *
 * Requests wait in a list in the order they were made, which is nearly the order of their deadlines; there
 * are seldom more than a few. A call is taken out of the list before its callback runs, so that the callback
 * may do anything, and so that it runs once.
 *
 * The loss of the connection may be noticed anywhere (while sending, say), but is only noted there; it is
 * acted upon by a deferred source, from the loop, where no caller of ours is on the stack. What the keeper
 * sent before it died is read first.
 *
 * sd-event's sources are: io (the socket), timer (the nearest deadline), later (a one-shot for what was put
 * off).
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/keeper-client-internal.h"

/* Requests that wait for room in the socket: a keeper that has stopped must not fill our memory. */
#define OUTGOING_MAX 512u

static void outgoing_free(struct keeper_outgoing *out)
{
	for (size_t i = 0; i < out->fds.n; i++)
		(void)fd_close(out->fds.fds[i]); /* always -1 */
	free(out->data);
	free(out);
}

/* Notes the loss; the rest is on_later's. */
static void lose(struct keeper_client *client, int reason)
{
	if (client->lost)
		return;

	client->lost = reason;
	(void)sd_event_source_set_enabled(client->io, SD_EVENT_OFF); /* a source of ours: cannot fail */
	(void)sd_event_source_set_enabled(client->later, SD_EVENT_ONESHOT); /* likewise */
}

static void rearm_timer(struct keeper_client *client)
{
	uint64_t next = UINT64_MAX;

	for (struct keeper_call *call = client->calls; call; call = call->next)
		if (call->deadline_usec < next)
			next = call->deadline_usec;

	if (next != UINT64_MAX)
		(void)sd_event_source_set_time(client->timer, next); /* a source of ours: cannot fail */
	(void)sd_event_source_set_enabled(
	        client->timer, next != UINT64_MAX ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

/* Takes the call out of the list and tells how it ended. */
static void finish(struct keeper_client *client, struct keeper_call *call)
{
	struct keeper_call **at = &client->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;

	if (call->fn)
		call->fn(&call->reply, call->userdata);
	keeper_reply_done(&call->reply);
	free(call);
}

static void fail(struct keeper_client *client, struct keeper_call *call, int code, const char *why)
{
	call->reply.result = ct_error_set(&call->reply.error, code, "keeper", "%s", why);
	finish(client, call);
}

static void fail_all(struct keeper_client *client, int code, const char *why)
{
	while (client->calls)
		fail(client, client->calls, code, why);
}

/* Sends or keeps for later. */
static int push(struct keeper_client *client, uint32_t serial, const struct strbuf *packet,
        const struct keeper_fds *fds)
{
	struct keeper_outgoing *out, **at;
	size_t n = 0;
	int r = -EAGAIN;

	if (!client->outgoing)
		r = send_fds(client->fd, packet->data, packet->len, fds ? fds->fds : NULL, fds ? fds->n : 0);
	if (r != -EAGAIN)
		return r;

	for (at = &client->outgoing; *at; at = &(*at)->next)
		n++;
	if (n >= OUTGOING_MAX)
		return -EBUSY;

	out = calloc(1, sizeof(*out));
	if (!out)
		return -ENOMEM;
	out->serial = serial;
	out->data = malloc(packet->len);
	if (!out->data) {
		outgoing_free(out);
		return -ENOMEM;
	}
	memcpy(out->data, packet->data, packet->len);
	out->len = packet->len;

	for (size_t i = 0; fds && i < fds->n; i++) {
		int copy = fd_dup_cloexec(fds->fds[i]);

		if (copy < 0) {
			outgoing_free(out);
			return copy;
		}
		out->fds.fds[out->fds.n++] = copy;
	}

	*at = out;
	return sd_event_source_set_io_events(client->io, EPOLLIN | EPOLLOUT);
}

/* Takes back what has not been sent: nobody wants it any more. */
static void withdraw(struct keeper_client *client, uint32_t serial)
{
	for (struct keeper_outgoing **at = &client->outgoing; *at; at = &(*at)->next)
		if ((*at)->serial == serial) {
			struct keeper_outgoing *out = *at;

			*at = out->next;
			outgoing_free(out);
			return;
		}
}

static void flush(struct keeper_client *client)
{
	while (client->outgoing) {
		struct keeper_outgoing *out = client->outgoing;
		int r = send_fds(client->fd, out->data, out->len, out->fds.fds, out->fds.n);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			lose(client, r);
			return;
		}
		client->outgoing = out->next;
		outgoing_free(out);
	}

	(void)sd_event_source_set_io_events(client->io, EPOLLIN); /* a source of ours: cannot fail */
}

int keeper_client_call(
        struct keeper_client *client, const struct keeper_call_args *args, keeper_reply_fn fn, void *userdata)
{
	struct keeper_header header = { .type = args->type, .serial = client->last_serial + 1 };
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT;
	struct keeper_request request = args->request;
	_cleanup_free_ struct keeper_call *call = calloc(1, sizeof(*call));
	struct keeper_call **at;
	int r;

	if (client->lost)
		return -ENOTCONN;
	if (!call)
		return -ENOMEM;

	if (header.serial == 0)
		header.serial = 1; /* 0 is an event's */
	request.size = sizeof(request);
	header.length = (uint32_t)(sizeof(request) + (args->spec ? args->spec->len : 0));
	(void)strbuf_add(&packet, &header, sizeof(header)); /* an error stays in the buffer */
	(void)strbuf_add(&packet, &request, sizeof(request));
	if (args->spec)
		(void)strbuf_add(&packet, args->spec->data, args->spec->len);
	if (packet.error)
		return packet.error;
	if (packet.len > KEEPER_MESSAGE_MAX)
		return -E2BIG;

	r = push(client, header.serial, &packet, args->fds);
	if (r < 0) {
		if (r == -EPIPE || r == -ECONNRESET)
			lose(client, r);
		return r;
	}

	client->last_serial = header.serial;
	*call = (struct keeper_call){
		.serial = header.serial,
		.type = args->type,
		.deadline_usec = now_monotonic_usec() + args->timeout_usec,
		.fn = fn,
		.userdata = userdata,
		.reply = KEEPER_REPLY_INIT,
	};
	for (at = &client->calls; *at; at = &(*at)->next)
		;
	*at = TAKE_PTR(call);
	rearm_timer(client);
	return 0;
}

static void take_event(struct keeper_client *client, const char *data, size_t len)
{
	struct keeper_process process;
	struct keeper_put_off *put_off, **at;

	keeper_reply_take_process(&process, data, len);
	if (!client->waiting && !client->put_off) {
		client->ops->exited(&process, client->userdata);
		return;
	}

	put_off = calloc(1, sizeof(*put_off));
	if (!put_off) {
		lose(client, -ENOMEM); /* who connects again asks for the list, and misses nothing */
		return;
	}
	put_off->process = process;
	for (at = &client->put_off; *at; at = &(*at)->next)
		;
	*at = put_off;
	(void)sd_event_source_set_enabled(
	        client->later, SD_EVENT_ONESHOT); /* a source of ours: cannot fail */
}

static void take_packet(struct keeper_client *client, const char *packet, size_t len, int *fds, size_t n_fds)
{
	struct keeper_header header;
	struct keeper_call *call = client->calls;
	int r;

	if (len < sizeof(header)) {
		lose(client, -EBADMSG);
		return;
	}
	memcpy(&header, packet, sizeof(header));
	packet += sizeof(header);
	len -= sizeof(header);

	if (header.type == KEEPER_EXITED) {
		take_event(client, packet, len);
		return;
	}

	while (call && call->serial != header.serial)
		call = call->next;
	if (!call)
		return; /* its deadline has passed */

	if (header.result < 0) {
		keeper_reply_take_error(&call->reply, header.result, packet, len);
	} else {
		r = keeper_reply_take_body(&call->reply,
		        &(struct keeper_body){ call->type, packet, len, fds, n_fds }, &client->hello);
		if (r < 0)
			call->reply.result = ct_error_set(&call->reply.error, r, "keeper",
			        "cannot read the keeper's answer: %s", strerror(-r));
	}
	if (!header.more)
		finish(client, call);
}

/* Reads and deals with one packet: 1; nothing there: 0; the connection is lost: negative. */
static int receive(struct keeper_client *client)
{
	_cleanup_free_ char *packet = malloc(KEEPER_MESSAGE_MAX);
	int fds[KEEPER_FDS_MAX];
	size_t n_fds = ARRAY_SIZE(fds);
	ssize_t n;

	if (!packet)
		return -ENOMEM;

	n = recv_fds(client->fd, packet, KEEPER_MESSAGE_MAX, fds, &n_fds);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n < 0 ? (int)n : -ECONNRESET;

	take_packet(client, packet, (size_t)n, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		(void)fd_close(fds[i]); /* always -1 */
	return 1;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct keeper_client *client = userdata;
	int r;

	if (events & EPOLLOUT)
		flush(client);
	if (client->lost)
		return 0;

	/* One at a time: a callback may change everything, and the loop comes back. */
	r = receive(client);
	if (r < 0)
		lose(client, r);
	rearm_timer(client);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct keeper_client *client = userdata;
	struct keeper_call *call = client->calls;

	while (call && call->deadline_usec > usec)
		call = call->next;
	if (call) {
		withdraw(client, call->serial);
		fail(client, call, -ETIMEDOUT, "the keeper did not answer in time");
	}
	rearm_timer(client); /* and at once again if there are more */
	return 0;
}

static int on_later(sd_event_source *source, void *userdata)
{
	struct keeper_client *client = userdata;

	while (client->put_off) {
		struct keeper_put_off *put_off = client->put_off;
		struct keeper_process process = put_off->process;

		client->put_off = put_off->next;
		free(put_off);
		client->ops->exited(&process, client->userdata);
	}

	if (client->lost && !client->told_lost) {
		client->told_lost = true;
		fail_all(client, -ECONNRESET, "the connection to the keeper is lost");
		client->ops->disconnected(
		        client->lost, client->userdata); /* the client may be gone after this */
	}
	return 0;
}

int keeper_client_wait(struct keeper_client *client, struct keeper_reply *reply, struct ct_error *err)
{
	client->waiting++;
	while (!reply->done) {
		struct pollfd p = { .fd = client->fd, .events = POLLIN | (client->outgoing ? POLLOUT : 0) };
		uint64_t now = now_monotonic_usec(), next = UINT64_MAX;
		int r;

		for (struct keeper_call *call = client->calls; call; call = call->next)
			if (call->deadline_usec < next)
				next = call->deadline_usec;
		if (client->lost) {
			fail_all(client, -ECONNRESET, "the connection to the keeper is lost");
			break;
		}
		if (next <= now) {
			(void)on_timer(NULL, now, client); /* always 0 */
			continue;
		}

		if (poll(&p, 1, next == UINT64_MAX ? -1 : (int)((next - now) / USEC_PER_MSEC + 1)) < 0 &&
		        errno != EINTR)
			lose(client, -errno);
		if (p.revents & POLLOUT)
			flush(client);
		r = client->lost ? client->lost : receive(client);
		if (r < 0)
			lose(client, r);
	}
	client->waiting--;
	rearm_timer(client);

	if (reply->result < 0 && err)
		*err = reply->error;
	return reply->result;
}

/* Says who we are, and that we want to hear of exits. */
static int greet(struct keeper_client *client, struct ct_error *err)
{
	static const uint32_t types[] = { KEEPER_HELLO, KEEPER_SUBSCRIBE };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
		const struct keeper_call_args args = {
			.type = types[i],
			.request = { .major = KEEPER_VERSION_MAJOR, .minor = KEEPER_VERSION_MINOR },
			.timeout_usec = KEEPER_CALL_TIMEOUT_USEC,
		};
		int r = keeper_client_call(client, &args, keeper_reply_store, &reply);

		if (r < 0)
			return ct_error_set(err, r, "keeper", "cannot speak to the keeper: %s", strerror(-r));
		r = keeper_client_wait(client, &reply, err);
		if (r < 0)
			return r;
	}

	if (client->hello.major != KEEPER_VERSION_MAJOR)
		return ct_error_set(err, -EPROTO, "keeper",
		        "the running keeper (process %d) speaks version %u, this program %u: stop all containers and end it with SIGTERM",
		        client->hello.pid, client->hello.major, KEEPER_VERSION_MAJOR);
	return 0;
}

static int add_sources(struct keeper_client *client)
{
	int r;

	r = sd_event_add_io(client->event, &client->io, client->fd, EPOLLIN, on_io, client);
	if (r >= 0)
		r = sd_event_add_time(client->event, &client->timer, CLOCK_MONOTONIC, UINT64_MAX,
		        USEC_PER_MSEC, on_timer, client);
	if (r >= 0)
		r = sd_event_add_defer(client->event, &client->later, on_later, client);
	if (r >= 0)
		r = sd_event_source_set_enabled(client->later, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
	return r;
}

/* Takes fd. */
static int client_new(
        const struct keeper_client_config *config, int fd, struct keeper_client **ret, struct ct_error *err)
{
	_cleanup_keeper_client_ struct keeper_client *client = calloc(1, sizeof(*client));
	_cleanup_close_ int sock = fd;
	int r;

	if (!client)
		return ct_error_set(err, -ENOMEM, "keeper", "out of memory");

	client->fd = TAKE_FD(sock);
	client->event = sd_event_ref(config->event);
	client->ops = config->ops;
	client->userdata = config->userdata;
	if (config->binary) {
		client->binary = strdup(config->binary);
		if (!client->binary)
			return ct_error_set(err, -ENOMEM, "keeper", "out of memory");
	}

	r = add_sources(client);
	if (r < 0)
		return ct_error_set(err, r, "keeper", "cannot watch the keeper's socket: %s", strerror(-r));

	r = greet(client, err);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(client);
	return 0;
}

void keeper_client_free(struct keeper_client *client)
{
	if (!client)
		return;

	client->lost = client->lost ? client->lost : -ECANCELED; /* callbacks cannot ask for more */
	client->told_lost = true;
	fail_all(client, -ECANCELED, "the connection to the keeper was closed");

	while (client->outgoing) {
		struct keeper_outgoing *out = client->outgoing;

		client->outgoing = out->next;
		outgoing_free(out);
	}
	while (client->put_off) {
		struct keeper_put_off *put_off = client->put_off;

		client->put_off = put_off->next;
		free(put_off);
	}

	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->timer);
	sd_event_source_disable_unref(client->later);
	sd_event_unref(client->event);
	client->fd = fd_close(client->fd);
	free(client->binary);
	free(client);
}

bool keeper_client_is_connected(const struct keeper_client *client)
{
	return client->lost == 0;
}

const struct keeper_hello *keeper_client_hello(const struct keeper_client *client)
{
	return &client->hello;
}

int keeper_client_connect(
        const struct keeper_client_config *config, struct keeper_client **ret, struct ct_error *err)
{
	int fd = keeper_socket_connect(config->runtime_dir);

	if (fd < 0)
		return ct_error_set(err, fd, "keeper", "cannot connect to \"%s/keeper.sock\": %s",
		        config->runtime_dir, strerror(-fd));

	return client_new(config, fd, ret, err);
}

int keeper_client_open(
        const struct keeper_client_config *config, struct keeper_client **ret, struct ct_error *err)
{
	_cleanup_free_ char *found = NULL;
	const char *binary = config->binary;
	int fd, r;

	fd = keeper_socket_connect(config->runtime_dir);
	if (fd >= 0) {
		r = client_new(config, fd, ret, err);
		return r < 0 ? r : KEEPER_CLIENT_FOUND;
	}
	if (fd != -ENOENT && fd != -ECONNREFUSED)
		return ct_error_set(err, fd, "keeper", "cannot connect to \"%s/keeper.sock\": %s",
		        config->runtime_dir, strerror(-fd));

	if (!binary) {
		r = keeper_binary_find(&found);
		if (r < 0)
			return ct_error_set(err, r, "keeper",
			        "cannot find ct-keeper beside this program or in " CTD_LIBEXECDIR);
		binary = found;
	}

	r = keeper_spawn(binary, config->runtime_dir, err);
	if (r < 0)
		return r;

	r = keeper_client_connect(config, ret, err);
	return r < 0 ? r : KEEPER_CLIENT_SPAWNED;
}
