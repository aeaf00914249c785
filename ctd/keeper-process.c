/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper's children: inits of containers and commands executed in them.
 *
 * The life of a child: STARTING (libct has forked it; its status fd and a deadline are watched) → RUNNING (it
 * has executed; the request is answered, its pidfd is watched) → EXITED (reaped; exit status and scrollback
 * are kept until FORGET, or START with the same key). A child that fails before its exec is killed and reaped
 * first and the request is answered after that, so that "failed" means that nothing is left.
 *
 * The pidfd of a child becomes readable when it is a zombie; for init of a pid namespace that is after every
 * process in the namespace is gone (zap_pid_ns_processes in the kernel), so no descendant can print to a
 * console later. waitid(P_PIDFD) reaps exactly this child: the keeper needs no SIGCHLD, and libct's
 * short-lived helpers are libct's to reap.
 *
 * A process that was adopted is not our child: its pidfd tells when; how, only newer kernels tell
 * (keeper-reap.c).
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/keeper-pack.h"
#include "ctd/keeper.h"

#define LIST_PER_PACKET 512

/* How long the parent of an adopted process may take to reap it. */
#define REAP_PATIENCE_USEC (5 * USEC_PER_SEC)
#define REAP_AGAIN_USEC    (USEC_PER_SEC / 5)

/* After so many are forgotten their memory is given back: rings lie all over the heap. */
#define TRIM_EVERY 64u

/* FNV-1a; keys come from ctd alone, so nobody chooses them to collide. */
static size_t bucket_of(const char *key)
{
	uint32_t hash = 2166136261u;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 16777619u;

	return hash % KEEPER_BUCKETS;
}

struct keeper_child *keeper_child_find(struct keeper *k, const char *key)
{
	for (struct keeper_child *child = k->children[bucket_of(key)]; child; child = child->next)
		if (str_eq(child->info.key, key))
			return child;

	return NULL;
}

/* A record with nothing in it, in its bucket; NULL: out of memory. */
struct keeper_child *keeper_child_new(struct keeper *k, const char *key)
{
	struct keeper_child **bucket = &k->children[bucket_of(key)];
	struct keeper_child *child = calloc(1, sizeof(*child));

	if (!child)
		return NULL;

	*child = (struct keeper_child){
		.next = *bucket,
		.info = { .state = KEEPER_PROCESS_STARTING },
		.pidfd = { KEEPER_SOURCE_PIDFD, -1 },
		.status = { KEEPER_SOURCE_STATUS, -1 },
		.console_fd = -1,
	};
	memcpy(child->info.key, key, strlen(key) + 1); /* shorter than KEEPER_KEY_MAX: key_is_sound */
	*bucket = child;
	k->n_children++;
	return child;
}

/* The record, not the process. */
void keeper_child_free(struct keeper *k, struct keeper_child *child)
{
	struct keeper_child **at = &k->children[bucket_of(child->info.key)];

	while (*at != child)
		at = &(*at)->next;
	*at = child->next;
	k->n_children--;

	keeper_timer_set(k, &child->deadline_usec, 0);
	keeper_close_source(k, &child->pidfd);
	keeper_close_source(k, &child->status);
	(void)fd_close(child->console_fd); /* always -1 */
	keeper_console_free(k, child->console);
	free(child->error);
	free(child);
}

int keeper_child_renew(struct keeper *k, const char *key, struct keeper_child **ret, struct ct_error *err)
{
	struct keeper_child *child = keeper_child_find(k, key);

	if (child && keeper_child_is_alive(child))
		return ct_error_set(err, -EEXIST, "keeper", "\"%s\" is running", key);
	if (child)
		keeper_child_free(k, child);
	*ret = keeper_child_new(k, key);
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "keeper", "out of memory");
}

bool keeper_child_is_alive(const struct keeper_child *child)
{
	return child->info.state != KEEPER_PROCESS_EXITED;
}

