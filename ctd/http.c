/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The front's engine: libmicrohttpd [0.9.75] without threads on ctd's event loop.
 *
 * The library has one epoll fd for its sockets; that fd is an event source here, and after each run its next
 * timeout becomes our timer. A call that is kept by its handler has its connection suspended: the library
 * forgets the socket, and learns only on resumption that the client has gone. So a suspended connection needs
 * no timeout, and costs one slot of the limit until it is answered.
 *
 * Against slow clients there are two clocks. The library's counts the time without a byte. Ours counts the
 * client's whole turn: from the connection or the last answer until the next request is complete, and the
 * sending of an answer; a byte every 29 seconds does not help. Whose time is up is shut down, and the library
 * finds the end of the stream.
 *
 * Above the limit of connections each gets an error (503) and is closed; the library's own limit lies a
 * little higher, above it connections wait in the backlog.
 *
 * The process must ignore SIGPIPE: without threads of its own the library leaves that to us.
 */

#include "ctd/http-private.h"

#include <assert.h>
#include <errno.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define MAX_CONNECTIONS      512
#define SPARE_CONNECTIONS    32
#define RECEIVE_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define IDLE_TIMEOUT_USEC    (30 * USEC_PER_SEC)
/* Request line and headers; bodies pass through in pieces of what is left of it. */
#define CONNECTION_MEMORY ((size_t)16 * 1024)

static void arm(sd_event_source *timer, uint64_t usec)
{
	uint64_t now = now_monotonic_usec();

	(void)sd_event_source_set_time(timer, now + usec); /* these fail only for wrong arguments */
	(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void run(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG msec;

	(void)MHD_run(http->daemon); /* fails only if another mode was chosen */

	if (MHD_get_timeout(http->daemon, &msec) == MHD_YES)
		arm(http->timer, msec * USEC_PER_MSEC);
	else
		(void)sd_event_source_set_enabled(http->timer, SD_EVENT_OFF);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	run(userdata);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	run(userdata);
	return 0;
}

static int on_run(sd_event_source *source, void *userdata)
{
	run(userdata);
	return 0;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;
	uint64_t now = now_monotonic_usec();

	for (struct connection *c = http->connections; c; c = c->next)
		if (!c->busy && now - c->since > http->receive_timeout_usec)
			(void)shutdown(c->sock, SHUT_RDWR); /* it may have gone by itself */

	if (http->connections)
		arm(source, http->receive_timeout_usec / 4);
	return 0;
}

void http_wake(struct http *http, struct call *call)
{
	if (!call->connection)
		return;

	call->suspended = false;
	MHD_resume_connection(call->connection->mhd);
	(void)sd_event_source_set_enabled(http->run, SD_EVENT_ONESHOT); /* cannot fail */
}

static void connection_new(struct http *http, struct MHD_Connection *mhd, void **ret)
{
	const union MHD_ConnectionInfo *info =
	        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *c = calloc(1, sizeof(*c));

	*ret = c;
	if (!c)
		return;

	c->http = http;
	c->mhd = mhd;
	c->sock = info->connect_fd;
	c->since = now_monotonic_usec();
	c->next = http->connections;
	if (c->next)
		c->next->prev = c;
	http->connections = c;

	if (listener_permit(&http->listener, c->sock, &c->peer, &c->refused) < 0) {
		c->refused_status = 403;
	} else if (http->n_connections >= http->max_connections) {
		(void)ct_error_kind_set(&c->refused, CT_ERROR_REFUSED, -EAGAIN,
		        "there are %u connections already, more are not served: try again later",
		        http->n_connections);
		c->refused_status = 503;
	}

	if (http->n_connections++ == 0)
		arm(http->sweep, http->receive_timeout_usec / 4);
}

static void connection_free(struct connection *c)
{
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		c->http->connections = c->next;
	c->http->n_connections--;
	free(c);
}

static void on_connection(
        void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		connection_new(userdata, mhd, context);
	} else if (*context) {
		connection_free(*context);
		*context = NULL;
	}
}

static struct connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
	        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

int http_queue(struct call *call)
{
	/* No memory for an answer: the connection is closed. */
	if (!call->response)
		return MHD_NO;

	call->connection->busy = false;
	call->connection->since = now_monotonic_usec();
	return (int)MHD_queue_response(call->connection->mhd, call->status, call->response);
}

static bool announces_too_much(struct MHD_Connection *mhd)
{
	const char *length =
	        MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	uint64_t n;

	return length && (parse_u64(length, &n) < 0 || n > HTTP_BODY_MAX);
}

/* The headers are there. An answer now means that the body is not read and the connection closed. */
static enum MHD_Result request_begin(
        struct http *http, struct MHD_Connection *mhd, const char *method, const char *url, void **ret)
{
	struct connection *c = connection_of(mhd);
	struct ct_error err = { 0 };

	struct call *call = c ? call_new(http, c, method, url) : NULL;
	if (!call)
		return MHD_NO;
	*ret = call;

	if (c->refused.code < 0) {
		call_refuse(call, c->refused_status, &c->refused);
		return (enum MHD_Result)http_queue(call);
	}
	if (announces_too_much(mhd)) {
		(void)ct_error_kind_set(
		        &err, CT_ERROR_USAGE, -E2BIG, "the body is larger than %d bytes", HTTP_BODY_MAX);
		call_refuse(call, 413, &err);
		return (enum MHD_Result)http_queue(call);
	}

	return MHD_YES;
}

static void refuse_while_stopping(struct call *call)
{
	struct ct_error err = { 0 };

	(void)ct_error_set(&err, -ESHUTDOWN, NULL, "ctd is going down: ask again when it is back");
	call_refuse(call, 503, &err);
}

/* Called when the headers are there, for each piece of the body, at the end of it, and after each resumption.
 */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *mhd, const char *url,
        const char *method, const char *version, const char *data, size_t *len, void **context)
{
	struct http *http = userdata;
	struct call *call = *context;

	if (!call)
		return request_begin(http, mhd, method, url, context);

	if (*len > 0) {
		call_receive(call, data, *len);
		*len = 0;
		return call->discarded > HTTP_DISCARD_MAX ? MHD_NO : MHD_YES;
	}

	if (!call->answered && http->stopping) {
		refuse_while_stopping(call);
	} else if (!call->answered) {
		call->connection->busy = true;
		call_dispatch(call);
	}
	if (call->answered)
		return (enum MHD_Result)http_queue(call);

	call->suspended = true;
	MHD_suspend_connection(mhd);
	return MHD_YES;
}

