/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is recorded of a checkpoint, and where it is.
 *
 * The mark "_checkpoint" in the configuration says that there is one, which, and what it is: as
 * durable as the record itself. It lies in checkpoints/CTID-ID of the store (quota/copy.c); what no record
 * names there is nobody's.
 *
 * A restore lets the container's disk and the copy change places, and makes the processes suspended ones
 * ("_suspended", with "restoring": the project id of the disk before). From there on it is a resume; the
 * commit that lets it run takes both marks away. So after a death of ctd the marks and the place of the copy
 * tell how far it was:
 *
 *     restoring                             not far enough: back
 *     "_checkpoint", the copy as the disk   in the middle of going there or back: back
 *     no mark, the copy as the disk         it runs, or ran: the disk before is rubbish
 *
 * The copy has a project id of its own, so that nothing of it is charged to the tenant, and the container
 * gets that with it. The slot stays leased: the images hold its ids.
 */
#include "ctd/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/suspend.h"
#include "ctd/sweeper.h"

#define PROJECT_FIRST 0x40000000U /* above those that containers get (disks.c) */

static bool has_one(const struct container *c)
{
	return c->config.checkpoint.id > 0;
}

void checkpoint_name(const struct container *c, uint64_t id, char ret[CHECKPOINT_NAME_SIZE])
{
	(void)snprintf(ret, CHECKPOINT_NAME_SIZE, "%s-%llu", c->row.ctid, (unsigned long long)id); /* fits */
}

static void own_name(const struct container *c, char ret[CHECKPOINT_NAME_SIZE])
{
	checkpoint_name(c, c->config.checkpoint.id, ret);
}

/* ---- project ids */

static bool is_taken(struct manager *m, uint32_t id)
{
	struct container *other, *next;

	if (!disks_project_is_free(m, id))
		return true;
	HASH_ITER(hh_ctid, m->containers.by_ctid, other, next)
	{
		if (other->config.checkpoint.project == id || other->config.restoring_project == id ||
		        other->copying_project == id)
			return true;
	}
	return false;
}

uint32_t checkpoint_pick_project(struct container *c)
{
	char digits[8] = { 0 };
	struct disk_spec spec;
	uint32_t id;

	container_disk_spec(c, &spec);
	if (spec.driver != DISK_DRIVER_DIR || spec.project_id == 0 ||
	        !disk_store_has_project_quota(c->manager->disks))
		return 0;
	memcpy(digits, c->row.ctid, 7);
	id = PROJECT_FIRST + (uint32_t)strtoul(digits, NULL, 16);
	for (uint32_t last = id + 1000; id < last; id++)
		if (!is_taken(c->manager, id))
			break;
	return id; /* one that is taken after all is refused where it is given */
}

/* ---- the mark */

static int stored(const struct container *c, json_t **ret, struct ct_error *err)
{
	return json_parse(c->row.config, strlen(c->row.config), ret, err);
}

int checkpoint_check(const struct container *c, const char *what, struct ct_error *err)
{
	if (!has_one(c))
		return 0;
	return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
	        "cannot %s \"%s\": it has a checkpoint, which would be lost (to give that up: ctctl restore --discard %s)",
	        what, c->row.name, c->row.name);
}

static void discard_copy(const struct container *c, uint64_t id, uint32_t project)
{
	char name[CHECKPOINT_NAME_SIZE];
	struct ct_error error = { 0 };
	struct disk_spec spec;

	checkpoint_name(c, id, name);
	container_disk_spec_known(c, project, &spec);
	if (disk_copy_discard(c->manager->disks, &spec, name, &error) < 0)
		log_warning(
		        "the checkpoint \"%s\" of \"%s\" cannot be removed, and will be by the next ctd: %s",
		        name, c->row.name, error.text);
	sweeper_kick(c->manager->sweeper);
}

/* A run may have it, which then releases it. */
static void release_slot(const struct container *c, uint32_t slot)
{
	if (slot && slot != c->run.slot && slot != c->config.checkpoint.slot &&
	        slot != c->config.suspended_slot)
		pool_release_slot(&c->manager->pool, slot);
}

static void give_up(struct container *c, const struct config_checkpoint *old)
{
	if (old->id == 0)
		return;
	discard_copy(c, old->id, old->project);
	release_slot(c, old->slot);
}

