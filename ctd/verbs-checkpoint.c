/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checkpoint of a container that runs on.
 *
 * One worker (worker-checkpoint.c) copies the disk aside while the container runs; then the container is
 * being suspended as ever (transfer.h), into that copy: memory in rounds, the freeze, the dump. Where a
 * suspend would end it, the worker copies what has changed on the disk since, and it is thawed. What is there
 * is then written through, renamed to where it is kept, and recorded: from that commit on it is the
 * checkpoint, and the one before goes. Up to there every failure leads back: it runs, what was copied goes,
 * and the checkpoint is the one before.
 *
 * Which of the two, the worker and the suspending, is at work when something fails, decides who is asked to
 * end first; the last to end finishes the job. Once it is to be frozen nothing is cancelled any more, for it
 * takes no longer than what has changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/checkpoint.h"
#include "ctd/criu-host.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/suspend.h"
#include "ctd/sweeper.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"
#include "ctd/worker.h"

struct checkpointing {
	struct transfer transfer; /* first of all: transfer.h */
	struct worker *copier;    /* at work, else NULL */
	struct config_checkpoint new;
	char name[CHECKPOINT_NAME_SIZE], images[CHECKPOINT_NAME_SIZE + 16];
	bool given_up; /* job->error says why */
	bool freezing; /* from here on it cannot be given up, but runs on in the end */
	bool dumped;
};

static void free_checkpointing(struct job *job)
{
	struct checkpointing *x = job->data;

	if (x) {
		if (job->container)
			job->container->copying = NULL;
		transfer_done(&x->transfer);
		worker_free(x->copier);
	}
	free(x);
}

/* job->error says why, and neither is at work any more. */
static void fail(struct job *job)
{
	struct container *c = job->container;
	const struct checkpointing *x = job->data;
	struct disk_spec spec;

	container_disk_spec_known(c, x->new.project, &spec);
	c->copying = NULL;
	(void)disk_copy_discard(c->manager->disks, &spec, x->name, NULL); /* else the sweeper does */
	sweeper_kick(c->manager->sweeper);
	job_finish(job, job->error.code);
}

static void give_up_copy(struct job *job)
{
	struct checkpointing *x = job->data;

	x->given_up = true;
	if (x->copier)
		worker_cancel(x->copier);
	else
		fail(job);
}

/* Of the suspending: it runs on, or has ended. */
static void on_suspend_failed(struct job *job, int result)
{
	give_up_copy(job);
}

static void give_up(struct job *job)
{
	struct checkpointing *x = job->data;

	job->cancel = NULL;
	x->given_up = true;
	if (x->transfer.suspending)
		transfer_give_up(job);
	else
		give_up_copy(job);
}

static void cancel(struct job *job)
{
	const struct checkpointing *x = job->data;

	if (!x->given_up)
		(void)ct_error_kind_set(&job->error, CT_ERROR_STATE, -ECANCELED, "checkpoint was cancelled");
	give_up(job);
}

/* ---- what the copier asks for */

static int check_running(struct job *job)
{
	const struct container *c = job->container;

	return c->state == CONTAINER_RUNNING ? 0
	                                     : ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH,
	                                               "cannot checkpoint \"%s\": it is %s", c->row.name,
	                                               container_state_name(c->state));
}

static void on_copied(struct job *job)
{
	int r = check_running(job);

	if (r >= 0)
		r = transfer_suspend(job);
	if (r < 0)
		give_up(job);
}

static void on_rounds_over(struct job *job)
{
	const struct checkpointing *x = job->data;

	if (x->copier)
		worker_answer(x->copier);
	else
		transfer_give_up(job);
}

static void on_to_freeze(struct job *job)
{
	struct checkpointing *x = job->data;

	if (check_running(job) < 0) {
		give_up(job);
		return;
	}
	job->cancel = NULL;
	x->freezing = true;
	transfer_go_on(job);
}

static void on_dumped(struct job *job)
{
	struct checkpointing *x = job->data;

	x->dumped = true;
	if (x->copier)
		worker_answer(x->copier);
	else
		transfer_stay(job);
}

static void on_read(struct job *job)
{
	struct checkpointing *x = job->data;

	transfer_let_go(job);
	x->new.frozen_usec = now_monotonic_usec() - x->transfer.frozen_usec;
	x->new.time_usec = now_realtime_usec() - x->new.frozen_usec;
	worker_answer(x->copier);
}

static void on_question(const json_t *question, void *userdata)
{
	struct job *job = userdata;
	const struct checkpointing *x = job->data;

	if (x->given_up)
		return; /* it is to be ended */
	if (json_object_get(question, "copied"))
		on_copied(job);
	else if (json_object_get(question, "freeze"))
		on_to_freeze(job);
	else
		on_read(job);
}

