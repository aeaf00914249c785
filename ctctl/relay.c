/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The relay of exec, shell and console: one poll(2) loop over up to three pumps, the attach socket and a
 * signalfd.
 *
 * The data does not go through ctd. The attach socket tells one thing only, the exit status, and takes
 * signals and sizes. If it breaks, ctd was restarted: the bytes flow on, and we ask again with the same id
 * until ctd answers. That is given up RECONNECT_SEC after the break, but not while the program's output is
 * still open: a session may outlast any upgrade.
 *
 * The end: the exit packet comes when the program is dead, so all that it wrote is in the pipes by then. What
 * the pipes hold at that moment is read (FIONREAD) and not more: a process it left behind may hold them open
 * for ever. A pty hands its bytes on in a kernel worker, which a busy machine delays: there it is read to its
 * end (EIO), or, if somebody holds it open, until a silence.
 *
 * Signals are blocked and read from a signalfd, so none can end us with the terminal raw. Without a terminal
 * of the program's own they are passed on; with one they can only come from outside (keys are bytes then) and
 * mean: leave. Leaving closes the master, which hangs up the session.
 */

#include "ctctl/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctctl/pump.h"
#include "ctctl/terminal.h"

#define RECONNECT_USEC (30 * USEC_PER_SEC)
#define RETRY_USEC     (100 * USEC_PER_MSEC)
#define SILENCE_MSEC   500
#define TTY_DRAIN_MAX  (1024 * 1024)

#define NEVER UINT64_MAX

enum link_state {
	LINK_UP,
	LINK_DOWN,  /* next_try says when we connect again */
	LINK_ASKED, /* connected and asked; the answer is to come */
	LINK_NONE,  /* not wanted any more */
};

struct relay {
	const struct relay_setup *setup;
	enum attach_kind kind;
	struct attach_message fds; /* owns the container's side */
	struct terminal terminal;
	struct pump in, out, error;

	int sock;
	enum link_state link;
	uint64_t down_since, next_try;

	int signal_fd;
	sigset_t old_mask;
	bool mask_set;

	bool exited;
	int status;
	bool eof_sent;
};

static void relay_done(struct relay *r)
{
	terminal_restore(&r->terminal);
	attach_message_done(&r->fds);
	pump_done(&r->in);
	pump_done(&r->out);
	pump_done(&r->error);
	r->sock = fd_close(r->sock);
	r->signal_fd = fd_close(r->signal_fd);
	if (r->mask_set)
		(void)sigprocmask(SIG_SETMASK, &r->old_mask, NULL); /* a mask that was valid before */
}

static bool has_tty(const struct relay *r)
{
	return r->kind == ATTACH_EXEC_TTY || r->kind == ATTACH_CONSOLE;
}

static int watch_signals(struct relay *r, struct ct_error *err)
{
	static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH,
		SIGCONT };
	sigset_t set;

	(void)sigemptyset(&set); /* these cannot fail with known signals */
	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		(void)sigaddset(&set, watched[i]);
	(void)sigprocmask(SIG_BLOCK, &set, &r->old_mask);
	r->mask_set = true;

	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signal_fd < 0)
		return ct_error_set(err, -errno, NULL, "cannot watch for signals: %m");

	return 0;
}

static int attach(struct relay *r, struct ct_error *err)
{
	r->sock = attach_request(r->setup->ctd_socket, r->setup->id, err);
	if (r->sock < 0)
		return r->sock;

	int n = attach_receive(r->sock, false, &r->fds, err);
	if (n < 0)
		return n;
	if (r->fds.type != ATTACH_MESSAGE_ATTACHED)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EREMOTEIO, "cannot attach: %s",
		        r->fds.text[0] ? r->fds.text : "the daemon refused");

	r->kind = r->fds.kind;
	r->link = LINK_UP;
	return 0;
}

static int start_pumps(struct relay *r)
{
	int *fds = r->fds.fds, in = r->setup->no_stdin ? -1 : STDIN_FILENO;
	bool pipes = r->kind == ATTACH_EXEC_PIPES;

	for (size_t i = 0; i < ATTACH_MAX_FDS; i++)
		if (fds[i] >= 0)
			(void)fd_set_nonblock(fds[i], true); /* if not, poll still keeps us from most waits */

	if (pump_init(&r->in, fds[0] < 0 ? -1 : in, fds[0]) < 0 ||
	        pump_init(&r->out, pipes ? fds[1] : fds[0], STDOUT_FILENO) < 0 ||
	        pump_init(&r->error, pipes ? fds[2] : -1, STDERR_FILENO) < 0)
		return -ENOMEM;
	r->in.filter = r->setup->filter;
	r->in.userdata = r->setup->userdata;

	if (pipes && r->setup->no_stdin)
		fds[0] = fd_close(fds[0]);
	return 0;
}

