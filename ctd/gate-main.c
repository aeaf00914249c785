/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd-gate: GET /metrics over TCP, for ctd, which never listens there itself.
 *
 * It knows nothing: it asks ctd for a page and passes it on. A page is a sealed memory file, one for all who
 * read it, kept for a second, so that ten scrapers cost ctd as much as one. One thread, one loop. It opens
 * its socket in the host's network and then locks itself in (gate-sandbox.c).
 *
 * Whoever connects is a stranger. A connection has one request, one answer and LIFE_USEC for both, however
 * slow it is or whatever it sends; there are at most CONNECTIONS_MAX, of one address SAME_MAX, each with a
 * fixed piece of memory. ctd may be busy or stopped: then the answer is 503 after a while. When ctd goes its
 * end of the pair is closed, and the gate ends.
 *
 * If there is a token (of ctd's, in a memory file) who does not say it gets nothing but 401. It is compared
 * in the same time whatever is said. TLS and certificates of clients: gate-tls.c.
 *
 * Usage: ctd-gate ADDRESS:PORT FD ID TOKEN-FD CERTIFICATE-FD KEY-FD CLIENT-CA-FD, "-" for what is not there.
 */
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/gate-proto.h"
#include "ctd/gate-sandbox.h"
#include "ctd/gate-tls.h"

#define BEARER            "Bearer "
#define CONNECTIONS_MAX   64
#define SAME_MAX          24
#define CONNECTION_MEMORY 16384
#define LIFE_USEC         (30 * USEC_PER_SEC) /* of a connection */
#define FRESH_USEC        USEC_PER_SEC        /* of a page */
#define ANSWER_USEC       (5 * USEC_PER_SEC)  /* what ctd may take */
#define BIND_TRIES        30                  /* tenths of a second: that an earlier gate is gone */

static const struct {
	char letter;
	const char *type;
} formats[] = {
	{ GATE_TEXT, "text/plain; version=0.0.4; charset=utf-8" },
	{ GATE_OPEN, "application/openmetrics-text; version=1.0.0; charset=utf-8" },
};
#define FORMATS ARRAY_SIZE(formats)

struct page {
	struct MHD_Response *response;
	uint64_t made_usec, asked_usec; /* asked 0: no question is open */
};

struct peer {
	struct gate *gate;
	struct MHD_Connection *mhd;
	struct peer *next, *prev;
	int sock;
	uint64_t since_usec;
	unsigned format;
	bool begun, suspended, waited;
};

struct gate {
	struct MHD_Daemon *daemon;
	int listen_fd, epoll_fd, ctd_fd;
	struct page pages[FORMATS];
	struct peer *peers;
	char token[GATE_TOKEN_MAX]; /* filled up with zeros */
	bool has_token;
	struct gate_tls tls;
};

/* ---- answers */

static enum MHD_Result answer_text(struct MHD_Connection *mhd, unsigned status, const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
	        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	(void)MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
	(void)MHD_add_response_header(response, "Connection", "close");
	if (status == 401)
		(void)MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
	if (status == 405)
		(void)MHD_add_response_header(response, "Allow", "GET, HEAD");
	r = MHD_queue_response(mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

static bool may_read(const struct gate *g, struct MHD_Connection *mhd)
{
	const char *said = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Authorization");
	volatile unsigned char differs = 0;
	char given[GATE_TOKEN_MAX] = { 0 };

	if (!g->has_token)
		return true;
	if (!said || strncasecmp(said, BEARER, strlen(BEARER)) != 0 ||
	        strlen(said + strlen(BEARER)) > sizeof(given))
		return false;
	memcpy(given, said + strlen(BEARER), strlen(said + strlen(BEARER)));
	for (size_t i = 0; i < sizeof(given); i++)
		differs |= (unsigned char)(given[i] ^ g->token[i]);
	return differs == 0;
}

static unsigned format_of(struct MHD_Connection *mhd)
{
	const char *accept = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Accept");

	return accept && strstr(accept, "application/openmetrics-text");
}

/* ctd takes one byte at any time, or is far behind: then no answer comes, as if it had been asked. */
static void ask(struct gate *g, unsigned format)
{
	struct page *page = &g->pages[format];

	if (page->asked_usec)
		return;
	page->asked_usec = now_monotonic_usec();
	(void)send(g->ctd_fd, &formats[format].letter, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static enum MHD_Result answer_page(struct peer *p)
{
	const struct page *page = &p->gate->pages[p->format];
	const uint64_t now = now_monotonic_usec();

	if (page->response &&
	        (now - page->made_usec < FRESH_USEC || (p->waited && page->made_usec >= p->since_usec)))
		return MHD_queue_response(p->mhd, 200, page->response);
	if (p->waited)
		return answer_text(p->mhd, 503, "ctd does not answer; try again later\n");
	ask(p->gate, p->format);
	p->waited = p->suspended = true;
	MHD_suspend_connection(p->mhd);
	return MHD_YES;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *mhd, const char *url,
        const char *method, const char *version, const char *data, size_t *size, void **context)
{
	const union MHD_ConnectionInfo *info =
	        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct peer *p = info ? info->socket_context : NULL;

	if (!p)
		return MHD_NO;
	if (!p->begun) {
		p->begun = true;
		p->format = format_of(mhd);
		if (!gate_tls_admits(&p->gate->tls, mhd))
			return answer_text(
			        mhd, 403, "a certificate that the authority has signed is needed\n");
		if (!may_read(p->gate, mhd))
			return answer_text(mhd, 401, "a token is needed\n");
		if (!str_eq(method, "GET") && !str_eq(method, "HEAD"))
			return answer_text(mhd, 405, "only GET and HEAD\n");
		if (!str_eq(url, "/metrics"))
			return answer_text(mhd, 404, "there is only /metrics\n");
		return MHD_YES; /* again when the request is complete */
	}
	if (*size) {
		*size = 0; /* a body, which nobody wants */
		return MHD_YES;
	}
	return answer_page(p);
}

static void wake(struct gate *g, unsigned format)
{
	for (struct peer *p = g->peers; p; p = p->next)
		if (p->suspended && p->format == format) {
			p->suspended = false;
			MHD_resume_connection(p->mhd);
		}
}

/* ---- connections */

static void peer_free(struct peer *p)
{
	if (p->next)
		p->next->prev = p->prev;
	if (p->prev)
		p->prev->next = p->next;
	else
		p->gate->peers = p->next;
	free(p);
}

static void on_connection(
        void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;
	struct gate *g = userdata;
	struct peer *p;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*context)
			peer_free(*context);
		*context = NULL;
		return;
	}
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	p = info ? calloc(1, sizeof(*p)) : NULL;
	*context = p;
	if (!p)
		return; /* refused at its request */
	p->gate = g;
	p->mhd = mhd;
	p->sock = info->connect_fd;
	p->since_usec = now_monotonic_usec();
	p->next = g->peers;
	if (p->next)
		p->next->prev = p;
	g->peers = p;
}

static void sweep(struct gate *g)
{
	const uint64_t now = now_monotonic_usec();

	for (struct peer *p = g->peers; p; p = p->next)
		if (!p->suspended && now - p->since_usec > LIFE_USEC)
			(void)shutdown(p->sock, SHUT_RDWR); /* it may have gone by itself */
	for (unsigned i = 0; i < FORMATS; i++)
		if (g->pages[i].asked_usec && now - g->pages[i].asked_usec > ANSWER_USEC) {
			g->pages[i].asked_usec = 0;
			wake(g, i);
		}
}

/* ---- ctd */

static struct MHD_Response *response_of(int fd, unsigned format)
{
	_cleanup_close_ int page = fd;
	struct MHD_Response *response;
	struct stat st;

	if (page < 0 || fstat(page, &st) < 0)
		return NULL;
	response = MHD_create_response_from_fd((size_t)st.st_size, page);
	if (!response)
		return NULL;
	(void)TAKE_FD(page); /* closed with the response */
	if (MHD_add_response_header(response, "Content-Type", formats[format].type) == MHD_NO ||
	        MHD_add_response_header(response, "Connection", "close") == MHD_NO) {
		MHD_destroy_response(response);
		return NULL;
	}
	return response;
}

static void take_page(struct gate *g, unsigned format, int fd)
{
	struct page *page = &g->pages[format];
	struct MHD_Response *response = response_of(fd, format);

	page->asked_usec = 0;
	if (response) {
		if (page->response)
			MHD_destroy_response(page->response); /* lives on with those who read it */
		page->response = response;
		page->made_usec = now_monotonic_usec();
	}
	wake(g, format);
}

static void receive(struct gate *g)
{
	char letter = 0;
	int fd = -1;
	size_t n = 1;
	ssize_t len = recv_fds(g->ctd_fd, &letter, 1, &fd, &n);

	if (len == -EAGAIN || len == -EINTR)
		return;
	if (len <= 0)
		_exit(EXIT_SUCCESS); /* ctd has gone */
	for (unsigned i = 0; i < FORMATS; i++)
		if (n == 1 && letter == formats[i].letter) {
			take_page(g, i, TAKE_FD(fd));
			return;
		}
	(void)fd_close(n == 1 ? fd : -1);
	for (unsigned i = 0; i < FORMATS; i++)
		if (g->pages[i].asked_usec)
			take_page(g, i, -1);
}

/* ---- the process */

static int listen_on(const char *text, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_storage address;
	const struct timespec pause = { .tv_nsec = 100 * 1000 * 1000 };
	socklen_t len;
	int on = 1, r;

	r = gate_address(text, &address);
	if (r < 0)
		return ct_error_set(err, r, "listen", "\"%.80s\" is not an address and a port", text);
	len = address.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	        (address.ss_family == AF_INET6 &&
	                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0))
		return ct_error_set(err, -errno, "listen", "cannot make a socket: %s", strerror(errno));
	for (unsigned i = 0; (r = bind(fd, (const struct sockaddr *)&address, len)) < 0; i++) {
		if (errno != EADDRINUSE || i >= BIND_TRIES)
			break;
		(void)nanosleep(&pause, NULL); /* shorter is no harm */
	}
	if (r < 0 || listen(fd, CONNECTIONS_MAX) < 0)
		return ct_error_set(err, -errno, "listen",
		        "cannot listen on %s: %s; metrics-listen takes an address of this host and a free port",
		        text, strerror(errno));
	return TAKE_FD(fd);
}

static int start_http(struct gate *g, struct ct_error *err)
{
	const unsigned flags =
	        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (g->tls.key ? (unsigned)MHD_USE_TLS : 0);
	struct MHD_OptionItem tls[GATE_TLS_OPTIONS];
	const union MHD_DaemonInfo *info;

	gate_tls_options(&g->tls, tls);
	g->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, g, MHD_OPTION_ARRAY, tls,
	        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)g->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
	        (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)SAME_MAX,
	        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(LIFE_USEC / USEC_PER_SEC),
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
	        on_connection, g, MHD_OPTION_END);
	if (!g->daemon)
		return ct_error_set(err, -ENOMEM, "http", "cannot start the HTTP server");
	info = MHD_get_daemon_info(g->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	g->epoll_fd = info->epoll_fd;
	return 0;
}

static int pause_msec(const struct gate *g)
{
	MHD_UNSIGNED_LONG_LONG msec;

	if (MHD_get_timeout(g->daemon, &msec) == MHD_YES && msec < 1000)
		return (int)msec;
	return g->peers ? 1000 : -1; /* for sweep */
}

static void tell(const struct gate *g, char letter, const char *text)
{
	char message[GATE_SAID_MAX] = { letter };

	(void)snprintf(message + 1, sizeof(message) - 1, "%s", text);
	(void)send(g->ctd_fd, message, 1 + strlen(message + 1), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static _Noreturn void serve(struct gate *g)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = g->epoll_fd, .events = POLLIN },
			{ .fd = g->ctd_fd, .events = POLLIN } };

		(void)poll(fds, ARRAY_SIZE(fds), pause_msec(g)); /* an error is as good as a timeout */
		if (fds[1].revents)
			receive(g);
		(void)MHD_run(g->daemon); /* fails only if another mode was chosen */
		sweep(g);
	}
}

