/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's side of attach.sock.
 *
 * Packets are JSON objects on a SOCK_SEQPACKET socket. The daemon is trusted (it runs as root and made the
 * socket), but a packet that is not understood is refused all the same, and its fds are closed. Fields that
 * are not known are passed over: a newer daemon may say more.
 */

#include "ctctl/attach.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctctl/client.h"

#define PACKET_MAX 8192

void attach_message_done(struct attach_message *m)
{
	for (size_t i = 0; i < ATTACH_MAX_FDS; i++)
		m->fds[i] = fd_close(m->fds[i]);
}

static int send_packet(int sock, json_t *packet)
{
	_cleanup_json_ json_t *owned = packet;
	_cleanup_free_ char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;

	if (!text)
		return -ENOMEM;
	return send(sock, text, strlen(text), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int attach_send_signal(int sock, int number)
{
	return send_packet(sock, json_pack("{s:s,s:i}", "type", "signal", "signal", number));
}

int attach_send_size(int sock, unsigned int rows, unsigned int columns)
{
	return send_packet(sock,
	        json_pack("{s:s,s:i,s:i}", "type", "resize", "rows", (int)rows, "columns", (int)columns));
}

int attach_request(const char *ctd_socket, const char *id, struct ct_error *err)
{
	const char *slash = strrchr(ctd_socket, '/');
	int dir = slash ? (int)(slash - ctd_socket) + 1 : 0;

	_cleanup_free_ char *path = str_printf("%.*sattach.sock", dir, ctd_socket);
	if (!path)
		return -ENOMEM;

	_cleanup_close_ int sock = client_connect_socket(path, SOCK_SEQPACKET, err);
	if (sock < 0)
		return sock;
	int r = send_packet(sock, json_pack("{s:s}", "id", id));
	if (r < 0)
		return ct_error_set(err, r, NULL, "cannot ask \"%s\" for the program's terminal or pipes: %s",
		        path, strerror(-r));

	return TAKE_FD(sock);
}

static const struct {
	const char *name;
	size_t n_fds;
} kinds[] = {
	[ATTACH_EXEC_TTY] = { "exec-tty", 1 },
	[ATTACH_EXEC_PIPES] = { "exec-pipes", 3 },
	[ATTACH_EXEC_WAIT] = { "exec-wait", 0 },
	[ATTACH_CONSOLE] = { "console", 1 },
};

static int read_attached(const json_t *packet, size_t n_fds, struct attach_message *m)
{
	const char *kind = json_string_value(json_object_get(packet, "kind"));

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kind, kinds[i].name) && n_fds == kinds[i].n_fds) {
			m->type = ATTACH_MESSAGE_ATTACHED;
			m->kind = (enum attach_kind)i;
			return 0;
		}

	return -EBADMSG;
}

static int read_packet(const json_t *packet, size_t n_fds, struct attach_message *m)
{
	const char *type = json_string_value(json_object_get(packet, "type"));
	const char *text = json_string_value(json_object_get(packet, "message"));
	const json_t *code = json_object_get(packet, "code");

	if (text)
		(void)str_escape_to(m->text, sizeof(m->text), text, strlen(text));
	if (str_eq(type, "attached"))
		return read_attached(packet, n_fds, m);
	if (str_eq(type, "error"))
		m->type = ATTACH_MESSAGE_ERROR;
	else if (str_eq(type, "exit") && json_is_integer(code)) {
		m->type = ATTACH_MESSAGE_EXIT;
		m->code = (int)json_integer_value(code) & 0xff;
	} else
		return -EBADMSG;

	return 0;
}

int attach_receive(int sock, bool dont_wait, struct attach_message *ret, struct ct_error *err)
{
	_cleanup_attach_message_ struct attach_message m = ATTACH_MESSAGE_INIT;
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char text[PACKET_MAX];
	size_t n_fds = ATTACH_MAX_FDS;

	if (dont_wait && poll(&p, 1, 0) == 0)
		return -EAGAIN;
	ssize_t n = recv_fds(sock, text, sizeof(text), m.fds, &n_fds);
	for (size_t i = n < 0 ? 0 : n_fds; i < ATTACH_MAX_FDS; i++)
		m.fds[i] = -1;
	if (n == 0 || n == -ECONNRESET || n == -EPIPE)
		return ct_error_set(
		        err, -ECONNRESET, NULL, "the daemon closed the connection before it answered");
	if (n < 0)
		return ct_error_set(err, (int)n, NULL, "cannot read from the daemon's attach socket: %s",
		        strerror((int)-n));

	_cleanup_json_ json_t *packet = json_loadb(text, (size_t)n, 0, NULL);
	if (!packet || read_packet(packet, n_fds, &m) < 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG,
		        "the daemon's attach socket says what is not understood");

	*ret = TAKE(m, ATTACH_MESSAGE_INIT);
	return 0;
}
