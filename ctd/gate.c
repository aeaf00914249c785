/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd's side of the gate.
 *
 * The gate is a stranger's door, so nothing it does or fails to do may matter here. It is asked nothing and
 * waited for nowhere. What it sends is one byte that means "a page", answered at once with a memory file that
 * is written without asking the kernel about any container; if its socket takes no more the page is dropped,
 * and the gate gives up by itself. After an answer it is not listened to for ten times as long as the answer
 * took, and a tenth of a second at least: a gate that asks without end has a tenth of our time at most.
 *
 * It dies with ctd (the pair is closed; a death signal as well). When it ends it is started again, after
 * pauses that grow to a minute.
 */
#include "ctd/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/gate-proto.h"
#include "ctd/manager.h"
#include "ctd/metrics.h"

#define REST_USEC      (USEC_PER_SEC / 10)
#define WATCH_USEC     (5 * USEC_PER_SEC)
#define PAUSE_MAX_USEC (60 * USEC_PER_SEC)
#define SEALS          (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct gate {
	char *program;
	int sock, pidfd;
	sd_event_source *request, *rest, *death, *again, *watch;
	struct gate_stamp stamp; /* of the files that it was started with */
	struct gate_stamp seen;  /* at the last look */
	uint64_t started_usec;
	unsigned failures; /* in a row */
	bool ready;
	char missing[GATE_SAID_MAX];
};

static int start(struct manager *m, const struct gate_files *files);
static int on_again(sd_event_source *source, uint64_t usec, void *userdata);

static void let_go(struct gate *g)
{
	g->request = sd_event_source_disable_unref(g->request);
	g->rest = sd_event_source_disable_unref(g->rest);
	g->death = sd_event_source_disable_unref(g->death);
	g->sock = fd_close(g->sock);
	g->ready = false;
	if (g->pidfd < 0)
		return;
	(void)pidfd_send_signal(g->pidfd, SIGKILL, NULL, 0); /* it may have ended */
	(void)process_wait(g->pidfd, USEC_PER_SEC);          /* killed: at once */
	g->pidfd = fd_close(g->pidfd);
}

static void say_missing(struct gate *g, const char *text)
{
	if (!str_eq(g->missing, text))
		log_error("metrics are not served: %s", text);
	(void)snprintf(g->missing, sizeof(g->missing), "%s", text);
}

static void start_later(struct manager *m)
{
	struct gate *g = m->gate;
	uint64_t pause_usec = USEC_PER_SEC << (g->failures < 6 ? g->failures : 6);

	if (pause_usec > PAUSE_MAX_USEC)
		pause_usec = PAUSE_MAX_USEC;
	g->failures++;
	if (sd_event_add_time_relative(m->event, &g->again, CLOCK_MONOTONIC, pause_usec, 0, on_again, m) < 0)
		log_error("ctd-gate is not started again: out of memory");
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct gate_files files = GATE_FILES_INIT;
	struct ct_error error = { 0 };
	int r;

	m->gate->again = sd_event_source_disable_unref(m->gate->again);
	r = gate_files_open(&m->conf, &files, &error);
	if (r >= 0) {
		m->gate->stamp = files.stamp;
		r = start(m, &files);
		if (r < 0)
			(void)ct_error_set(
			        &error, r, "gate", "cannot start \"%s\": %s", m->gate->program, strerror(-r));
	}
	gate_files_done(&files);
	if (r < 0) {
		say_missing(m->gate, error.text);
		let_go(m->gate);
		start_later(m);
	}
	return 0;
}

/* A certificate has been renewed, a token changed: a gate that has the new ones takes over. Not before two
 * looks saw the same: a key may follow its certificate, and a gate that works is not ended for half of a
 * pair. */
