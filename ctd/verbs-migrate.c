/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate: a container's move to another node, this side of it.
 *
 * ct-migration(7) has the protocol. Three words are said to the other node, each on a connection of its own
 * by a worker, so each can be repeated: check (nothing changes on either side), offer (the disk follows; it
 * is then there whole, marked incoming) and commit (it is that node's). Between offer and commit this node's
 * mark "relinquished" goes to the disk. Up to there every failure leads back: the container stays and runs as
 * before. From there on it leads forward only: the job, its replay after a death of ctd, or the same command
 * given again say commit until it is answered; then the copy here is forgotten. The ways back are an answer
 * of the other node to the first commit that it has no such container, and one to the word withdraw (resolve)
 * that it has given up its copy (verbs-migrate-resolve.c). To a later commit the first says nothing: it may
 * have taken it, and have destroyed it or given it to a third node since.
 *
 * One that runs is suspended for the move (transfer.h), unless it is to be stopped: then its images go with
 * the disk, and it is resumed where it is afterwards, there or here.
 *
 * Each attempt has an epoch of its own, so that an offer of an earlier one which comes late is known as such.
 * test/model/handover.pml is a model of all that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/api.h"
#include "ctd/checkpoint.h"
#include "ctd/disks.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/suspend.h"
#include "ctd/verbs-migrate.h"
#include "ctd/worker.h"

const char *migrate_peer(const struct job *job)
{
	return json_string_value(json_object_get(job->params, "to"));
}

static bool was_running(const struct job *job)
{
	return json_is_true(json_object_get(job->params, "was_running"));
}

struct migrate *migrate_new(struct job *job)
{
	struct migrate *x = job->data = calloc(1, sizeof(*x));

	if (!x) {
		(void)ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
		return NULL;
	}
	transfer_init(&x->transfer, job_finish);
	x->root_fd = -1;
	x->since_usec = now_monotonic_usec();
	return x;
}

/* ---- back: as it was before */

static void on_back(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		log_error("\"%s\" could not be started again: %s", c->row.name, error->text);
	migrate_fail(job);
}

static void on_resumed_here(struct job *job, int result)
{
	const struct migrate *x = job->data;
	const char *name = job->container->row.name;
	const struct ct_error error = job->error;

	job->error = x->failure;
	if (result < 0)
		(void)ct_error_kind_set(&job->error, x->failure.kind, x->failure.code,
		        "%.180s; and \"%s\" is suspended here (ctctl resume %s): %.150s", x->failure.text,
		        name, name, error.text);
	migrate_fail(job);
}

/* job->error says why. */
static void go_back(struct job *job)
{
	struct container *c = job->container;
	struct migrate *x = job->data;
	struct ct_error error = { 0 };
	int r = 1;

	if (was_running(job) && c->config.suspended_slot) {
		x->failure = job->error;
		job->error = (struct ct_error){ 0 };
		x->transfer.finished = on_resumed_here;
		r = transfer_resume(job);
		if (r < 0)
			on_resumed_here(job, r);
		return;
	}
	if (was_running(job) && c->state == CONTAINER_STOPPED)
		r = container_start(c, on_back, job, &error);
	if (r == 0)
		return;
	if (r < 0)
		log_error("\"%s\" could not be started again: %s", c->row.name, error.text);
	migrate_fail(job);
}

/* ---- words to the other node */

void migrate_worker_progress(int percent, const char *text, void *userdata)
{
	job_progress(userdata, percent, "%s", text);
}

void migrate_worker_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct migrate *x = job->data;

	x->worker = NULL; /* it frees itself */
	if (TAKE(x->freezing, false))
		return; /* what it had is lost: all is sent again */
	job->cancel = NULL;
	if (!result && !x->given_up)
		job->error = *error;
	x->answered(job, result);
}

void migrate_cancel(struct job *job)
{
	const struct migrate *x = job->data;

	if (x->worker)
		worker_cancel(x->worker);
}

/* A node is reached by ssh, another daemon of this host by its socket. One that does not answer any more is
 * given up after 40 s: the container may stand still for just that answer. */
