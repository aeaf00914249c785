/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl evacuate: every container of this node goes to other nodes, a few at a time.
 *
 * Each move is the daemon's job, as ctctl migrate has it; here is only who goes next, and where to. The
 * daemon goes on with the jobs that were begun if this process ends, and the command given again goes on with
 * the rest: what is on another node is not in the list any more. So there is nothing to keep.
 *
 * The first are those whose move did not end, for they run nowhere; then what runs before what does not, what
 * starts with the node before what does not, in the order of autostart. Nodes take turns; one that cannot
 * have a container (it is asked right before the move) is passed over for that container. A move that fails
 * is not tried elsewhere: the container stood still for it once, and runs here again.
 *
 * SIGINT and SIGTERM end the choosing; what moves is waited for. A second one ends the waiting.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/job.h"
#include "ctctl/table.h"

#define AT_ONCE      2
#define AT_ONCE_MAX  32
#define TURN_MSEC    200
#define REASON_BYTES 300

struct mover {
	const json_t *row; /* of the list */
	const char *name;
	const char *peer; /* a move that did not end: its other node; else NULL */
	size_t host, tried;
	bool checking;
	char *job; /* what is under way, NULL: nothing */
	char reason[REASON_BYTES];
};

struct evacuate_values {
	bool offline, fallback, dry_run;
	int64_t at_once;
};

struct evacuation {
	struct context *ctx;
	struct evacuate_values v;
	json_t *list;
	struct mover *movers;
	size_t n, next, active, moved, staying;
	json_t *report;
	int signal_fd;
	bool stopping;
};

static const struct option_row evacuate_options[] = {
	{ "offline", 0, OPTION_FLAG, NULL, "stop each, move it, start it there",
	        offsetof(struct evacuate_values, offline) },
	{ "fallback", 0, OPTION_FLAG, NULL, "do so with those that cannot go on there where they were",
	        offsetof(struct evacuate_values, fallback) },
	{ "dry-run", 'n', OPTION_FLAG, NULL, "only say which could go where; changes nothing",
	        offsetof(struct evacuate_values, dry_run) },
	{ "parallel", 0, OPTION_INT, "N", "as many at once, 1 to 32; 2 if not given",
	        offsetof(struct evacuate_values, at_once) },
	{ 0 },
};

static void evacuation_done(struct evacuation *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->movers[i].job);
	free(e->movers);
	json_decref(e->list);
	json_decref(e->report);
	e->signal_fd = fd_close(e->signal_fd);
}

