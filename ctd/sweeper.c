/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sweeper: one worker at a time, a moment after somebody asked.
 *
 * The moment lets a burst of destroys share one worker. The worker is told by name what to remove from tmp/:
 * what is there now and belongs to no open job. So a build that begins while the sweep is at work is not
 * touched, whatever its name.
 *
 * Before the worker starts, images that lost their name and their last container are let go, and directories
 * of templates without a record (ctd died between the rename and the record, or after a removal) are moved to
 * the trash. All that is renames and rows, so it is done here.
 *
 * A sweep that fails is logged and not repeated until the next kick: the reason (a full or damaged disk) does
 * not go away by trying.
 */
#include "ctd/sweeper.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/checkpoint.h"
#include "ctd/disk-work.h"
#include "ctd/manager.h"
#include "ctd/template-store.h"
#include "ctd/worker.h"

#define DELAY_USEC (300 * USEC_PER_MSEC)
#define NAMES_MAX  4096 /* of tmp/ in one sweep; the rest is for the next */

struct sweeper {
	struct manager *manager;
	sd_event_source *timer;
	struct worker *worker;
	bool again; /* kicked while at work */
};

static void sweep_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct sweeper *sweeper = userdata;

	sweeper->worker = NULL;
	if (!result)
		log_warning("cannot remove discarded files: %s", error->text);
	if (TAKE(sweeper->again, false))
		sweeper_kick(sweeper);
}

struct listing {
	struct manager *manager;
	json_t *names;
};

static int list_tmp(const char *name, void *userdata)
{
	struct listing *listing = userdata;

	if (template_tmp_is_open(listing->manager, name) || disk_work_has(listing->manager, name) ||
	        checkpoint_tmp_is_open(listing->manager, name))
		return 0;
	if (json_array_append_new(listing->names, json_string(name)) <
	        0) /* NULL for a name that is not UTF-8: not ours */
		return json_array_size(listing->names) > 0 ? 1 : 0;
	return json_array_size(listing->names) >= NAMES_MAX ? 1 : 0;
}

static int sweep(struct sweeper *sweeper, struct ct_error *err)
{
	static const struct worker_ops ops = { .done = sweep_done };
	struct manager *m = sweeper->manager;
	struct listing listing = { .manager = m, .names = json_array() };
	_cleanup_free_ char *store = str_printf("%s/fs", m->conf.state_dir);
	int r;

	r = listing.names && store ? template_store_tidy(m, err)
	                           : ct_error_set(err, -ENOMEM, "sweep", "out of memory");
	if (r >= 0)
		r = disk_store_each(m->disks, "tmp", list_tmp, &listing, err);
	if (r < 0) {
		json_decref(listing.names);
		return r;
	}
	return worker_start(m->event, m->conf.worker, "store-sweep",
	        json_pack("{s:s, s:o}", "store", store, "tmp", listing.names), &ops, sweeper,
	        &sweeper->worker, err);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sweeper *sweeper = userdata;
	struct ct_error error = { 0 };

	if (sweeper->worker)
		sweeper->again = true;
	else if (sweep(sweeper, &error) < 0)
		log_warning("cannot remove discarded files: %s", error.text);
	return 0;
}

int sweeper_new(struct manager *m, struct sweeper **ret, struct ct_error *err)
{
	struct sweeper *sweeper = calloc(1, sizeof(*sweeper));
	int r;

	if (!sweeper)
		return ct_error_set(err, -ENOMEM, "sweep", "out of memory");
	sweeper->manager = m;
	r = sd_event_add_time_relative(m->event, &sweeper->timer, CLOCK_MONOTONIC, 0, 0, on_time, sweeper);
	if (r >= 0)
		r = sd_event_source_set_enabled(sweeper->timer, SD_EVENT_OFF);
	if (r < 0) {
		sweeper_free(sweeper);
		return ct_error_set(err, r, "sweep", "cannot make a timer: %s", strerror(-r));
	}

	*ret = sweeper;
	return 0;
}

void sweeper_kick(struct sweeper *sweeper)
{
	int enabled = SD_EVENT_OFF;

	if (!sweeper ||
	        (sd_event_source_get_enabled(sweeper->timer, &enabled) >= 0 && enabled != SD_EVENT_OFF))
		return;
	if (sd_event_source_set_time_relative(sweeper->timer, DELAY_USEC) < 0 ||
	        sd_event_source_set_enabled(sweeper->timer, SD_EVENT_ONESHOT) < 0)
		log_warning(
		        "cannot set the timer of the sweeper: discarded files stay until ctd starts again");
}

void sweeper_free(struct sweeper *sweeper)
{
	if (!sweeper)
		return;
	(void)sd_event_source_disable_unref(sweeper->timer); /* always NULL */
	worker_free(sweeper->worker);
	free(sweeper);
}
