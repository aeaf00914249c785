/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container that comes from another node: check and offer as ct-migration(7) has them.
 *
 * An offer is a create whose disk is filled with what was sent: the record is incomplete until the disk is
 * whole, verified and synced, and a death in between leaves nothing. Complete, it has the mark incoming,
 * which commit takes away (verbs-offered.c). What an offer says is believed only of what the other node owns:
 * its id, name, epoch and configuration, which goes through the same checks as one that people give;
 * template, room and addresses are this node's to judge.
 *
 * With one that is suspended its images come along. They are put beside the disk, made to be of an id range
 * that is leased here, and get the mark that resume goes by before the record is complete. One that is to run
 * here at once is restored as well, and held frozen until commit: what cannot be restored is found out while
 * the other node still has it. It is held for a minute; then it is just suspended, and commit resumes it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/api.h"
#include "ctd/criu-host.h"
#include "ctd/criu-rounds.h"
#include "ctd/disk-work.h"
#include "ctd/disks.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/pool.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/staging.h"
#include "ctd/suspend.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

#define EPOCH_MAX (1ULL << 53)
#define ROUND_MAX 1000

/* Its processes, if it is suspended. */
struct offered_images {
	const char *digest;
	uint64_t bytes;
	json_t *host, *addresses;
};

struct offer {
	const char *ctid, *name, *template, *template_name, *from;
	uint64_t epoch, created, bytes_used, template_bytes;
	bool has_template_bytes, runs;
	json_t *config;
	json_t *suspended; /* NULL: it is not */
	struct offered_images images;
};

#define STRING(name, type, member)                                                                           \
	{                                                                                                    \
		name, JSON_KIND_STRING, offsetof(type, member), JSON_NO_HAS, true                            \
	}
#define NUMBER(name, type, member)                                                                           \
	{                                                                                                    \
		name, JSON_KIND_U64, offsetof(type, member), JSON_NO_HAS, true                               \
	}

static const struct json_field offer_fields[] = {
	STRING("ctid", struct offer, ctid),
	STRING("name", struct offer, name),
	STRING("template", struct offer, template),
	STRING("template_name", struct offer, template_name),
	STRING("from", struct offer, from),
	NUMBER("epoch", struct offer, epoch),
	NUMBER("created", struct offer, created),
	NUMBER("bytes_used", struct offer, bytes_used),
	{ "template_bytes", JSON_KIND_U64, offsetof(struct offer, template_bytes),
	        offsetof(struct offer, has_template_bytes), false },
	{ "runs", JSON_KIND_BOOL, offsetof(struct offer, runs), JSON_NO_HAS, false },
	{ "config", JSON_KIND_OBJECT, offsetof(struct offer, config), JSON_NO_HAS, true },
	{ "suspended", JSON_KIND_OBJECT, offsetof(struct offer, suspended), JSON_NO_HAS, false },
	{ NULL },
};

static const struct json_field images_fields[] = {
	STRING("digest", struct offered_images, digest),
	NUMBER("bytes", struct offered_images, bytes),
	{ "host", JSON_KIND_OBJECT, offsetof(struct offered_images, host), JSON_NO_HAS, true },
	{ "addresses", JSON_KIND_ARRAY, offsetof(struct offered_images, addresses), JSON_NO_HAS, true },
	{ NULL },
};

static bool is_hex(const char *s, size_t len)
{
	return strlen(s) == len && strspn(s, "0123456789abcdef") == len;
}