json_t *migrate_command(const struct job *job)
{
	const struct manager *m = job->manager;
	const char *peer = migrate_peer(job);

	if (peer[0] == '/')
		return json_pack("[s, s, s, s]", m->conf.ctctl, "--socket", peer, "migrate-receive");
	return json_pack("[s, s, s, s, s, s, s, s, s, s, s, s, s]", "ssh", "-T", "-o", "BatchMode=yes", "-o",
	        "ConnectTimeout=20", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "--",
	        peer, "ctctl migrate-receive");
}

int migrate_ask_with(struct job *job, json_t *request, json_t *more,
        void (*answered)(struct job *job, const json_t *result))
{
	static const struct worker_ops ops = { .progress = migrate_worker_progress,
		.done = migrate_worker_done };
	struct manager *m = job->manager;
	struct migrate *x = job->data;
	json_t *params = json_pack("{s:o, s:o, s:b}", "command", migrate_command(job), "request", request,
	        "verify", json_is_true(json_object_get(job->params, "verify")));
	const bool whole = params && more && json_object_update(params, more) == 0;

	json_decref(more);
	if (!whole) {
		json_decref(params);
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	}
	x->answered = answered;
	return worker_start(
	        m->event, m->conf.worker, "migrate-send", params, &ops, job, &x->worker, &job->error);
}

int migrate_ask(
        struct job *job, json_t *request, bool offer, void (*answered)(struct job *job, const json_t *result))
{
	const struct container *c = job->container;

	return migrate_ask_with(job, request,
	        json_pack("{s:o*, s:o*}", "disk", offer ? container_disk_params(c) : NULL, "images",
	                offer && c->config.suspended_slot ? suspend_images_path(c) : NULL),
	        answered);
}

/* It runs, and is to go on there without having been stopped. */
bool migrate_is_live(const struct job *job)
{
	return container_has_init(job->container) && !json_is_true(json_object_get(job->params, "offline"));
}

json_t *migrate_offer(struct job *job, const char *word)
{
	const struct container *c = job->container;
	_cleanup_json_ json_t *config = NULL, *suspended = NULL;
	struct disk_usage usage = { 0 };
	struct disk_spec spec;
	struct utsname uts;

	(void)uname(&uts); /* cannot fail with a valid pointer */
	container_disk_spec(c, &spec);
	(void)disk_usage(c->manager->disks, &spec, &usage, NULL); /* zero: not known */
	if (json_parse(c->row.config, strlen(c->row.config), &config, NULL) < 0 ||
	        allowance_offer(c, config) < 0)
		return NULL;
	if ((c->config.suspended_slot || migrate_is_live(job)) &&
	        suspend_offer(c, &suspended, &job->error) < 0)
		return NULL;
	(void)json_object_del(config, CONFIG_SUSPENDED); /* it need not be there */
	return json_pack("{s:i, s:s, s:b, s:{s:b, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:O, s:O*, s:o*}}",
	        "protocol", 1, "word", word, "resume",
	        str_eq(word, "offer") && was_running(job) && c->config.suspended_slot, "offer", "runs",
	        container_has_init(c) || was_running(job), "ctid", c->row.ctid, "name", c->row.name,
	        "template", c->row.template_digest, "template_name", c->row.template_name, "epoch",
	        (json_int_t)c->row.epoch + 1, "created", (json_int_t)c->row.created_usec, "bytes_used",
	        (json_int_t)usage.bytes_used, "from", uts.nodename, "config", config, "suspended", suspended,
	        "template_bytes", migrate_template_bytes(c));
}

/* The word check or offer. */
static int ask_offer(struct job *job, const char *word, bool offer,
        void (*answered)(struct job *job, const json_t *result))
{
	json_t *request = migrate_offer(job, word);

	if (!request && job->error.code == 0)
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	return request ? migrate_ask(job, request, offer, answered) : job->error.code;
}

void migrate_let_go(struct job *job)
{
	struct container *c = job->container;
	int r = verb_forget(c, &job->error);

	if (r < 0) {
		job_finish(job, r); /* to be repeated */
		return;
	}
	manager_event(job->manager, c, "container.migrated", json_pack("{s:s}", "to", migrate_peer(job)));
	job_finish_gone(job, 0);
}

