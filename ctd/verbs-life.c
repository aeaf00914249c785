/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* start, stop, restart, kill, freeze, thaw: jobs around the operations of operate.h.
 *
 * All are idempotent: starting what runs and stopping what is stopped succeed at once. Their replay after a
 * death of ctd looks at the state that recovery has found: a start that reached init is finished, one that
 * did not has been undone; an interrupted stop, kill or thaw is simply done again by whoever asked, except
 * that a stop which had begun is carried to its end, because its init has been told already.
 */
#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/verbs.h"

int verb_target(struct manager *m, struct call *call, struct container **ret, struct ct_error *err)
{
	return container_find(m, call_param(call, "name"), ret, err);
}

int verb_submit(struct manager *m, struct call *call, const struct job_type *type, struct container *c,
        json_t *params, struct ct_error *err)
{
	const struct job_request request = {
		.type = type, .container = c, .object = c->row.name, .params = params, .call = call
	};

	return job_submit(m, &request, err);
}

void verb_done(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0 && error)
		job->error = *error;
	job_finish(job, result);
}

static uint64_t stop_timeout_usec(const struct job *job)
{
	const struct container *c = job->container;
	const json_t *given = json_object_get(job->params, "timeout");

	if (given)
		return (uint64_t)json_integer_value(given) * USEC_PER_SEC;
	if (c->config.has_stop_timeout)
		return c->config.stop_timeout_sec * USEC_PER_SEC;
	return job->manager->conf.stop_timeout_sec * USEC_PER_SEC;
}

/* With a trace, if that was asked for: the container, and in it where the time went. */
static void start_done(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	_cleanup_json_ json_t *answer = NULL;
	json_t *trace;

	if (result >= 0 && json_is_true(json_object_get(job->params, "trace"))) {
		trace = start_trace_to_json(&c->start_trace, job->row.created_usec);
		answer = container_to_json(c);
		if (json_object_set_new(answer, "trace", trace) >= 0)
			job->result = TAKE_PTR(answer);
	}
	verb_done(c, result, error, job);
}

/* One that another node has not let go of is held here without running (verbs-receive.c). */
static int check_owner(struct job *job, const char *what)
{
	return container_has_init(job->container) ? handover_check_owner(job->container, what, &job->error)
	                                          : 0;
}

static int run_start(struct job *job)
{
	int r = check_owner(job, "start");

	return r < 0 ? r : container_start(job->container, start_done, job, &job->error);
}

/* Recovery has settled what there was: running, or taken down. */
static int replay_start(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (c && c->state == CONTAINER_RUNNING)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being started; the start was undone", row->object);
}

static int run_stop(struct job *job)
{
	int r = check_owner(job, "stop");

	if (r >= 0 && !json_is_true(json_object_get(job->params, ALLOWANCE_STOPS)))
		r = allowance_forget_wish(job->container, &job->error);
	return r < 0 ? r
	             : container_stop(job->container, STOP_CLEAN, stop_timeout_usec(job), verb_done, job,
	                       &job->error);
}

static int replay_stop(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	struct job_request again = { .type = &verb_stop, .container = c, .object = row->object };
	int r;

	if (!c || c->state == CONTAINER_STOPPED)
		return 0;
	r = json_parse(row->params, strlen(row->params), &again.params, err);
	return r < 0 ? r : job_submit(m, &again, err);
}

static void restart_stopped(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	int r;

	if (result < 0) {
		verb_done(c, result, error, job);
		return;
	}
	r = container_start(c, verb_done, job, &job->error);
	if (r != 0)
		job_finish(job, r < 0 ? r : 0);
}

static int run_restart(struct job *job)
{
	int r = check_owner(job, "restart");

	if (r < 0)
		return r;
	r = container_stop(
	        job->container, STOP_CLEAN, stop_timeout_usec(job), restart_stopped, job, &job->error);
	return r == 1 ? container_start(job->container, verb_done, job, &job->error) : r;
}

/* Whatever had been reached, the wish was a running container. */
static int replay_restart(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	struct job_request again = { .type = &verb_restart, .container = c, .object = row->object };
	int r;

	if (!c)
		return 0;
	r = json_parse(row->params, strlen(row->params), &again.params, err);
	return r < 0 ? r : job_submit(m, &again, err);
}

