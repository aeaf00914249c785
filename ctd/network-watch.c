/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When somebody deletes our filter tables ("nft flush ruleset" takes everybody's), the host's tables are made
 * again at once, with every port closed, and each container gets back what its record says. One that cannot
 * is left closed and named in the log: fsck --repair tries again. */
#include "ctd/network.h"

#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

static void restore_all(struct manager *m)
{
	struct container *c, *next;
	unsigned n = 0;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		struct ct_error err = { 0 };

		if (c->state != CONTAINER_RUNNING && c->state != CONTAINER_FROZEN)
			continue; /* the job that is about it comes to the network by itself */
		if (ports_restore(c, &err) < 0)
			log_error("container %s stays without a network: %s", c->row.name, err.text);
		else
			n++;
	}
	log_notice("filter tables made again; %u containers reconnected", n);
}

static int on_change(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct manager *m = userdata;
	struct ct_error err = { 0 };
	int r;

	r = net_watch_read(m->net, &err);
	if (r == 0)
		return 0;
	if (r > 0) {
		log_warning("somebody has deleted the filter tables of containers (nft flush ruleset?)");
		r = network_host_apply(m, &err);
	}
	if (r < 0)
		log_error("containers are not protected from each other: %s", err.text);
	else
		restore_all(m);
	return 0;
}

int network_watch(struct manager *m, struct ct_error *err)
{
	int fd, r;

	fd = net_watch_fd(m->net, err);
	if (fd < 0)
		return fd;

	r = sd_event_add_io(m->event, &m->net_watch, fd, EPOLLIN, on_change, m);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot watch the filter tables: %s", strerror(-r));

	return 0;
}
