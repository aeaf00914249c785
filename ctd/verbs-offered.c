/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose a container is that came from another node: commit and withdraw as ct-migration(7) has them.
 *
 * Until the one or the other it has the mark incoming, and does nothing. commit takes the mark away, synced,
 * after what was counted of it elsewhere, and only then it is started or resumed, or let go if it was
 * restored already, which is one with the taking: whether that succeeds or not it is this node's now, so a
 * failure is a warning. withdraw gives it up. Said again, both have the same answer, and change nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/disks.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

/* ---- commit as a job */

static void on_started(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	/* It is this node's now, whether it starts or not. */
	if (result < 0)
		(void)json_object_set_new(
		        job->result, "warning", json_string(error ? error->text : "it did not start"));
	job_finish(job, 0);
}

static int check_word(const struct job *job, struct ct_error *err)
{
	const struct container *c = job->container;
	const uint64_t epoch = (uint64_t)json_integer_value(json_object_get(job->params, "epoch"));

	/* One that does not read says nothing of its mark: that it has none must not be taken from it. */
	if (c->row.broken)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "\"%s\" is broken there: %s; both nodes keep their copy until it is mended (ctctl fsck)",
		        c->row.name, c->row.broken);
	/* Taken, it may have a later one by now. */
	if (c->config.handover == HANDOVER_NONE && c->row.epoch > epoch)
		return 0;
	if (c->row.epoch != epoch || c->config.handover == HANDOVER_RELINQUISHED)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ESTALE,
		        "\"%s\" is here with another epoch (%llu, not %llu)", c->row.name,
		        (unsigned long long)c->row.epoch, (unsigned long long)epoch);
	return 0;
}

static void on_resumed(struct job *job, int result)
{
	on_started(job->container, result, &job->error, job);
}

/* As on_started. */
static int resume(struct job *job)
{
	struct transfer *x = job->data = malloc(sizeof(*x));
	int r;

	if (!x) {
		(void)ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
		on_resumed(job, -ENOMEM);
		return 0;
	}
	transfer_init(x, on_resumed);
	r = transfer_resume(job);
	if (r < 0)
		on_resumed(job, r);
	return 0;
}

static void free_commit(struct job *job)
{
	struct transfer *x = job->data;

	if (x)
		transfer_done(x);
	free(x);
}

/* Taken over: as the other node says it goes on, or stays down. */
static int go_on(struct job *job, bool prepared)
{
	struct container *c = job->container;
	struct ct_error error = { 0 };
	int r;

	if (!json_is_true(json_object_get(job->params, "start"))) {
		if (prepared)
			container_teardown(c, NULL, NULL);
		return 1;
	}
	if (c->config.suspended_slot)
		return resume(job);
	r = container_start(c, on_started, job, &error);
	if (r < 0)
		(void)json_object_set_new(
		        job->result, "warning", json_string(error.text)); /* as in on_started */
	return r == 0 ? 0 : 1;
}

static int run_commit(struct job *job)
{
	struct container *c = job->container;
	const bool prepared = transfer_is_prepared(c);
	const bool goes = prepared && json_is_true(json_object_get(job->params, "start"));
	struct counts totals;
	int r;

	r = check_word(job, &job->error);
	if (r < 0)
		return r;
	job->result = json_object();
	if (c->config.handover == HANDOVER_NONE) { /* said again: the first answer was lost */
		if (json_is_true(json_object_get(job->params, "start")) && c->config.suspended_slot)
			(void)json_object_set_new(job->result, "warning",
			        json_string(
			                "it was not resumed there, or was suspended again (ctctl resume)"));
		return 1;
	}
	/* before the record: said again after a power cut, it is done again */
	if (c->manager->metering) {
		meter_totals_read(c->manager, json_object_get(job->params, "totals"), &totals);
		meter_carry(c, &totals);
	}
	r = allowance_take(c, &job->error);
	if (r >= 0)
		r = goes ? transfer_go(c, &job->error) : handover_end(c, &job->error);
	if (r < 0)
		return r;
	manager_event(job->manager, c, "container.taken", NULL);
	return goes ? 1 : go_on(job, prepared);
}

static int replay_commit(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *params = NULL;

	if (!c || c->config.handover != HANDOVER_NONE)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
		        "ctd ended before \"%s\" was taken over", row->object);
	if (json_parse(row->params, strlen(row->params), &params, NULL) < 0 ||
	        !json_is_true(json_object_get(params, "start")))
		return 0;
	if (c->state == CONTAINER_STOPPED && !c->config.suspended_slot)
		return verb_start_quietly(c, NULL, NULL, err);
	return transfer_recover(c, err); /* of one that runs there may be images still */
}