/* ---- its end */

static void keep(struct job *job, const json_t *result)
{
	struct container *c = job->container;
	struct checkpointing *x = job->data;
	const char *digest = json_string_value(json_object_get(result, "digest"));
	int r;

	(void)snprintf(x->new.digest, sizeof(x->new.digest), "%s", digest ?: "");
	x->new.bytes = (uint64_t)json_integer_value(json_object_get(result, "bytes"));
	x->new.disk_bytes = (uint64_t)json_integer_value(json_object_get(result, "disk_bytes"));
	r = checkpoint_take(c, &x->new, &job->error);
	if (r < 0) {
		fail(job);
		return;
	}
	c->copying = NULL;
	manager_event(job->manager, c, "container.checkpointed", NULL);
	job_finish(job, 0);
}

static void on_copier_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct checkpointing *x = job->data;

	x->copier = NULL; /* it frees itself */
	if (result && !x->given_up) {
		keep(job, result);
		return;
	}
	if (job->error.code == 0) {
		job->error = *error;
		if (!x->freezing) /* else transfer_stay says it */
			(void)ct_error_prefix(
			        &job->error, "cannot checkpoint \"%s\"", job->container->row.name);
	}
	x->given_up = true;
	job->cancel = NULL;
	if (!x->transfer.suspending)
		fail(job);
	else if (!x->freezing)
		transfer_give_up(job);
	else if (x->dumped)
		transfer_stay(job);
	/* else on_dumped sees it */
}

/* One that has ended meanwhile, or reboots, does not wait for the rest of its disk. */
static void on_progress(int percent, const char *text, void *userdata)
{
	struct job *job = userdata;
	const struct checkpointing *x = job->data;

	job_progress(job, percent, "%s", text);
	if (!x->given_up && !x->freezing && check_running(job) < 0)
		give_up(job);
}

static int start_copier(struct job *job)
{
	static const struct worker_ops ops = {
		.progress = on_progress, .asked = on_question, .done = on_copier_done
	};
	struct container *c = job->container;
	struct checkpointing *x = job->data;
	struct disk_usage usage = { 0 };
	struct disk_spec spec;
	json_t *params;

	container_disk_spec(c, &spec);
	(void)disk_usage(c->manager->disks, &spec, &usage, NULL); /* zero: not known */
	params = json_pack("{s:o, s:s, s:I, s:I, s:I}", "disk", container_disk_params(c), "name", x->name,
	        "used_bytes", (json_int_t)usage.bytes_used, "used_inodes", (json_int_t)usage.inodes_used,
	        "memory_bytes", (json_int_t)criu_host_memory(c->cgroup_fd));
	if (params)
		(void)json_object_set_new(json_object_get(params, "disk"), "project",
		        json_integer(
		                x->new.project)); /* else the worker takes the tenant's, which is refused */
	return params ? worker_start(c->manager->event, c->manager->conf.worker, "checkpoint", params, &ops,
	                        job, &x->copier, &job->error)
	              : ct_error_set(&job->error, -ENOMEM, "checkpoint", "out of memory");
}

static int run_checkpoint(struct job *job)
{
	struct container *c = job->container;
	struct checkpointing *x;
	int r = transfer_may_suspend(c, &job->error);

	if (r < 0)
		return r;
	x = job->data = calloc(1, sizeof(*x));
	if (!x)
		return ct_error_set(&job->error, -ENOMEM, "checkpoint", "out of memory");
	transfer_init(&x->transfer, on_suspend_failed);
	x->transfer.rounds = true;
	x->transfer.rounds_over = on_rounds_over;
	x->transfer.dumped = on_dumped;
	x->new.id = now_realtime_usec();
	x->new.slot = c->run.slot;
	x->new.size = c->config.limits.disk.value;
	x->new.project = checkpoint_pick_project(c);
	checkpoint_name(c, x->new.id, x->name);
	(void)snprintf(x->images, sizeof(x->images), "tmp/%s/suspended", x->name); /* fits */
	x->transfer.images = x->images;
	c->copying = x->name;
	c->copying_project = x->new.project;
	r = start_copier(job);
	if (r < 0)
		c->copying = NULL;
	else
		job->cancel = cancel;
	return r;
}

static int replay_checkpoint(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c)
		return 0;
	if (!c->config.suspended_slot)
		transfer_run_on_after_criu(c);
	if (c->config.checkpoint.id > row->created_usec)
		return 0; /* it was recorded */
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while a checkpoint of \"%s\" was made; it runs on without", row->object);
}

const struct job_type verb_checkpoint = {
	.verb = "checkpoint", .run = run_checkpoint, .free = free_checkpointing, .replay = replay_checkpoint
};