static int read_offer(const json_t *object, struct offer *ret, struct ct_error *err)
{
	int r = json_read(object, offer_fields, ret, err);

	if (r < 0)
		return r;
	if (!is_hex(ret->ctid, 32))
		return ct_error_field(err, "ctid", "ctid must be 32 hexadecimal digits");
	if (!is_hex(ret->template, 64))
		return ct_error_field(err, "template", "template must be 64 hexadecimal digits");
	if (ret->epoch < 2 || ret->epoch > EPOCH_MAX)
		return ct_error_field(err, "epoch", "epoch must be from 2 to 2^53");
	if (!str_is_printable(ret->from) || strlen(ret->from) > 255 || !str_is_printable(ret->template_name))
		return ct_error_field(err, "from", "names must be printable");
	if (json_object_get(ret->config, CONFIG_HANDOVER) || json_object_get(ret->config, CONFIG_SUSPENDED) ||
	        json_object_get(ret->config, CONFIG_CHECKPOINT))
		return ct_error_field(err, "config", "the container is being handed over already");
	r = ret->suspended ? json_read(ret->suspended, images_fields, &ret->images, err) : 0;
	if (r < 0)
		return r;
	if (ret->suspended && (!is_hex(ret->images.digest, 64) || ret->images.bytes > EPOCH_MAX))
		return ct_error_field(
		        err, "digest", "digest must be 64 hexadecimal digits, and bytes at most 2^53");
	return config_check_name("name", ret->name, err);
}

static int make_row(const struct offer *offer, struct container_row *row, struct ct_error *err)
{
	_cleanup_json_ json_t *config = json_deep_copy(offer->config);

	if (!config || handover_add(config, HANDOVER_INCOMING, offer->from, false) < 0)
		return ct_error_set(err, -ENOMEM, "migrate", "out of memory");
	memcpy(row->ctid, offer->ctid, sizeof(row->ctid));
	memcpy(row->template_digest, offer->template, sizeof(row->template_digest));
	row->name = strdup(offer->name);
	row->template_name = strdup(offer->template_name);
	row->config = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	row->epoch = offer->epoch;
	row->created_usec = offer->created;
	return row->name && row->template_name && row->config
	               ? 0
	               : ct_error_set(err, -ENOMEM, "migrate", "out of memory");
}

/* ---- checks */

/* What is missing is taken if it is sent. */
enum { CHECK_SEND = 1 };

/* An import may take half of what is free (worker-import.c). */
static int check_template_room(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	struct disk_probe probe = { 0 };

	disk_probe_limits(m->disks, &probe);
	if (probe.bytes_free / 2 < offer->template_bytes)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "the template \"%.64s\" is missing and holds %llu MiB, and the store has %llu MiB free, of which it may take half",
		        offer->template_name, (unsigned long long)(offer->template_bytes >> 20) + 1,
		        (unsigned long long)(probe.bytes_free >> 20));
	return CHECK_SEND;
}

static int check_template(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	struct template_row row = { 0 };
	int r = store_template_get(m->store, offer->template, &row, err);

	template_row_done(&row);
	if (r != -ENOENT)
		return r;
	if (!offer->has_template_bytes)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOENT,
		        "the template \"%.64s\" with the digest %.12s is missing (ctctl template export and import take it there)",
		        offer->template_name, offer->template);
	return check_template_room(m, offer, err);
}

static int check_config(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	struct config config;
	int r = config_from_json(offer->config, &config, err);

	if (r < 0)
		return r;
	r = limits_check(m, &config, err);
	if (r >= 0)
		r = limits_check_disk(m, &config, err);
	/* it is to run here at once; an earlier offer of it, which is held, gives way */
	if (r >= 0 && offer->runs)
		r = node_admit(m, container_by_ctid(m, offer->ctid), &config.limits, err);
	config_done(&config);
	return r;
}

static int check_room(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	struct disk_probe probe = { 0 };

	disk_probe_limits(m->disks, &probe);
	if (probe.bytes_free / 20 * 19 < offer->bytes_used ||
	        probe.bytes_free / 20 * 19 - offer->bytes_used < offer->images.bytes)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "its disk%s holds %llu MiB, and the store has %llu MiB free",
		        offer->suspended ? " with its memory" : "",
		        (unsigned long long)((offer->bytes_used + offer->images.bytes) >> 20),
		        (unsigned long long)(probe.bytes_free >> 20));
	return 0;
}

/* An earlier offer that never was committed gives way. What is held of it has gone by the time that another
 * comes; only then (now) that is a reason against it. */
static int check_absent(
        struct manager *m, const struct offer *offer, bool now, struct container **ret, struct ct_error *err)
{
	struct container *c = container_by_ctid(m, offer->ctid);

