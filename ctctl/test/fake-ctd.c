/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-ctd DIR: the daemon as ctctl's tests need it. It listens on DIR/ctd.sock and DIR/attach.sock.
 *
 * The answer to `POST /v1/containers/a/start` is the file "DIR/answers/POST _v1_containers_a_start": a first
 * line "STATUS [chunked|close|hang]" and the body. A file of that name with ".1", ".2" ... behind it answers
 * the first, second ... such request and wins. With a query, the name with the query is looked for first.
 * exec and console run real programs unless there is such a file. Nothing found is a 404.
 *
 * Every connection, request and attach packet is a line in DIR/requests. SIGUSR1 takes the daemon down
 * (sockets closed and removed, programs run on), SIGUSR2 brings it back, SIGTERM ends it.
 */

#include <errno.h>
#include <fcntl.h>
#include <http_parser.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctctl/test/fake.h"

#define ANSWER_MAX (32 * 1024 * 1024)

struct request {
	struct strbuf path, body, id;
	bool in_id, complete;
	const char *method;
};

void fake_log(const struct fake *f, const char *format, ...)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_fclose_ FILE *log = NULL;
	va_list ap;

	(void)strbuf_printf(
	        &path, "%s/requests", f->dir); /* without memory the tests fail on a missing line */
	log = fopen(path.data, "ae");
	if (!log)
		return;

	va_start(ap, format);
	(void)vfprintf(log, format, ap);
	va_end(ap);
	(void)fputc('\n', log);
}

static int on_url(http_parser *p, const char *data, size_t len)
{
	return strbuf_add(&((struct request *)p->data)->path, data, len);
}

static int on_body(http_parser *p, const char *data, size_t len)
{
	return strbuf_add(&((struct request *)p->data)->body, data, len);
}

static int on_field(http_parser *p, const char *data, size_t len)
{
	struct request *r = p->data;

	r->in_id = len == strlen("X-Request-Id") && strncmp(data, "X-Request-Id", len) == 0;
	return 0;
}

static int on_value(http_parser *p, const char *data, size_t len)
{
	struct request *r = p->data;

	return r->in_id ? strbuf_add(&r->id, data, len) : 0;
}

static int on_complete(http_parser *p)
{
	struct request *r = p->data;

	r->complete = true;
	r->method = http_method_str(p->method);
	return 0;
}

/* Blocking: ctctl sends a request in one go. */
static int read_request(int fd, struct request *r)
{
	static const http_parser_settings settings = {
		.on_url = on_url,
		.on_body = on_body,
		.on_header_field = on_field,
		.on_header_value = on_value,
		.on_message_complete = on_complete,
	};
	http_parser parser;
	char buf[16384];

	http_parser_init(&parser, HTTP_REQUEST);
	parser.data = r;
	while (!r->complete) {
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			return -ECONNRESET;
		if (http_parser_execute(&parser, &settings, buf, (size_t)n) != (size_t)n)
			return -EBADMSG;
	}

	return 0;
}

static void reply(int fd, unsigned int status, bool chunked, const char *body, size_t len)
{
	_cleanup_strbuf_ struct strbuf head = STRBUF_INIT;

	(void)strbuf_printf(
	        &head, "HTTP/1.1 %u X\r\nContent-Type: application/json\r\n", status); /* as fake_log */
	if (!chunked)
		(void)strbuf_printf(&head, "Content-Length: %zu\r\n\r\n", len);
	else
		(void)strbuf_puts(&head, "Transfer-Encoding: chunked\r\n\r\n");
	(void)write_all(fd, head.data, head.len); /* a client that is gone is met at the next read */
	if (!chunked) {
		(void)write_all(fd, body, len);
		return;
	}

	for (size_t at = 0; at < len; at += 7) {
		char size[16];
		size_t n = len - at < 7 ? len - at : 7;
		(void)snprintf(size, sizeof(size), "%zx\r\n", n);
		(void)write_all(fd, size, strlen(size));
		(void)write_all(fd, body + at, n);
		(void)write_all(fd, "\r\n", 2);
	}
	(void)write_all(fd, "0\r\n\r\n", 5);
}

