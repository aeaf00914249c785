/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The uplink becomes another: the default route leads by another link, after a failure or by hand.
 *
 * Rates out of the host, and answers for addresses on its segment, lie on the link that was the uplink when
 * they were made. The kernel would tell of each change of a route, which on a host with a routing daemon are
 * a million; so we ask it from time to time where the default routes lead, two questions. What is on the old
 * link stays there for what still leaves by it. While there is no uplink at all nothing can be sent, and
 * nothing is done.
 *
 * What changed while there was no ctd is found at the first look: nothing keeps rates on an uplink, though
 * somebody has one.
 */
#include "ctd/network.h"

#include <string.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

#define LOOK_USEC (3 * USEC_PER_SEC)

/* All that run, or only those with a rate. */
static void bring_along(struct manager *m, bool all)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		struct ct_error error = { 0 };

		if (!container_has_init(c) || c->run.pid <= 0 || c->run.slot == 0)
			continue;
		if ((all || ports_have_rate_out(c)) && ports_restore(c, &error) < 0)
			log_error(
			        "the network of \"%s\" is not brought to the uplink (ctctl fsck --repair): %s",
			        c->row.name, error.text);
	}
}

static void look(struct manager *m)
{
	const bool first = m->uplinks[0] == 0;
	struct ct_error error = { 0 };
	int now[2] = { 0 };
	bool shaped;

	if (net_uplinks(m->net, now, &shaped, NULL) < 0 || now[0] == 0 ||
	        memcmp(now, m->uplinks, sizeof(now)) == 0)
		return;
	memcpy(m->uplinks, now, sizeof(now));
	if (!first)
		log_notice("the default route leads by another link: rates and addresses are brought there");
	if (m->conf.uplink_rate && net_uplink_shape(m->net, m->conf.uplink_rate, &error) < 0)
		log_error("the rate of the uplink is not kept: %s", error.text);
	if (!first || !shaped)
		bring_along(m, !first);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	int r;

	look(userdata);
	r = sd_event_source_set_time_relative(source, LOOK_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int network_uplink_watch(struct manager *m, struct ct_error *err)
{
	int r = sd_event_add_time_relative(
	        m->event, &m->uplink_timer, CLOCK_MONOTONIC, LOOK_USEC, USEC_PER_SEC / 4, on_look, m);

	return r < 0 ? ct_error_set(err, r, "network", "cannot watch the uplink: %s", strerror(-r)) : 0;
}

void network_uplink_free(struct manager *m)
{
	m->uplink_timer = sd_event_source_disable_unref(m->uplink_timer);
}