	if (c && (c->active || c->config.handover != HANDOVER_INCOMING))
		return ct_error_kind_set(
		        err, CT_ERROR_STATE, -EEXIST, "\"%s\" is on that node already", c->row.name);
	if (c && offer->epoch < c->row.epoch)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ESTALE,
		        "a later offer of \"%s\" has come already", c->row.name);
	if (c && container_has_init(c) && !c->teardown)
		container_teardown(c, NULL, NULL);
	if (now && c && (container_has_init(c) || c->teardown))
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "an earlier offer of \"%s\" is being taken down there (try again in a moment)",
		        c->row.name);
	*ret = c;
	return 0;
}

static int check_record(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	struct container_row row = { 0 };
	struct container *earlier = NULL;
	int r;

	r = check_absent(m, offer, false, &earlier, err); /* which a trial takes away first */
	if (r >= 0) {
		r = make_row(offer, &row, err);
		if (r >= 0)
			r = verb_record(m, &row, offer->images.addresses, NULL, err);
		container_row_done(&row);
	}
	return r;
}

/* Whether they can be resumed here. */
static int check_processes(struct manager *m, const struct offer *offer, struct ct_error *err)
{
	_cleanup_json_ json_t *here = NULL;
	int r = suspend_host_check(err);

	if (r >= 0)
		r = criu_host_describe(&here, err);
	return r < 0 ? r : criu_host_fits(offer->images.host, here, err);
}

static const struct {
	const char *name;
	int (*check)(struct manager *m, const struct offer *offer, struct ct_error *err);
} checks[] = {
	{ "template", check_template },
	{ "configuration and limits", check_config },
	{ "name and addresses", check_record },
	{ "room", check_room },
	{ "processes", check_processes },
};

static json_t *run_checks(struct manager *m, const struct offer *offer, struct ct_error *ret_first)
{
	json_t *list = json_array();
	bool send = false;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct ct_error error = { 0 };
		/* without the template there is nothing that a record could be made of */
		bool moot = ((ret_first->code < 0 || send) && checks[i].check == check_record) ||
		            (!offer->suspended && checks[i].check == check_processes);
		int r = moot ? 0 : checks[i].check(m, offer, &error);

		send = send || r == CHECK_SEND;
		if (r < 0 && ret_first->code == 0)
			*ret_first = error;
		if (r == CHECK_SEND)
			(void)snprintf(error.text, sizeof(error.text), "will be sent, %llu MiB",
			        (unsigned long long)(offer->template_bytes >> 20) + 1);
		if (!moot)
			(void)json_array_append_new(
			        list, json_pack("{s:s, s:b, s:s, s:o*}", "name", checks[i].name, "ok", r >= 0,
			                      "text", r != 0 ? error.text : "", "send",
			                      r == CHECK_SEND ? json_true() : NULL));
		else if (send && checks[i].check == check_record)
			(void)json_array_append_new(
			        list, json_pack("{s:s, s:b, s:s}", "name", checks[i].name, "ok", 1, "text",
			                      "asked when the template is there"));
	}
	return list;
}

/* ---- the offer as a job */

struct receive {
	struct transfer transfer; /* first: transfer.h */
	struct worker *worker;    /* at work, else NULL */
	uint64_t round;           /* that this is, of a copy; 0: it is the offer */
	uint64_t memory;          /* the round of it that this is, or that the offer goes on from; 0: none */
	uint64_t arrived_usec;    /* monotonic: when all of it was there */
	uint32_t slot;            /* leased for one that is suspended, until the mark has it; else 0 */
	json_t *reread;           /* what of its disk the worker had to read again; NULL: all */
};

static void fail_receive(struct job *job, int result)
{
	struct container *c = job->container;
	struct receive *x = job->data;
	struct ct_error error = { 0 };

	if (x && x->slot)
		pool_release_slot(&job->manager->pool, TAKE(x->slot, 0));
	if (x && x->transfer.has_cgroup) {
		worker_spare_done(&x->transfer.spare);
		staging_remove_cgroup(job->manager, c->row.ctid);
	}
	if (c->state != CONTAINER_STOPPED) { /* what was restored does not end; the next offer replaces it */
		job_finish(job, result);
		return;
	}
	if (verb_forget(c, &error) < 0) {
		log_error("cannot undo the arrival of \"%s\": %s", c->row.name, error.text);
		container_set_broken(c, "its arrival could not be undone");
		job_finish(job, result);
		return;
	}
	job_finish_gone(job, result);
}

