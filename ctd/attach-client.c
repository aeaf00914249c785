/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clients of the attach socket: one packet with an id in, one packet with file descriptors out, then
 * signals and window sizes in and the exit code out. We are not in the way of the bytes: they go through the
 * descriptors.
 *
 * Packets are small and few, so nothing is queued here: a client whose socket is full does not read, and is
 * let go. One packet is taken for each turn of the event loop. Descriptors that a client sends us are dropped
 * by the kernel, since we give no room for them (unix(7)).
 *
 * A socket that is closed with packets unread tells its peer ECONNRESET before it lets it read what is
 * queued; so what has come is read away before the last packet is sent.
 */

#include "ctd/attach-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#define DRAIN_MAX 64

/* The JSON text of a packet and the fds with it. */
static int packet_send(int sock, json_t *packet, const int *fds, size_t n_fds)
{
	_cleanup_json_ json_t *own = packet;
	_cleanup_free_ char *text = own ? json_dumps(own, JSON_COMPACT) : NULL;

	return text ? send_fds(sock, text, strlen(text), fds, n_fds) : -ENOMEM;
}

static void send_error(int sock, const char *message)
{
	char text[512];

	str_escape_to(text, sizeof(text), message, strlen(message));
	(void)packet_send(sock, json_pack("{s:s, s:s}", "type", "error", "message", text), NULL,
	        0); /* it is closed anyway */
}

static void drain(int sock)
{
	char byte;

	for (int i = 0; i < DRAIN_MAX; i++)
		if (recv(sock, &byte, 1, MSG_DONTWAIT) <= 0)
			break;
}

void client_free(struct client *c)
{
	struct attach *a = c->attach;

	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		a->clients = c->next;
	a->n_clients--;
	if (c->entry)
		c->entry->n_clients--;

	(void)sd_event_source_disable_unref(c->io); /* NULL always */
	(void)fd_close(c->sock);                    /* always -1 */
	free(c);
}

void client_finish(struct client *c, int code)
{
	drain(c->sock);
	/* If it cannot be sent the client comes again. */
	(void)packet_send(c->sock, json_pack("{s:s, s:i}", "type", "exit", "code", code), NULL, 0);
	client_free(c);
}

void client_reject(struct client *c, const char *message)
{
	drain(c->sock);
	send_error(c->sock, message);
	client_free(c);
}

/* It has left by itself, or is sent away. The entry of a console goes with its last client. */
static void client_left(struct client *c)
{
	struct attach *a = c->attach;
	struct entry *e = c->entry;
	char id[ATTACH_ID_SIZE];

	client_free(c);
	if (!e || e->n_clients > 0)
		return;

	memcpy(id, e->id, sizeof(id));
	if (e->kind == ATTACH_CONSOLE)
		entry_remove(a, e);
	if (a->ops->detached)
		a->ops->detached(id, a->userdata);
}

static void client_expel(struct client *c, const char *message)
{
	drain(c->sock);
	send_error(c->sock, message);
	client_left(c);
}

static const char *kind_word(const struct entry *e)
{
	if (e->n_fds == 0)
		return "exec-wait";

	switch (e->kind) {
	case ATTACH_EXEC_TTY: return "exec-tty";
	case ATTACH_EXEC_PIPES: return "exec-pipes";
	case ATTACH_CONSOLE: return "console";
	}

	return "exec-wait";
}

static void client_attach(struct client *c, struct entry *e)
{
	struct attach *a = c->attach;
	bool takes = e->n_fds > 0;
	char id[ATTACH_ID_SIZE];

	int r = packet_send(
	        c->sock, json_pack("{s:s, s:s}", "type", "attached", "kind", kind_word(e)), e->fds, e->n_fds);
	if (r < 0) {
		client_left(c);
		return;
	}

	c->entry = e;
	c->expires = 0;
	e->n_clients++;
	entry_close_fds(e);
	memcpy(id, e->id, sizeof(id));

	if (e->exited)
		client_finish(c, e->code);
	if (takes && a->ops->attached)
		a->ops->attached(id, a->userdata);
}