/* ---- commit */

/* Of one that was suspended for the move, else NULL. */
static json_t *frozen_times(const struct migrate *x)
{
	const uint64_t now = now_monotonic_usec(), there = x->sent_usec - x->transfer.saved_usec;
	const uint64_t restore = x->restore_usec < there ? x->restore_usec : there;

	if (!x->transfer.frozen_usec || !x->sent_usec)
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "total",
	        (json_int_t)(now - x->transfer.frozen_usec) / 1000, "save",
	        (json_int_t)(x->transfer.saved_usec - x->transfer.frozen_usec) / 1000, "send",
	        (json_int_t)(there - restore) / 1000, "restore", (json_int_t)restore / 1000, "resume",
	        (json_int_t)(now - x->sent_usec) / 1000);
}

static void on_committed(struct job *job, const json_t *result)
{
	struct container *c = job->container;
	const json_t *warning = json_object_get(result, "warning");
	struct ct_error failure = job->error;
	const struct migrate *x = job->data;
	const bool absent = !result && failure.kind == CT_ERROR_NOT_FOUND && str_eq(failure.field, "ctid");
	int r;

	if (absent && x->repeated) {
		r = ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "\"%s\" was handed over to \"%s\", which does not have it (any more); if no other node has it: ctctl migrate %s --keep",
		        c->row.name, migrate_peer(job), c->row.name);
		job_finish(job, r);
		return;
	}
	if (absent) {
		if (handover_end(c, &failure) < 0)
			job->error = failure;
		go_back(job);
		return;
	}
	if (!result) {
		(void)ct_error_set(&job->error, -EIO, "migrate",
		        "\"%s\" was handed over to \"%s\", which has not confirmed it: %.200s (repeat: ctctl migrate %s %s)",
		        c->row.name, migrate_peer(job), failure.text, c->row.name, migrate_peer(job));
		job_finish(job, -EIO);
		return;
	}

	job->result = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:O*, s:O*, s:O*, s:b, s:o*, s:o*, s:O*}",
	        "ctid", c->row.ctid, "name", c->row.name, "to", migrate_peer(job), "bytes",
	        (json_int_t)x->bytes, "last_bytes", (json_int_t)x->last_bytes, "total_msec",
	        (json_int_t)(now_monotonic_usec() - x->since_usec) / 1000, "rounds", x->rounds,
	        "memory_rounds", x->memory_rounds, "reread", x->reread, "suspended",
	        c->config.suspended_slot && (!was_running(job) || warning), "frozen_msec",
	        *x->fell_back ? NULL : frozen_times(x), "fallback",
	        *x->fell_back ? json_string(x->fell_back) : NULL, "warning", warning);
	migrate_let_go(job);
}

static void on_ahead(const json_t *question, void *userdata)
{
	struct job *job = userdata;

	((struct migrate *)job->data)->ahead_ready = true;
}

static void on_ahead_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct migrate *x = job->data;

	if (x->ahead)
		x->ahead = NULL; /* it has ended before it was wanted */
	else
		migrate_worker_done(result, error, job);
}

/* While it stands still each word costs the time to reach the other node: for commit that passes before, or
 * while the offer is on its way. Without it goes as well. */
void migrate_reach_ahead(struct job *job)
{
	static const struct worker_ops ops = {
		.progress = migrate_worker_progress, .asked = on_ahead, .done = on_ahead_done
	};
	struct manager *m = job->manager;
	struct migrate *x = job->data;
	struct ct_error ignored = { 0 };

	if (x->ahead)
		return;
	x->ahead_ready = false;
	(void)worker_start(m->event, m->conf.worker, "migrate-send",
	        json_pack("{s:o, s:b}", "command", migrate_command(job), "ahead", 1), &ops, job, &x->ahead,
	        &ignored);
}