static struct keeper_child *find_any(struct keeper *k, struct keeper_message *m, int *r, struct ct_error *err)
{
	struct keeper_child *child = keeper_child_find(k, m->request.key);

	*r = child ? 0 : ct_error_set(err, -ESRCH, "keeper", "no process \"%s\"", m->request.key);
	return child;
}

static struct keeper_child *find_alive(
        struct keeper *k, struct keeper_message *m, int *r, struct ct_error *err)
{
	struct keeper_child *child = find_any(k, m, r, err);

	if (!child || keeper_child_is_alive(child))
		return child;

	*r = ct_error_set(err, -ESRCH, "keeper", "\"%s\" has exited", m->request.key);
	return NULL;
}

/* The process and up to two of its fds (-1: left out) to the connection that asked. */
static void send_process(struct keeper_connection *c, uint32_t type, uint32_t serial,
        const struct keeper_child *child, int second_fd)
{
	int fds[2];
	struct keeper_answer answer = {
		.type = type,
		.serial = serial,
		.body = &child->info,
		.len = sizeof(child->info),
		.fds = fds,
	};

	if (child->pidfd.fd >= 0) {
		fds[answer.n_fds++] = child->pidfd.fd;
		if (second_fd >= 0)
			fds[answer.n_fds++] = second_fd;
	}
	keeper_send(c, &answer);
}

void keeper_child_send(
        struct keeper_connection *c, uint32_t type, uint32_t serial, const struct keeper_child *child)
{
	send_process(c, type, serial, child, -1);
}

/* Whoever asked for the child gets to know how it ended before it began; then it is forgotten. */
static void answer_failure(struct keeper *k, struct keeper_child *child)
{
	struct keeper_connection *c = keeper_connection_find(k, child->connection_id);

	if (c)
		keeper_send_error(c, child->type, child->serial, child->error);
	keeper_child_free(k, child);
}

/* Why is in child->error: kill it; the answer follows when it is reaped. */
static void fail_child(struct keeper *k, struct keeper_child *child)
{
	keeper_timer_set(k, &child->deadline_usec, 0);
	keeper_close_source(k, &child->status);
	(void)syscall(
	        SYS_pidfd_send_signal, child->pidfd.fd, SIGKILL, NULL, 0); /* ESRCH: it is dead already */
}

/* It has executed. */
static void begin_running(struct keeper *k, struct keeper_child *child)
{
	struct keeper_connection *c = keeper_connection_find(k, child->connection_id);

	keeper_timer_set(k, &child->deadline_usec, 0);
	free(TAKE_PTR(child->error));
	child->info.state = KEEPER_PROCESS_RUNNING;
	if (c)
		send_process(c, child->type, child->serial, child,
		        child->console ? child->console->master.fd : child->console_fd);

	/* Of a command's terminal the keeper keeps nothing: who asked for it has it, or it hangs up. */
	child->console_fd = fd_close(child->console_fd);
}

/* The console that has come with the result: of init it is watched, of a command it goes out with the answer.
 */
static int take_console(struct keeper *k, struct keeper_child *child)
{
	int r;

	if (child->console_fd < 0)
		return 0;

	if (child->type == KEEPER_EXEC)
		r = fd_set_nonblock(child->console_fd, true);
	else
		r = keeper_console_new(k, TAKE_FD(child->console_fd), &child->console);
	if (r < 0)
		return ct_error_set(child->error, r, "console", "cannot watch the console: %s", strerror(-r));

	child->info.has_console = child->console != NULL;
	return 0;
}

