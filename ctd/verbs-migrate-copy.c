/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate, before the container stands still: its disk and its memory are copied while it runs.
 *
 * One worker does it (worker-move.c): round after round it says copy, and sends what has changed on the disk
 * since the one before. Then it waits. One that goes with its processes is being suspended from then on
 * (transfer.h), and of each round of memory that has been written here the worker sends what came of it,
 * before the next one is written. Then it asks here that the container runs no more, and waits, with what it
 * knows of the disk; when the container has been suspended or stopped it is told the offer, says it, and
 * sends the last difference, of both. Whose the container is does not change by any of that: what the other
 * node has of a copy is incomplete, and is forgotten there when it is given up (the word withdraw), or when
 * no word comes any more.
 *
 * Up to the freeze what fails on the way ends the move, and can be cancelled. A worker that is lost then
 * takes with it what it knows: all is sent after the freeze.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/criu-host.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/suspend.h"
#include "ctd/verbs-migrate.h"
#include "ctd/worker.h"

/* ---- given up */

static void on_given_up(struct job *job, const json_t *result)
{
	const struct migrate *x = job->data;

	job->error = x->failure;
	job_finish(job, job->error.code);
}

static void withdraw(struct job *job)
{
	const struct container *c = job->container;
	struct migrate *x = job->data;
	struct ct_error ignored = { 0 };
	int r;

	x->copied = false;
	x->failure = job->error;
	job->error = ignored;
	r = migrate_ask(job,
	        json_pack("{s:i, s:s, s:s, s:I}", "protocol", 1, "word", "withdraw", "ctid", c->row.ctid,
	                "epoch", (json_int_t)c->row.epoch + 1),
	        false, on_given_up);
	if (r < 0)
		on_given_up(job, NULL); /* it goes by itself, in time */
	else
		job->cancel = migrate_cancel;
}

void migrate_fail(struct job *job)
{
	struct migrate *x = job->data;

	if (x->worker) { /* it waits */
		x->freezing = false;
		x->given_up = true;
		worker_cancel(x->worker);
	} else if (x->copied) {
		withdraw(job);
	} else {
		job_finish(job, job->error.code);
	}
}

/* ---- rounds */

static void on_ended(struct job *job, const json_t *result)
{
	const struct migrate *x = job->data;

	if (x->transfer.suspending)
		transfer_give_up(job);
	else
		migrate_fail(job);
}

static void cancel_copy(struct job *job)
{
	struct migrate *x = job->data;

	if (!x->transfer.suspending) {
		migrate_cancel(job);
		return;
	}
	if (!x->given_up)
		(void)ct_error_kind_set(&job->error, CT_ERROR_STATE, -ECANCELED, "migrate was cancelled");
	x->given_up = true; /* whatever the worker says of its end */
	transfer_give_up(job);
}

/* answer is consumed. */
static void tell(struct migrate *x, json_t *answer)
{
	x->waiting = false;
	if (worker_answer_with(x->worker, answer) < 0)
		worker_cancel(x->worker);
}

/* It waits, for it is asked for the next one when the last has gone. */
static void on_memory_round(struct job *job, unsigned int n, uint64_t first_usec)
{
	tell(job->data, json_pack("{s:o, s:i, s:I}", "images", suspend_images_path(job->container), "memory",
	                        (int)n, "first_usec", (json_int_t)first_usec));
}

static void on_memory_over(struct job *job)
{
	struct migrate *x = job->data;

	x->memory_over = true;
	if (x->waiting)
		tell(x, json_object());
}

void migrate_copy_memory(struct job *job)
{
	struct migrate *x = job->data;

	if (!x->memory)
		return;
	x->transfer.round = on_memory_round;
	x->transfer.rounds_over = on_memory_over;
}

/* Rounds of the disk are over, or one of memory is. */
static void on_copied(struct job *job)
{
	struct migrate *x = job->data;

	x->waiting = true;
	if (x->memory_over || !migrate_is_live(job)) {
		tell(x, json_object());
	} else if (x->memory) {
		transfer_go_on(job);
	} else {
		x->memory = true;
		x->ready(job);
	}
}

