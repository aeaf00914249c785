/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long one is held that was restored for another node's offer (transfer_prepare): a minute, if nobody
 * takes it. Its images are there still, so then it is just suspended. */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/transfer.h"

#define HELD_USEC (60 * USEC_PER_SEC)

struct held {
	struct manager *manager;
	char ctid[sizeof(((struct container_row *)0)->ctid)];
	uint64_t epoch;
};

static int on_held_too_long(sd_event_source *source, uint64_t usec, void *userdata)
{
	const struct held *held = userdata;
	struct container *c = container_by_ctid(held->manager, held->ctid);

	if (c && c->row.epoch == held->epoch && !c->active && transfer_is_prepared(c)) {
		log_notice("nobody has taken \"%s\", which is suspended now", c->row.name);
		container_teardown(c, NULL, NULL);
	}
	(void)sd_event_source_set_floating(source, false); /* the end of it, and of held */
	return 0;
}

/* Without a timer it is held until commit, another offer or the end of ctd. */
void transfer_hold(const struct container *c)
{
	struct held *held = malloc(sizeof(*held));
	sd_event_source *source = NULL;

	if (!held)
		return;
	*held = (struct held){ .manager = c->manager, .epoch = c->row.epoch };
	memcpy(held->ctid, c->row.ctid, sizeof(held->ctid));
	if (sd_event_add_time_relative(c->manager->event, &source, CLOCK_MONOTONIC, HELD_USEC, USEC_PER_SEC,
	            on_held_too_long, held) < 0) {
		free(held);
		return;
	}
	(void)sd_event_source_set_destroy_callback(source, free);
	if (sd_event_source_set_floating(source, true) >= 0)
		(void)sd_event_source_unref(source); /* always NULL */
}