/* The word commit, by who waits for it, if anybody does; request is consumed. */
static int say_commit(struct job *job, json_t *request)
{
	struct migrate *x = job->data;

	if (x->ahead && x->ahead_ready && request &&
	        worker_answer_with(x->ahead, json_pack("{s:O}", "request", request)) >= 0) {
		json_decref(request);
		x->worker = TAKE_PTR(x->ahead);
		x->answered = on_committed;
		return 0;
	}
	worker_free(TAKE_PTR(x->ahead));
	return migrate_ask(job, request, false, on_committed);
}

static int commit(struct job *job)
{
	struct container *c = job->container;
	const struct meter *meter;
	int r;

	job_progress(job, -1, "handing over");
	meter_settle(c);
	meter = c->meter;
	r = say_commit(job,
	        json_pack("{s:i, s:s, s:s, s:I, s:b, s:o*}", "protocol", 1, "word", "commit", "ctid",
	                c->row.ctid, "epoch", (json_int_t)c->row.epoch + 1, "start", was_running(job),
	                "totals", meter ? meter_totals(c->manager->metering, &meter->account.total) : NULL));
	if (r >= 0)
		job->cancel = migrate_cancel; /* then it is as if the answer were lost */
	return r;
}

/* ---- offer */

static void on_offered(struct job *job, const json_t *result)
{
	struct migrate *x = job->data;
	const json_t *restore;
	int r;

	if (!result) {
		worker_free(TAKE_PTR(x->ahead));
		go_back(job);
		return;
	}
	x->bytes = (uint64_t)json_integer_value(json_object_get(result, "bytes"));
	x->last_bytes = (uint64_t)json_integer_value(json_object_get(result, "last_bytes"));
	x->sent_usec = now_monotonic_usec();
	if (json_is_integer(json_object_get(result, "reread")))
		x->reread = json_incref(json_object_get(result, "reread"));
	restore = json_object_get(result, "restore_msec");
	if (json_integer_value(restore) > 0 && json_integer_value(restore) < INT32_MAX)
		x->restore_usec = (uint64_t)json_integer_value(restore) * 1000;
	r = handover_set(
	        job->container, HANDOVER_RELINQUISHED, migrate_peer(job), was_running(job), &job->error);
	if (r < 0) {
		go_back(job);
		return;
	}
	r = commit(job);
	if (r < 0)
		job_finish(job, r);
}

static void offer(struct job *job)
{
	int r = migrate_copy_offer(job, on_offered);

	if (r == 1)
		r = ask_offer(job, "offer", true, on_offered);
	if (r < 0) {
		go_back(job);
		return;
	}
	job->cancel = migrate_cancel;
	migrate_reach_ahead(job);
}

static void on_stopped(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0) {
		job->error = *error;
		migrate_fail(job);
	} else {
		offer(job);
	}
}

/* It runs, and may be stopped instead. */
static bool may_fall_back(const struct job *job)
{
	return migrate_is_live(job) && json_is_true(json_object_get(job->params, "fallback")) &&
	       !json_is_true(json_object_get(job->params, "dry_run"));
}

static void fall_back(struct job *job, const char *why)
{
	struct migrate *x = job->data;

	(void)snprintf(x->fell_back, sizeof(x->fell_back), "%.299s", why); /* fits */
	job->error = (struct ct_error){ 0 };
	(void)json_object_set_new(job->params, "offline", json_true()); /* else it is asked again as live */
	job_progress(job, -1, "cannot go as it runs: %s", x->fell_back);
}

/* Of one that runs on. */
static int cannot_go_live(struct job *job)
{
	char reason[sizeof(job->error.text)];

	(void)snprintf(reason, sizeof(reason), "%s", job->error.text); /* fits */
	return ct_error_kind_set(&job->error, CT_ERROR_REFUSED, -EOPNOTSUPP,
	        "%.350s (with --offline it is stopped, moved and started there)", reason);
}

/* Just before it is stopped: it may have ended since it was asked for. For a replay it is in the record. */
static int note_whether_it_runs(struct job *job, bool live)
{
	const bool runs = container_has_init(job->container);
	const char *step = live ? STEP_SUSPENDING : runs ? STEP_STOPPING : "";

	if (json_object_set_new(job->params, "was_running", json_boolean(runs)) < 0)
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	return store_job_step(job->manager->store, job->row.id, step, &job->error);
}

