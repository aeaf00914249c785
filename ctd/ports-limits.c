/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the speeds and limits that a configuration asks of its interfaces can be kept on this host.
 *
 * Asked when it is given, and again at each start: the configuration may come from another host, and ctd.conf
 * may have changed.
 */
#include "ctd/ports.h"

#include <errno.h>

#include "ctd/manager.h"

static int check_guaranteed(
        const struct config_net *net, const struct net_attach *attach, struct ct_error *err)
{
	const char *why = attach->n_trunk ? "a trunk's frames have no place at the uplink"
	                  : attach->mode == CONFIG_NET_PRIVATE
	                          ? "a private network is joined to no uplink"
	                          : "what a bridge of the administrator's is joined to is not known";

	if (!net->rates.out_guaranteed || *segment_uplink(attach))
		return 0;
	return ct_error_field(err, "guaranteed",
	        "guaranteed cannot be kept on this interface of mode %s, only on nat, routed, vlan and bridge with uplink=LINK: %s; rate_out alone can be kept",
	        config_net_mode_name(attach->mode), why);
}

/* Frames of a segment do not go by the host's routes, where connections and classes are. What cannot be kept
 * there, why, and what can. */
static int check_segment(const struct config_net *net, const struct net_attach *attach, struct ct_error *err)
{
	static const char tracked[] =
	        "connections are tracked only where the host routes; pps_in and pps_out limit what a flood can do";
	const struct {
		const char *field;
		bool asked;
		const char *why;
	} refused[] = {
		{ "class", net->n_classes,
		        "classes of traffic are told where the host routes; rate_out and rate_in can be kept" },
		{ "internal_rate", net->limits.internal_rate,
		        "all that it sends goes to the segment, and rate_out holds for all of it" },
		{ "connections", net->limits.connections, tracked },
		{ "new_connections", net->limits.new_connections, tracked },
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (refused[i].asked)
			return ct_error_field(err, refused[i].field,
			        "%s cannot be kept on an interface of mode %s, only on nat and routed: %s",
			        refused[i].field, config_net_mode_name(attach->mode), refused[i].why);
	return check_guaranteed(net, attach, err);
}

int ports_check_net(const struct manager *m, const struct config *config, const struct config_net *net,
        const struct net_attach *attach, struct ct_error *err)
{
	const struct network *network = attach->network;
	int r = *attach->scope ? check_segment(net, attach, err) : 0;

	if (r < 0)
		return r;
	if (network && *network->tenant && !str_eq(network->tenant, config->tenant))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EACCES,
		        "the network \"%s\" belongs to the tenant \"%s\", and the container %s%s%s: its tenant is set by --tenant",
		        network->name, network->tenant, *config->tenant ? "to \"" : "to nobody",
		        config->tenant, *config->tenant ? "\"" : "");
	for (unsigned i = 0; i < net->n_classes; i++)
		if (conf_class_find(&m->conf, net->classes[i].name) < 0)
			return ct_error_field(err, "class",
			        "there is no class of traffic \"%s\" on this host: traffic-class in ctd.conf defines them",
			        net->classes[i].name);
	return 0;
}

uint32_t ports_connections(
        const struct manager *m, const struct config_net *net, const struct net_attach *attach)
{
	if (net->has_connections)
		return net->limits.connections;
	/* On a segment nothing is tracked; and what asks for more new ones than can be counted is not
	 * counted. */
	return *attach->scope || net->limits.new_connections > NET_COUNTED_NEW_MAX ? 0 : m->conf.connections;
}

/* A segment may be joined to another link than those to which the default routes lead, whose rate it is. */
static bool is_by_default_route(const struct manager *m, const struct config_net *net)
{
	struct net_attach attach;
	int index;

	if (network_attach(m, net, &attach, NULL) < 0 || !*attach.scope)
		return true;
	index = (int)if_nametoindex(segment_uplink(&attach));
	if (!m->uplinks[0] && !m->uplinks[1])
		return true; /* none is known yet: any may come to be it */
	return index == 0 || index == m->uplinks[0] || index == m->uplinks[1];
}

static uint64_t guaranteed_to(const struct container *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (c->config.nets[i].rates.out_guaranteed &&
		        is_by_default_route(c->manager, &c->config.nets[i]))
			sum += c->config.nets[i].rates.out_guaranteed;
	return sum;
}

int ports_admit(const struct container *c, struct ct_error *err)
{
	const struct manager *m = c->manager;
	uint64_t others = 0, own = guaranteed_to(c);
	struct container *other, *next;

	if (!m->conf.uplink_rate || !own)
		return 0;
	HASH_ITER(hh_ctid, m->containers.by_ctid, other, next)
	if (other != c && other->run.slot)
		others += guaranteed_to(other);
	return own <= m->conf.uplink_rate && others <= m->conf.uplink_rate - own
	               ? 0
	               : ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	                         "%llu bits per second cannot be guaranteed to \"%s\": %llu of the %llu that the uplink has (uplink-rate in ctd.conf) are guaranteed to others",
	                         (unsigned long long)own, c->row.name, (unsigned long long)others,
	                         (unsigned long long)m->conf.uplink_rate);
}

int ports_check_limits(const struct container *c, struct ct_error *err)
{
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < c->config.n_nets; i++) {
		struct net_attach attach;

		if (!config_net_is_there(&c->config.nets[i]))
			continue;
		r = network_attach(c->manager, &c->config.nets[i], &attach, err);
		if (r >= 0)
			r = ports_check_net(c->manager, &c->config, &c->config.nets[i], &attach, err);
	}
	return r < 0 ? r : ports_admit(c, err);
}