static void on_completed(
        void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	struct call *call = *context;
	if (!call)
		return;

	call->connection->busy = false;
	call->connection->since = now_monotonic_usec();
	call_detach(call);
	*context = NULL;
}

/* Left encoded: http-route.c is stricter. */
static size_t on_unescape(void *userdata, struct MHD_Connection *mhd, char *text)
{
	return strlen(text);
}

static int start_daemon(struct http *http, uint64_t idle_usec, struct ct_error *err)
{
	/* The library closes the socket that it is given. */
	_cleanup_close_ int fd = fd_dup_cloexec(http->listener.fd);
	if (fd < 0)
		return ct_error_set(
		        err, fd, "socket", "cannot duplicate the listening socket: %s", strerror(-fd));

	http->daemon = MHD_start_daemon(
	        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_SUPPRESS_DATE_NO_CLOCK, 0, NULL, NULL,
	        on_request, http, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT,
	        http->max_connections + SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
	        (unsigned)((idle_usec + USEC_PER_SEC - 1) / USEC_PER_SEC), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	        CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
	        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape,
	        http, MHD_OPTION_END);
	if (!http->daemon)
		return ct_error_set(
		        err, -EIO, "socket", "cannot start the HTTP server on \"%s\"", http->listener.path);

	(void)TAKE_FD(fd);
	return 0;
}

static int add_sources(struct http *http)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	int r = sd_event_add_io(http->event, &http->io, info->epoll_fd, EPOLLIN, on_io, http);
	if (r >= 0)
		r = sd_event_add_time(http->event, &http->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, http);
	if (r >= 0)
		r = sd_event_source_set_enabled(http->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(http->event, &http->sweep, CLOCK_MONOTONIC, 0, 0, on_sweep, http);
	if (r >= 0)
		r = sd_event_source_set_enabled(http->sweep, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(http->event, &http->run, on_run, http);
	if (r >= 0)
		r = sd_event_source_set_enabled(http->run, SD_EVENT_OFF);
	return r;
}

static int init_gcrypt(struct ct_error *err)
{
	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return 0;
	if (!gcry_check_version("1.10.0"))
		return ct_error_set(err, -ENOSYS, "libgcrypt", "libgcrypt is older than 1.10");

	(void)gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	(void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	return 0;
}

int http_new(const struct http_config *config, struct http **ret, struct ct_error *err)
{
	int r = init_gcrypt(err);
	if (r < 0)
		return r;

	_cleanup_http_ struct http *http = calloc(1, sizeof(*http));
	if (!http)
		return ct_error_set(err, -ENOMEM, NULL, "out of memory");

	http->manager = config->manager;
	http->store = config->store;
	http->routes = config->routes;
	http->event = sd_event_ref(config->event);
	http->listener = LISTENER_INIT;
	http->max_connections = config->max_connections ? config->max_connections : MAX_CONNECTIONS;
	http->receive_timeout_usec =
	        config->receive_timeout_usec ? config->receive_timeout_usec : RECEIVE_TIMEOUT_USEC;

	r = listener_open(&http->listener, config->path, SOCK_STREAM, config->group, err);
	if (r < 0)
		return r;

	r = start_daemon(
	        http, config->idle_timeout_usec ? config->idle_timeout_usec : IDLE_TIMEOUT_USEC, err);
	if (r < 0)
		return r;

	r = add_sources(http);
	if (r < 0)
		return ct_error_set(
		        err, r, NULL, "cannot put the HTTP server on the event loop: %s", strerror(-r));

	*ret = TAKE_PTR(http);
	return 0;
}

void http_stop_listening(struct http *http)
{
	if (http->listener.fd < 0)
		return;

	int fd = MHD_quiesce_daemon(http->daemon);
	(void)fd_close(fd); /* always -1 */
	listener_done(&http->listener);
}

size_t http_pending(const struct http *http)
{
	return http->n_pending;
}

void http_free(struct http *http)
{
	if (!http)
		return;

	/* What has been answered goes out, if it is taken at once: resumption, answer, end of the connection.
	 */
	http->stopping = true;
	for (int i = 0; http->daemon && i < 3; i++)
		(void)MHD_run(http->daemon); /* as in run */

	/* The library refuses to stop while something is suspended. */
	for (struct call *call = http->calls; call; call = call->next)
		if (call->suspended)
			http_wake(http, call);
	if (http->daemon)
		MHD_stop_daemon(http->daemon);
	calls_abandon(http);
	assert(!http->connections);

	listener_done(&http->listener);
	(void)sd_event_source_disable_unref(http->io); /* NULL always */
	(void)sd_event_source_disable_unref(http->timer);
	(void)sd_event_source_disable_unref(http->run);
	(void)sd_event_source_disable_unref(http->sweep);
	(void)sd_event_unref(http->event);
	free(http);
}