static void set_out(struct job *job, bool live);

static void stop_instead(struct job *job)
{
	int r;

	fall_back(job, job->error.text);
	r = note_whether_it_runs(job, false);
	if (r < 0)
		migrate_fail(job);
	else
		set_out(job, false);
}

static void on_suspended(struct job *job, int result)
{
	const struct container *c = job->container;

	if (result >= 0) {
		offer(job);
		return;
	}
	if (((struct migrate *)job->data)->transfer.given_up) {
		migrate_fail(job);
		return;
	}
	if (c->config.suspended_slot)
		(void)ct_error_prefix(&job->error,
		        "\"%s\" has not moved, and is suspended here (ctctl resume)", c->row.name);
	else if (result != -ECANCELED && may_fall_back(job)) {
		stop_instead(job);
		return;
	} else
		(void)cannot_go_live(job);
	migrate_fail(job);
}

static uint64_t stop_timeout_usec(const struct container *c)
{
	const uint64_t sec =
	        c->config.has_stop_timeout ? c->config.stop_timeout_sec : c->manager->conf.stop_timeout_sec;

	return sec * 1000000;
}

/* How its processes go, or that they end. */
static void set_out(struct job *job, bool live)
{
	struct container *c = job->container;
	struct migrate *x = job->data;
	int r;

	if (live) {
		job_progress(job, -1, "saving memory and state");
		x->transfer.finished = on_suspended;
		x->transfer.rounds = true;
		migrate_copy_memory(job);
		r = transfer_suspend(job);
		if (r < 0)
			on_suspended(job, r);
		return;
	}
	migrate_copy_waits(job);
	job_progress(job, -1, "stopping");
	r = container_stop(c, STOP_CLEAN, stop_timeout_usec(c), on_stopped, job, &job->error);
	if (r == 1)
		on_stopped(c, 0, NULL, job);
	else if (r < 0)
		migrate_fail(job);
}

/* ---- check */

static const char *first_failure(const json_t *result)
{
	const json_t *check;
	size_t i;

	json_array_foreach(json_object_get(result, "checks"), i, check)
	{
		if (!json_is_true(json_object_get(check, "ok")))
			return json_string_value(json_object_get(check, "text")) ?: "a check fails";
	}
	return NULL;
}

static int begin_epoch(struct container *c, struct ct_error *err)
{
	int r;

	c->row.epoch++;
	r = container_update(c, NULL, NULL, true, err);
	if (r < 0)
		c->row.epoch--;
	return r;
}

static void go_out(struct job *job)
{
	const bool live = migrate_is_live(job);

	if (note_whether_it_runs(job, live) < 0)
		migrate_fail(job);
	else
		set_out(job, live);
}

/* Of one that is to go without being stopped, what is in the way here. */
static void add_own_check(struct job *job)
{
	const struct migrate *x = job->data;

	if (migrate_is_live(job) || *x->fell_back)
		(void)json_array_insert_new(json_object_get(job->result, "checks"), 0,
		        json_pack("{s:s, s:b, s:s}", "name", "to be suspended here", "ok", !*x->fell_back,
		                "text", x->fell_back)); /* else one too few is shown */
}

static void on_checked(struct job *job, const json_t *result);

/* It is there: what else is asked for could not be looked at without it. */
static void on_template(struct job *job, const json_t *result)
{
	int r = result ? ask_offer(job, "check", false, on_checked) : job->error.code;

	if (r < 0)
		job_finish(job, r);
	else
		job->cancel = migrate_cancel;
}