void keeper_child_on_status(struct keeper *k, struct keeper_child *child)
{
	struct ct_process process = {
		.pid = child->info.pid,
		.start_time = child->info.start_time,
		.pidfd = child->pidfd.fd,
		.status_fd = child->status.fd,
		.console_fd = child->console_fd,
		.ready = child->ready,
		.stamps = child->info.stamps,
	};
	int r;

	/* The library closes the status fd; see keeper.h for why it must be out of the epoll before. */
	keeper_forget_source(k, &child->status);
	r = ct_start_result(&process, child->error);
	child->status.fd = process.status_fd;
	child->console_fd = process.console_fd;
	child->ready = process.ready;
	child->info.stamps = process.stamps;

	if (r == 0) {
		r = keeper_watch(k, &child->status, EPOLLIN);
		if (r >= 0)
			return;
		(void)ct_error_set(child->error, r, "keeper", "cannot watch the new process: %s",
		        strerror(-r)); /* r it is */
	} else if (r > 0) {
		r = take_console(k, child);
	}

	if (r < 0)
		fail_child(k, child);
	else
		begin_running(k, child);
}

/* It is gone, and what can be known of it is. */
static void finish_child(struct keeper *k, struct keeper_child *child)
{
	keeper_timer_set(k, &child->deadline_usec, 0);
	child->info.state = KEEPER_PROCESS_EXITED;
	keeper_close_source(k, &child->pidfd);

	if (child->error) {
		answer_failure(k, child);
		return;
	}

	if (child->console)
		keeper_console_end(k, child->console);
	keeper_reap_strangers(k, child->info.key);
	keeper_broadcast_exit(k, &child->info);
}

void keeper_child_on_deadline(struct keeper *k, struct keeper_child *child)
{
	if (!child->error && keeper_reap(child->pidfd.fd, &child->info) == 0 &&
	        keeper_end_tracer(child->info.pid)) {
		keeper_timer_set(k, &child->deadline_usec, now_monotonic_usec() + REAP_AGAIN_USEC);
		return;
	}
	if (!child->error) {
		finish_child(k, child); /* or adopted, ended, and nobody reaps it */
		return;
	}

	(void)ct_error_set(child->error, -ETIMEDOUT, "exec",
	        "the process did not reach its exec within %llu s and was killed",
	        KEEPER_EXEC_DEADLINE_USEC / USEC_PER_SEC); /* the code is in it */
	fail_child(k, child);
}

void keeper_child_on_exit(struct keeper *k, struct keeper_child *child)
{
	/* It may have executed and exited before its status was looked at. */
	if (child->error && child->error->code == 0)
		keeper_child_on_status(k, child);
	if (child->error && child->error->code == 0)
		(void)ct_error_set(
		        child->error, -ECHILD, "exec", "the process was killed before its exec"); /* in it */

	if (keeper_reap(child->pidfd.fd, &child->info) != 0) {
		finish_child(k, child);
		return;
	}

	/* Adopted, and not reaped by whoever its parent is now: its pidfd hangs up (which is always waited
	 * for) when it is. Or traced, by somebody who does not take notice. */
	(void)keeper_rewatch(k, &child->pidfd, 0); /* it is there: cannot fail */
	if (!child->deadline_usec)
		keeper_timer_set(k, &child->deadline_usec, now_monotonic_usec() + REAP_PATIENCE_USEC);
}

/* What runs is told apart by the message's type alone: the rest of a start and of an exec is the same. */
static int fork_child(struct keeper_message *m, struct ct_process *ret, struct ct_error *err)
{
	_cleanup_free_ void *memory = NULL;
	int r;

	if (m->header.type == KEEPER_START) {
		struct ct_spec spec;

		r = keeper_unpack_spec(m->spec, m->spec_len, m->fds, m->n_fds, &spec, &memory, err);
		return r < 0 ? r : ct_start(&spec, ret, err);
	}

	struct ct_exec_spec spec;

	r = keeper_unpack_exec_spec(m->spec, m->spec_len, m->fds, m->n_fds, &spec, &memory, err);
	return r < 0 ? r : ct_exec(&spec, ret, err);
}

/* Watches the new process; if that fails it is killed and reaped on the spot, which does not take long before
 * an exec. */
