/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bridges of ours. */
#pragma once

#include "netns/context.h"
#include "netns/link.h"
#include "netns/sets.h"

/* The name of the host side's sub-interface of a VLAN of a trunk: t, what follows the v of the port's name,
 * and the id. -ENAMETOOLONG. */
int trunk_name(char out[static IFNAMSIZ], const char *host_name, uint16_t vlan);
/* The sub-interfaces of the port's VLANs, each on its bridge. below: the host side. */
int trunk_join(struct net_context *net, const struct net_port_spec *spec, int below, struct ct_error *err);

/* Messages that delete the sub-interfaces whose tags are among the keys. */
void trunk_leave(struct nl_batch *b, const char *host_name, const struct scan_keys *stale);

int bridge_remove_all(struct net_context *net, struct ct_error *err);