static void on_checked(struct job *job, const json_t *result)
{
	struct container *c = job->container;
	const char *failure = first_failure(result);
	int r;

	if (!result) {
		job_finish(job, job->error.code);
		return;
	}
	if (json_is_true(json_object_get(job->params, "dry_run"))) {
		job->result = json_deep_copy(result);
		add_own_check(job);
		job_finish(job, 0);
		return;
	}
	if (failure && may_fall_back(job)) {
		fall_back(job, failure);
		r = ask_offer(job, "check", false, on_checked);
		if (r < 0)
			job_finish(job, r);
		else
			job->cancel = migrate_cancel;
		return;
	}
	if (failure) {
		(void)ct_error_kind_set(&job->error, CT_ERROR_REFUSED, -EPERM,
		        "\"%s\" cannot move to \"%s\": %s", c->row.name, migrate_peer(job), failure);
		job_finish(job, -EPERM);
		return;
	}
	if (migrate_template_is_wanted(result)) {
		r = migrate_send_template(job, on_template);
		if (r < 0)
			job_finish(job, r);
		return;
	}
	r = begin_epoch(c, &job->error);
	if (r < 0) {
		job_finish(job, r);
		return;
	}
	if (c->state != CONTAINER_RUNNING || migrate_copy(job, go_out) < 0)
		go_out(job);
}

static int finish_handover(struct job *job)
{
	_cleanup_json_ json_t *peer = handover_peer(job->container);
	struct migrate *x = job->data;

	x->repeated = true;
	if (json_is_true(json_object_get(job->params, "dry_run")) ||
	        !str_eq(json_string_value(peer), migrate_peer(job)))
		return handover_check(job->container, "migrate", &job->error);
	(void)json_object_set_new(
	        job->params, "was_running", json_boolean(handover_ran(job->container))); /* else: not */
	return commit(job);
}

static int run_migrate(struct job *job)
{
	const struct container *c = job->container;
	int r;

	if (!migrate_new(job))
		return -ENOMEM;
	if (c->config.handover == HANDOVER_RELINQUISHED)
		return finish_handover(job);
	r = handover_check_owner(c, "migrate", &job->error);
	if (r < 0)
		return r;
	r = checkpoint_check(c, "migrate", &job->error);
	if (r < 0)
		return r;
	if (migrate_is_live(job) && transfer_may_suspend(c, &job->error) < 0) {
		/* a dry run asks the rest, as if it were to be stopped */
		if (!may_fall_back(job) && !json_is_true(json_object_get(job->params, "dry_run")))
			return cannot_go_live(job);
		fall_back(job, job->error.text);
	}
	if (c->row.broken)
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "\"%s\" is broken: %s (ctctl fsck --repair)", c->row.name, c->row.broken);

	job_progress(job, -1, "asking the other node");
	r = ask_offer(job, "check", false, on_checked);
	if (r >= 0)
		job->cancel = migrate_cancel;
	return r;
}

void migrate_free(struct job *job)
{
	struct migrate *x = job->data;

	if (x) {
		transfer_done(&x->transfer);
		worker_free(x->worker);
		worker_free(x->ahead);
		(void)fd_close(x->root_fd);
		json_decref(x->rounds);
		json_decref(x->memory_rounds);
		json_decref(x->reread);
	}
	free(x);
}

/* Relinquished: forward. Else it was stopped for the move, perhaps, and the step says whether it ran. */
static int replay_migrate(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	struct job_request again = { .type = &verb_migrate, .container = c, .object = row->object };
	_cleanup_json_ json_t *params = NULL;
	struct ct_error error = { 0 };
	int r;

	if (!c) { /* it is there, and its record here is gone: its disk, perhaps, is not */
		disk_recover_migrated(m, row->ctid);
		return 0;
	}
	r = json_parse(row->params, strlen(row->params), &params, err);
	if (r < 0)
		return r;
	if (c->config.handover == HANDOVER_RELINQUISHED) {
		again.params = json_incref(params);
		return job_submit(m, &again, err);
	}
	if (str_eq(row->step, STEP_SUSPENDING) && transfer_recover(c, &error) < 0)
		log_error("\"%s\" could not be resumed: %s", c->row.name, error.text);
	if (c->state == CONTAINER_STOPPED && str_eq(row->step, STEP_STOPPING) &&
	        verb_start_quietly(c, NULL, NULL, &error) < 0)
		log_error("\"%s\" could not be started again: %s", c->row.name, error.text);
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being moved; it stays here", row->object);
}

const struct job_type verb_migrate = {
	.verb = "migrate", .run = run_migrate, .free = migrate_free, .replay = replay_migrate
};
