/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* suspend, before the freeze: memory is written in rounds while the container runs on (worker-predump.c).
 *
 * Who moves it is told of each round, sends it, and then has the next one begin. What fails in the rounds is
 * no failure: then there are fewer, or none, and all is written after the freeze. What fails on the way to
 * the other node is one: it is given up, and the container has not noticed.
 */
#include <errno.h>

#include "base/json.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/suspend.h"
#include "ctd/transfer-private.h"
#include "ctd/worker.h"

#define ROUNDS_MAX 5

/* It may have ended since. */
static void freeze_after_rounds(struct job *job)
{
	struct container *c = job->container;
	struct transfer *x = job->data;
	int r;

	x->settled = false;
	r = c->state == CONTAINER_RUNNING
	            ? transfer_freeze(job)
	            : ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH,
	                      "cannot suspend \"%s\": it is %s", c->row.name, container_state_name(c->state));
	if (r >= 0 && x->n_rounds > 0)
		return;
	transfer_forget_images(job); /* an empty directory, or what failed */
	if (r < 0)
		transfer_finish(job, r);
}

static void end_given_up(struct job *job)
{
	struct transfer *x = job->data;

	x->settled = false;
	transfer_forget_images(job);
	transfer_finish(job, job->error.code);
}

static void settle(struct job *job)
{
	struct transfer *x = job->data;

	if (x->given_up) {
		end_given_up(job);
		return;
	}
	x->settled = true;
	if (x->rounds_over)
		x->rounds_over(job);
	else
		freeze_after_rounds(job);
}

/* Without a round it goes as without the wish. */
static void on_rounds(struct job *job, const json_t *result)
{
	struct transfer *x = job->data;

	if (!x->given_up) {
		if (!result)
			log_warning("\"%s\" is frozen with all its memory: %s", job->container->row.name,
			        job->error.text);
		job->error = (struct ct_error){ 0 };
		x->n_rounds = (unsigned int)json_integer_value(json_object_get(result, "rounds"));
		x->rounds_bytes = (uint64_t)json_integer_value(json_object_get(result, "bytes"));
	}
	transfer_after_criu(job, settle);
}

int transfer_begin_rounds(struct job *job)
{
	const struct container *c = job->container;
	const struct transfer *x = job->data;
	int r = transfer_ask(job, "predump",
	        json_pack("{s:i, s:i, s:o, s:o, s:s, s:o, s:b}", "pid", c->run.pid, "rounds", ROUNDS_MAX,
	                "cgroup", transfer_cgroup_path(c), "images", transfer_images_path(job), "runtime",
	                c->manager->conf.runtime_dir, "key",
	                json_sprintf(KEEPER_RUN_PREFIX "%s", c->row.ctid), "told", x->round != NULL),
	        on_rounds);

	if (r >= 0)
		transfer_expect(job);
	return r;
}

void transfer_on_round(struct job *job, const json_t *question)
{
	const struct transfer *x = job->data;

	if (!x->given_up)
		x->round(job, (unsigned int)json_integer_value(json_object_get(question, "round")),
		        (uint64_t)json_integer_value(json_object_get(question, "first_usec")));
}

void transfer_go_on(struct job *job)
{
	const struct transfer *x = job->data;

	if (x->given_up)
		return;
	if (x->settled)
		freeze_after_rounds(job);
	else if (x->worker)
		worker_answer(x->worker);
}

void transfer_give_up(struct job *job)
{
	struct transfer *x = job->data;

	if (x->given_up)
		return;
	x->given_up = true;
	if (x->worker) /* which may be having CRIU write: that is awaited */
		worker_cancel(x->worker);
	else if (x->settled)
		end_given_up(job);
}