static void apply_progress(int percent, const char *text, void *userdata)
{
	job_progress(userdata, percent, "%s", text);
}

/* Not synced: what completes the record is. */
static int mark(struct job *job, const json_t *result)
{
	struct container *c = job->container;
	struct receive *x = job->data;
	const char *digest = json_string_value(json_object_get(result, "images_digest"));
	_cleanup_json_ json_t *config = NULL;
	int r = json_parse(c->row.config, strlen(c->row.config), &config, &job->error);

	if (r < 0)
		return r;
	if (!digest || suspend_mark(config, x->slot, digest) < 0)
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	r = container_update(c, NULL, config, false, &job->error);
	if (r >= 0)
		x->slot = 0; /* the mark's */
	return r;
}

/* restored_usec: what that took, 0: it was not. */
static void arrived(struct job *job, uint64_t restored_usec)
{
	const struct receive *x = job->data;

	job->result = json_pack("{s:O*, s:o*}", "reread", x->reread, "restore_msec",
	        restored_usec ? json_integer((json_int_t)restored_usec / 1000)
	                      : NULL); /* NULL: it is not told */
	manager_event(job->manager, job->container, "container.arrived", NULL);
	job_finish(job, 0);
}

static void on_prepared(struct job *job, int result)
{
	const struct receive *x = job->data;

	if (result < 0) {
		fail_receive(job, result);
		return;
	}
	transfer_hold(job->container);
	arrived(job, now_monotonic_usec() - x->arrived_usec);
}

static void apply_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct receive *x = job->data;
	int r = 0;

	x->worker = NULL; /* it frees itself */
	job->cancel = NULL;
	if (!result) {
		job->error = *error;
		r = error->code;
	}
	if (r >= 0 && x->round > 0) {
		r = staging_wait(job->container, x->round,
		        (uint64_t)json_integer_value(json_object_get(job->params, "patience")), result);
		if (r >= 0) {
			job_finish(job, 0);
			return;
		}
	}
	x->reread = json_incref(json_object_get(result, "reread"));
	if (r >= 0 && x->slot)
		r = mark(job, result);
	if (r >= 0)
		r = verb_complete(job->container, &job->error);
	if (r >= 0)
		staging_free(TAKE(job->container->staging, NULL));
	if (r < 0) {
		fail_receive(job, r);
		return;
	}
	if (!json_is_true(json_object_get(job->params, "resume"))) {
		arrived(job, 0);
		return;
	}
	x->arrived_usec = now_monotonic_usec();
	r = transfer_prepare(job);
	if (r < 0)
		fail_receive(job, r);
}

static void cancel_apply(struct job *job)
{
	const struct receive *x = job->data;

	if (x->worker)
		worker_cancel(x->worker);
}

/* What the worker is told of the images, NULL if there are none. */
static json_t *images_params(const struct job *job)
{
	const struct container *c = job->container;
	const struct receive *x = job->data;
	char name[40];

	if (x->round > 0)
		return x->memory > 0 ? json_pack("{s:o, s:I, s:O}", "path", suspend_images_path(c), "memory",
		                               (json_int_t)x->memory, "bytes",
		                               json_object_get(job->params, "images_bytes"))
		                     : NULL;
	container_cgroup_name(c, name);
	return x->slot ? json_pack("{s:o, s:O, s:O, s:I, s:s, s:s, s:O*}", "path", suspend_images_path(c),
	                         "bytes", json_object_get(job->params, "images_bytes"), "digest",
	                         json_object_get(job->params, "images_digest"), "base_id",
	                         (json_int_t)manager_base_id(job->manager, x->slot), "root",
	                         job->manager->cgroup.path, "name", name, "sent",
	                         x->memory > 0 ? staging_digests(c) : NULL)
	               : NULL;
}