static int watch_child(struct keeper *k, struct keeper_child *child, struct ct_error *err)
{
	int r;

	r = keeper_watch(k, &child->status, EPOLLIN);
	if (r >= 0)
		r = keeper_watch(k, &child->pidfd, EPOLLIN);
	if (r < 0) {
		fail_child(k, child);
		(void)waitid(P_PIDFD, (id_t)child->pidfd.fd, &(siginfo_t){ 0 },
		        WEXITED); /* our child: cannot fail */
		return ct_error_set(err, r, "keeper", "cannot watch the new process: %s", strerror(-r));
	}

	keeper_timer_set(k, &child->deadline_usec, now_monotonic_usec() + KEEPER_EXEC_DEADLINE_USEC);
	return 0;
}

static int start_child(
        struct keeper *k, struct keeper_child *child, struct keeper_message *m, struct ct_error *err)
{
	struct ct_process process = CT_PROCESS_INIT;
	int r;

	/* Made now, so that a failure later needs no memory. */
	child->error = calloc(1, sizeof(*child->error));
	if (!child->error)
		return ct_error_set(err, -ENOMEM, "keeper", "out of memory");

	r = fork_child(m, &process, err);
	if (r < 0)
		return r;

	child->info.pid = process.pid;
	child->info.start_time = process.start_time;
	child->info.stamps = process.stamps;
	child->pidfd.fd = process.pidfd;
	child->status.fd = process.status_fd;
	return watch_child(k, child, err);
}

int keeper_handle_start(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_child *child;
	int r;

	r = keeper_child_renew(k, m->request.key, &child, err);
	if (r < 0)
		return r;

	child->connection_id = c->id;
	child->serial = m->header.serial;
	child->type = m->header.type;
	r = start_child(k, child, m, err);
	if (r < 0) {
		keeper_child_free(k, child);
		return r;
	}
	return KEEPER_ANSWERED;
}

static void send_list(
        struct keeper_connection *c, uint32_t serial, struct strbuf *body, uint32_t count, bool more)
{
	const struct keeper_list list = { .element_size = sizeof(struct keeper_process), .count = count };
	struct keeper_answer answer = {
		.type = KEEPER_LIST,
		.serial = serial,
		.more = more,
		.body = body->data,
		.len = body->len,
	};

	if (body->error) {
		struct ct_error error = { 0 };

		(void)ct_error_set(&error, body->error, "list", "out of memory"); /* in it */
		keeper_send_error(c, KEEPER_LIST, serial, &error);
		return;
	}

	memcpy(body->data, &list, sizeof(list));
	keeper_send(c, &answer);
}

int keeper_handle_list(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	const struct keeper_list room = { 0 };
	_cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
	uint32_t count = 0;

	(void)strbuf_add(&body, &room, sizeof(room)); /* an error stays in the buffer */
	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (struct keeper_child *child = k->children[i]; child; child = child->next) {
			if (count == LIST_PER_PACKET) {
				send_list(c, m->header.serial, &body, count, true);
				if (body.error)
					return KEEPER_ANSWERED;
				strbuf_reset(&body);
				(void)strbuf_add(&body, &room, sizeof(room)); /* as above */
				count = 0;
			}
			(void)strbuf_add(&body, &child->info, sizeof(child->info)); /* as above */
			count++;
		}

	send_list(c, m->header.serial, &body, count, false);
	return KEEPER_ANSWERED;
}

int keeper_handle_signal(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_child *child;
	int r;

	child = find_alive(k, m, &r, err);
	if (!child)
		return r;

	if (syscall(SYS_pidfd_send_signal, child->pidfd.fd, m->request.signal, NULL, 0) < 0)
		return ct_error_set(err, -errno, "signal", "cannot send signal %d to \"%s\": %s",
		        m->request.signal, m->request.key, strerror(errno));
	return 0;
}

