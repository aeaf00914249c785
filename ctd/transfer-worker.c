/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The workers of suspend and resume: started, ahead where it is known what comes, and asked and answered. */
#include <errno.h>
#include <sched.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "ctd/manager.h"
#include "ctd/pool.h"
#include "ctd/ports.h"
#include "ctd/transfer-private.h"

static void on_progress(int percent, const char *text, void *userdata)
{
	job_progress(userdata, percent, "%s", text);
}

/* Of a resume: the namespaces are there, and want their interfaces, through which nothing passes yet. */
static void on_network(struct job *job, const json_t *question)
{
	struct transfer *x = job->data;
	struct container *c = job->container;
	const pid_t pid = (pid_t)json_integer_value(json_object_get(question, "network"));
	_cleanup_close_ int netns = ct_process_namespace(pid, CLONE_NEWNET);
	struct pool_item item = POOL_ITEM_INIT;
	int r;

	item.slot = c->run.slot;
	item.shell.netns_fd = netns;
	r = netns < 0 ? ct_error_set(&job->error, -ESRCH, "resume", "what is restored ended meanwhile")
	              : ports_up(c, &item, &job->error);
	if (r < 0)
		worker_cancel(x->worker);
	else
		worker_answer(x->worker);
}

static void on_question(const json_t *question, void *userdata)
{
	if (json_object_get(question, "round"))
		transfer_on_round(userdata, question);
	else
		on_network(userdata, question);
}

static void on_answer(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct transfer *x = job->data;

	x->worker = NULL; /* it frees itself */
	if (!result && job->error.code == 0)
		job->error = *error;
	x->answered(job, result);
}

int transfer_ask(struct job *job, const char *verb, json_t *params,
        void (*answered)(struct job *job, const json_t *result))
{
	static const struct worker_ops ops = {
		.progress = on_progress, .asked = on_question, .done = on_answer
	};
	struct manager *m = job->manager;
	struct transfer *x = job->data;

	if (!params)
		return job->error.code ? job->error.code
		                       : ct_error_set(&job->error, -ENOMEM, verb, "out of memory");
	x->answered = answered;
	return worker_start_spare(
	        &x->spare, m->event, m->conf.worker, verb, params, &ops, job, &x->worker, &job->error);
}

void transfer_expect(struct job *job)
{
	struct transfer *x = job->data;

	worker_spare_start(&x->spare, job->manager->event, job->manager->conf.worker, NULL);
}