static int apply(struct job *job)
{
	static const struct worker_ops ops = { .progress = apply_progress, .done = apply_done };
	struct container *c = job->container;
	struct manager *m = job->manager;
	struct receive *x = job->data;
	json_t *images = images_params(job), *params;
	int r;

	if ((x->slot || x->memory) && !images)
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	params = json_pack("{s:o, s:o*, s:O, s:O*, s:O}", "disk", container_disk_params(c), "images", images,
	        "file", json_object_get(job->params, "file"), "digest",
	        json_object_get(job->params, "digest"), "removed_bytes",
	        json_object_get(job->params, "removed_bytes"));
	if (!params || staging_params(c, json_is_true(json_object_get(job->params, "verify")), params) < 0) {
		json_decref(params);
		return ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");
	}
	r = worker_start_spare(staging_spare(c), m->event, m->conf.worker, "migrate-apply", params, &ops, job,
	        &x->worker, &job->error);
	if (r < 0)
		return r;
	if (json_is_true(json_object_get(job->params, "resume"))) {
		x->transfer.has_cgroup = staging_move_to_restore(c, &x->transfer.spare);
		transfer_expect(job);
	}
	job->cancel = cancel_apply;
	return 0;
}

static void on_disk(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		job->error = *error;
	else
		result = apply(job);
	if (result < 0)
		fail_receive(job, result);
}

/* Rounds of memory that what comes now does not go on from are void. */
static void drop_void(struct container *c, const struct receive *x)
{
	const bool keeps = x->round > 0 ? x->memory != 1 : x->memory > 0;

	if (!keeps && staging_memory(c) > 0)
		staging_forget_memory(c);
}

static int begin_receive(struct job *job)
{
	struct receive *x = job->data;
	int r = 0;

	x->memory = (uint64_t)json_integer_value(json_object_get(job->params, "memory"));
	if (json_is_true(json_object_get(job->params, "copy")))
		x->round = (uint64_t)json_integer_value(json_object_get(job->params, "round"));
	if (x->round == 1)
		r = staging_begin(job->container, &job->error);
	drop_void(job->container, x);
	if (r >= 0 && !x->round && json_object_get(job->params, "images_bytes")) {
		x->slot = pool_lease_slot(&job->manager->pool);
		if (x->slot == 0)
			r = ct_error_kind_set(&job->error, CT_ERROR_REFUSED, -ENOSPC,
			        "all id ranges of that node are in use");
	}
	return r;
}

static int run_receive(struct job *job)
{
	struct receive *x = job->data = calloc(1, sizeof(*x));
	int r = x ? 0 : ct_error_set(&job->error, -ENOMEM, "migrate", "out of memory");

	if (x) {
		transfer_init(&x->transfer, on_prepared);
		r = begin_receive(job);
	}
	if (r >= 0)
		r = json_integer_value(json_object_get(job->params, "round")) > (x->round > 0)
		            ? 1 /* its disk is there */
		            : disk_work_create(job->container, on_disk, job, &job->error);
	if (r == 1)
		r = apply(job);
	if (r < 0)
		fail_receive(job, r);
	return 0;
}

static void free_receive(struct job *job)
{
	struct receive *x = job->data;

	if (x) {
		transfer_done(&x->transfer);
		worker_free(x->worker);
		json_decref(x->reread);
	}
	free(x);
}

static int replay_receive(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (c && c->row.complete)
		return 0;
	/* Recovery forgets it. */
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" arrived; nothing of it is kept here", row->object);
}

const struct job_type verb_migrate_receive = {
	.verb = "migrate-receive", .run = run_receive, .free = free_receive, .replay = replay_receive
};

/* ---- in the API */

struct receive_request {
	json_t *offer;
	const char *file, *digest;
	uint64_t removed_bytes, images_bytes;
	uint64_t round;  /* that this is (copy), or that it goes on from; 0: from nothing */
	uint64_t memory; /* the same of rounds of memory; 0 (copy): it is of the disk */
	uint64_t patience;
	bool has_images, resume, copy, verify;
};