static int take_token(struct gate *g, int fd)
{
	ssize_t n;

	if (fd < 0)
		return 0;
	n = pread(fd, g->token, sizeof(g->token), 0);
	if (n < GATE_TOKEN_MIN)
		return n < 0 ? -errno : -EINVAL;
	g->has_token = true;
	return 0;
}

static int take_numbers(char **words, struct gate_files *files)
{
	for (unsigned i = 0; i < _GATE_FILE_MAX; i++) {
		uint32_t number;

		if (str_eq(words[i], "-"))
			continue;
		if (parse_u32(words[i], &number) < 0 || number > INT32_MAX)
			return -EINVAL;
		files->fd[i] = (int)number;
	}
	return 0;
}

/* The server, and nothing of the files any more. */
static int prepare(struct gate *g, const char *address, struct gate_files *files, struct ct_error *err)
{
	int r = gate_tls_load(&g->tls, files->fd[GATE_FILE_CERTIFICATE], files->fd[GATE_FILE_KEY],
	        files->fd[GATE_FILE_CLIENT_CA], err);

	for (unsigned i = 0; i < _GATE_FILE_MAX; i++)
		files->fd[i] = fd_close(files->fd[i]);
	if (r >= 0)
		r = g->listen_fd = listen_on(address, err);
	return r < 0 ? r : start_http(g, err);
}

int main(int argc, char **argv)
{
	struct gate g = { .listen_fd = -1, .epoll_fd = -1, .ctd_fd = -1 };
	struct gate_files files = GATE_FILES_INIT;
	struct ct_error error = { 0 };
	uint32_t fd, id;
	int r;

	if (argc != 4 + _GATE_FILE_MAX || take_numbers(argv + 4, &files) < 0 || parse_u32(argv[2], &fd) < 0 ||
	        parse_u32(argv[3], &id) < 0 || id == 0)
		return 2; /* it is not for people: ctd-gate(8) */
	g.ctd_fd = (int)fd;
	(void)signal(SIGPIPE, SIG_IGN); /* a constant: cannot fail */
	r = fd_set_nonblock(g.ctd_fd, true);
	if (r >= 0)
		r = take_token(&g, files.fd[GATE_FILE_TOKEN]);
	if (r < 0)
		return 2;

	r = prepare(&g, argv[1], &files, &error);
	if (r >= 0)
		r = gate_confine(id, &error);
	if (r < 0) {
		tell(&g, GATE_FAILED, error.text);
		_exit(EXIT_FAILURE);
	}
	tell(&g, GATE_READY, "");
	serve(&g);
}
