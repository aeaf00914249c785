/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A port is given its addresses, or others than it had, or loses them.
 *
 * A look at the link, then one send each to nf_tables (elements), to rtnetlink inside and to rtnetlink of the
 * host. Elements come first and go first, new and stale ones in one transaction.
 *
 * On the host side each family has one neighbour entry, permanent: the first IPv4 address of the port, and
 * the link-local address that IPv6 makes of its MAC. All else is routed by way of these. So a scan through a
 * routed /64 leaves no trace in the neighbour tables of the host, and no ARP is needed in either direction.
 */
#include "netns/port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

#include "netns/bridge.h"
#include "netns/guard.h"
#include "netns/link.h"
#include "netns/scan.h"
#include "netns/shape.h"
#include "netns/spec.h"

struct configuration {
	struct net_context *net;
	const struct net_port_spec *spec;
	struct link_info link;
	uint32_t mtu;
	int bridge;                       /* of NET_MODE_BRIDGE */
	int uplink4, uplink6;             /* where to answer for the addresses; 0: nowhere */
	struct shape_links uplinks;       /* and where that was, too */
	bool again;                       /* the port has been configured before */
	struct scan_keys wanted, stale;   /* elements */
	struct scan_objects stale_routes; /* addresses that are no longer ours */
};

static void configuration_done(struct configuration *c)
{
	scan_keys_done(&c->wanted);
	scan_keys_done(&c->stale);
	scan_objects_done(&c->stale_routes);
}

static int find_mtu(struct configuration *c, struct ct_error *err)
{
	struct net_context *net = c->net;
	struct link_info uplink;
	int index, r;

	c->mtu = c->spec->mtu;
	if (c->mtu)
		return 0;

	c->mtu = 1500;
	r = route_uplink(&net->route, &net->batch, AF_INET, &index);
	if (r == 0 && index == 0)
		r = route_uplink(&net->route, &net->batch, AF_INET6, &index);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
	if (index == 0)
		return 0;

	r = link_get(&net->route, &net->batch, NULL, index, &uplink, err);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	if (uplink.mtu >= 1280 && uplink.mtu < c->mtu)
		c->mtu = uplink.mtu;
	return 0;
}

static bool has_family(const struct net_port_spec *spec, int family)
{
	for (size_t i = 0; i < spec->n_addresses; i++) {
		if (spec->addresses[i].family == family)
			return true;
	}

	return false;
}

static int turn_on_proxy_ndp(const char *where)
{
	char path[64 + IFNAMSIZ];
	uint64_t value;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/proxy_ndp", where);
	r = read_u64_at(AT_FDCWD, path, &value);
	if (r < 0 || value != 0)
		return r;

	return write_file_at(AT_FDCWD, path, "1");
}

/* IPv4 answers for a listed address as soon as it forwards; IPv6 wants to be told: by the link for who asks
 * all, by "all" for who knows the address and asks us alone whether it is still there, which is forwarded
 * otherwise and comes nowhere. With either it answers only for what is listed. */
static int answer_solicitations(int index)
{
	char name[IFNAMSIZ];
	int r;

	if (!if_indextoname((unsigned)index, name))
		return -errno;

	r = turn_on_proxy_ndp(name);
	return r < 0 ? r : turn_on_proxy_ndp("all");
}

static int find_uplinks(struct configuration *c, struct ct_error *err)
{
	int uplinks[2], r;

	if (!c->spec->proxy_neighbours || c->spec->mode == NET_MODE_BRIDGE)
		return 0;
	r = shape_uplinks(c->net, uplinks, err);
	if (r < 0)
		return r;
	c->uplink4 = uplinks[0];
	c->uplink6 = uplinks[1];
	r = shape_links(c->net, &c->uplinks, err);
	if (r < 0)
		return r;
	if (c->uplink6 && has_family(c->spec, AF_INET6)) {
		r = answer_solicitations(c->uplink6);
		if (r < 0)
			return ct_error_set(err, r, "network",
			        "cannot turn on answers to neighbour solicitations on the uplink: %s",
			        strerror(-r));
	}
	return 0;
}