static const char *text_at(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

/* ---- who */

static const char *handover_of(const json_t *row)
{
	return text_at(json_object_get(row, "handover"), "state");
}

/* Smaller goes first. */
static int class_of(const json_t *row)
{
	if (str_eq(handover_of(row), "relinquished"))
		return 0;
	return 1 + 2 * str_eq(text_at(row, "state"), "stopped") +
	       !json_is_true(json_object_get(json_object_get(row, "config"), "autostart"));
}

static int compare(const void *a, const void *b)
{
	const struct mover *x = a, *y = b;
	const int classes = class_of(x->row) - class_of(y->row);
	const json_int_t orders =
	        json_integer_value(json_object_get(json_object_get(x->row, "config"), "autostart_order")) -
	        json_integer_value(json_object_get(json_object_get(y->row, "config"), "autostart_order"));

	if (classes != 0)
		return classes;
	return orders != 0 ? (orders < 0 ? -1 : 1) : strcmp(x->name, y->name);
}

static int list_all(struct evacuation *e, struct ct_error *err)
{
	const json_t *rows, *row;
	size_t i;

	int r = client_call(&e->ctx->client, "GET", "/v1/containers", NULL, &e->list, err);
	if (r < 0)
		return r;
	rows = json_object_get(e->list, "containers");
	e->movers = calloc(json_array_size(rows) + 1, sizeof(*e->movers));
	e->report = json_array();
	if (!e->movers || !e->report)
		return -ENOMEM;

	json_array_foreach(rows, i, row)
	{
		struct mover *m = &e->movers[e->n++];

		*m = (struct mover){ .row = row, .name = text_at(row, "name") };
		if (str_eq(handover_of(row), "relinquished"))
			m->peer = text_at(json_object_get(row, "handover"), "peer");
	}
	if (e->n > 1)
		qsort(e->movers, e->n, sizeof(*e->movers), compare);
	return 0;
}

/* ---- one of them */

static const char *host_of(const struct evacuation *e, const struct mover *m)
{
	return m->peer ? m->peer : e->ctx->operands[m->host];
}

/* Its end: reason "" if it went, or could go. */
static void end(struct evacuation *e, struct mover *m, const char *reason, const json_t *result)
{
	const char *fallback = text_at(result, "fallback");
	const bool stays = *reason;
	char where[REASON_BYTES], why[2 * REASON_BYTES];

	free(m->job);
	m->job = NULL;
	e->active--;
	e->moved += !stays;
	e->staying += stays;
	(void)json_array_append_new(e->report, /* without memory the report is shorter */
	        json_pack("{s:s, s:b, s:s*, s:s*, s:O*, s:O*, s:O*, s:O*}", "name", m->name, "moved",
	                !stays && !e->v.dry_run, "to", stays ? NULL : host_of(e, m), "reason",
	                stays ? reason : NULL, "bytes", json_object_get(result, "bytes"), "frozen_msec",
	                json_object_get(result, "frozen_msec"), "fallback",
	                json_object_get(result, "fallback"), "warning", json_object_get(result, "warning")));
	if (e->ctx->json)
		return;
	(void)str_escape_to(where, sizeof(where), host_of(e, m), strlen(host_of(e, m)));
	(void)str_escape_to(why, sizeof(why), reason, strlen(reason));
	if (stays)
		(void)printf("%s stays: %s\n", m->name, why);
	else
		(void)printf(e->v.dry_run ? "%s can go to %s\n" : "%s is on %s now%s%s\n", m->name, where,
		        *fallback ? "; it was stopped for it: " : "",
		        str_escape_to(why, sizeof(why), fallback, strlen(fallback)));
	(void)fflush(stdout); /* finish_output tells */
	if (*text_at(result, "warning"))
		(void)fprintf(stderr, "ctctl: %s: %s\n", m->name,
		        str_escape_to(why, sizeof(why), text_at(result, "warning"),
		                strlen(text_at(result, "warning"))));
}

/* A job for it. What the API refuses is its end; *err is for what ends everything. */
static int submit(struct evacuation *e, struct mover *m, struct ct_error *err)
{
	_cleanup_json_ json_t *job = NULL;
	_cleanup_json_ json_t *body = json_pack("{s:s, s:b, s:b, s:b}", "to", host_of(e, m), "offline",
	        e->v.offline || (e->v.fallback && m->checking), "fallback", e->v.fallback && !m->checking,
	        "dry_run", m->checking);
	struct ct_error refused = { 0 };

	free(m->job);
	m->job = NULL;
	int r = body ? job_submit(&e->ctx->client, m->name, "migrate", body, &job, &refused) : -EINVAL;
	if (r < 0 && e->ctx->client.unreachable) {
		*err = refused;
		return r;
	}
	if (r >= 0)
		m->job = json_to_text(json_object_get(job, "id"));
	if (!m->job)
		end(e, m, *refused.text ? refused.text : "the daemon's answer has no job", NULL);
	return 0;
}

/* The next node, or its end. */
static int pass_over(struct evacuation *e, struct mover *m, const char *reason, struct ct_error *err)
{
	if (!*m->reason) /* of several, the first node's */
		(void)snprintf(m->reason, sizeof(m->reason), "%s: %s", host_of(e, m), reason);
	if (++m->tried >= e->ctx->n_operands) {
		end(e, m, m->reason, NULL);
		return 0;
	}
	m->host = (m->host + 1) % e->ctx->n_operands;
	return submit(e, m, err);
}

static const char *first_obstacle(const json_t *checks)
{
	const json_t *check;
	size_t i;

	json_array_foreach(checks, i, check)
	{
		if (!json_is_true(json_object_get(check, "ok")))
			return text_at(check, "text");
	}
	return NULL;
}

static int look_after(struct evacuation *e, struct mover *m, struct ct_error *err)
{
	_cleanup_json_ json_t *job = NULL;
	struct ct_error failure = { 0 };
	const json_t *result;
	const char *obstacle;

	e->ctx->client.interrupt_fd = e->signal_fd;
	int r = job_get(&e->ctx->client, m->job, &job, &failure);
	e->ctx->client.interrupt_fd = -1;
	if (r == -EINTR)
		return 0; /* the signal is still to be read */
	if (r < 0 && e->ctx->client.unreachable) {
		*err = failure;
		return r;
	}
	if (r >= 0)
		r = job_outcome(job, &failure);
	if (r == -EINPROGRESS)
		return 0;
	result = json_object_get(job, "result");
	if (!m->checking || !job) {
		end(e, m, r < 0 ? failure.text : "", result);
		return 0;
	}
	obstacle = r < 0 ? failure.text : first_obstacle(json_object_get(result, "checks"));
	if (obstacle)
		return pass_over(e, m, obstacle, err);
	if (e->v.dry_run || e->stopping) {
		end(e, m, e->v.dry_run ? "" : "interrupted", NULL);
		return 0;
	}
	m->checking = false;
	return submit(e, m, err);
}

static int begin(struct evacuation *e, struct mover *m, struct ct_error *err)
{
	e->active++;
	m->host = (size_t)(m - e->movers) % e->ctx->n_operands;
	m->checking = !m->peer;
	if (str_eq(handover_of(m->row), "incoming")) {
		end(e, m, "it is not this node's yet: a move to here has not ended", NULL);
		return 0;
	}
	if (m->peer && e->v.dry_run) {
		end(e, m, "its move did not end; ctctl migrate ends it", NULL);
		return 0;
	}
	return submit(e, m, err);
}

/* ---- all of them */

static int turn(struct evacuation *e, struct ct_error *err)
{
	int r = 0;

	while (r >= 0 && !e->stopping && e->next < e->n && e->active < (size_t)e->v.at_once)
		r = begin(e, &e->movers[e->next++], err);
	for (size_t i = 0; r >= 0 && i < e->next; i++)
		if (e->movers[i].job)
			r = look_after(e, &e->movers[i], err);
	return r;
}

/* Waits a little. True: a second signal. */
static bool interrupted(struct evacuation *e)
{
	struct pollfd fd = { .fd = e->signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;

	if (poll(&fd, 1, TURN_MSEC) <= 0 || read(e->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (e->stopping)
		return true;
	e->stopping = true;
	if (e->active > 0)
		(void)fputs(
		        "ctctl: waiting for those that are on their way; nothing more is begun\n", stderr);
	return false;
}

static int watch_signals(struct evacuation *e, struct ct_error *err)
{
	sigset_t signals;

	(void)sigemptyset(&signals); /* these cannot fail with known signals */
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	e->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	return e->signal_fd < 0
	               ? ct_error_kind_set(err, CT_ERROR_FAILED, -errno, "cannot watch for signals: %m")
	               : 0;
}

static int move_all(struct evacuation *e, struct ct_error *err)
{
	int r;

	do {
		r = turn(e, err);
		if (r < 0)
			return r;
		if (e->active > 0 && interrupted(e))
			return ct_error_kind_set(err, CT_ERROR_FAILED, -EINTR,
			        "interrupted; the daemon goes on with %zu (ctctl job list --open)",
			        e->active);
	} while (e->active > 0 || (e->next < e->n && !e->stopping));
	return 0;
}

static int tell(struct evacuation *e, struct ct_error *err)
{
	const size_t left = e->n - e->next;

	e->ctx->exit_status = e->staying > 0 || left > 0;
	if (e->ctx->json) {
		_cleanup_json_ json_t *answer =
		        json_pack("{s:O, s:I}", "containers", e->report, "not_begun", (json_int_t)left);

		return answer ? print_json(answer, err) : -ENOMEM;
	}
	if (e->n == 0)
		(void)puts("there is no container on this node");
	else
		(void)printf(e->v.dry_run ? "%zu can go, %zu would stay\n" : "%zu moved, %zu stay\n",
		        e->moved, e->staying + left);
	return finish_output(err);
}

static int run_evacuate(struct context *ctx, struct ct_error *err)
{
	CLEANUP(evacuation_done)
	struct evacuation e = { .ctx = ctx, .v = { .at_once = -1 }, .signal_fd = -1 };

	int r = options_parse(ctx, &e.v, NULL, err);
	if (r < 0)
		return r;
	if (e.v.offline && e.v.fallback)
		return ct_error_field(err, "fallback", "--offline and --fallback exclude each other");
	if (e.v.at_once == -1)
		e.v.at_once = AT_ONCE;
	if (e.v.at_once < 1 || e.v.at_once > AT_ONCE_MAX)
		return ct_error_field(err, "parallel", "--parallel must be from 1 to %d", AT_ONCE_MAX);
	ctx->client.request_id = NULL; /* there are many requests, and each may be made again */

	r = watch_signals(&e, err);
	if (r >= 0)
		r = list_all(&e, err);
	if (r >= 0)
		r = move_all(&e, err);
	return r < 0 ? r : tell(&e, err);
}

const struct command command_evacuate = {
	.name = "evacuate",
	.operands = "HOST...",
	.summary = "Move all containers to other nodes",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.options = evacuate_options,
	.run = run_evacuate,
};