int checkpoint_take(struct container *c, const struct config_checkpoint *new, struct ct_error *err)
{
	const struct config_checkpoint old = c->config.checkpoint;
	_cleanup_json_ json_t *config = NULL;
	char name[CHECKPOINT_NAME_SIZE];
	int r = stored(c, &config, err);

	checkpoint_name(c, new->id, name);
	if (r >= 0 &&
	        json_object_set_new(config, CONFIG_CHECKPOINT,
	                json_pack("{s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I}", "id", (json_int_t) new->id,
	                        "time", (json_int_t) new->time_usec, "slot", (json_int_t) new->slot,
	                        "project", (json_int_t) new->project, "digest", new->digest, "bytes",
	                        (json_int_t) new->bytes, "disk_bytes", (json_int_t) new->disk_bytes, "size",
	                        (json_int_t) new->size, "frozen", (json_int_t) new->frozen_usec)) < 0)
		r = ct_error_set(err, -ENOMEM, "checkpoint", "out of memory");
	if (r >= 0) { /* else the next ctd would take it for one in the place of the disk */
		r = disk_copy_settle(c->manager->disks, c->row.ctid);
		if (r < 0)
			(void)ct_error_set(err, r, "checkpoint", "cannot say that its disk is its own: %s",
			        strerror(-r));
	}
	if (r >= 0)
		r = disk_copy_keep(c->manager->disks, name, err);
	if (r >= 0)
		r = container_update(c, NULL, config, true, err);
	if (r < 0) {
		discard_copy(c, new->id, new->project);
		return r;
	}
	give_up(c, &old);
	return 0;
}

int checkpoint_drop(struct container *c, struct ct_error *err)
{
	const struct config_checkpoint old = c->config.checkpoint;
	_cleanup_json_ json_t *config = NULL;
	int r = stored(c, &config, err);

	if (r >= 0) {
		(void)json_object_del(config, CONFIG_CHECKPOINT);
		r = container_update(c, NULL, config, true, err);
	}
	if (r < 0)
		return r;
	give_up(c, &old);
	return 0;
}

void checkpoint_forget(struct container *c)
{
	const struct config_checkpoint old = c->config.checkpoint;

	if (!has_one(c))
		return;
	discard_copy(c, old.id, c->config.restoring ? c->config.restoring_project : old.project);
	pool_release_slot(&c->manager->pool, old.slot);
}

/* ---- there and back */

/* Whose disk it measures. */
static void forget_metered(const struct container *c)
{
	if (c->meter)
		c->meter->project_id = 0;
}

/* With the project id, in one transaction: the record is what counts. */
static int update(struct container *c, const json_t *config, uint32_t project, struct ct_error *err)
{
	struct store *store = c->manager->store;
	char *before = strdup(c->row.config);
	int r = before ? store_begin(store, true, err)
	               : ct_error_set(err, -ENOMEM, "checkpoint", "out of memory");

	if (r >= 0) {
		r = project ? store_project_set(store, c->row.ctid, project, err) : 0;
		if (r >= 0)
			r = container_update(c, NULL, config, true, err);
		if (r >= 0)
			r = store_commit(store, err);
		else
			store_rollback(store);
		if (r < 0)
			container_take_back(c, TAKE_PTR(before));
	}
	free(before);
	forget_metered(c);
	return r;
}

int checkpoint_enter(struct container *c, struct ct_error *err)
{
	const struct config_checkpoint *own = &c->config.checkpoint;
	struct disk_store *disks = c->manager->disks;
	_cleanup_json_ json_t *config = NULL;
	char name[CHECKPOINT_NAME_SIZE];
	struct disk_spec spec;
	int r = stored(c, &config, err);

	container_disk_spec(c, &spec);
	own_name(c, name);
	if (r >= 0 && json_object_set_new(config, CONFIG_SUSPENDED,
	                      json_pack("{s:I, s:s, s:I}", "slot", (json_int_t)own->slot, "digest",
	                              own->digest, "restoring", (json_int_t)spec.project_id)) < 0)
		r = ct_error_set(err, -ENOMEM, "checkpoint", "out of memory");
	if (r < 0)
		return r;
	r = disk_copy_exchange(disks, c->row.ctid, name, err);
	if (r >= 0)
		r = update(c, config, own->project, err);
	if (r < 0 && disk_is_copy(disks, c->row.ctid))
		(void)disk_copy_exchange(disks, c->row.ctid, name, NULL); /* else the next ctd does */
	return r;
}

static const char misplaced[] = "its disk and that of its checkpoint are not in their places";

int checkpoint_leave(struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	char name[CHECKPOINT_NAME_SIZE];
	int r = stored(c, &config, err);

	own_name(c, name);
	if (r >= 0) {
		(void)json_object_del(config, CONFIG_SUSPENDED);
		r = update(c, config, c->config.restoring_project, err);
	}
	if (r < 0)
		return r;
	c->run.wanted = false; /* else the next ctd starts it (autostart.c) */
	(void)container_save_run(c, NULL);
	r = disk_copy_exchange(c->manager->disks, c->row.ctid, name, err);
	if (r < 0)
		container_set_broken(c, misplaced); /* else it could be started over the wrong one */
	return r;
}

void checkpoint_settle(struct container *c, const struct config_checkpoint *before, uint32_t was_project)
{
	discard_copy(c, before->id, was_project);
	(void)disk_copy_settle(c->manager->disks, c->row.ctid); /* else the next ctd does */
	forget_metered(c);
}

/* ---- recovery, and fsck */

bool checkpoint_tmp_is_open(struct manager *m, const char *name)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (c->copying && str_eq(c->copying, name))
			return true;
	}
	return false;
}