static int find_bridge(struct configuration *c, struct ct_error *err)
{
	struct link_info bridge;
	int r;

	const char *name = c->spec->n_trunk ? c->spec->trunk[0].bridge : c->spec->bridge;

	if (c->spec->mode != NET_MODE_BRIDGE)
		return 0;
	r = link_get(&c->net->route, &c->net->batch, name, 0, &bridge, err);
	if (r == -ENODEV)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, r, "there is no bridge \"%s\"", name);
	if (r < 0)
		return r;

	c->bridge = bridge.index;
	if (!c->spec->mtu && bridge.mtu >= 1280)
		c->mtu = bridge.mtu;
	return 0;
}

static bool is_wanted_route(const struct net_port_spec *spec, const struct ip_addr *route)
{
	for (size_t i = 0; i < spec->n_addresses; i++) {
		struct ip_addr network = network_of(&spec->addresses[i]),
		               inside = inside_of(&spec->addresses[i]);

		if (ip_equal(&network, route) || (inside.family == AF_INET && ip_equal(&inside, route)))
			return true;
	}

	return false;
}

/* What the kernel has of the port that the specification does not. */
static int find_stale(struct configuration *c, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };
	size_t n = 0;
	int r;

	r = scan_elements(c->net, PORT_SETS, c->spec->host_name, &have, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < have.n; i++) {
		if (have.keys[i].set >= PORT_FIRST_OPTIONAL)
			continue; /* limits are another matter: see limits.c */
		if (set_keys_have(&c->wanted, &have.keys[i]))
			continue;
		r = set_keys_push(&c->stale, &have.keys[i]);
		if (r < 0)
			return ct_error_set(err, r, "network", "out of memory");
	}

	r = scan_routes_of(c->net, c->link.index, &c->stale_routes, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->stale_routes.n; i++) {
		if (!is_wanted_route(c->spec, &c->stale_routes.objects[i].address))
			c->stale_routes.objects[n++] = c->stale_routes.objects[i];
	}
	c->stale_routes.n = n;
	return 0;
}

/* By hand, as it came up without; if the tenant takes the link down and up again, its kernel does. */
static void put_inside_link_local(struct configuration *c)
{
	struct nl_batch *b = &c->net->batch;
	struct ip_addr address;

	net_link_local(&address, c->spec->mac);
	address.prefix = 64;
	link_make_link_local(b, NULL, c->link.peer_index, true);
	address_add(b, c->link.peer_index, &address);
	nl_tolerate(
	        b, EOPNOTSUPP); /* a host without IPv6; the container's addresses show whether that matters */
}

static void put_inside_addresses(struct configuration *c)
{
	struct nl_batch *b = &c->net->batch;

	for (size_t i = 0; i < c->spec->n_addresses && !c->spec->n_trunk; i++) {
		struct ip_addr inside = net_port_inside(c->spec, i);

		address_add(b, c->link.peer_index, &inside);
		if (c->again && inside.family == AF_INET6)
			nl_tolerate(
			        b, EACCES); /* the tenant has switched IPv6 off, which is its own affair */
	}
	/* last, because with the last IPv4 address the kernel takes the routes away */
	for (size_t i = 0; i < c->stale_routes.n; i++) {
		struct ip_addr inside = inside_of(&c->stale_routes.objects[i].address);

		address_remove(b, c->link.peer_index, &inside);
	}
}

/* The gateway's MAC is the guard's, on all hosts. A guest that asked for it in vain while the port was cut
 * would lose the packets that still wait for an answer, and all within the second in which it gives up. */
static void put_inside_neighbour(struct configuration *c, const struct ip_addr *gateway)
{
	if (c->bridge)
		return; /* another's, which is asked for */

	neighbour_learn(&c->net->batch, c->link.peer_index, gateway, net_gateway_mac);
	if (c->again && gateway->family == AF_INET6)
		nl_tolerate(&c->net->batch, EINVAL); /* IPv6 is off, as above */
}

static void put_inside_gateway(struct configuration *c, const struct ip_addr *gateway)
{
	struct nl_batch *b = &c->net->batch;
	if (gateway->family == 0 || !has_family(c->spec, gateway->family))
		return;

	route_add(
	        b, &(struct route){ .via = gateway, .index = c->link.peer_index, .protocol = RTPROT_STATIC });
	if (c->again && gateway->family == AF_INET6)
		nl_tolerate(b, EACCES);
	put_inside_neighbour(c, gateway);
}

