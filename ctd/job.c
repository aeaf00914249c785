/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs: recorded, queued per container, finished once.
 *
 * The row is written before anything acts. A verb's end is one transaction (with full sync where the verb
 * promises durability), then the answer is given: what was acknowledged has been written. A failure to write
 * the end is the job's failure; the replay at the next start settles it.
 *
 * Job structures are freed in job_finish and nowhere else. job_submit may run the job to its end, so a caller
 * must not touch it afterwards.
 */
#include "ctd/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/http.h"
#include "ctd/job-wait.h"
#include "ctd/manager.h"

static void job_free(struct job *job)
{
	if (job->type->free)
		job->type->free(job);
	json_decref(job->params);
	json_decref(job->result);
	job_row_done(&job->row);
	free(job);
}

static int job_record(struct job *job, struct ct_error *err)
{
	struct store *store = job->manager->store;
	int r;

	r = store_begin(store, false, err);
	if (r < 0)
		return r;
	r = store_job_insert(store, &job->row, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	return store_commit(store, err);
}

static int job_new(
        struct manager *m, const struct job_request *request, struct job **ret, struct ct_error *err)
{
	struct job *job = calloc(1, sizeof(*job)), nothing = { .data = request->data };

	if (!job) {
		json_decref(request->params);
		if (request->type->free)
			request->type->free(&nothing);
		return ct_error_set(err, -ENOMEM, "job", "out of memory");
	}

	job->manager = m;
	job->type = request->type;
	job->container = request->container;
	job->params = request->params ?: json_object();
	job->data = request->data;
	job->success_status = request->success_status ?: 200;
	job->durable = request->durable;
	job->percent = -1;
	LIST_INIT(&job->waits);

	job->row.verb = strdup(request->type->verb);
	job->row.object = strdup(request->object);
	job->row.params = job->params ? json_dumps(job->params, JSON_COMPACT) : NULL;
	job->row.step = strdup("");
	job->row.ctid = request->container ? strdup(request->container->row.ctid) : NULL;
	job->row.created_usec = now_realtime_usec();
	if (!job->row.verb || !job->row.object || !job->row.params || !job->row.step ||
	        (request->container && !job->row.ctid)) {
		job_free(job);
		return ct_error_set(err, -ENOMEM, "job", "out of memory");
	}

	*ret = job;
	return 0;
}

static void job_run(struct job *job)
{
	struct jobs *jobs = &job->manager->jobs;
	const int64_t outer = jobs->beginning; /* that submitted it, or at whose end its turn came */
	int r;

	if (job->container)
		job->container->active = job;
	job->was_run = true;
	jobs->beginning = job->row.id;
	r = job->type->run(job);
	if (r != 0)
		job_finish(job, r < 0 ? r : 0);
	jobs->beginning = outer;
}

int job_submit(struct manager *m, const struct job_request *request, struct ct_error *err)
{
	struct container *c = request->container;
	struct job *job = NULL;
	int r;

	r = job_new(m, request, &job, err);
	if (r < 0)
		return r;
	r = job_record(job, err);
	if (r < 0) {
		job_free(job);
		return r;
	}

	job->begun_usec = now_monotonic_usec();
	LIST_INSERT_HEAD(&m->jobs.open, job, open_entry);
	if (request->detached && request->call)
		call_reply(request->call, 202, job_to_json(job));
	else
		job->call = request->call;

	if (c && c->active)
		TAILQ_INSERT_TAIL(&c->queue, job, queue_entry);
	else
		job_run(job);
	return 0;
}

static int job_write_end(struct job *job, int result)
{
	struct store *store = job->manager->store;
	_cleanup_json_ json_t *error = NULL;
	_cleanup_free_ char *error_text = NULL, *result_text = NULL;
	struct ct_error failure = { 0 };
	int r;

	if (result < 0) {
		error = json_from_error(&job->error);
		error_text = error ? json_dumps(error, JSON_COMPACT) : NULL;
	} else if (job->result) {
		result_text = json_dumps(job->result, JSON_COMPACT);
	}

	r = store_begin(store, job->durable && result == 0, &failure);
	if (r >= 0) {
		r = store_job_finish(
		        store, job->row.id, result_text, result < 0 ? (error_text ?: "{}") : NULL, &failure);
		if (r < 0)
			store_rollback(store);
		else
			r = store_commit(store, &failure);
	}
	if (r < 0) {
		log_error("cannot record the end of %s \"%s\": %s", job->row.verb, job->row.object,
		        failure.text);
		if (result == 0)
			job->error = failure;
	}
	return r < 0 ? r : result;
}

static void job_answer(struct job *job, int result)
{
	struct call *call = TAKE_PTR(job->call);
	json_t *body;

	if (!call)
		return;
	if (result < 0) {
		call_reply_error(call, &job->error);
		return;
	}
	body = job->result      ? json_incref(job->result)
	       : job->container ? container_to_json(job->container)
	                        : json_object();
	call_reply(call, job->success_status, body);
}

static void job_log(const struct job *job, int result)
{
	if (result < 0)
		log_warning("%s \"%s\": %s", job->row.verb, job->row.object, job->error.text);
	else
		log_debug("%s \"%s\": done", job->row.verb, job->row.object);
}

/* One after the other, not one within the other: what finishes at once in a long queue must not use up the
 * stack. */
static void run_ready(struct jobs *jobs)
{
	struct job *job;

	if (jobs->running_ready)
		return;
	jobs->running_ready = true;
	while ((job = TAILQ_FIRST(&jobs->ready))) {
		TAILQ_REMOVE(&jobs->ready, job, queue_entry);
		job_run(job);
	}
	jobs->running_ready = false;
}

void jobs_init(struct jobs *jobs)
{
	LIST_INIT(&jobs->open);
	TAILQ_INIT(&jobs->ready);
	jobs->running_ready = false;
}

const uint64_t job_times_usec[JOB_TIMES] = { 10000, 50000, 100000, 500000, USEC_PER_SEC, 5 * USEC_PER_SEC,
	10 * USEC_PER_SEC, 60 * USEC_PER_SEC, 600 * USEC_PER_SEC };

static void count_time(struct job_count *n, uint64_t usec)
{
	n->usec += usec;
	for (unsigned i = 0; i < JOB_TIMES; i++)
		if (usec <= job_times_usec[i]) {
			n->took[i]++;
			return;
		}
}

static void count(struct jobs *jobs, const struct job *job, int result)
{
	for (size_t i = 0; i < JOB_COUNTS; i++) {
		struct job_count *n = &jobs->counts[i];

		if (n->verb && !str_eq(n->verb, job->type->verb))
			continue;
		n->verb = job->type->verb;
		count_time(n, now_monotonic_usec() - job->begun_usec);
		if (result < 0)
			n->failed++;
		else
			n->done++;
		return;
	}
}

/* Kinds of most errors come from the errno, so that an init which is not there is "not found" as a container
 * is. What ends before its run has returned was refused by a check, or met a limit. */
static bool is_answer_enough(const struct job *job)
{
	const bool was_at_work = job->was_run && job->manager->jobs.beginning != job->row.id;
	const bool is_waited_for = job->call || !LIST_EMPTY(&job->waits);

	if (was_at_work || !is_waited_for)
		return false;
	switch (job->error.kind) {
	case CT_ERROR_FAILED:
	case CT_ERROR_REFUSED: break;
	case CT_ERROR_USAGE:
	case CT_ERROR_NOT_FOUND:
	case CT_ERROR_STATE:
	case CT_ERROR_PERMISSION: return true;
	}
	return false;
}

/* What a request has wrong is told to who asked; what did not work, met a limit, or was asked for by nobody
 * who waits, to who watches too. */
static void tell_failure(const struct job *job)
{
	if (!is_answer_enough(job))
		manager_event(job->manager, job->container, "job.failed",
		        json_pack("{s:s, s:s, s:s}", "verb", job->row.verb, "object", job->row.object,
		                "reason", job->error.text));
}

void job_finish(struct job *job, int result)
{
	struct jobs *jobs = &job->manager->jobs;
	struct container *c = job->container;
	struct job *next = NULL;

	if (result < 0 && job->error.code == 0)
		(void)ct_error_set(&job->error, result, "job", "%s of \"%s\" failed: %s", job->row.verb,
		        job->row.object, strerror(-result));
	result = job_write_end(job, result);
	job_log(job, result);
	count(jobs, job, result);
	if (result < 0)
		tell_failure(job);
	job->row.finished_usec = now_realtime_usec();

	LIST_REMOVE(job, open_entry);
	job_answer(job, result);
	job_waits_answer(job, result);
	if (c) {
		next = TAILQ_FIRST(&c->queue);
		c->active = next; /* so that nobody else gets in between */
		if (next) {
			TAILQ_REMOVE(&c->queue, next, queue_entry);
			TAILQ_INSERT_TAIL(&jobs->ready, next, queue_entry);
		}
	}
	job_free(job);
	run_ready(jobs);
}

void job_finish_gone(struct job *job, int result)
{
	struct container *c = job->container;
	struct job *waiting;

	job->container = NULL;
	job_finish(job, result);
	while ((waiting = TAILQ_FIRST(&c->queue))) {
		TAILQ_REMOVE(&c->queue, waiting, queue_entry);
		waiting->container = NULL;
		if (waiting->type->dropped)
			waiting->type->dropped(waiting, -ENOENT);
		job_finish(waiting, ct_error_kind_set(&waiting->error, CT_ERROR_NOT_FOUND, -ENOENT,
		                            "there is no container \"%s\" any more", waiting->row.object));
	}
	container_free(c);
}

void job_progress(struct job *job, int percent, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(job->progress, sizeof(job->progress), format, ap); /* cut short is fine */
	va_end(ap);
	job->percent = percent;
	job->seen++;
	job_waits_answer_progress(job);
}

void jobs_abandon(struct manager *m)
{
	struct job *job, *next;

	for (job = LIST_FIRST(&m->jobs.open); job; job = next) {
		next = LIST_NEXT(job, open_entry);
		(void)ct_error_kind_set(&job->error, CT_ERROR_FAILED, -ESHUTDOWN,
		        "ctd is going down; %s of \"%s\" will be finished or undone when it is back",
		        job->row.verb, job->row.object);
		job_answer(job, -ESHUTDOWN);
		job_waits_answer(job, -ESHUTDOWN);
		LIST_REMOVE(job, open_entry);
		job_free(job);
	}
}

struct job *job_find(struct manager *m, int64_t id)
{
	struct job *job;

	LIST_FOREACH(job, &m->jobs.open, open_entry)
	if (job->row.id == id)
		return job;
	return NULL;
}

static const struct job_type *job_type_find(const char *verb)
{
	for (size_t i = 0; job_types[i]; i++)
		if (str_eq(job_types[i]->verb, verb))
			return job_types[i];
	return NULL;
}

static void job_replay(struct manager *m, const struct job_row *row)
{
	const struct job_type *type = job_type_find(row->verb);
	struct container *c = row->ctid ? container_by_ctid(m, row->ctid) : NULL;
	struct ct_error error = { 0 }, failure = { 0 };
	_cleanup_json_ json_t *body = NULL;
	_cleanup_free_ char *text = NULL;
	int r;

	r = type && type->replay
	            ? type->replay(m, row, c, &error)
	            : ct_error_kind_set(&error, CT_ERROR_FAILED, -ECANCELED,
	                      "ctd ended while %s of \"%s\" was at work", row->verb, row->object);
	if (r < 0) {
		body = json_from_error(&error);
		text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	}
	log_notice("%s \"%s\" had been interrupted: %s", row->verb, row->object,
	        r < 0 ? error.text : "finished");
	/* On a full disk the row stays open, and the next start looks again: that does no harm. */
	if (store_job_finish(m->store, row->id, NULL, r < 0 ? (text ?: "{}") : NULL, &failure) < 0)
		log_error("cannot record the end of %s \"%s\": %s", row->verb, row->object, failure.text);
	else if (r < 0)
		manager_event(m, row->ctid ? container_by_ctid(m, row->ctid) : NULL, "job.failed",
		        json_pack("{s:s, s:s, s:s}", "verb", row->verb, "object", row->object, "reason",
		                error.text));
}

struct open_rows {
	struct job_row *rows;
	size_t n;
};

static int copy_row(const struct job_row *row, void *userdata)
{
	struct open_rows *open = userdata;
	struct job_row *rows = reallocarray(open->rows, open->n + 1, sizeof(*rows));
	struct job_row *copy;

	if (!rows)
		return -ENOMEM;
	open->rows = rows;
	copy = &rows[open->n];
	*copy = (struct job_row){ .id = row->id, .created_usec = row->created_usec };
	copy->verb = strdup(row->verb);
	copy->object = strdup(row->object);
	copy->params = strdup(row->params);
	copy->step = strdup(row->step);
	copy->ctid = row->ctid ? strdup(row->ctid) : NULL;
	open->n++;
	return copy->verb && copy->object && copy->params && copy->step && (!row->ctid || copy->ctid)
	               ? 0
	               : -ENOMEM;
}

int jobs_replay(struct manager *m, struct ct_error *err)
{
	struct open_rows open = { 0 };
	int r;

	r = store_job_each(m->store, true, UINT32_MAX, copy_row, &open, err);
	for (size_t i = 0; r >= 0 && i < open.n; i++)
		job_replay(m, &open.rows[i]);

	for (size_t i = 0; i < open.n; i++)
		job_row_done(&open.rows[i]);
	free(open.rows);
	return r;
}
