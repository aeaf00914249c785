/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* create, and what undoes it: forgetting a container.
 *
 * The record comes first, marked incomplete, with all its leases in one transaction: two creates of one name
 * or address meet in the database's constraints, and one gets the sentence. Then the disk; then, with
 * "start", the start; at last the mark goes, synced to the disk. A death in between leaves an incomplete
 * record, which recovery forgets; a failure in any step forgets it at once. If the power goes, the record may
 * be lost and the disk not: see disks.c, which is also why forgetting begins with the record.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/checkpoint.h"
#include "ctd/disk-work.h"
#include "ctd/disks.h"
#include "ctd/guest.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/pending.h"
#include "ctd/plan.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/sweeper.h"
#include "ctd/verbs.h"

struct request {
	const char *name, *template, *password;
	json_t *config;
	bool start;
};

static const struct json_field request_fields[] = {
	{ "name", JSON_KIND_STRING, offsetof(struct request, name), JSON_NO_HAS, false },
	{ "template", JSON_KIND_STRING, offsetof(struct request, template), JSON_NO_HAS, true },
	{ "config", JSON_KIND_OBJECT, offsetof(struct request, config), JSON_NO_HAS, false },
	{ "start", JSON_KIND_BOOL, offsetof(struct request, start), JSON_NO_HAS, false },
	{ "password", JSON_KIND_STRING, offsetof(struct request, password), JSON_NO_HAS, false },
	{ NULL },
};

static int new_ctid(char ret[33], struct ct_error *err)
{
	uint8_t random[16];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return ct_error_set(err, -errno, "create", "cannot get random bytes: %s", strerror(errno));
	hex_encode(ret, random, sizeof(random));
	return 0;
}

/* ct-XXXXXX: short enough to type, and the database says if it is taken. */
static int new_name(char **ret, struct ct_error *err)
{
	uint8_t random[3];
	char hex[7];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return ct_error_set(err, -errno, "create", "cannot get random bytes: %s", strerror(errno));
	hex_encode(hex, random, sizeof(random));
	*ret = str_printf("ct-%s", hex);
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "create", "out of memory");
}

static int find_template(struct manager *m, const char *name, struct container_row *row, struct ct_error *err)
{
	struct template_row template = { 0 };
	char shown[80];
	int r;

	r = store_template_get(m->store, name, &template, err);
	if (r == -ENOENT)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT,
		        "there is no template \"%s\" (ctctl template list shows all, ctctl template build makes one)",
		        str_escape_to(shown, sizeof(shown), name, strlen(name)));
	if (r < 0)
		return r;

	memcpy(row->template_digest, template.digest, sizeof(row->template_digest));
	row->template_name = strdup(template.name ?: name);
	template_row_done(&template);
	return row->template_name ? 0 : ct_error_set(err, -ENOMEM, "create", "out of memory");
}

/* What a disk is made as, it stays, whatever the node's default will be. */
static int pin_storage(const struct manager *m, json_t *config)
{
	if (m->conf.storage == DISK_DRIVER_DIR || json_object_get(config, "storage"))
		return 0;
	return json_object_set_new(config, "storage", json_string(disk_driver_name(m->conf.storage))) < 0
	               ? -ENOMEM
	               : 0;
}

/* The configuration as it is stored: checked, with what the first start has to write. */
static int make_config(struct manager *m, const struct request *in, char **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *given = in->config ? json_deep_copy(in->config) : json_object(),
	                      *config = NULL;
	_cleanup_free_ char *hash = NULL;
	struct config parsed;
	int r;

	if (!given)
		return ct_error_set(err, -ENOMEM, "create", "out of memory");
	r = config_check_patch(given, err);
	if (r >= 0)
		r = plan_expand(m, NULL, given, &config, err);
	if (r >= 0 && in->password)
		r = guest_hash_password(in->password, &hash, err);
	if (r >= 0)
		r = pending_add(config, hash, json_array_size(json_object_get(config, "ssh_keys")) > 0, err);
	if (r >= 0)
		r = pin_storage(m, config);
	if (r >= 0)
		r = config_from_json(config, &parsed, err);
	if (r < 0)
		return r;
	r = limits_check(m, &parsed, err);
	if (r >= 0)
		r = limits_check_disk(m, &parsed, err);
	config_done(&parsed);
	if (r < 0)
		return r;

	*ret = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "create", "out of memory");
}

static int make_row(
        struct manager *m, const struct request *in, struct container_row *row, struct ct_error *err)
{
	int r;

	if (in->name) {
		r = config_check_name("name", in->name, err);
		if (r < 0)
			return r;
		row->name = strdup(in->name);
		r = row->name ? 0 : ct_error_set(err, -ENOMEM, "create", "out of memory");
	} else {
		r = new_name(&row->name, err);
	}
	if (r >= 0)
		r = new_ctid(row->ctid, err);
	if (r >= 0)
		r = make_config(m, in, &row->config, err);
	if (r >= 0)
		r = find_template(m, in->template, row, err);
	row->epoch = 1;
	row->created_usec = now_realtime_usec();
	return r;
}

int verb_record(struct manager *m, struct container_row *row, const json_t *addresses, struct container **ret,
        struct ct_error *err)
{
	struct container *c = NULL;
	const bool trial = !ret;
	int r;