/* Answers leave by the interface that they belong to: the guard of another one would drop them. The table is
 * known by the link, so it goes with it. */
static void put_inside_sources(struct configuration *c, const struct ip_addr *gateway)
{
	struct nl_batch *b = &c->net->batch;
	const uint32_t table = NET_SOURCE_TABLE + (uint32_t)c->link.peer_index;

	if (gateway->family == 0 || !has_family(c->spec, gateway->family))
		return;

	route_add(b, &(struct route){ .via = gateway,
	                     .index = c->link.peer_index,
	                     .protocol = RTPROT_STATIC,
	                     .table = table });
	if (c->again && gateway->family == AF_INET6)
		nl_tolerate(b, EACCES);
	put_inside_neighbour(c, gateway);
	for (size_t i = 0; i < c->spec->n_addresses; i++) {
		struct ip_addr a = spec_address(c->spec, i), from = network_of(&a);

		if (from.family == gateway->family)
			rule_add(b, &from, table);
	}
	for (size_t i = 0; i < c->stale_routes.n; i++) {
		if (c->stale_routes.objects[i].address.family == gateway->family)
			rule_remove(b, &c->stale_routes.objects[i].address, table);
	}
}

/* The host side is a bridge's port or a trunk's, or was one: those have not the gateway's MAC. */
static bool is_from_bridge(const struct configuration *c)
{
	return memcmp(c->link.mac, net_gateway_mac, sizeof(c->link.mac)) != 0;
}

/* The sub-interfaces of VLANs that are no longer its own go before their elements, which are the record of
 * them: killed in between, the next one finds them again. */
static int leave_trunk(struct configuration *c, struct ct_error *err)
{
	nl_batch_reset(&c->net->batch);
	trunk_leave(&c->net->batch, c->spec->host_name, &c->stale);
	return nl_transact(&c->net->route, &c->net->batch, c->spec->host_name, err);
}

/* Elements, and where its frames are judged: those of a bridge's port must not be taken for frames to the
 * gateway, whatever MAC they are sent to. */
static int change_filter(struct configuration *c, struct ct_error *err)
{
	struct net_context *net = c->net;
	struct nft_place p = guard_place(net);

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	if (c->bridge || is_from_bridge(c))
		guard_lead_port(&p, c->spec->host_name,
		        c->spec->n_trunk ? "trunk"
		        : c->bridge      ? "bridged"
		                         : "guard");
	set_keys_put(net, NFT_MSG_DELSETELEM, &c->stale);
	set_keys_put(net, NFT_MSG_NEWSETELEM, &c->wanted);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, c->spec->host_name, err);
}

static int configure_inside(struct configuration *c, int netns_fd, struct ct_error *err)
{
	_cleanup_nl_sock_ struct nl_sock inside = NL_SOCK_INIT;
	struct nl_batch *b = &c->net->batch;
	struct link_info link;
	bool fresh;
	int r;

	r = net_open_inside(c->net, netns_fd, &inside, err);
	if (r < 0)
		return r;
	r = c->again ? link_get(&inside, b, NULL, c->link.peer_index, &link, err) : 0;
	if (r < 0)
		return r;

	/* a MAC is set once: it flushes what the guest knows of its neighbours */
	fresh = !c->again || memcmp(link.mac, c->spec->mac, sizeof(link.mac)) != 0;
	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = c->link.peer_index,
	                       .up = true,
	                       .mtu = c->mtu,
	                       .mac = fresh ? c->spec->mac : NULL });
	if (fresh)
		put_inside_link_local(c);
	put_inside_addresses(c);
	put_inside_gateway(c, &c->spec->gateway4);
	put_inside_gateway(c, &c->spec->gateway6);
	put_inside_sources(c, &c->spec->source_gateway4);
	put_inside_sources(c, &c->spec->source_gateway6);
	return nl_transact(&inside, b, c->spec->guest_name, err);
}