/* "METHOD _path" with slashes replaced, suffix behind it; new memory. */
static char *answer_name(const struct request *r, bool query, const char *suffix)
{
	size_t len = query ? r->path.len : strcspn(r->path.data, "?");

	char *name = str_printf("answers/%s %.*s%s", r->method, (int)len, r->path.data, suffix);
	for (char *p = name ? strchr(name, ' ') : NULL; p && *p; p++)
		if (*p == '/')
			*p = '_';

	return name;
}

static int read_answer(int dir, const struct request *r, char **ret, size_t *ret_len)
{
	for (int i = 1; i < 32; i++) {
		char suffix[8];
		(void)snprintf(suffix, sizeof(suffix), ".%d", i);
		_cleanup_free_ char *name = answer_name(r, false, suffix);
		if (name && read_file_at(dir, name, ANSWER_MAX, ret, ret_len) >= 0) {
			(void)unlinkat(dir, name, 0); /* consumed; if it stays the test sees it twice */
			return 0;
		}
	}

	for (int query = 1; query >= 0; query--) {
		_cleanup_free_ char *name = answer_name(r, query, "");
		if (name && read_file_at(dir, name, ANSWER_MAX, ret, ret_len) >= 0)
			return 0;
	}

	return -ENOENT;
}

static bool run_exec(struct fake *f, int fd, const struct request *r)
{
	bool console = str_has_suffix(r->path.data, "/console");
	_cleanup_json_ json_t *body =
	        json_loadb(r->body.data ? r->body.data : "{}", r->body.data ? r->body.len : 2, 0, NULL);
	_cleanup_json_ json_t *answer = NULL;

	if (!str_eq(r->method, "POST") || (!console && !str_has_suffix(r->path.data, "/exec")))
		return false;
	if (fake_exec_start(f, body, console, &answer) < 0)
		return false;

	_cleanup_free_ char *text = json_dumps(answer, JSON_COMPACT);
	reply(fd, 201, false, text, strlen(text));
	return true;
}

/* False: the connection is to be closed. */
static bool serve(struct fake *f, int fd, const struct request *r)
{
	static const char nothing[] =
	        "{\"error\":{\"code\":\"not-found\",\"message\":\"nothing is canned for it\"}}";
	_cleanup_close_ int dir = open(f->dir, O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *answer = NULL;
	size_t len = 0;

	fake_log(f, "%s %s %s%s%s", r->method, r->path.data, r->body.data ? r->body.data : "",
	        r->id.len ? " id=" : "", r->id.len ? r->id.data : "");
	if (read_answer(dir, r, &answer, &len) < 0) {
		if (!run_exec(f, fd, r))
			reply(fd, 404, false, nothing, strlen(nothing));
		return true;
	}

	size_t line = strcspn(answer, "\n");
	const char *mode = answer + strcspn(answer, " \n");
	const char *body = answer + line + (answer[line] == '\n');
	if (strncmp(mode, " close", 6) == 0)
		return false;
	if (strncmp(mode, " hang", 5) != 0)
		reply(fd, (unsigned int)strtoul(answer, NULL, 10), strncmp(mode, " chunked", 8) == 0, body,
		        len - (size_t)(body - answer));

	return true;
}

static bool on_http(struct fake *f, int fd)
{
	struct request r = { .path = STRBUF_INIT, .body = STRBUF_INIT, .id = STRBUF_INIT };

	bool keep = read_request(fd, &r) == 0 && serve(f, fd, &r);

	strbuf_done(&r.path);
	strbuf_done(&r.body);
	strbuf_done(&r.id);
	return keep;
}

static int listen_on(const char *dir, const char *name, int kind)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	/* It appears under its name when it listens, which is what the tests wait for. */
	_cleanup_free_ char *path = str_printf("%s/%s", dir, name);
	if (!path || (size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s.new", path) >=
	                     sizeof(address.sun_path))
		return -ENAMETOOLONG;
	_cleanup_close_ int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 32) < 0 ||
	        rename(address.sun_path, path) < 0)
		return -errno;

	return TAKE_FD(fd);
}

static int go_up(struct fake *f)
{
	f->attach_fd = listen_on(f->dir, "attach.sock", SOCK_SEQPACKET);
	f->listen_fd = listen_on(f->dir, "ctd.sock", SOCK_STREAM);

	return f->listen_fd < 0 ? f->listen_fd : f->attach_fd < 0 ? f->attach_fd : 0;
}

