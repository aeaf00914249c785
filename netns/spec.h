/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the specification of a port means. */
#pragma once

#include "netns/sets.h"

int spec_check_name(const struct net_context *net, const char *host_name, struct ct_error *err);
int spec_check(const struct net_context *net, const struct net_port_spec *spec, struct ct_error *err);

/* The network that a block is, with its host bits zero. */
struct ip_addr network_of(const struct ip_addr *a);
/* What the guest has of it: the address itself; of an IPv6 block without host bits the first one, as zero is
 * the anycast of its routers. */
struct ip_addr inside_of(const struct ip_addr *a);

/* The ith of the addresses that the port may use: in a bridge the prefix says how large the segment is, not
 * what the port has. */
struct ip_addr spec_address(const struct net_port_spec *spec, size_t i);

/* Every element that a configured port has. */
int spec_keys(const struct net_port_spec *spec, struct scan_keys *ret);