static const struct json_field receive_fields[] = {
	{ "offer", JSON_KIND_OBJECT, offsetof(struct receive_request, offer), JSON_NO_HAS, true },
	STRING("file", struct receive_request, file),
	{ "digest", JSON_KIND_STRING, offsetof(struct receive_request, digest), JSON_NO_HAS, false },
	{ "copy", JSON_KIND_BOOL, offsetof(struct receive_request, copy), JSON_NO_HAS, false },
	{ "verify", JSON_KIND_BOOL, offsetof(struct receive_request, verify), JSON_NO_HAS, false },
	{ "round", JSON_KIND_U64, offsetof(struct receive_request, round), JSON_NO_HAS, false },
	{ "memory", JSON_KIND_U64, offsetof(struct receive_request, memory), JSON_NO_HAS, false },
	{ "patience", JSON_KIND_U64, offsetof(struct receive_request, patience), JSON_NO_HAS, false },
	NUMBER("removed_bytes", struct receive_request, removed_bytes),
	{ "images_bytes", JSON_KIND_U64, offsetof(struct receive_request, images_bytes),
	        offsetof(struct receive_request, has_images), false },
	{ "resume", JSON_KIND_BOOL, offsetof(struct receive_request, resume), JSON_NO_HAS, false },
	{ NULL },
};

static const struct json_field check_fields[] = {
	{ "offer", JSON_KIND_OBJECT, offsetof(struct receive_request, offer), JSON_NO_HAS, true },
	{ NULL },
};

static int read_request(struct call *call, const struct json_field *fields, struct receive_request *in,
        struct offer *offer, struct ct_error *err)
{
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), fields, in, err);
	if (r >= 0)
		r = read_offer(in->offer, offer, err);
	if (r >= 0)
		call_set_object(call, offer->name);
	return r;
}

int api_migration_check(struct manager *m, struct call *call, struct ct_error *err)
{
	struct receive_request in = { 0 };
	struct ct_error first = { 0 };
	struct offer offer = { 0 };
	int r;

	r = read_request(call, check_fields, &in, &offer, err);
	if (r < 0)
		return r;
	call_reply(call, 200, json_pack("{s:o}", "checks", run_checks(m, &offer, &first)));
	return 0;
}

/* No job tells the next start of ctd that its disk goes as well: the disk does. */
static int replace_earlier(struct container *earlier, struct ct_error *err)
{
	int r = disk_unsettle(earlier->manager->disks, earlier->row.ctid);

	if (r < 0 && r != -ENOENT)
		return ct_error_set(err, r, "migrate",
		        "cannot write to the disk of an earlier offer of \"%s\": %s", earlier->row.name,
		        strerror(-r));
	r = verb_forget(earlier, err);
	if (r < 0)
		return r;
	container_free(earlier);
	return 0;
}

/* It is not the first that is said of its disk. */
static bool goes_on(const struct receive_request *in)
{
	return in->round > in->copy;
}

/* How much its memory is in all rounds nobody knows before. */
static int check_memory_room(struct manager *m, const struct receive_request *in, struct ct_error *err)
{
	struct disk_probe probe = { 0 };

	disk_probe_limits(m->disks, &probe);
	return probe.bytes_free / 20 * 19 < in->images_bytes
	               ? ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	                         "a round of its memory holds %llu MiB, and the store has %llu MiB free",
	                         (unsigned long long)(in->images_bytes >> 20),
	                         (unsigned long long)(probe.bytes_free >> 20))
	               : 0;
}

static bool memory_fits(const struct receive_request *in, const struct container *c)
{
	const bool begins = in->memory == 0 || (in->copy && in->memory == 1);

	return begins || in->memory - in->copy == staging_memory(c);
}

/* Limits, and room for its disk, were asked at the first round. */
static int check_going_on(
        struct manager *m, const struct receive_request *in, const struct offer *offer, struct ct_error *err)
{
	const struct container *c = container_by_ctid(m, offer->ctid);

	if (!staging_is_at(c, offer->epoch, in->round - in->copy) || !memory_fits(in, c))
		return ct_error_kind_set(err, CT_ERROR_STATE, -ESTALE,
		        "what was copied of \"%s\" is not there any more (move it again)", offer->name);
	if (in->copy && in->memory > 0 && check_memory_room(m, in, err) < 0)
		return err->code;
	return offer->suspended ? check_processes(m, offer, err) : 0;
}