const struct job_type verb_migrate_commit = {
	.verb = "migrate-commit", .run = run_commit, .free = free_commit, .replay = replay_commit
};

/* ---- withdraw as a job: whose is it? Nobody's, so far: then this node gives it up. */

static void give_up(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		job->error = *error;
	else
		result = verb_forget(c, &job->error);
	if (result < 0) {
		job_finish(job, result);
		return;
	}
	manager_event(job->manager, c, "container.withdrawn", NULL);
	job_finish_gone(job, 0);
}

static int run_withdraw(struct job *job)
{
	struct container *c = job->container;
	const bool taken = c->config.handover == HANDOVER_NONE;
	int r;

	r = check_word(job, &job->error);
	if (r < 0)
		return r;
	job->result = json_pack("{s:s}", "owner", taken ? "me" : "you");
	if (taken)
		return 1;
	if (container_has_init(c) || c->teardown)
		container_teardown(c, give_up, job);
	else
		give_up(c, 0, NULL, job);
	return 0;
}

static int replay_withdraw(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c) {
		disk_recover_migrated(m, row->ctid);
		return 0;
	}
	return ct_error_kind_set(
	        err, CT_ERROR_FAILED, -ECANCELED, "ctd ended before \"%s\" was given up", row->object);
}

const struct job_type verb_migrate_withdraw = {
	.verb = "migrate-withdraw", .run = run_withdraw, .replay = replay_withdraw
};

/* ---- in the API */

static int find_offered(
        struct manager *m, const struct call *call, struct container **ret, struct ct_error *err)
{
	struct container *c = container_by_ctid(m, call_param(call, "ctid"));

	if (!c || !c->row.complete) {
		/* The field makes it a statement that the other node may rely on. */
		(void)ct_error_field(err, "ctid", "there is no such container here");
		err->kind = CT_ERROR_NOT_FOUND;
		return -ENOENT;
	}
	*ret = c;
	return 0;
}

/* What was copied of it is no container: it goes, and that it did says nothing of whose the container is. A
 * word copy may have come late, when it had been taken and moved on already (test/model: MUTANT_STAGED). */
static void drop_copied(struct manager *m, const struct call *call, uint64_t epoch)
{
	struct container *c = container_by_ctid(m, call_param(call, "ctid"));

	if (c && !c->row.complete && c->staging && c->row.epoch == epoch)
		verb_destroy_quietly(c);
}

int api_migration_withdraw(struct manager *m, struct call *call, struct ct_error *err)
{
	const struct json_field fields[] = { { "epoch", JSON_KIND_U64, 0, JSON_NO_HAS, true }, { NULL } };
	struct container *c = NULL;
	uint64_t epoch = 0;
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), fields, &epoch, err);
	if (r >= 0)
		drop_copied(m, call, epoch);
	if (r >= 0)
		r = find_offered(m, call, &c, err);
	if (r < 0)
		return r;
	return verb_submit(
	        m, call, &verb_migrate_withdraw, c, json_pack("{s:I}", "epoch", (json_int_t)epoch), err);
}

struct commit_request {
	uint64_t epoch;
	json_t *totals;
	bool start;
};

static const struct json_field commit_fields[] = {
	{ "epoch", JSON_KIND_U64, offsetof(struct commit_request, epoch), JSON_NO_HAS, true },
	{ "start", JSON_KIND_BOOL, offsetof(struct commit_request, start), JSON_NO_HAS, false },
	{ "totals", JSON_KIND_OBJECT, offsetof(struct commit_request, totals), JSON_NO_HAS, false },
	{ NULL },
};

int api_migration_commit(struct manager *m, struct call *call, struct ct_error *err)
{
	struct commit_request in = { 0 };
	struct container *c = NULL;
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), commit_fields, &in, err);
	if (r < 0)
		return r;
	if (meter_totals_check(in.totals) < 0)
		return ct_error_field(
		        err, "totals", "totals must be numbers that are not negative, of at most 8 classes");
	r = find_offered(m, call, &c, err);
	if (r < 0)
		return r;
	return verb_submit(m, call, &verb_migrate_commit, c,
	        json_pack("{s:I, s:b, s:O*}", "epoch", (json_int_t)in.epoch, "start", in.start, "totals",
	                in.totals),
	        err);
}