void migrate_copy_waits(struct job *job)
{
	struct migrate *x = job->data;

	job->cancel = NULL;
	x->root_fd = fd_close(x->root_fd);
	x->freezing = x->worker != NULL;
}

static void on_freeze(struct job *job, const json_t *freeze)
{
	struct migrate *x = job->data;

	x->rounds = json_incref(json_object_get(freeze, "rounds"));
	x->memory_rounds = json_incref(json_object_get(freeze, "memory_rounds"));
	if (!container_has_init(job->container)) {
		(void)ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH, "it ended while it was copied");
		on_ended(job, NULL);
		return;
	}
	migrate_copy_waits(job);
	migrate_reach_ahead(job);
	if (x->memory)
		transfer_go_on(job);
	else
		x->ready(job);
}

static void on_question(const json_t *question, void *userdata)
{
	struct job *job = userdata;
	struct migrate *x = job->data;
	const json_t *freeze = json_object_get(question, "freeze");

	if (freeze) {
		on_freeze(job, freeze);
	} else if (json_object_get(question, "copied")) {
		on_copied(job);
	} else { /* before a round */
		x->copied = true;
		worker_answer(x->worker);
	}
}

static json_t *copy_params(struct job *job)
{
	const struct migrate *x = job->data;
	const struct container *c = job->container;
	const json_t *rate = json_object_get(job->params, "bandwidth");
	json_t *downtime = json_object_get(job->params, "max_downtime_msec");

	return json_pack("{s:o, s:o, s:i, s:I, s:o*, s:I}", "request", migrate_offer(job, "copy"), "root",
	        json_sprintf("/proc/%d/fd/%d", getpid(), x->root_fd), "pid", (int)c->run.pid, "rate",
	        json_integer_value(rate), "max_downtime_usec",
	        json_is_integer(downtime) ? json_integer(json_integer_value(downtime) * 1000) : NULL,
	        "memory_bytes", migrate_is_live(job) ? (json_int_t)criu_host_memory(c->cgroup_fd) : 0);
}

int migrate_copy(struct job *job, void (*ready)(struct job *job))
{
	static const struct worker_ops ops = {
		.progress = migrate_worker_progress, .asked = on_question, .done = migrate_worker_done
	};
	struct manager *m = job->manager;
	struct migrate *x = job->data;
	struct container *c = job->container;
	struct ct_error error = { 0 };
	json_t *params;
	int r;

	r = x->root_fd = container_open_root(c, &error);
	if (r >= 0) {
		params = json_pack("{s:o, s:o, s:b, s:o}", "command", migrate_command(job), "disk",
		        container_disk_params(c), "verify",
		        json_is_true(json_object_get(job->params, "verify")), "copy", copy_params(job));
		r = params ? worker_start(m->event, m->conf.worker, "migrate-send", params, &ops, job,
		                     &x->worker, &error)
		           : ct_error_set(&error, -ENOMEM, "migrate", "out of memory");
	}
	if (r < 0) {
		log_notice("the disk of \"%s\" is not copied while it runs: %s", c->row.name, error.text);
		return r;
	}
	x->ready = ready;
	x->answered = on_ended;
	job->cancel = cancel_copy;
	return 0;
}

int migrate_copy_offer(struct job *job, void (*answered)(struct job *job, const json_t *result))
{
	struct migrate *x = job->data;
	const struct container *c = job->container;
	json_t *request;
	int r;

	if (!x->worker)
		return 1;
	x->freezing = false;
	request = migrate_offer(job, "offer");
	r = request ? worker_answer_with(
	                      x->worker, json_pack("{s:o, s:o*}", "request", request, "images",
	                                         c->config.suspended_slot ? suspend_images_path(c) : NULL))
	            : -ENOMEM;
	x->answered = answered;
	if (r < 0) { /* it ends, and answered tells why */
		x->given_up = true;
		if (job->error.code == 0)
			(void)ct_error_set(&job->error, r, "migrate", "out of memory");
		worker_cancel(x->worker);
	}
	return 0;
}
