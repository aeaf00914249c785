/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Long polling of jobs, and a job as the API shows it. */
#include "ctd/job-wait.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/http.h"
#include "ctd/job.h"
#include "ctd/manager.h"

struct job_wait {
	struct job *job;
	struct call *call;
	sd_event_source *timer;
	LIST_ENTRY(job_wait) entry;
};

static void job_wait_answer(struct job_wait *wait)
{
	LIST_REMOVE(wait, entry);
	(void)sd_event_source_disable_unref(wait->timer); /* always NULL */
	call_reply(wait->call, 200, job_to_json(wait->job));
	free(wait);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	job_wait_answer(userdata);
	return 0;
}

int job_wait_add(
        struct job *job, struct call *call, unsigned seen, uint64_t timeout_usec, struct ct_error *err)
{
	struct job_wait *wait;
	int r;

	if (job->seen != seen || timeout_usec == 0) {
		call_reply(call, 200, job_to_json(job));
		return 0;
	}

	wait = calloc(1, sizeof(*wait));
	if (!wait)
		return ct_error_set(err, -ENOMEM, "job", "out of memory");
	r = sd_event_add_time_relative(
	        job->manager->event, &wait->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, wait);
	if (r < 0) {
		free(wait);
		return ct_error_set(
		        err, r, "job", "cannot wait for job %lld: %s", (long long)job->row.id, strerror(-r));
	}
	wait->job = job;
	wait->call = call;
	LIST_INSERT_HEAD(&job->waits, wait, entry);
	return 0;
}

void job_waits_answer(struct job *job, int result)
{
	job->row.finished_usec = now_realtime_usec();
	if (result < 0)
		job->error.code = result;
	while (!LIST_EMPTY(&job->waits))
		job_wait_answer(LIST_FIRST(&job->waits));
}

void job_waits_answer_progress(struct job *job)
{
	while (!LIST_EMPTY(&job->waits))
		job_wait_answer(LIST_FIRST(&job->waits));
}

static json_t *time_json(uint64_t usec)
{
	char text[32];

	return json_string(format_time_utc(text, sizeof(text), usec));
}

static json_t *job_base_json(const struct job_row *row, const char *state)
{
	json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:s}", "id", (json_int_t)row->id, "verb", row->verb,
	        "object", row->object, "state", state, "step", row->step ?: "");

	if (!object)
		return NULL;
	(void)json_object_set_new(
	        object, "created", time_json(row->created_usec)); /* less to show without memory */
	if (row->finished_usec)
		(void)json_object_set_new(object, "finished", time_json(row->finished_usec));
	return object;
}

json_t *job_to_json(const struct job *job)
{
	const char *state = !job->row.finished_usec ? "open" : job->error.code < 0 ? "failed" : "done";
	json_t *object = job_base_json(&job->row, state);
	json_t *progress;

	if (!object)
		return NULL;
	progress = json_pack("{s:I, s:s}", "seen", (json_int_t)job->seen, "text", job->progress);
	if (progress && job->percent >= 0)
		(void)json_object_set_new(progress, "percent", json_integer(job->percent));
	(void)json_object_set_new(object, "progress", progress);
	if (job->row.finished_usec && job->error.code < 0) {
		_cleanup_json_ json_t *error = json_from_error(&job->error);

		(void)json_object_set(object, "error", json_object_get(error, "error"));
	} else if (job->result) {
		(void)json_object_set(object, "result", job->result);
	}
	return object;
}

json_t *job_row_to_json(const struct job_row *row)
{
	json_t *object = job_base_json(row, !row->finished_usec ? "open" : row->error ? "failed" : "done");
	json_t *part = NULL;

	if (object && row->error && json_parse(row->error, strlen(row->error), &part, NULL) == 0) {
		(void)json_object_set(object, "error", json_object_get(part, "error"));
		json_decref(part);
	}
	part = NULL;
	if (object && row->result && json_parse(row->result, strlen(row->result), &part, NULL) == 0)
		(void)json_object_set_new(object, "result", part);
	return object;
}
