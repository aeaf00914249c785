/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Somebody else deletes our filters.
 *
 * An administrator's "nft flush ruleset", or a firewall service that begins with it, takes our tables too,
 * and then nothing is filtered any more. The kernel tells who listens. The tables are made anew first, which
 * closes every port at once; then each running container is brought to what its configuration says. What was
 * not noticed because no ctd ran is put right by its start: net_host_apply, and here, if a table was missing.
 */
#include "ctd/network.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"
#include "ctd/traffic.h"

/* Whether one of its ports passes nothing because its elements are gone. */
static bool is_closed(struct container *c)
{
	for (unsigned i = 0; i < c->config.n_nets; i++) {
		char name[IFNAMSIZ];
		struct net_counters counters;

		if (c->config.nets[i].mode == CONFIG_NET_NONE)
			continue;
		ports_host_name(c, c->run.slot, i, name);
		if (net_port_counters(c->manager->net, name, &counters, NULL) == -ENOENT)
			return true;
	}

	return false;
}

/* Those that are closed, or (all) every one. */
static void restore(struct manager *m, bool all)
{
	struct container *c, *next;
	struct ct_error error;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		error = (struct ct_error){ 0 };
		if (!container_has_init(c) || c->run.pid <= 0 || c->run.slot == 0)
			continue;
		if (!all && !is_closed(c))
			continue;
		if (ports_restore(c, &error) < 0)
			log_error("the network of \"%s\" stays closed (ctctl fsck --repair): %s", c->row.name,
			        error.text);
	}
}

static int on_change(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct manager *m = userdata;
	struct ct_error error = { 0 };
	int r;

	r = net_watch_read(m->net, &error);
	if (r < 0)
		log_warning("cannot watch the packet filters: %s", error.text);
	if (r <= 0)
		return 0;

	log_warning(
	        "the packet filters of all containers were deleted by somebody else (nft flush ruleset?); they are made anew");
	if (network_host_apply(m, &error) < 0 || traffic_classes_apply(m, &error) < 0) {
		log_error("the packet filters cannot be made anew: %s", error.text);
		return 0;
	}
	if (m->conf.uplink_rate && net_uplink_shape(m->net, m->conf.uplink_rate, &error) < 0)
		log_error("the rate of the uplink is not kept: %s", error.text);
	restore(m, true);
	return 0;
}

int network_watch(struct manager *m, struct ct_error *err)
{
	int fd = net_watch_fd(m->net, err), r;

	if (fd < 0)
		return fd;
	r = sd_event_add_io(m->event, &m->filter_watch, fd, EPOLLIN, on_change, m);
	if (r >= 0) /* before anything that could start or change a container */
		r = sd_event_source_set_priority(m->filter_watch, SD_EVENT_PRIORITY_IMPORTANT);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot watch the packet filters: %s", strerror(-r));

	restore(m, m->classes_changed);
	return 0;
}

void network_watch_free(struct manager *m)
{
	m->filter_watch = sd_event_source_disable_unref(m->filter_watch);
}