void checkpoint_claim(const struct container *c)
{
	if (has_one(c))
		(void)pool_claim_slot(
		        &c->manager->pool, c->config.checkpoint.slot); /* it has it already, as a rule */
}

static struct container *owner_of(struct manager *m, const char *name)
{
	char ctid[sizeof(((struct container_row *)0)->ctid)];

	(void)snprintf(ctid, sizeof(ctid), "%s", name); /* as much of it as is one */
	return name[strlen(ctid)] == '-' ? container_by_ctid(m, ctid) : NULL;
}

bool checkpoint_is_known(struct manager *m, const char *name)
{
	const struct container *c = owner_of(m, name);
	char known[CHECKPOINT_NAME_SIZE];

	if (!c || !has_one(c))
		return c && c->unreadable;
	own_name(c, known);
	return str_eq(known, name);
}

bool checkpoint_is_there(const struct container *c)
{
	char path[CHECKPOINT_NAME_SIZE + 16], name[CHECKPOINT_NAME_SIZE];

	own_name(c, name);
	(void)snprintf(path, sizeof(path), "checkpoints/%s", name); /* fits */
	return faccessat(disk_store_fd(c->manager->disks), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int checkpoint_remove(struct manager *m, const char *name, struct ct_error *err)
{
	/* Of its project there are no limits, and what it holds goes with it. */
	const struct disk_spec spec = { .ctid = name, .driver = DISK_DRIVER_DIR };

	return disk_copy_discard(m->disks, &spec, name, err);
}

struct evidence {
	const char *ctid;
	uint64_t id;
	bool found;
};

static int see_job(const struct job_row *row, void *userdata)
{
	struct evidence *e = userdata;
	bool open = row->finished_usec == 0 && row->ctid && str_eq(row->ctid, e->ctid);

	e->found |= open || row->created_usec > e->id;
	return 0;
}

/* That it belongs to nobody: a job over which ctd died had to do with it, or the records go on after it, and
 * have it no more. They may be older than it, from a backup, and those that have it may be to come back. */
static bool is_left_over(struct manager *m, const char *name)
{
	const struct container *c = owner_of(m, name);
	char ctid[sizeof(c->row.ctid)];
	struct evidence e = { .ctid = ctid };

	(void)snprintf(ctid, sizeof(ctid), "%s", name);
	if (!c)
		return store_job_has(m->store, "destroy", ctid) > 0;
	if (checkpoint_is_known(m, name))
		return false;
	e.id = strtoull(name + strlen(ctid) + 1, NULL, 10);
	return store_job_each(m->store, true, INT32_MAX, see_job, &e, NULL) >= 0 &&
	       store_job_each(m->store, false, 1, see_job, &e, NULL) >= 0 && e.found;
}

/* Of what else nothing is known fsck shows. */
static int recover_copy(const char *name, void *userdata)
{
	struct manager *m = userdata;
	struct ct_error error = { 0 };

	if (!is_left_over(m, name))
		return 0;
	if (checkpoint_remove(m, name, &error) < 0)
		log_warning("a checkpoint that no container has any more stays: %s", error.text);
	else
		log_notice("the checkpoint %s had been left over; it is removed", name);
	return 0;
}

static int settle(struct container *c)
{
	suspend_discard(c); /* its images, which it has gone on from */
	return disk_copy_settle(c->manager->disks, c->row.ctid);
}

int checkpoint_put_right(struct container *c, struct ct_error *err)
{
	struct disk_store *disks = c->manager->disks;
	char name[CHECKPOINT_NAME_SIZE];

	own_name(c, name);
	if (c->config.restoring)
		return checkpoint_leave(c, err);
	if (!disk_is_copy(disks, c->row.ctid))
		return 0;
	if (!has_one(c))
		return settle(c);
	if (container_has_init(c))
		return ct_error_set(err, -EBUSY, "checkpoint", "it runs over the disk of its checkpoint");
	return disk_copy_exchange(disks, c->row.ctid, name, err);
}

static void recover_one(struct container *c)
{
	struct ct_error error = { 0 };

	if (checkpoint_put_right(c, &error) >= 0)
		return;
	log_error("\"%s\": %s", c->row.name, error.text);
	container_set_broken(c, misplaced);
}

int checkpoints_recover(struct manager *m, struct ct_error *err)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (!c->unreadable)
			recover_one(c);
	}
	return disk_store_each(m->disks, "checkpoints", recover_copy, m, err);
}

void checkpoint_print(const struct container *c, struct strbuf *b)
{
	const struct config_checkpoint *own = &c->config.checkpoint;
	char text[32];

	if (!has_one(c))
		return;
	(void)strbuf_printf(b,
	        ",\"checkpoint\":{\"time\":\"%s\",\"digest\":\"%s\",\"bytes\":%llu,\"disk_bytes\":%llu,\"frozen_usec\":%llu}",
	        format_time_utc(text, sizeof(text), own->time_usec), own->digest,
	        (unsigned long long)own->bytes, (unsigned long long)own->disk_bytes,
	        (unsigned long long)own->frozen_usec);
}