static void go_down(struct fake *f)
{
	_cleanup_close_ int dir = open(f->dir, O_DIRECTORY | O_CLOEXEC);

	f->listen_fd = fd_close(f->listen_fd);
	f->attach_fd = fd_close(f->attach_fd);
	(void)unlinkat(dir, "ctd.sock", 0); /* gone is what we want */
	(void)unlinkat(dir, "attach.sock", 0);
	fake_drop_attached(f);
	for (size_t i = 0; i < FAKE_MAX; i++) {
		f->http[i] = fd_close(f->http[i]);
		f->pending[i] = fd_close(f->pending[i]);
	}
}

static void accept_into(int listen_fd, int slots[FAKE_MAX])
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	for (size_t i = 0; fd >= 0 && i < FAKE_MAX; i++)
		if (slots[i] < 0) {
			slots[i] = fd;
			return;
		}
	(void)fd_close(fd); /* more at once than any test has */
}

/* False: end. */
static bool on_signals(struct fake *f)
{
	struct signalfd_siginfo info;

	while (read(f->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGTERM)
			return false;
		if (info.ssi_signo == SIGUSR1)
			go_down(f);
		else if (info.ssi_signo == SIGUSR2 && go_up(f) < 0)
			return false;
	}

	/* SIGCHLD may stand for several, and for one that came with another signal. */
	fake_reap(f);
	return true;
}

enum {
	AT_LISTEN,
	AT_ATTACH,
	AT_SIGNAL,
	AT_HTTP,
	AT_PENDING = AT_HTTP + FAKE_MAX,
	AT_EXEC = AT_PENDING + FAKE_MAX,
	AT_MAX = AT_EXEC + FAKE_MAX,
};

static bool turn(struct fake *f)
{
	struct pollfd fds[AT_MAX] = {
		[AT_LISTEN] = { f->listen_fd, POLLIN, 0 },
		[AT_ATTACH] = { f->attach_fd, POLLIN, 0 },
		[AT_SIGNAL] = { f->signal_fd, POLLIN, 0 },
	};

	for (int i = 0; i < FAKE_MAX; i++) {
		fds[AT_HTTP + i] = (struct pollfd){ f->http[i], POLLIN, 0 };
		fds[AT_PENDING + i] = (struct pollfd){ f->pending[i], POLLIN, 0 };
		fds[AT_EXEC + i] = (struct pollfd){ f->execs[i].id[0] ? f->execs[i].sock : -1, POLLIN, 0 };
	}
	if (poll(fds, AT_MAX, -1) < 0)
		return errno == EINTR;

	for (int i = 0; i < FAKE_MAX; i++) {
		if (fds[AT_HTTP + i].revents && !on_http(f, f->http[i]))
			f->http[i] = fd_close(f->http[i]);
		if (fds[AT_PENDING + i].revents)
			fake_attach(f, TAKE_FD(f->pending[i]));
		if (fds[AT_EXEC + i].revents)
			fake_attached_packet(f, &f->execs[i]);
	}
	if (fds[AT_LISTEN].revents) {
		fake_log(f, "connect");
		accept_into(f->listen_fd, f->http);
	}
	if (fds[AT_ATTACH].revents)
		accept_into(f->attach_fd, f->pending);

	return !fds[AT_SIGNAL].revents || on_signals(f);
}

int main(int argc, char **argv)
{
	static struct fake f = { .listen_fd = -1, .attach_fd = -1 };
	sigset_t signals;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: fake-ctd DIR\n");
		return 2;
	}

	f.dir = argv[1];
	for (size_t i = 0; i < FAKE_MAX; i++) {
		f.http[i] = f.pending[i] = f.execs[i].sock = -1;
		f.execs[i].fds[0] = f.execs[i].fds[1] = f.execs[i].fds[2] = -1;
	}

	(void)sigemptyset(&signals); /* cannot fail with known signals */
	for (size_t i = 0; i < 4; i++)
		(void)sigaddset(&signals, (const int[]){ SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD }[i]);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	f.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f.signal_fd < 0 || go_up(&f) < 0) {
		perror("fake-ctd");
		return 1;
	}

	while (turn(&f))
		;

	go_down(&f);
	fake_exec_done(&f);
	(void)close(f.signal_fd);
	return 0;
}
