/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a container's addresses are is said three times, two seconds apart.
 *
 * Nobody answers an announcement (netns/announce.c), and one that is lost, or finds a switch that does not
 * forward yet or a neighbour that is just coming up, would leave who believes the old place to find out by
 * itself: half a minute, of a container that has moved. Three are what RFC 4861, 7.2.6, allows, at intervals
 * of a second at least; RFC 5227, 2.3, sends two, two seconds apart.
 *
 * The first is sent by who has brought up the port, who tells us then. Whether there is somebody who asks for
 * the addresses is known to the port. One that is held is no longer, or not yet, for this node to announce.
 */
#include "ctd/network.h"

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

#define MORE       2
#define PAUSE_USEC (2 * USEC_PER_SEC)
#define TICK_USEC  (250 * USEC_PER_MSEC)
#define SLICE_USEC (10 * USEC_PER_MSEC) /* others wait for us */

static void announce(struct container *c)
{
	struct ct_error error = { 0 };

	if (ports_announce_again(c, &error) < 0)
		log_debug("the addresses of \"%s\" are not announced once more: %s", c->row.name, error.text);
	c->announce_usec = --c->announce_left > 0 ? now_monotonic_usec() + PAUSE_USEC : 0;
}

static bool announce_some(struct manager *m)
{
	const uint64_t now = now_monotonic_usec();
	struct container *c, *next;
	bool pending = false;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (c->network_held || !container_has_init(c) || c->run.slot == 0)
			c->announce_left = 0;
		if (c->announce_left > 0 && c->announce_usec <= now &&
		        now_monotonic_usec() < now + SLICE_USEC)
			announce(c);
		pending |= c->announce_left > 0;
	}
	return pending;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	int r;

	if (!announce_some(userdata))
		return 0;
	r = sd_event_source_set_time_relative(source, TICK_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void network_announce_again(struct container *c)
{
	struct manager *m = c->manager;
	int r = 0;

	c->announce_left = MORE;
	c->announce_usec = now_monotonic_usec() + PAUSE_USEC;
	if (!m->announce_timer)
		r = sd_event_add_time_relative(
		        m->event, &m->announce_timer, CLOCK_MONOTONIC, TICK_USEC, TICK_USEC / 4, on_tick, m);
	else if (sd_event_source_get_enabled(m->announce_timer, NULL) == 0) { /* it fires once */
		r = sd_event_source_set_time_relative(m->announce_timer, TICK_USEC);
		if (r >= 0)
			r = sd_event_source_set_enabled(m->announce_timer, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_warning("the addresses of \"%s\" are announced once only", c->row.name);
}

void network_announce_free(struct manager *m)
{
	m->announce_timer = sd_event_source_disable_unref(m->announce_timer);
}