int keeper_handle_pidfd(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_child *child;
	int r;

	child = find_alive(k, m, &r, err);
	if (!child)
		return r;

	send_process(
	        c, KEEPER_PIDFD, m->header.serial, child, child->console ? child->console->master.fd : -1);
	return KEEPER_ANSWERED;
}

int keeper_handle_forget(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	struct keeper_child *child;
	int r;

	keeper_reap_strangers(k, m->request.key);
	child = find_any(k, m, &r, err);
	if (!child)
		return r;
	if (keeper_child_is_alive(child))
		return ct_error_set(err, -EBUSY, "forget", "\"%s\" is running", m->request.key);

	keeper_child_free(k, child);
	if (k->n_children % TRIM_EVERY == 0)
		(void)malloc_trim(0); /* whether there was anything to give back does not matter */
	return 0;
}

/* 0 if pidfd is a pidfd of the living process pid that was born at start_time. pid alone could have been used
 * again; the pidfd holds it in place while the time is compared. */
static int check_pidfd(int pidfd, pid_t pid, uint64_t start_time)
{
	_cleanup_free_ char *path = str_printf("/proc/self/fdinfo/%d", pidfd);
	_cleanup_free_ char *text = NULL;
	const char *line;
	uint64_t born;
	int r;

	if (!path)
		return -ENOMEM;

	r = read_file_at(-1, path, 4096, &text, NULL);
	if (r < 0)
		return r;

	line = strstr(text, "\nPid:");
	if (!line)
		return -EBADF;
	if (strtol(line + strlen("\nPid:"), NULL, 10) != pid)
		return -ESRCH; /* -1: it is gone */

	r = process_start_time(pid, &born);
	if (r < 0)
		return r;
	return born == start_time ? 0 : -ESRCH;
}

int keeper_handle_adopt(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	const struct keeper_request *q = &m->request;
	struct keeper_child *child = keeper_child_find(k, q->key);
	int r;

	if (child && keeper_child_is_alive(child))
		return ct_error_set(err, -EEXIST, "adopt", "\"%s\" is running", q->key);
	if (m->n_fds < 1)
		return ct_error_set(err, -EBADMSG, "adopt", "no pidfd came with the request");
	if (m->spec_len > KEEPER_RING_MAX || (m->spec_len > 0 && m->n_fds < 2))
		return ct_error_set(err, -EBADMSG, "adopt", "%zu bytes of scrollback came %s", m->spec_len,
		        m->n_fds < 2 ? "without a console" : "for a console that holds fewer");

	r = check_pidfd(m->fds[0], q->pid, q->start_time);
	if (r < 0)
		return ct_error_set(err, r, "adopt", "\"%s\" is not process %d born at %llu: %s", q->key,
		        q->pid, (unsigned long long)q->start_time, strerror(-r));

	if (child)
		keeper_child_free(k, child);
	child = keeper_child_new(k, q->key);
	if (!child)
		return ct_error_set(err, -ENOMEM, "adopt", "out of memory");

	child->info.state = KEEPER_PROCESS_RUNNING;
	child->info.pid = q->pid;
	child->info.start_time = q->start_time;
	child->info.adopted = true;
	child->pidfd.fd = TAKE_FD(m->fds[0]);
	r = keeper_watch(k, &child->pidfd, EPOLLIN);
	if (r >= 0 && m->n_fds > 1) {
		r = keeper_console_new(k, TAKE_FD(m->fds[1]), &child->console);
		child->info.has_console = r >= 0;
		if (r >= 0)
			keeper_ring_add(&child->console->ring, m->spec, m->spec_len);
	}
	if (r < 0) {
		keeper_child_free(k, child);
		return ct_error_set(err, r, "adopt", "cannot watch \"%s\": %s", q->key, strerror(-r));
	}

	send_process(c, KEEPER_ADOPT, m->header.serial, child, -1);
	return KEEPER_ANSWERED;
}
