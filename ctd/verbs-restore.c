/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* restore of a container that is stopped, from a checkpoint of one that ran on.
 *
 * The checkpoint takes the place of the disk, and is resumed (checkpoint.c, transfer.h). If that fails, or
 * ctd dies over it, all is as it was: stopped, with the disk that it had, and the checkpoint is there.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/checkpoint.h"
#include "ctd/disks.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/suspend.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

static void free_restore(struct job *job)
{
	struct transfer *x = job->data;

	if (x)
		transfer_done(x);
	free(x);
}

static void on_resumed(struct job *job, int result)
{
	struct container *c = job->container;
	struct ct_error error = { 0 };

	if (result < 0 && c->config.restoring && checkpoint_leave(c, &error) < 0)
		log_error("\"%s\" cannot be what it was before, and is suspended at its checkpoint: %s",
		        c->row.name, error.text);
	job_finish(job, result);
}

static int refuse(const struct container *c, const char *why, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY, "cannot restore \"%s\": %s", c->row.name, why);
}

/* Less has been sold since than was in it. A disk that was full may take some blocks more as a copy, so under
 * the limit of then nothing is too much. */
static bool is_too_much(const struct container *c, const struct config_checkpoint *own)
{
	const uint64_t limit = c->config.limits.disk.value;

	return limit && (own->size == 0 || limit < own->size) && own->disk_bytes > limit;
}

static int check(struct container *c, bool force, struct ct_error *err)
{
	const struct config_checkpoint *own = &c->config.checkpoint;
	char time[32];
	int r;

	(void)format_time_utc(time, sizeof(time), own->time_usec);
	if (c->state != CONTAINER_STOPPED)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "cannot restore \"%s\": it is %s (ctctl stop %s first; what it has done since its checkpoint of %s is lost by a restore)",
		        c->row.name, container_state_name(c->state), c->row.name, time);
	r = handover_check(c, "restore", err);
	if (r < 0)
		return r;
	if (!force)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "cannot restore \"%s\": all that was written to its disk since its checkpoint of %s would be lost (--force)",
		        c->row.name, time);
	if (container_disk_driver(c) == DISK_DRIVER_IMAGE && c->config.limits.disk.value != own->size)
		return refuse(c, "its disk image had another size then (ctctl set --disk first)", err);
	if (is_too_much(c, own))
		return refuse(
		        c, "its disk had more in it then than it may have now (ctctl set --disk first)", err);
	r = container_may_run(c, err);
	if (r >= 0)
		r = suspend_host_check(err);
	return r < 0 ? ct_error_prefix(err, "cannot restore \"%s\"", c->row.name) : 0;
}

static int run_restore(struct job *job)
{
	struct container *c = job->container;
	struct transfer *x;
	int r;

	if (!c->config.checkpoint.id)
		return refuse(c, "it has no checkpoint", &job->error);
	if (json_is_true(json_object_get(job->params, "discard"))) {
		r = checkpoint_drop(c, &job->error);
		return r < 0 ? r : 1;
	}
	r = check(c, json_is_true(json_object_get(job->params, "force")), &job->error);
	if (r < 0)
		return r;
	x = job->data = malloc(sizeof(*x));
	if (!x)
		return ct_error_set(&job->error, -ENOMEM, "restore", "out of memory");
	transfer_init(x, on_resumed);
	r = checkpoint_enter(c, &job->error);
	if (r < 0)
		return ct_error_prefix(&job->error, "cannot restore \"%s\"", c->row.name);
	r = transfer_resume(job);
	if (r < 0)
		on_resumed(job, r);
	return 0;
}

/* Recovery has put all in its place (checkpoints_recover), unless it runs from its checkpoint already. */
static int replay_restore(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *params = NULL;

	if (!c)
		return 0;
	if (json_parse(row->params, strlen(row->params), &params, NULL) >= 0 &&
	        json_is_true(json_object_get(params, "discard")))
		return c->config.checkpoint.id ? checkpoint_drop(c, err) : 0;
	if (!c->config.checkpoint.id)
		return c->config.suspended_slot ? 0 : transfer_recover(c, err);
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being restored; it and its checkpoint are as they were",
	        row->object);
}

const struct job_type verb_restore = {
	.verb = "restore", .run = run_restore, .free = free_restore, .replay = replay_restore
};
