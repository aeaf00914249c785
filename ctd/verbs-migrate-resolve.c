/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resolve: whose a container is after a move whose end is not known here. The other node is asked to give its
 * copy up (the word withdraw, ct-migration(7)): it says whose it is.
 */
#include <errno.h>

#include "base/json.h"
#include "base/str.h"
#include "ctd/disks.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/verbs-migrate.h"

static void on_started_again(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	/* It is this node's, whether it starts or not. */
	if (result < 0)
		(void)json_object_set_new(job->result, "warning", json_string(error->text));
	job_finish(job, 0);
}

static void on_resumed_again(struct job *job, int result)
{
	on_started_again(job->container, result, &job->error, job);
}

static void take_back(struct job *job)
{
	struct container *c = job->container;
	const bool ran = handover_ran(c), live = ran && c->config.suspended_slot;
	struct migrate *x = job->data;
	struct ct_error error = { 0 };
	int r;

	r = store_job_step(job->manager->store, job->row.id,
	        live  ? STEP_SUSPENDING
	        : ran ? STEP_STOPPING
	              : "",
	        &job->error);
	if (r >= 0)
		r = handover_end(c, &job->error);
	if (r < 0) {
		job_finish(job, r);
		return;
	}
	manager_event(job->manager, c, "container.kept", NULL);
	job->result = json_pack("{s:s, s:s}", "name", c->row.name, "owner", "here");
	if (live) {
		x->transfer.finished = on_resumed_again;
		r = transfer_resume(job);
		if (r < 0)
			on_resumed_again(job, r);
		return;
	}
	r = ran ? container_start(c, on_started_again, job, &error) : 1;
	if (r == 0)
		return;
	if (r < 0)
		(void)json_object_set_new(job->result, "warning", json_string(error.text));
	job_finish(job, 0);
}

static void on_withdrawn(struct job *job, const json_t *result)
{
	const char *owner = json_string_value(json_object_get(result, "owner"));
	const struct container *c = job->container;
	struct ct_error failure = job->error;
	int r;

	if (str_eq(owner, "you")) {
		take_back(job);
		return;
	}
	if (str_eq(owner, "me")) {
		job->result = json_pack(
		        "{s:s, s:s, s:s}", "name", c->row.name, "owner", "there", "to", migrate_peer(job));
		migrate_let_go(job);
		return;
	}
	r = ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
	        "whose \"%s\" is stays open: \"%s\" says: %.200s (resolve it again; if no other node has it for sure: ctctl migrate %s --keep)",
	        c->row.name, migrate_peer(job), result ? "nothing that is known here" : failure.text,
	        c->row.name);
	job_finish(job, r);
}

static int run_resolve(struct job *job)
{
	const struct container *c = job->container;
	_cleanup_json_ json_t *peer = handover_peer(c);
	int r;

	if (c->unreadable || c->config.handover == HANDOVER_INCOMING)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        c->unreadable ? "whether \"%s\" was handed over is not known: %s"
		                      : "\"%s\" came from \"%s\": that node can resolve it",
		        c->row.name, c->unreadable ? c->row.broken : json_string_value(peer) ?: "");
	if (c->config.handover == HANDOVER_NONE) {
		job->result = json_pack("{s:s, s:s}", "name", c->row.name, "owner", "here");
		return 1;
	}
	if (!migrate_new(job))
		return -ENOMEM;
	if (json_object_set(job->params, "to", peer) < 0)
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	job_progress(job, -1, "asking the other node");
	r = migrate_ask(job,
	        json_pack("{s:i, s:s, s:s, s:I}", "protocol", 1, "word", "withdraw", "ctid", c->row.ctid,
	                "epoch", (json_int_t)c->row.epoch + 1),
	        false, on_withdrawn);
	if (r >= 0)
		job->cancel = migrate_cancel;
	return r;
}

/* The mark says which way it went. */
static int replay_resolve(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c) {
		disk_recover_migrated(m, row->ctid);
		return 0;
	}
	if (c->config.handover != HANDOVER_NONE)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
		        "ctd ended before it was known whose \"%s\" is", row->object);
	if (str_eq(row->step, STEP_SUSPENDING))
		return transfer_recover(c, err);
	return c->state == CONTAINER_STOPPED && str_eq(row->step, STEP_STOPPING)
	               ? verb_start_quietly(c, NULL, NULL, err)
	               : 0;
}

const struct job_type verb_resolve = {
	.verb = "resolve", .run = run_resolve, .free = migrate_free, .replay = replay_resolve
};