/* params of the job: NULL if there is no memory. */
static json_t *receive_params(const struct receive_request *in, const struct offer *offer)
{
	return json_pack("{s:s, s:s*, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:o*, s:s*}", "file", in->file,
	        "digest", in->digest, "removed_bytes", (json_int_t)in->removed_bytes, "resume",
	        in->resume && in->has_images, "copy", in->copy, "verify", in->verify, "round",
	        (json_int_t)in->round, "memory", (json_int_t)in->memory, "patience", (json_int_t)in->patience,
	        "images_bytes", in->has_images ? json_integer((json_int_t)in->images_bytes) : NULL,
	        "images_digest", in->has_images && !in->copy ? offer->images.digest : NULL);
}

/* A record of its own, in place of an earlier offer's. */
static int new_record(
        struct manager *m, const struct offer *offer, struct container **ret, struct ct_error *err)
{
	struct container_row row = { 0 };
	struct container *earlier = NULL;
	int r;

	r = check_absent(m, offer, true, &earlier, err);
	if (r >= 0 && earlier)
		r = replace_earlier(earlier, err);
	if (r >= 0)
		r = make_row(offer, &row, err);
	if (r >= 0)
		r = verb_record(m, &row, offer->images.addresses, ret, err);
	container_row_done(&row);
	return r;
}

static int receive(struct manager *m, struct call *call, const struct receive_request *in,
        const struct offer *offer, struct ct_error *err)
{
	struct container *c = goes_on(in) ? container_by_ctid(m, offer->ctid) : NULL;
	int r = 0;

	if (!c)
		r = new_record(m, offer, &c, err);
	if (r < 0)
		return r;
	r = job_submit(m,
	        &(struct job_request){
	                .type = &verb_migrate_receive,
	                .container = c,
	                .object = c->row.name,
	                .params = receive_params(in, offer),
	                .call = call,
	                .detached = true,
	        },
	        err);
	if (r < 0 && verb_forget(c, NULL) == 0)
		container_free(c);
	return r;
}

static int check_request(const struct receive_request *in, const struct offer *offer, struct ct_error *err)
{
	if (in->file[0] != '/' || !str_is_printable(in->file))
		return ct_error_field(err, "file", "file must be an absolute path");
	if (in->copy ? in->digest || in->resume : !is_hex(in->digest ?: "", 64))
		return ct_error_field(err, "digest",
		        "digest must be 64 hexadecimal digits, and a round of a copy has none");
	if (in->round > ROUND_MAX || (in->copy && in->round == 0))
		return ct_error_field(err, "round", "round must be from 1 to %d", ROUND_MAX);
	if (in->patience > STAGING_PATIENCE_MAX || (in->patience > 0 && !in->copy))
		return ct_error_field(err, "patience", "patience must be from 0 to %d, and of a copy",
		        STAGING_PATIENCE_MAX);
	if (in->has_images != (in->copy ? in->memory > 0 : !!offer->suspended) ||
	        in->images_bytes > EPOCH_MAX)
		return ct_error_field(err, "images_bytes",
		        "images_bytes, at most 2^53, and what the offer says of its processes, or memory of a copy, come together");
	if (in->memory > CRIU_ROUNDS_MAX || (in->memory > 0 && (!in->has_images || !goes_on(in))) ||
	        (in->copy && in->memory > 0 && in->removed_bytes > 0))
		return ct_error_field(err, "memory",
		        "memory must be from 1 to %d, of a copy that goes on and comes with images alone, or of an offer with images that goes on from one",
		        CRIU_ROUNDS_MAX);
	return 0;
}

int api_migration_receive(struct manager *m, struct call *call, struct ct_error *err)
{
	struct receive_request in = { 0 };
	struct ct_error first = { 0 };
	struct offer offer = { 0 };
	int r;

	r = read_request(call, receive_fields, &in, &offer, err);
	if (r < 0)
		return r;
	r = check_request(&in, &offer, err);
	if (r < 0)
		return r;
	if (goes_on(&in))
		r = check_going_on(m, &in, &offer, err);
	else
		json_decref(run_checks(m, &offer, &first));
	if (first.code < 0)
		*err = first;
	return r < 0 || first.code < 0 ? err->code : receive(m, call, &in, &offer, err);
}
