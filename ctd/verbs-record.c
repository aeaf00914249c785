/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* destroy, rename, set: verbs that change a container's record.
 *
 * destroy is the one verb that must always come to its end: the container is stopped if force says so, its
 * record and leases go in one synced transaction, its disk is renamed into the trash (whatever its size), and
 * a worker empties the trash. Interrupted anywhere, it is finished at the next start.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/guest.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/pending.h"
#include "ctd/ports.h"
#include "ctd/verbs.h"

static void destroy_stopped(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0) {
		verb_done(c, result, error, job);
		return;
	}
	result = verb_forget(c, &job->error);
	if (result < 0) {
		job_finish(job, result);
		return;
	}
	manager_event(job->manager, c, "container.destroyed", NULL);
	job_finish_gone(job, 0);
}

static int run_destroy(struct job *job)
{
	struct container *c = job->container;
	bool force = json_is_true(json_object_get(job->params, "force"));
	int r;

	if (c->state != CONTAINER_STOPPED && !force && c->state != CONTAINER_STOPPING)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "cannot destroy \"%s\": it is %s (ctctl stop %s first, or --force)", c->row.name,
		        container_state_name(c->state), c->row.name);

	/* The last copy, if it never arrived. One that is incoming is nobody's yet. */
	if (c->config.handover == HANDOVER_RELINQUISHED && !force)
		return handover_check(c, "destroy", &job->error);

	r = container_stop(c, STOP_KILL, 0, destroy_stopped, job, &job->error);
	if (r == 1) {
		destroy_stopped(c, 0, NULL, job);
		return 0;
	}
	return r;
}

static int replay_destroy(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	struct job_request again = { .type = &verb_destroy, .container = c, .object = row->object };

	if (!c)
		return 0;
	again.params = json_pack("{s:b}", "force", 1);
	return job_submit(m, &again, err);
}

const struct job_type verb_destroy = { .verb = "destroy", .run = run_destroy, .replay = replay_destroy };

int api_container_destroy(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "force", JSON_KIND_BOOL, 0, JSON_NO_HAS, false },
		{ NULL } };
	struct container *c = NULL;
	bool force = false;
	int r;

	r = json_read(call_body(call), fields, &force, err);
	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	return verb_submit(m, call, &verb_destroy, c, json_pack("{s:b}", "force", force), err);
}

static int run_rename(struct job *job)
{
	struct container *c = job->container;
	const char *name = json_string_value(json_object_get(job->params, "name"));
	int r;

	if (str_eq(c->row.name, name))
		return 1;
	r = handover_check(c, "rename", &job->error);
	if (r < 0)
		return r;
	r = container_update(c, name, NULL, true, &job->error);
	if (r < 0)
		return r;
	manager_event(job->manager, c, "container.renamed", json_pack("{s:s}", "from", job->row.object));
	return 1;
}

const struct job_type verb_rename = { .verb = "rename", .run = run_rename };

int api_container_rename(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "name", JSON_KIND_STRING, 0, JSON_NO_HAS, true },
		{ NULL } };
	struct container *c = NULL;
	const char *name = NULL;
	int r;

	r = json_read(call_body(call), fields, &name, err);
	if (r >= 0)
		r = config_check_name("name", name, err);
	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	return verb_submit(m, call, &verb_rename, c, json_pack("{s:s}", "name", name), err);
}