static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct gate *g = m->gate;
	struct gate_stamp now;
	bool is_settled;
	int r;

	gate_files_stamp(&m->conf, &now);
	is_settled = memcmp(&now, &g->seen, sizeof(now)) == 0;
	g->seen = now;
	if (g->pidfd >= 0 && is_settled && memcmp(&now, &g->stamp, sizeof(now)) != 0) {
		log_notice("files of the metrics have changed: ctd-gate is started again");
		let_go(g);
		g->failures = 0;            /* of the old files */
		(void)on_again(NULL, 0, m); /* always 0 */
	}
	r = sd_event_source_set_time_relative(source, WATCH_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static bool has_files(const struct conf *conf)
{
	return conf->metrics_token || conf->metrics_certificate; /* without which there is none of the rest */
}

/* ---- what it asks */

static int make_page(struct manager *m, enum metrics_format format)
{
	_cleanup_close_ int fd = memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = metrics_write(m, format, fd);
	if (r < 0)
		return r;
	/* It shares the file's position with nobody: whoever reads it says where. */
	return fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : TAKE_FD(fd);
}

static int on_rested(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct gate *g = userdata;

	return sd_event_source_set_enabled(g->request, SD_EVENT_ON);
}

/* Not listened to for a while. */
static void rest(struct manager *m, uint64_t took_usec)
{
	struct gate *g = m->gate;
	uint64_t usec = took_usec * 10 > REST_USEC ? took_usec * 10 : REST_USEC;
	int r;

	g->rest = sd_event_source_disable_unref(g->rest);
	r = sd_event_source_set_enabled(g->request, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(m->event, &g->rest, CLOCK_MONOTONIC, usec, 0, on_rested, g);
	if (r < 0)
		(void)sd_event_source_set_enabled(g->request, SD_EVENT_ON); /* better too often than never */
}

static void answer(struct manager *m, char letter)
{
	const char none = GATE_NONE;
	uint64_t began = now_monotonic_usec();
	_cleanup_close_ int page = make_page(m, letter == GATE_OPEN ? METRICS_OPEN : METRICS_TEXT);

	/* What does not go out is dropped: see above. */
	if (page >= 0)
		(void)send_fds(m->gate->sock, &letter, 1, &page, 1);
	else
		(void)send_fds(m->gate->sock, &none, 1, NULL, 0);
	rest(m, now_monotonic_usec() - began);
}

static void take_failure(struct gate *g, const char *said, size_t len)
{
	char text[GATE_SAID_MAX];

	(void)str_escape_to(text, sizeof(text), said, len); /* returns text */
	say_missing(g, text);
}

/* False: there is nothing more to come. */
static bool receive(struct manager *m)
{
	char said[GATE_SAID_MAX];
	struct gate *g = m->gate;
	ssize_t len = recv(g->sock, said, sizeof(said), MSG_DONTWAIT);

	if (len < 0)
		return errno == EAGAIN || errno == EINTR;
	if (len == 0)
		return false;
	switch (said[0]) {
	case GATE_TEXT:
	case GATE_OPEN: answer(m, said[0]); break;
	case GATE_READY:
		g->ready = true;
		g->missing[0] = '\0';
		break;
	case GATE_FAILED: take_failure(g, said + 1, (size_t)len - 1); break;
	default: rest(m, 0);
	}
	return true;
}

static int on_request(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct manager *m = userdata;

	if (!receive(m))
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* its death is to come */
	return 0;
}

/* ---- the process */

static int on_death(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct manager *m = userdata;
	struct gate *g = m->gate;

	(void)receive(m); /* why, if it had not been read yet */
	if (g->ready) {
		log_warning("ctd-gate has ended and is started again");
		(void)snprintf(g->missing, sizeof(g->missing), "ctd-gate has ended and is started again");
	} else if (!*g->missing) {
		say_missing(g, "ctd-gate ends at its start");
	}
	if (now_monotonic_usec() - g->started_usec > PAUSE_MAX_USEC)
		g->failures = 0;
	let_go(g);
	start_later(m);
	return 0;
}

/* sock and files are borrowed. */
static int spawn(struct manager *m, int sock, const struct gate_files *files)
{
	char fd[12], id[12], numbers[_GATE_FILE_MAX][12];
	const char *argv[4 + _GATE_FILE_MAX + 1] = { m->gate->program, m->conf.metrics_listen, fd, id };
	struct process_options options = PROCESS_OPTIONS_INIT;
	int keep[1 + _GATE_FILE_MAX] = { sock };
	unsigned n_keep = 1;

	for (unsigned i = 0; i < _GATE_FILE_MAX; i++) {
		(void)snprintf(numbers[i], sizeof(numbers[i]), "%d", files->fd[i]);
		argv[4 + i] = files->fd[i] >= 0 ? numbers[i] : "-";
		if (files->fd[i] >= 0)
			keep[n_keep++] = files->fd[i];
	}
	(void)snprintf(fd, sizeof(fd), "%d", sock);
	/* Of the range that no container has: slots begin with 1. */
	(void)snprintf(id, sizeof(id), "%u", m->conf.id_start + 1);
	options.keep_fds = keep;
	options.n_keep = n_keep;
	options.death_signal = SIGKILL;
	return process_spawn(argv, &options, NULL);
}

/* files: borrowed. */
static int start(struct manager *m, const struct gate_files *files)
{
	_cleanup_close_ int theirs = -1;
	struct gate *g = m->gate;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	g->sock = pair[0];
	theirs = pair[1];
	r = fd_set_nonblock(g->sock, true);
	if (r < 0)
		return r;
	g->started_usec = now_monotonic_usec();
	g->pidfd = spawn(m, theirs, files);
	if (g->pidfd < 0)
		return g->pidfd;
	r = sd_event_add_io(m->event, &g->request, g->sock, EPOLLIN, on_request, m);
	if (r >= 0)
		r = sd_event_add_io(m->event, &g->death, g->pidfd, EPOLLIN, on_death, m);
	return r;
}

void gate_open(struct manager *m)
{
	const char *slash = strrchr(m->conf.keeper, '/');

	if (!m->conf.metrics_listen)
		return;
	m->gate = calloc(1, sizeof(*m->gate));
	if (!m->gate) {
		log_error("metrics are not served: out of memory");
		return;
	}
	*m->gate = (struct gate){ .sock = -1, .pidfd = -1 };
	m->gate->program =
	        str_printf("%.*s/ctd-gate", slash ? (int)(slash - m->conf.keeper) : 0, m->conf.keeper);
	if (!m->gate->program) {
		say_missing(m->gate, "out of memory");
		return;
	}
	(void)on_again(NULL, 0, m); /* always 0 */
	if (has_files(&m->conf) && sd_event_add_time_relative(m->event, &m->gate->watch, CLOCK_MONOTONIC,
	                                   WATCH_USEC, 0, on_watch, m) < 0)
		log_error("changed files of the metrics are not seen: out of memory");
}

void gate_close(struct manager *m)
{
	struct gate *g = m->gate;

	if (!g)
		return;
	let_go(g);
	(void)sd_event_source_disable_unref(g->again); /* always NULL */
	(void)sd_event_source_disable_unref(g->watch);
	free(g->program);
	free(g);
	m->gate = NULL;
}

const char *gate_missing(const struct manager *m)
{
	if (!m->conf.metrics_listen || (m->gate && m->gate->ready))
		return NULL;
	return m->gate && *m->gate->missing ? m->gate->missing : "ctd-gate is being started";
}
