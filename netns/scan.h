/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading back what the kernel has of ours. */
#pragma once

#include "netns/context.h"
#include "netns/sets.h"

/* All elements of one set, or of all sets (PORT_SETS); of one port or (NULL) of all. A table that is not
 * there has none. */
int scan_elements(struct net_context *net, enum port_set set, const char *host_name, struct scan_keys *ret,
        struct ct_error *err);

struct scan_objects {
	struct net_object *objects;
	int *indexes; /* of links */
	size_t n, max;
};
void scan_objects_done(struct scan_objects *objects);
#define _cleanup_scan_objects_ CLEANUP(scan_objects_done)

void scan_objects_sort(struct scan_objects *objects); /* by name; indexes are lost */
bool scan_objects_have(const struct scan_objects *sorted, const char *host_name);

int scan_links(struct net_context *net, struct scan_objects *ret, struct ct_error *err);
/* Routes with our protocol to links that are in ret already. */
int scan_routes(struct net_context *net, struct scan_objects *ret, struct ct_error *err);
/* The same for one link: what is routed there, as the addresses of objects. */
int scan_routes_of(struct net_context *net, int index, struct scan_objects *ret, struct ct_error *err);
/* Ports that have a chain (FILTER objects). */
int scan_chains(struct net_context *net, struct scan_objects *ret, struct ct_error *err);
