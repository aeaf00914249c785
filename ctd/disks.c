/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a container's record to a disk specification; and disks whose record is gone.
 *
 * Of the two, create syncs the disk before the record and destroy the record before the disk. So whatever is
 * lost with the power, there is no record without its disk; the disk without its record is found here. It is
 * removed only on evidence: the mark that a new disk has until its record is safe, or the job of a destroy,
 * which is written before the record goes and thus is on the disk when the record is not. A container that
 * went to another node may come back: for its disk the job of the move counts only while it is open, that is,
 * until the disk is in the trash (disk_recover_migrated). A database that was brought back from a backup
 * knows nothing of any of them, and costs no disk.
 */
#include "ctd/disks.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/sweeper.h"

#define PROJECT_FIRST  1048576 /* above what people give to their own projects */
#define PROJECTS_TRIED 1000
#define RETRY_MIN_USEC (2 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)

enum disk_driver container_disk_driver(const struct container *c)
{
	const struct limits *l = &c->config.limits;

	return l->storage.given ? (enum disk_driver)l->storage.value : DISK_DRIVER_DIR;
}

void container_disk_spec_known(const struct container *c, uint32_t project_id, struct disk_spec *ret)
{
	const struct limits *l = &c->config.limits;

	*ret = (struct disk_spec){
		.ctid = c->row.ctid,
		.driver = container_disk_driver(c),
		.template_digest = c->row.template_digest,
		.bytes = l->disk.value, /* zero where none is given: no limit */
		.inodes = l->inodes.value,
		.project_id = project_id,
		.natives = c->manager->conf.natives,
	};
}

void container_disk_spec(const struct container *c, struct disk_spec *ret)
{
	uint32_t id = 0;

	if (store_project_get(c->manager->store, c->row.ctid, &id) < 0)
		id = 0; /* made where there was no project quota */
	container_disk_spec_known(c, id, ret);
}

json_t *container_disk_params(const struct container *c)
{
	struct disk_spec spec;

	container_disk_spec(c, &spec);
	return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:I}", "store",
	        json_sprintf("%s/fs", c->manager->conf.state_dir), "ctid", spec.ctid, "driver",
	        disk_driver_name(spec.driver), "template", spec.template_digest, "bytes",
	        (json_int_t)spec.bytes, "inodes", (json_int_t)spec.inodes, "project",
	        (json_int_t)spec.project_id);
}

bool disks_project_is_free(struct manager *m, uint32_t id)
{
	return !store_project_has(m->store, id) && !disk_store_project_is_used(m->disks, id);
}

/* Ids begin at a place that the ctid says: two instances on one file system hardly ever meet. What moved away
 * and comes back may meet itself, of which the last is still being removed. */
int disks_lease(struct container *c, struct ct_error *err)
{
	uint32_t id = 0, place;
	char digits[8] = { 0 };

	if (c->config.limits.storage.given && c->config.limits.storage.value != DISK_DRIVER_DIR)
		return 0;
	if (!disk_store_has_project_quota(c->manager->disks))
		return 0;
	memcpy(digits, c->row.ctid, 7);
	place = PROJECT_FIRST + (uint32_t)strtoul(digits, NULL, 16);
	for (uint32_t last = place + PROJECTS_TRIED; place < last; place++)
		if (disks_project_is_free(c->manager, place))
			break;
	return store_project_lease(c->manager->store, c->row.ctid, place, &id, err);
}

static bool is_left_over(struct manager *m, const char *ctid)
{
	return disk_is_new(m->disks, ctid) || store_job_has(m->store, "destroy", ctid) > 0;
}

static void remove_left_over(struct manager *m, const char *ctid)
{
	/* Neither driver has more to release than what the discarded record has released. */
	struct disk_spec spec = { .ctid = ctid, .driver = m->conf.storage };
	struct ct_error error = { 0 };

	if (disk_discard(m->disks, &spec, &error) < 0)
		log_warning("the disk %s, which no container has any more, stays: %s", ctid, error.text);
	else
		log_notice("the disk %s had been left without a container; it is removed", ctid);
}

void disk_recover_migrated(struct manager *m, const char *ctid)
{
	if (ctid && !container_by_ctid(m, ctid))
		remove_left_over(m, ctid);
}

/* What could not be removed at once: a disk full to the last block, a hand of somebody's in the store. */
struct again {
	struct manager *manager;
	char ctid[sizeof(((struct container_row *)0)->ctid)];
	enum disk_driver driver;
	uint64_t delay_usec;
};

/* The event loop's own; without its reference it goes, and what belongs to it. */
static void give_up(sd_event_source *source)
{
	(void)sd_event_source_set_floating(source, false); /* it is */
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct again *a = userdata;
	struct manager *m = a->manager;
	struct disk_spec spec = { .ctid = a->ctid, .driver = a->driver };

	if (container_by_ctid(m, a->ctid)) { /* it has come back from another node */
		give_up(source);
		return 0;
	}
	if (disk_discard(m->disks, &spec, NULL) >= 0) {
		sweeper_kick(m->sweeper);
		give_up(source);
		return 0;
	}
	a->delay_usec = a->delay_usec * 2 < RETRY_MAX_USEC ? a->delay_usec * 2 : RETRY_MAX_USEC;
	if (sd_event_source_set_time_relative(source, a->delay_usec) < 0 ||
	        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) < 0)
		give_up(source); /* the next ctd */
	return 0;
}

/* a is consumed. */
static void try_later(struct again *a)
{
	sd_event_source *source = NULL;

	if (sd_event_add_time_relative(
	            a->manager->event, &source, CLOCK_MONOTONIC, a->delay_usec, 0, on_again, a) < 0) {
		free(a);
		return;
	}
	(void)sd_event_source_set_destroy_callback(source, free);
	if (sd_event_source_set_floating(source, true) >= 0)
		(void)sd_event_source_unref(source); /* always NULL */
}

void disks_discard(struct manager *m, const struct disk_spec *spec, const char *name)
{
	struct ct_error error = { 0 };
	struct again *a;

	if (disk_discard(m->disks, spec, &error) >= 0)
		return;
	log_warning("the disk of \"%s\" cannot be removed now, and will be later: %s", name, error.text);
	a = malloc(sizeof(*a));
	if (!a)
		return; /* the next ctd */
	*a = (struct again){ .manager = m, .driver = spec->driver, .delay_usec = RETRY_MIN_USEC };
	(void)snprintf(a->ctid, sizeof(a->ctid), "%s", spec->ctid); /* fits */
	try_later(a);
}

static int recover_one(const char *name, void *userdata)
{
	struct manager *m = userdata;
	const struct container *c = container_by_ctid(m, name);

	if (c && c->row.complete)
		(void)disk_settle(m->disks, name); /* the next start tries again */
	else if (!c && is_left_over(m, name))
		remove_left_over(m, name);
	return 0;
}

int disks_recover(struct manager *m, struct ct_error *err)
{
	return disk_store_each(m->disks, "containers", recover_one, m, err);
}