static void on_id(struct client *c, const json_t *packet)
{
	struct {
		const char *id;
	} p = { 0 };
	static const struct json_field fields[] = {
		{ "id", JSON_KIND_STRING, 0, JSON_NO_HAS, true },
		{ 0 },
	};
	struct ct_error err = { 0 };

	if (json_read(packet, fields, &p, &err) < 0) {
		client_expel(c, err.text);
		return;
	}

	struct entry *e = entry_find(c->attach, p.id);
	if (!e) {
		client_expel(c,
		        "there is nothing to attach to under this id: it is wrong, or was not fetched in time");
		return;
	}
	/* A console's stream cannot be given twice. */
	if (e->kind == ATTACH_CONSOLE && e->n_fds == 0) {
		client_expel(c, "this console has a client already: ask for another one");
		return;
	}

	client_attach(c, e);
}

struct command {
	const char *type;
	uint64_t signal, rows, columns;
	bool has_signal, has_rows, has_columns;
};

static bool is_size(uint64_t n)
{
	return n >= 1 && n <= UINT16_MAX;
}

static void on_command(struct client *c, const json_t *packet)
{
	static const struct json_field fields[] = {
		{ "type", JSON_KIND_STRING, offsetof(struct command, type), JSON_NO_HAS, true },
		{ "signal", JSON_KIND_U64, offsetof(struct command, signal),
		        offsetof(struct command, has_signal), false },
		{ "rows", JSON_KIND_U64, offsetof(struct command, rows), offsetof(struct command, has_rows),
		        false },
		{ "columns", JSON_KIND_U64, offsetof(struct command, columns),
		        offsetof(struct command, has_columns), false },
		{ 0 },
	};
	const struct attach *a = c->attach;
	struct command p = { 0 };
	struct ct_error err = { 0 };

	if (json_read(packet, fields, &p, &err) < 0) {
		client_expel(c, err.text);
		return;
	}

	bool signal = str_eq(p.type, "signal") && p.has_signal && !p.has_rows && !p.has_columns &&
	              p.signal >= 1 && p.signal <= 64;
	bool resize = str_eq(p.type, "resize") && !p.has_signal && is_size(p.rows) && is_size(p.columns);

	if (signal && c->entry->kind != ATTACH_CONSOLE)
		a->ops->signal(c->entry->id, (int)p.signal, a->userdata);
	else if (resize)
		a->ops->resize(c->entry->id, (uint16_t)p.rows, (uint16_t)p.columns, a->userdata);
	else
		client_expel(c,
		        "a packet is {\"type\":\"signal\",\"signal\":1..64} for a command, or {\"type\":\"resize\",\"rows\":1..65535,\"columns\":1..65535}");
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct client *c = userdata;
	char buf[ATTACH_PACKET_MAX];

	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && !(revents & (EPOLLHUP | EPOLLERR)))
		return 0;
	if (n <= 0) {
		client_left(c);
		return 0;
	}
	if ((size_t)n > sizeof(buf)) {
		client_expel(c, "the packet is too large");
		return 0;
	}

	_cleanup_json_ json_t *packet = NULL;
	struct ct_error err = { 0 };
	if (json_parse(buf, (size_t)n, &packet, &err) < 0)
		client_expel(c, err.text);
	else if (!json_is_object(packet))
		client_expel(c, "a packet must be a JSON object");
	else if (c->entry)
		on_command(c, packet);
	else
		on_id(c, packet);
	return 0;
}

static int client_new(struct attach *a, int consume_sock)
{
	_cleanup_close_ int sock = consume_sock;
	struct ct_error err = { 0 };
	struct ucred peer;

	int r = listener_permit(&a->listener, sock, &peer, &err);
	if (r < 0) {
		send_error(sock, err.text);
		return r;
	}
	if (a->n_clients >= a->max_clients) {
		send_error(sock, "there are too many clients already: try again later");
		return -EAGAIN;
	}

	struct client *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;

	r = sd_event_add_io(a->event, &c->io, sock, EPOLLIN, on_client, c);
	if (r < 0) {
		free(c);
		return r;
	}

	c->attach = a;
	c->sock = TAKE_FD(sock);
	c->expires = now_monotonic_usec() + a->offer_timeout_usec;
	c->next = a->clients;
	if (c->next)
		c->next->prev = c;
	a->clients = c;
	a->n_clients++;
	attach_sweep_later(a);
	return 0;
}

int attach_on_connect(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct attach *a = userdata;

	int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock >= 0) {
		(void)client_new(a, sock); /* the client has been told */
		return 0;
	}

	/* The connection stays in the backlog, and would wake us again and again. */
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		a->full = true;
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* fails only for wrong arguments */
		attach_sweep_later(a);
	}
	return 0;
}
