/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The uplink becomes another: the default route leads by another link, after a failure or by hand.
 *
 * Rates out of the host, and answers for addresses on its segment, lie on the link that was the uplink when
 * they were made. The kernel would tell of each change of a route, which on a host with a routing daemon are
 * a million; so we ask it from time to time where the default routes lead, two questions. A rate that is set
 * asks as well: what it found is not lost if the routes lead back before the next look. What is on the old
 * link stays there for what still leaves by it. While there is no uplink at all nothing can be sent, and
 * nothing is done.
 *
 * A new ctd brings all along once, for nobody knows what changed while there was none. Whoever starts or is
 * resumed just then is asked again when it runs: its links may be older than the change. A thousand
 * containers take a second or so; that is done in slices, for others wait for us.
 */
#include "ctd/network.h"

#include <string.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

#define LOOK_USEC  (3 * USEC_PER_SEC)
#define SLICE_USEC (10 * USEC_PER_MSEC)
#define PAUSE_USEC (50 * USEC_PER_MSEC)

/* Whether it is still to be done. */
static bool is_under_way(const struct container *c)
{
	return c->state == CONTAINER_STARTING || (container_has_init(c) && c->run.pid <= 0);
}

static void follow(struct container *c)
{
	struct ct_error error = { 0 };

	if (!container_has_init(c) || c->run.slot == 0)
		return;
	if (ports_follow_uplink(c, c->manager->uplink_generation > 1, &error) < 0)
		log_error("the network of \"%s\" is not brought to the uplink (ctctl fsck --repair): %s",
		        c->row.name, error.text);
}

static void bring_some(struct manager *m)
{
	const uint64_t end = now_monotonic_usec() + SLICE_USEC;
	struct container *c, *next;

	m->uplink_pending = false;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (c->uplink_generation == m->uplink_generation)
			continue;
		if (is_under_way(c) || now_monotonic_usec() > end) {
			m->uplink_pending = true;
			continue;
		}
		c->uplink_generation = m->uplink_generation;
		follow(c);
	}
}

static void look(struct manager *m)
{
	struct ct_error error = { 0 };
	int now[2] = { 0 }, r;

	m->uplink_looked_usec = now_monotonic_usec();
	r = net_uplinks(m->net, now, NULL);
	if (r < 0 || (now[0] == 0 && now[1] == 0) || (r == 0 && memcmp(now, m->uplinks, sizeof(now)) == 0))
		return;
	memcpy(m->uplinks, now, sizeof(now));
	m->uplink_pending = true;
	if (m->uplink_generation++ > 0)
		log_notice(
		        "containers leave by another link, a part of one is guaranteed for the first time, or another ctd says its rate or does so no more: rates and addresses are brought there");
	if (m->conf.uplink_rate && net_uplink_shape(m->net, m->conf.uplink_rate, &error) < 0)
		log_error("the rate of the uplink is not kept: %s", error.text);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int r;

	if (now_monotonic_usec() - m->uplink_looked_usec >= LOOK_USEC)
		look(m);
	if (m->uplink_pending)
		bring_some(m);
	r = sd_event_source_set_time_relative(source, m->uplink_pending ? PAUSE_USEC : LOOK_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int network_uplink_watch(struct manager *m, struct ct_error *err)
{
	int r;

	look(m);
	m->uplink_generation += m->uplink_generation == 0; /* the first is one more than there was */
	r = sd_event_add_time_relative(
	        m->event, &m->uplink_timer, CLOCK_MONOTONIC, PAUSE_USEC, USEC_PER_SEC / 4, on_tick, m);
	return r < 0 ? ct_error_set(err, r, "network", "cannot watch the uplink: %s", strerror(-r)) : 0;
}

void network_uplink_free(struct manager *m)
{
	m->uplink_timer = sd_event_source_disable_unref(m->uplink_timer);
}