static int run_kill(struct job *job)
{
	struct container *c = job->container;
	const json_t *given = json_object_get(job->params, "signal");
	int signo = (int)json_integer_value(given);

	if (check_owner(job, "kill") < 0)
		return job->error.code;
	if (!given && allowance_forget_wish(c, &job->error) < 0)
		return job->error.code;
	if (!given)
		return container_stop(c, STOP_KILL, 0, verb_done, job, &job->error);
	if (c->state != CONTAINER_RUNNING)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH,
		        "cannot signal \"%s\": it is %s", c->row.name, container_state_name(c->state));
	if (pidfd_send_signal(c->pidfd, signo, NULL, 0) < 0)
		return ct_error_set(&job->error, -errno, "kill",
		        "cannot send signal %d to init of \"%s\": %s", signo, c->row.name, strerror(errno));
	return 1;
}

static int run_freeze(struct job *job)
{
	int r = check_owner(job, "freeze");

	return r < 0 ? r : container_freeze(job->container, true, verb_done, job, &job->error);
}

static int run_thaw(struct job *job)
{
	int r = check_owner(job, "thaw");

	return r < 0 ? r : container_freeze(job->container, false, verb_done, job, &job->error);
}

const struct job_type verb_start = { .verb = "start", .run = run_start, .replay = replay_start };
const struct job_type verb_stop = { .verb = "stop", .run = run_stop, .replay = replay_stop };
const struct job_type verb_restart = { .verb = "restart", .run = run_restart, .replay = replay_restart };
const struct job_type verb_kill = { .verb = "kill", .run = run_kill };
const struct job_type verb_freeze = { .verb = "freeze", .run = run_freeze };
const struct job_type verb_thaw = { .verb = "thaw", .run = run_thaw };

/* Reads one optional whole number out of a body that may hold nothing else. */
static int body_number(struct call *call, const char *name, uint64_t min, uint64_t max, struct ct_error *err)
{
	struct {
		uint64_t value;
		bool has;
	} in = { 0 };
	const struct json_field fields[] = {
		{ name, JSON_KIND_U64, 0, sizeof(uint64_t), false },
		{ NULL },
	};
	int r = json_read(call_body(call), name ? fields : &fields[1], &in, err);

	if (r < 0)
		return r;
	if (in.has && (in.value < min || in.value > max))
		return ct_error_field(err, name, "%s must be from %llu to %llu", name,
		        (unsigned long long)min, (unsigned long long)max);
	return 0;
}

static int submit(struct manager *m, struct call *call, const struct job_type *type, struct ct_error *err)
{
	struct container *c = NULL;
	int r;

	r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	return job_submit(m,
	        &(struct job_request){
	                .type = type,
	                .container = c,
	                .object = c->row.name,
	                .params = json_deep_copy(call_body(call)),
	                .call = call,
	        },
	        err);
}

int api_container_start(struct manager *m, struct call *call, struct ct_error *err)
{
	bool trace = false;
	const struct json_field fields[] = { { "trace", JSON_KIND_BOOL, 0, JSON_NO_HAS, false }, { NULL } };
	int r = json_read(call_body(call), fields, &trace, err);

	return r < 0 ? r : submit(m, call, &verb_start, err);
}

int api_container_stop(struct manager *m, struct call *call, struct ct_error *err)
{
	int r = body_number(call, "timeout", 0, 86400, err);

	return r < 0 ? r : submit(m, call, &verb_stop, err);
}

int api_container_restart(struct manager *m, struct call *call, struct ct_error *err)
{
	int r = body_number(call, "timeout", 0, 86400, err);

	return r < 0 ? r : submit(m, call, &verb_restart, err);
}

int api_container_kill(struct manager *m, struct call *call, struct ct_error *err)
{
	int r = body_number(call, "signal", 1, 64, err);

	return r < 0 ? r : submit(m, call, &verb_kill, err);
}

int api_container_freeze(struct manager *m, struct call *call, struct ct_error *err)
{
	int r = body_number(call, NULL, 0, 0, err);

	return r < 0 ? r : submit(m, call, &verb_freeze, err);
}

int api_container_thaw(struct manager *m, struct call *call, struct ct_error *err)
{
	int r = body_number(call, NULL, 0, 0, err);

	return r < 0 ? r : submit(m, call, &verb_thaw, err);
}