	r = store_begin(m->store, false, err);
	if (r < 0)
		return r;
	/* of the same ctid: an earlier offer, which gives way (verbs-receive.c) */
	if (trial && container_by_ctid(m, row->ctid))
		r = store_container_delete(m->store, row->ctid, err);
	if (r >= 0)
		r = store_container_insert(m->store, row, CONF_NUMBERS_MAX, err);
	if (r >= 0)
		r = container_new(m, row, &c, err);
	if (r >= 0)
		r = addresses ? ports_lease_same(c, addresses, err) : ports_lease(c, &c->config, err);
	if (r >= 0)
		r = disks_lease(c, err);
	if (r >= 0 && !trial)
		r = store_commit(m->store, err);
	else
		store_rollback(m->store);
	if (r < 0 || trial) {
		container_free(c);
		return r < 0 ? r : 0;
	}

	container_link(c);
	*ret = c;
	return 0;
}

int verb_forget(struct container *c, struct ct_error *err)
{
	struct manager *m = c->manager;
	struct disk_spec spec;
	int r;

	meter_settle(c);
	container_disk_spec(c, &spec); /* before its lease of a project goes */
	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_container_delete(m->store, c->row.ctid, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r < 0)
		return r;

	meter_forget(c);
	if (c->config.suspended_slot)
		pool_release_slot(&m->pool, c->config.suspended_slot);
	checkpoint_forget(c);
	disks_discard(m, &spec, c->row.name);
	container_unlink(c);
	sweeper_kick(m->sweeper);
	return 0;
}

static void fail(struct job *job, int result)
{
	struct container *c = job->container;
	struct ct_error error = { 0 };

	/* What its start left does not end. When it does, teardown.c has it destroyed. */
	if (c->state != CONTAINER_STOPPED) {
		job_finish(job, result);
		return;
	}
	if (verb_forget(c, &error) < 0) {
		log_error("cannot undo create of \"%s\": %s", c->row.name, error.text);
		container_set_broken(c, "its create could not be undone");
		job_finish(job, result);
		return;
	}
	job_finish_gone(job, result);
}

int verb_complete(struct container *c, struct ct_error *err)
{
	struct container_row row = c->row;
	struct store *store = c->manager->store;
	int r;

	row.complete = true;
	r = store_begin(store, true, err);
	if (r < 0)
		return r;
	r = store_container_update(store, &row, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	r = store_commit(store, err);
	if (r < 0)
		return r;
	c->row.complete = true;
	(void)disk_settle(c->manager->disks, row.ctid); /* else at ctd's next start */
	return 0;
}

static int complete(struct job *job)
{
	int r = verb_complete(job->container, &job->error);

	if (r < 0)
		return r;
	meter_settle(job->container); /* its account: one that has none is older than the ledger */
	manager_event(job->manager, job->container, "container.created", NULL);
	return 0;
}

static void on_stopped_again(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	fail(userdata, ((struct job *)userdata)->error.code);
}

static void on_started(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0) {
		job->error = *error;
		fail(job, result);
		return;
	}
	result = complete(job);
	if (result >= 0)
		job_finish(job, 0);
	else if (container_stop(c, STOP_KILL, 0, on_stopped_again, job, NULL) != 0)
		fail(job, result);
}

/* With its disk. 1: done; 0: its start is under way; or it has failed and is forgotten, which ends the job.
 */
static int go_on(struct job *job)
{
	int r;

	if (json_is_true(json_object_get(job->params, "start"))) {
		r = container_start(job->container, on_started, job, &job->error);
		if (r >= 0)
			return 0;
	} else {
		r = complete(job);
	}
	if (r < 0) {
		fail(job, r);
		return 0;
	}
	return 1;
}

static void on_disk(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0) {
		job->error = *error;
		fail(job, result);
	} else if (go_on(job) == 1) {
		job_finish(job, 0);
	}
}

static int run_create(struct job *job)
{
	int r = disk_work_create(job->container, on_disk, job, &job->error);

	if (r < 0) {
		fail(job, r);
		return 0;
	}
	return r == 1 ? go_on(job) : 0;
}

static int replay_create(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (c && c->row.complete)
		return 0;
	/* Recovery has forgotten it. */
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being created; it was undone", row->object);
}

const struct job_type verb_create = { .verb = "create", .run = run_create, .replay = replay_create };

int api_container_create(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container_row row = { 0 };
	struct container *c = NULL;
	struct request in = { 0 };
	struct job_request job;
	int r;

	r = json_read(call_body(call), request_fields, &in, err);
	if (r >= 0)
		r = make_row(m, &in, &row, err);
	if (r >= 0) {
		call_set_object(call, row.name);
		r = verb_record(m, &row, NULL, &c, err);
	}
	container_row_done(&row);
	if (r < 0)
		return r;

	job = (struct job_request){
		.type = &verb_create,
		.container = c,
		.object = c->row.name,
		.params = json_pack("{s:b}", "start", in.start),
		.call = call,
		.success_status = 201,
	};
	r = job_submit(m, &job, err);
	if (r < 0 && verb_forget(c, NULL) == 0)
		container_free(c);
	return r;
}