/* A block, on several links, is more than there is room for in one request. */
static int send_full(struct configuration *c, struct ct_error *err)
{
	struct nl_batch *b = &c->net->batch;
	int r;

	if (b->n < NL_BATCH_MESSAGES / 2)
		return 0;
	r = nl_transact(&c->net->route, b, c->spec->host_name, err);
	nl_batch_reset(b);
	return r;
}

static int put_proxy(struct configuration *c, const struct ip_addr *a, bool add, struct ct_error *err)
{
	int uplink = a->family == AF_INET ? c->uplink4 : c->uplink6, r = 0;
	size_t n = a->family == AF_INET ? (size_t)1 << (32 - a->prefix) : 1;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct ip_addr one = network_of(a);

		one.prefix = ip_full_prefix(a);
		if (n > 1)
			one.bytes[3] |= (uint8_t)i;
		if (add && uplink)
			proxy_add(&c->net->batch, uplink, &one, NET_ROUTE_PROTOCOL);
		for (size_t k = 0; !add && k < c->uplinks.n; k++)
			proxy_remove(&c->net->batch, c->uplinks.indexes[k], &one);
		r = send_full(c, err);
	}
	return r;
}

int net_port_answer(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err)
{
	struct configuration c = { .net = net, .spec = spec };
	int r;

	if (spec->quiet || !spec->proxy_neighbours || spec->mode == NET_MODE_BRIDGE)
		return 0;
	r = find_uplinks(&c, err);
	if (r < 0)
		return r;
	nl_batch_reset(&net->batch);
	for (size_t i = 0; r >= 0 && i < spec->n_addresses; i++)
		r = put_proxy(&c, &spec->addresses[i], true, err);
	return r < 0 ? r : nl_transact(&net->route, &net->batch, spec->host_name, err);
}

static int put_routes(struct configuration *c, struct ct_error *err)
{
	struct nl_batch *b = &c->net->batch;
	struct ip_addr anchor4 = { 0 }, anchor6;
	int r = 0;

	net_link_local(&anchor6, c->spec->mac);
	for (size_t i = 0; r >= 0 && i < c->spec->n_addresses; i++) {
		const struct ip_addr *a = &c->spec->addresses[i];
		struct ip_addr network = network_of(a);
		struct route route = {
			.to = &network, .index = c->link.index, .protocol = NET_ROUTE_PROTOCOL
		};

		if (a->family == AF_INET6) {
			neighbour_add(b, c->link.index, &anchor6, c->spec->mac);
			route.via = &anchor6;
		} else if (anchor4.family == 0) {
			anchor4 = inside_of(a);
			neighbour_add(b, c->link.index, &anchor4, c->spec->mac);
			if (a->prefix < 32) {
				struct route single = route;

				single.to = &anchor4;
				route_add(b, &single);
				route.via = &anchor4;
			}
		} else {
			route.via = &anchor4;
		}
		route_add(b, &route);
		r = put_proxy(c, a, true, err);
	}
	return r;
}

/* The host side of a port of a bridge has a MAC of its own, high enough that the bridge never takes it for
 * its own. */
static int join_bridge(struct configuration *c, struct ct_error *err)
{
	const int master = c->spec->n_trunk ? 0 : c->bridge; /* of a trunk, its sub-interfaces join bridges */
	struct nl_batch *b = &c->net->batch;
	uint8_t mac[6];
	int r;

	memcpy(mac, c->spec->mac, sizeof(mac));
	mac[0] = 0xfe;
	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = c->link.index,
	                       .up = true,
	                       .mtu = c->mtu,
	                       .mac = mac,
	                       .master = master == c->link.master ? 0
	                                 : master                 ? master
	                                                          : -1 });
	if (master)
		link_bridge_port(b, c->link.index, c->spec->isolated, c->spec->quiet ? NULL : c->spec->mac);
	r = nl_transact(&c->net->route, b, c->spec->host_name, err);
	return r < 0 || master ? r : trunk_join(c->net, c->spec, c->link.index, err);
}

int net_port_open(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err)
{
	struct net_port_spec opened = *spec;
	struct configuration c = { .net = net, .spec = &opened };
	int r;

	opened.quiet = false;
	r = link_get(&net->route, &net->batch, spec->host_name, 0, &c.link, err);
	if (r < 0)
		return r;
	if (spec->mode == NET_MODE_BRIDGE) {
		r = find_bridge(&c, err);
		return r < 0 ? r : join_bridge(&c, err);
	}
	r = find_uplinks(&c, err);
	if (r < 0)
		return r;
	nl_batch_reset(&net->batch);
	r = put_routes(&c, err);
	return r < 0 ? r : nl_transact(&net->route, &net->batch, spec->host_name, err);
}