/* A pump that ended closes the container's end, which is how the program learns it. */
static void close_ended(struct relay *r)
{
	static const char end_of_input = 4; /* ^D: what a terminal's line discipline takes as end of file */
	int *fds = r->fds.fds;

	if (r->in.state != PUMP_RUNNING && r->kind == ATTACH_EXEC_PIPES)
		fds[0] = fd_close(fds[0]);
	if (r->in.state == PUMP_FINISHED && r->kind == ATTACH_EXEC_TTY && !r->eof_sent && !r->exited) {
		r->eof_sent = true;
		pump_append(&r->in, &end_of_input, 1);
	}
	if (r->kind != ATTACH_EXEC_PIPES)
		return;

	if (r->out.state != PUMP_RUNNING)
		fds[1] = fd_close(fds[1]);
	if (r->error.state != PUMP_RUNNING)
		fds[2] = fd_close(fds[2]);
}

static void limit_to_present(struct pump *p, bool tty)
{
	int present = 0;

	if (p->state != PUMP_RUNNING)
		return;
	if (tty)
		p->limit = TTY_DRAIN_MAX;
	else
		p->limit = ioctl(p->from, FIONREAD, &present) == 0 && present > 0 ? (size_t)present : 0;
	if (p->limit == 0 && p->len == 0)
		p->state = PUMP_FINISHED;
}

static void on_exit_packet(struct relay *r, const struct attach_message *m)
{
	r->exited = true;
	r->status = m->code;
	if (m->text[0])
		(void)fprintf(stderr, "ctctl: %s%s", m->text,
		        r->terminal.raw ? "\r\n" : "\n"); /* nowhere to tell a failure of stderr */

	r->link = LINK_NONE;
	r->sock = fd_close(r->sock);
	r->in.state = PUMP_FINISHED;
	limit_to_present(&r->out, r->kind == ATTACH_EXEC_TTY);
	limit_to_present(&r->error, false);
}

static void link_down(struct relay *r)
{
	uint64_t now = now_monotonic_usec();

	r->sock = fd_close(r->sock);
	if (r->kind == ATTACH_CONSOLE) {
		r->link = LINK_NONE; /* there is no exit to wait for; the stream itself tells its end */
		return;
	}

	if (r->down_since == NEVER)
		r->down_since = now;
	r->link = LINK_DOWN;
	r->next_try = now + RETRY_USEC;
}

static int link_receive(struct relay *r, struct ct_error *err)
{
	_cleanup_attach_message_ struct attach_message m = ATTACH_MESSAGE_INIT;

	int n = attach_receive(r->sock, true, &m, NULL);
	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		link_down(r);
		return 0;
	}

	switch (m.type) {
	case ATTACH_MESSAGE_ATTACHED:
		r->link = LINK_UP;
		r->down_since = NEVER;
		return 0;
	case ATTACH_MESSAGE_EXIT: on_exit_packet(r, &m); return 0;
	case ATTACH_MESSAGE_ERROR: break;
	}

	return ct_error_kind_set(err, CT_ERROR_FAILED, -EREMOTEIO, "the exit status is not known: %s",
	        m.text[0] ? m.text : "the daemon does not know this exec any more");
}

static bool output_open(const struct relay *r)
{
	return r->out.state == PUMP_RUNNING || r->error.state == PUMP_RUNNING;
}

static int link_retry(struct relay *r, struct ct_error *err)
{
	uint64_t now = now_monotonic_usec();

	if (r->link != LINK_DOWN || now < r->next_try)
		return 0;
	if (now - r->down_since > RECONNECT_USEC && !output_open(r))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ETIMEDOUT,
		        "the daemon went away and did not come back: the exit status is not known");

	r->next_try = now + RETRY_USEC;
	r->sock = attach_request(r->setup->ctd_socket, r->setup->id, NULL);
	if (r->sock >= 0)
		r->link = LINK_ASKED;
	return 0;
}

