/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keep: the mark of a migration that did not end goes, by the word of people; and the handlers of what
 * decides whose a container is. What resolve does is in verbs-migrate.c. */
#include <errno.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

static int run_keep(struct job *job)
{
	struct container *c = job->container;
	const bool prepared = transfer_is_prepared(c);
	int r;

	if (!c->row.complete)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "\"%s\" has not arrived: only a part of its disk is here", c->row.name);
	if (c->unreadable)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "whether \"%s\" was handed over is not known: %s", c->row.name, c->row.broken);
	if (c->config.handover == HANDOVER_NONE)
		return 1;
	r = handover_end(c, &job->error);
	if (r < 0)
		return r;
	manager_event(job->manager, c, "container.kept", NULL);
	if (prepared)
		container_teardown(c, NULL, NULL); /* suspended, as after a death of ctd */
	return 1;
}

/* The record says whether it was done. */
static int replay_keep(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c || c->config.handover == HANDOVER_NONE)
		return 0;
	return ct_error_kind_set(
	        err, CT_ERROR_FAILED, -ECANCELED, "ctd ended before \"%s\" was kept", row->object);
}

const struct job_type verb_keep = { .verb = "keep", .run = run_keep, .replay = replay_keep };

/* What decides whose a container is takes no body, and is for root. */
static int root_target(struct manager *m, struct call *call, struct container **ret, struct ct_error *err)
{
	static const struct json_field none[] = { { NULL } };
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), none, NULL, err);
	return r < 0 ? r : verb_target(m, call, ret, err);
}

int api_container_keep(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	int r = root_target(m, call, &c, err);

	if (r < 0)
		return r;
	return verb_submit(m, call, &verb_keep, c, NULL, err);
}

int api_container_resolve(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	int r = root_target(m, call, &c, err);

	if (r < 0)
		return r;
	return job_submit(m,
	        &(struct job_request){
	                .type = &verb_resolve,
	                .container = c,
	                .object = c->row.name,
	                .call = call,
	                .detached = true,
	                .durable = true,
	        },
	        err);
}
