/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fake daemon's exec and console: the program runs right here, as the user who runs the tests.
 *
 * An exec's fds are handed to the first who attaches and closed here, as ctd does: from then on only the
 * client holds them. A later attach gets exec-wait. A console is a shell on a socket pair that prints a line
 * and then gives back what it reads.
 */

#include "ctctl/test/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#define PACKET_MAX 4096
#define ARGV_MAX   64

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int number_of(const json_t *object, const char *key)
{
	return (int)json_integer_value(json_object_get(object, key));
}

/* In the child: never returns. fds are 0, 1, 2 already. */
static void run_program(const json_t *body)
{
	const char *argv[ARGV_MAX + 1] = { "sh", "-c", "echo scrollback; exec cat", NULL };
	const json_t *words = json_object_get(body, "argv"), *value;
	const char *cwd = text_of(body, "cwd"), *name;
	size_t i;
	sigset_t none;

	json_array_foreach(words, i, value) if (i < ARGV_MAX)
	{
		argv[i] = json_string_value(value);
		argv[i + 1] = NULL;
	}
	json_object_foreach(json_object_get(body, "env"), name, value)(void) setenv(
	        name, json_string_value(value), 1); /* no memory: the test fails on what it looks for */

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL); /* cannot fail so */
	/* A shell's background job starts with some of them ignored, and so would all that we start. */
	for (int number = 1; number < SIGRTMIN; number++)
		(void)signal(number, SIG_DFL); /* but KILL and STOP */
	if (cwd && chdir(cwd) < 0)
		_exit(126);

	(void)execvp(argv[0], (char *const *)argv);
	_exit(errno == ENOENT ? 127 : 126);
}

static void child_fds(int in, int out, int error)
{
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
		_exit(125);
}

static int start_tty(struct fake_exec *e, const json_t *body)
{
	struct winsize size = { .ws_row = (unsigned short)number_of(body, "rows"),
		.ws_col = (unsigned short)number_of(body, "columns") };

	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return -errno;
	_cleanup_close_ int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	(void)ioctl(master, TIOCSWINSZ, &size);

	e->pid = fork();
	if (e->pid == 0) {
		child_fds(slave, slave, slave);
		if (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0)
			_exit(125);
		run_program(body);
	}

	e->fds[0] = TAKE_FD(master);
	return e->pid < 0 ? -errno : 0;
}

static int start_pipes(struct fake_exec *e, const json_t *body)
{
	int in[2], out[2], error[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0)
		return -errno;

	e->pid = fork();
	if (e->pid == 0) {
		child_fds(in[0], out[1], error[1]);
		run_program(body);
	}

	(void)close(in[0]);
	(void)close(out[1]);
	(void)close(error[1]);
	e->fds[0] = in[1];
	e->fds[1] = out[0];
	e->fds[2] = error[0];
	return e->pid < 0 ? -errno : 0;
}

static int start_console(struct fake_exec *e, const json_t *body)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;

	e->pid = fork();
	if (e->pid == 0) {
		child_fds(pair[1], pair[1], pair[1]);
		run_program(body);
	}

	(void)close(pair[1]);
	e->fds[0] = pair[0];
	return e->pid < 0 ? -errno : 0;
}

int fake_exec_start(struct fake *f, const json_t *body, bool console, json_t **ret_answer)
{
	struct fake_exec *e = NULL;

	for (size_t i = 0; i < FAKE_MAX && !e; i++)
		if (!f->execs[i].id[0])
			e = &f->execs[i];
	if (!e)
		return -ENFILE;

	*e = (struct fake_exec){ .fds = { -1, -1, -1 }, .sock = -1, .console = console };
	(void)snprintf(e->id, sizeof(e->id), "exec-%u", f->n_execs++);
	e->tty = json_is_true(json_object_get(body, "tty"));

	int r = console ? start_console(e, body) : e->tty ? start_tty(e, body) : start_pipes(e, body);
	if (r < 0) {
		e->id[0] = '\0';
		return r;
	}

	*ret_answer = json_pack("{s:s}", "id", e->id);
	return *ret_answer ? 0 : -ENOMEM;
}

static void send_text(int sock, const char *text)
{
	(void)send(sock, text, strlen(text),
	        MSG_NOSIGNAL); /* a client that is gone is met when it is read from */
}

static void tell_exit(struct fake_exec *e)
{
	char text[64];

	if (e->sock < 0 || !e->exited || e->console)
		return;
	(void)snprintf(text, sizeof(text), "{\"type\":\"exit\",\"code\":%d}", e->code);
	send_text(e->sock, text);
	e->sock = fd_close(e->sock);
	e->id[0] = '\0';
}

static void hand_over(struct fake_exec *e)
{
	const char *kind = e->attached  ? "exec-wait"
	                   : e->console ? "console"
	                   : e->tty     ? "exec-tty"
	                                : "exec-pipes";
	size_t n = 0;
	char text[64];

	while (n < 3 && e->fds[n] >= 0)
		n++;
	(void)snprintf(text, sizeof(text), "{\"type\":\"attached\",\"kind\":\"%s\"}", kind);
	(void)send_fds(e->sock, text, strlen(text), e->fds, n); /* as send_text */
	for (size_t i = 0; i < 3; i++)
		e->fds[i] = fd_close(e->fds[i]);
	e->attached = true;
}

void fake_attach(struct fake *f, int sock)
{
	char text[PACKET_MAX];

	ssize_t n = recv(sock, text, sizeof(text), 0);
	_cleanup_json_ json_t *packet = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	const char *id = text_of(packet, "id");

	for (size_t i = 0; id && i < FAKE_MAX; i++)
		if (str_eq(f->execs[i].id, id)) {
			f->execs[i].sock = sock;
			hand_over(&f->execs[i]);
			tell_exit(&f->execs[i]);
			return;
		}

	send_text(sock, "{\"type\":\"error\",\"message\":\"no such exec\"}");
	(void)close(sock);
}

void fake_attached_packet(struct fake *f, struct fake_exec *e)
{
	char text[PACKET_MAX];

	ssize_t n = recv(e->sock, text, sizeof(text), 0);
	_cleanup_json_ json_t *packet = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	if (!packet) {
		e->sock = fd_close(e->sock);
		if (e->exited || e->console)
			e->id[0] = '\0';
		return;
	}

	if (str_eq(text_of(packet, "type"), "signal")) {
		fake_log(f, "signal %d", number_of(packet, "signal"));
		(void)kill(e->pid, number_of(packet, "signal")); /* it may just have ended */
	} else if (str_eq(text_of(packet, "type"), "resize"))
		fake_log(f, "resize %d %d", number_of(packet, "rows"), number_of(packet, "columns"));
}

void fake_reap(struct fake *f)
{
	int status, pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < FAKE_MAX; i++) {
			struct fake_exec *e = &f->execs[i];
			if (!e->id[0] || e->pid != pid)
				continue;
			e->exited = true;
			e->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			tell_exit(e);
		}
}

void fake_drop_attached(struct fake *f)
{
	for (size_t i = 0; i < FAKE_MAX; i++)
		if (f->execs[i].id[0])
			f->execs[i].sock = fd_close(f->execs[i].sock);
}

void fake_exec_done(struct fake *f)
{
	for (size_t i = 0; i < FAKE_MAX; i++) {
		struct fake_exec *e = &f->execs[i];
		if (!e->id[0])
			continue;
		if (!e->exited)
			(void)kill(e->pid, SIGKILL); /* our own child, not reaped yet */
		for (size_t k = 0; k < 3; k++)
			e->fds[k] = fd_close(e->fds[k]);
		e->sock = fd_close(e->sock);
	}
}