static void on_resize(struct relay *r)
{
	unsigned short rows, columns;

	if (!terminal_size(STDIN_FILENO, &rows, &columns) && !terminal_size(STDOUT_FILENO, &rows, &columns))
		return;
	if (r->kind == ATTACH_EXEC_TTY)
		(void)ioctl(r->fds.fds[0], TIOCSWINSZ,
		        &(struct winsize){ .ws_row = rows, .ws_col = columns }); /* hung up: no matter */
	else if (r->kind == ATTACH_CONSOLE && r->sock >= 0)
		(void)attach_send_size(
		        r->sock, rows, columns); /* if the daemon is gone there is nobody to tell */
}

/* True: the signal ends us. */
static bool on_signal(struct relay *r, int number)
{
	if (number == SIGWINCH)
		on_resize(r);
	else if (number == SIGCONT) {
		terminal_make_raw_again(&r->terminal);
		on_resize(r);
	} else if (has_tty(r) || r->sock < 0 || attach_send_signal(r->sock, number) < 0) {
		r->status = 128 + number;
		return true;
	}

	return false;
}

static bool read_signals(struct relay *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (on_signal(r, (int)info.ssi_signo))
			return true;

	return false;
}

static int poll_timeout(const struct relay *r)
{
	if (r->exited)
		return SILENCE_MSEC;
	if (r->link != LINK_DOWN)
		return -1;

	uint64_t now = now_monotonic_usec();
	return r->next_try > now ? (int)((r->next_try - now) / USEC_PER_MSEC) + 1 : 0;
}

enum {
	AT_IN,
	AT_OUT = AT_IN + 2,
	AT_ERROR = AT_OUT + 2,
	AT_SOCK = AT_ERROR + 2,
	AT_SIGNAL,
	AT_MAX,
};

/* *ret_end: < 0 goes on. */
static int relay_turn(struct relay *r, int *ret_end, struct ct_error *err)
{
	struct pollfd fds[AT_MAX];

	pump_events(&r->in, fds + AT_IN);
	pump_events(&r->out, fds + AT_OUT);
	pump_events(&r->error, fds + AT_ERROR);
	fds[AT_SOCK] = (struct pollfd){ .fd = r->sock, .events = POLLIN };
	fds[AT_SIGNAL] = (struct pollfd){ .fd = r->signal_fd, .events = POLLIN };

	int n = poll(fds, AT_MAX, poll_timeout(r));
	if (n < 0 && errno != EINTR)
		return ct_error_set(err, -errno, NULL, "cannot wait for the program: %m");
	if (n < 0)
		return 0;

	/* A terminal that said nothing since the program's end says nothing more; a reader of ours that is
	 * slow is waited for. */
	if (n == 0 && r->exited && r->out.len == 0)
		r->out.state = PUMP_FINISHED;

	pump_run(&r->in, fds + AT_IN);
	pump_run(&r->out, fds + AT_OUT);
	pump_run(&r->error, fds + AT_ERROR);
	if (fds[AT_SIGNAL].revents && read_signals(r)) {
		*ret_end = RELAY_SIGNAL;
		return 0;
	}
	close_ended(r);

	n = fds[AT_SOCK].revents ? link_receive(r, err) : link_retry(r, err);
	if (n < 0)
		return n;

	if (r->setup->leave && *r->setup->leave)
		*ret_end = RELAY_DETACHED;
	else if (r->exited && !output_open(r))
		*ret_end = RELAY_EXITED;
	else if (r->kind == ATTACH_CONSOLE && r->out.state != PUMP_RUNNING)
		*ret_end = RELAY_CLOSED;
	return 0;
}

int relay_run(const struct relay_setup *setup, int *ret_status, struct ct_error *err)
{
	struct relay r CLEANUP(relay_done) = {
		.setup = setup,
		.fds = ATTACH_MESSAGE_INIT,
		.terminal = TERMINAL_INIT,
		.sock = -1,
		.down_since = NEVER,
		.signal_fd = -1,
	};
	int end = -1;

	int n = watch_signals(&r, err);
	if (n < 0)
		return n;
	n = attach(&r, err);
	if (n < 0)
		return n;
	n = start_pumps(&r);
	if (n < 0)
		return n;

	if (has_tty(&r)) {
		on_resize(&r); /* it may have changed since it was sent */
		n = terminal_make_raw(&r.terminal, STDIN_FILENO);
		if (n < 0)
			return ct_error_set(err, n, NULL, "cannot make the terminal raw: %s", strerror(-n));
	}
	while (end < 0) {
		n = relay_turn(&r, &end, err);
		if (n < 0)
			return n;
	}

	*ret_status = r.status;
	return end;
}