static int configure_host_side(struct configuration *c, struct ct_error *err)
{
	struct nl_batch *b = &c->net->batch;
	int r = 0;

	if (c->bridge)
		return join_bridge(c, err);

	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = c->link.index,
	                       .up = true,
	                       .mtu = c->mtu,
	                       .mac = is_from_bridge(c) ? net_gateway_mac : NULL,
	                       .master = c->link.master ? -1 : 0 });
	for (size_t i = 0; r >= 0 && i < c->stale_routes.n; i++) {
		const struct ip_addr *a = &c->stale_routes.objects[i].address;

		route_remove(b,
		        &(struct route){ .to = a, .index = c->link.index, .protocol = NET_ROUTE_PROTOCOL });
		r = put_proxy(c, a, false, err);
	}
	if (r >= 0 && !c->spec->quiet)
		r = put_routes(c, err);
	return r < 0 ? r : nl_transact(&c->net->route, b, c->spec->host_name, err);
}

int net_port_configure(
        struct net_context *net, const struct net_port_spec *spec, int netns_fd, struct ct_error *err)
{
	CLEANUP(configuration_done) struct configuration c = { .net = net, .spec = spec };
	struct scan_key key;
	int r;

	r = spec_check(net, spec, err);
	if (r < 0)
		return r;
	r = link_get(&net->route, &net->batch, spec->host_name, 0, &c.link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "the port \"%s\" is gone (its inside was deleted?)",
		        spec->host_name);
	if (r < 0)
		return r;
	key = set_key_of_name(PORT_SENT, spec->host_name);
	r = set_has(net, &key, err);
	if (r < 0)
		return r;
	c.again = r > 0;

	r = find_mtu(&c, err);
	if (r < 0)
		return r;
	r = find_bridge(&c, err);
	if (r < 0)
		return r;
	r = find_uplinks(&c, err);
	if (r < 0)
		return r;
	r = spec_keys(spec, &c.wanted);
	if (r < 0)
		return ct_error_set(err, r, "network", "out of memory");
	if (c.again) {
		r = find_stale(&c, err);
		if (r >= 0)
			r = leave_trunk(&c, err);
		if (r < 0)
			return r;
	}

	r = change_filter(&c, err);
	if (r < 0)
		return r;
	r = configure_inside(&c, netns_fd, err);
	if (r < 0)
		return r;
	r = configure_host_side(&c, err);
	if (r < 0)
		return r;

	(void)net_port_announce(
	        net, spec, NULL); /* a courtesy: without it the segment finds out a little later */
	return 0;
}

int port_unroute(struct net_context *net, const struct net_port_spec *spec, bool delete_link, int index,
        struct ct_error *err)
{
	struct configuration c = { .net = net, .spec = spec, .link.index = index };
	struct nl_batch *b = &net->batch;
	int r;

	r = find_uplinks(&c, err);
	if (r < 0)
		return r;

	nl_batch_reset(b);
	for (size_t i = 0; r >= 0 && i < spec->n_addresses; i++) {
		struct ip_addr network = network_of(&spec->addresses[i]);

		/* a quiet one has none: what there is is another daemon's of this host, where it runs */
		if (!spec->quiet)
			r = put_proxy(&c, &spec->addresses[i], false, err);
		if (index == 0 || delete_link)
			continue;
		route_remove(
		        b, &(struct route){ .to = &network, .index = index, .protocol = NET_ROUTE_PROTOCOL });
		network = inside_of(&spec->addresses[i]);
		if (network.family == AF_INET && spec->addresses[i].prefix < 32)
			route_remove(
			        b, &(struct route){
			                   .to = &network, .index = index, .protocol = NET_ROUTE_PROTOCOL });
	}
	if (delete_link && index)
		link_delete(b, spec->host_name);
	return r < 0 ? r : nl_transact(&net->route, b, spec->host_name, err);
}
