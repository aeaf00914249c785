/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ports of containers: bringing up, changing, taking down.
 *
 * What a port is to be follows from the configuration, the leases and the slot alone, so any ctd can say it
 * again. Order is safety: a port is made with everything dropped; limits (a cut among them) and rates are
 * set, then it gets its addresses and passes what is on its list; forwards from outside come last. On the way
 * down the other way round.
 *
 * The gateway of modes nat and routed is link-local on every host side: no address of a range is spent on it,
 * and it is the same wherever the container moves.
 *
 * A change of a running container takes a picture of what there was, and goes from there to what the
 * configuration says now; going back is the same with the pictures exchanged. If ctd dies on the way the
 * record says where to go: ports_restore takes away what the kernel has too much.
 */
#include "ctd/ports.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/ports-private.h"
#include "ctd/traffic.h"

static const struct ip_addr gateway4 = { .family = AF_INET, .bytes = { 169, 254, 1, 1 }, .prefix = 32 };
static const struct ip_addr gateway6 = {
	.family = AF_INET6, .bytes = { 0xfe, 0x80, [15] = 1 }, .prefix = 128
};

struct ports_snapshot {
	struct port *ports; /* the pointers of their specs are not valid: port_settle */
	unsigned n;
	struct forwards forwards;
};

/* ---- what a port is to be ---- */

void ports_host_name(const struct container *c, uint32_t slot, unsigned i, char ret[IFNAMSIZ])
{
	net_port_name(ret, c->manager->tag, slot, c->config.nets[i].index);
}

static void port_settle(struct port *port)
{
	port->spec.guest_name = port->guest_name;
	port->spec.addresses = port->addresses;
}

/* Of a segment, the prefix says how large it is: what was given, or the range's. */
static void add_address(struct port *port, const struct net_attach *attach, const struct ip_addr *a)
{
	struct ip_addr *own = &port->addresses[port->spec.n_addresses++];

	*own = *a;
	if (!*attach->scope || !attach->network || own->prefix != ip_full_prefix(own))
		return;
	for (unsigned i = 0; i < attach->network->n_ranges; i++)
		if (ip_contains(&attach->network->ranges[i], a))
			own->prefix = attach->network->ranges[i].prefix;
}

static void fill_addresses(const struct container *c, const struct config_net *net,
        const struct net_attach *attach, struct port *port)
{
	for (unsigned i = 0; i < net->n_ips; i++)
		add_address(port, attach, &net->ips[i]);
	for (unsigned i = 0; i < c->n_leases && port->spec.n_addresses < ARRAY_SIZE(port->addresses); i++)
		if (str_eq(c->leases[i].device, net->name))
			add_address(port, attach, &c->leases[i].address);
}

static bool port_has_family(const struct port *port, int family)
{
	for (size_t i = 0; i < port->spec.n_addresses; i++)
		if (port->addresses[i].family == family)
			return true;
	return false;
}

/* Default routes by the first interface that can have one; taken says which families have theirs. The others
 * carry what has their own addresses as source. */
static void fill_gateways(const struct net_attach *attach, struct port *port, bool taken[2])
{
	struct ip_addr *const gateways[2] = { &port->spec.gateway4, &port->spec.gateway6 },
	                      *const others[2] = { &port->spec.source_gateway4, &port->spec.source_gateway6 };

	for (unsigned f = 0; f < 2; f++) {
		struct ip_addr *place = taken[f] ? others[f] : gateways[f];

		if (!port_has_family(port, f ? AF_INET6 : AF_INET))
			continue;
		if (!*attach->scope)
			*place = f ? gateway6 : gateway4;
		else
			*place = attach->gateway[f];
		taken[f] = taken[f] || place->family != 0;
	}
}

static int fill_mode(
        const struct manager *m, const struct net_attach *attach, struct port *port, struct ct_error *err)
{
	if (attach->mode == CONFIG_NET_NAT || attach->mode == CONFIG_NET_ROUTED) {
		port->spec.mode = attach->mode == CONFIG_NET_NAT ? NET_MODE_NAT : NET_MODE_ROUTED;
		port->spec.proxy_neighbours = attach->mode == CONFIG_NET_ROUTED && m->conf.proxy_neighbours;
		return 0;
	}
	port->spec.mode = NET_MODE_BRIDGE;
	port->spec.isolated = attach->isolated;
	if (!attach->n_trunk)
		return segment_name(m, attach, port->spec.bridge, err);
	for (unsigned i = 0; i < attach->n_trunk; i++) {
		const struct net_attach one = network_attach_vlan(attach, i);
		struct net_trunk *trunk = &port->spec.trunk[port->spec.n_trunk++];
		int r = segment_name(m, &one, trunk->bridge, err);

		if (r < 0)
			return r;
		trunk->vlan = one.vlan;
	}
	return 0;
}

static void fill_rates(const struct container *c, const struct config_net *net, struct net_rates *rates)
{
	*rates = net->rates;
	for (unsigned i = 0; i < net->n_classes; i++) {
		int class = conf_class_find(&c->manager->conf, net->classes[i].name);

		if (class >= 0) /* one that is gone has no traffic; a start is refused */
			rates->classes[class] =
			        (struct net_class_rates){ net->classes[i].in, net->classes[i].out };
	}
}

void ports_rates(const struct container *c, const struct config_net *net, struct net_rates *ret)
{
	struct net_limits limits = { 0 };

	fill_rates(c, net, ret);
	allowance_limit(c, false, &limits, ret);
}

static void fill_limits(const struct container *c, const struct config_net *net,
        const struct net_attach *attach, struct port *port)
{
	fill_rates(c, net, &port->rates);
	port->rates.segment = *attach->scope && net->rates.out;
	/* With more guaranteed than there is, all would be sent: without a word nothing is, but a trifle. */
	if (c->manager->conf.uplink_rate && !*attach->scope && net->rates.out && !net->rates.out_guaranteed)
		port->rates.out_guaranteed = 8000;
	port->limits = net->limits;
	port->limits.cut = c->config.network_cut || c->network_held;
	port->limits.connections = ports_connections(c->manager, net, attach);
	if (!net->has_block_mail)
		port->limits.block_mail = c->manager->conf.block_mail;
	allowance_limit(c, *attach->scope != '\0', &port->limits, &port->rates);
	if (port->rates.segment)
		(void)snprintf(port->rates.uplink, sizeof(port->rates.uplink), "%s", segment_uplink(attach));
}

/* taken: default routes that interfaces before it have. */
static int port_fill(const struct container *c, uint32_t slot, unsigned i, bool taken[2], struct port *port,
        struct ct_error *err)
{
	const struct manager *m = c->manager;
	const struct config_net *net = &c->config.nets[i];
	struct net_attach attach;
	int r;

	memset(port, 0, sizeof(*port));
	r = network_attach(m, net, &attach, err);
	if (r < 0)
		return r;
	memcpy(port->guest_name, net->name, sizeof(port->guest_name));
	port_settle(port);
	port->spec.mtu = attach.mtu;
	ports_host_name(c, slot, i, port->spec.host_name);
	if (net->has_mac)
		memcpy(port->spec.mac, net->mac, sizeof(net->mac));
	else
		net_port_mac(port->spec.mac, c->row.ctid, net->index);
	fill_addresses(c, net, &attach, port);
	fill_gateways(&attach, port, taken);
	fill_limits(c, net, &attach, port);
	if (port->rates.in)
		port->rates.frame = attach.mtu + 18; /* with its header and a tag */
	port->limits.cut |= attach.network && attach.network->cut;
	port->spec.quiet = c->network_held && c->config.handover == HANDOVER_INCOMING;
	return fill_mode(m, &attach, port, err);
}

int port_next(struct port_iter *at, struct port *port, struct ct_error *err)
{
	const struct config *config = &at->container->config;
	int r;

	while (at->next < config->n_nets && !config_net_is_there(&config->nets[at->next]))
		at->next++;
	if (at->next >= config->n_nets)
		return 0;
	at->i = at->next++;
	r = port_fill(at->container, at->slot, at->i, at->taken, port, err);
	return r < 0 ? r : 1;
}

/* ---- up and down ---- */

static bool limits_are_none(const struct net_limits *l)
{
	static const struct net_limits none;

	return memcmp(l, &none, sizeof(none)) == 0;
}

static bool rates_are_none(const struct net_rates *rates)
{
	static const struct net_rates none;

	return memcmp(rates, &none, sizeof(none)) == 0;
}

/* One that shall be slowed and cannot be is cut. */
static int port_shape(struct container *c, struct port *port, struct ct_error *err)
{
	struct ct_error error = { 0 };
	int r = net_port_shape(c->manager->net, port->spec.host_name, &port->rates, &error);

	if (r >= 0)
		return r;
	if (!allowance_cut_instead(c, &error)) {
		if (err)
			*err = error;
		return r;
	}
	port->limits.cut = true;
	return net_port_limit(c->manager->net, port->spec.host_name, &port->limits, err);
}

/* A port that is made, or was up before (again). */
static int port_apply(struct container *c, struct port *port, int netns_fd, bool again, struct ct_error *err)
{
	struct manager *m = c->manager;
	int r = 0;

	/* A cut comes first, whatever becomes of the rate; it is lifted last, when what takes its place is
	 * there. */
	if (port->limits.cut)
		r = net_port_limit(m->net, port->spec.host_name, &port->limits, err);
	if (r >= 0 && (again || !rates_are_none(&port->rates)))
		r = port_shape(c, port, err);
	if (r >= 0 && (again || !limits_are_none(&port->limits)))
		r = net_port_limit(m->net, port->spec.host_name, &port->limits, err);
	if (r >= 0)
		r = net_port_configure(m->net, &port->spec, netns_fd, err);
	return r;
}

/* All that the interface is connected to. */
static int segments_up(struct manager *m, const struct net_attach *attach, struct ct_error *err)
{
	char bridge[IFNAMSIZ];
	int r = 0;

	if (!attach->n_trunk)
		return segment_up(m, attach, bridge, err);
	for (unsigned i = 0; r >= 0 && i < attach->n_trunk; i++) {
		const struct net_attach one = network_attach_vlan(attach, i);

		r = segment_up(m, &one, bridge, err);
	}
	return r;
}

static int port_up(
        struct container *c, unsigned i, struct port *port, int netns_fd, bool has_link, struct ct_error *err)
{
	struct manager *m = c->manager;
	struct net_attach attach;
	bool again = has_link;
	int r = 0;

	if (port->spec.mode == NET_MODE_BRIDGE) {
		r = network_attach(m, &c->config.nets[i], &attach, err);
		if (r >= 0)
			r = segments_up(m, &attach, err);
	}
	if (r >= 0 && !has_link)
		r = net_port_create(m->net, port->spec.host_name, port->spec.guest_name, netns_fd, err);
	if (r < 0)
		return r;
	return port_apply(c, port, netns_fd, again, err);
}

/* fresh: the link of the pool has never been in use. */
int ports_up(struct container *c, struct pool_item *item, struct ct_error *err)
{
	struct port_iter at = { .container = c, .slot = item->slot };
	struct forwards forwards = { 0 };
	char pooled[IFNAMSIZ];
	struct port port;
	int r;

	net_port_name(pooled, c->manager->tag, item->slot, 0);
	r = ports_check_limits(c, err);
	if (r < 0)
		return r;
	traffic_begin(c);
	allowance_begin(c);
	if (c->manager->conf.uplink_rate) /* it may be there only now; what is wrong with it was said at the
	                                     start */
		(void)net_uplink_shape(c->manager->net, c->manager->conf.uplink_rate, NULL);
	while (r >= 0 && (r = port_next(&at, &port, err)) > 0) {
		bool from_pool = item->has_link && str_eq(port.spec.host_name, pooled);

		if (from_pool && port.spec.mode != NET_MODE_BRIDGE)
			r = port_apply(c, &port, item->shell.netns_fd, false, err);
		else
			r = port_up(c, at.i, &port, item->shell.netns_fd, from_pool, err);
	}
	if (r >= 0)
		r = forwards_of(c, &forwards, err);
	if (r >= 0)
		r = forwards_add(c->manager, &forwards, err);
	if (r >= 0)
		network_announce_again(c);
	forwards_done(&forwards);
	return r;
}

void ports_down(struct container *c)
{
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	bool segment = false;

	if (c->run.slot == 0)
		return;
	/* Of one that is held the link is deleted: sockets that could not say goodbye keep its namespace for
	 * minutes, and a resume makes links of the same names. */
	traffic_settle(c);
	forwards_remove(c);
	while (port_next(&at, &port, NULL) != 0) { /* whatever fails: name and addresses are there */
		ports_host_name(c, c->run.slot, at.i, port.spec.host_name);
		segment |= port.spec.mode == NET_MODE_BRIDGE;
		/* What cannot be taken out now is found by fsck: the tag is in its name. */
		(void)net_port_release(c->manager->net, &port.spec, c->network_held, NULL);
	}
	if (segment)
		segments_sweep_later(c->manager);
}

/* ---- a running container ---- */

static int open_netns(const struct container *c, struct ct_error *err)
{
	int fd = ct_process_namespace(c->run.pid, CLONE_NEWNET);

	return fd < 0 ? ct_error_set(
	                        err, -ESRCH, "network", "cannot reach the network of \"%s\"", c->row.name)
	              : fd;
}

/* Another ctd may keep the uplink's rate by now, or an administrator have a queue there. A port that runs
 * does not lose its network to that, but what is guaranteed to it; whoever asks for it just now is refused.
 * before NULL: nobody asks. */
static bool may_lose_guarantee(const struct ports_snapshot *before, const struct port *port)
{
	if (!port->rates.out_guaranteed)
		return false;
	for (unsigned i = 0; before && i < before->n; i++)
		if (str_eq(before->ports[i].spec.host_name, port->spec.host_name))
			return before->ports[i].rates.out_guaranteed == port->rates.out_guaranteed;
	return !before;
}

static int all_up(struct container *c, const struct ports_snapshot *before, struct ct_error *err)
{
	_cleanup_close_ int netns_fd = open_netns(c, err);
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int r = netns_fd < 0 ? netns_fd : 0;

	while (r >= 0 && (r = port_next(&at, &port, err)) > 0) {
		r = port_up(c, at.i, &port, netns_fd, if_nametoindex(port.spec.host_name) > 0, err);
		if (r != -EEXIST || !may_lose_guarantee(before, &port))
			continue;
		log_error("nothing of the uplink is guaranteed to \"%s\": %s", c->row.name,
		        err ? err->text : "it cannot be");
		port.rates.out_guaranteed = 0;
		r = port_up(c, at.i, &port, netns_fd, if_nametoindex(port.spec.host_name) > 0, err);
	}
	return r;
}

/* What is made anew counts from zero: the old ones are looked at before, and the new ones at once, or their
 * first numbers would be taken for those of the old. */
static void look(struct container *c)
{
	meter_settle(c);
}

/* Rates first: what was cut passes only when it is slowed. */
static int change_limits(struct container *c, bool rates, struct ct_error *err)
{
	struct net_context *net = c->manager->net;
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int r = 0;

	if (rates)
		look(c);
	while (r >= 0 && (r = port_next(&at, &port, err)) > 0) {
		if (rates) {
			if (if_nametoindex(port.spec.host_name) == 0) /* root inside may have deleted it */
				continue;
			r = net_port_shape(net, port.spec.host_name, &port.rates, err);
		}
		if (r >= 0)
			r = net_port_limit(net, port.spec.host_name, &port.limits, err);
	}
	if (rates)
		look(c);
	return r;
}

static bool has_rate_out(const struct net_rates *rates)
{
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		if (rates->classes[i].out)
			return true;
	return rates->out > 0;
}

int ports_follow_uplink(struct container *c, bool announce, struct ct_error *err)
{
	struct net_context *net = c->manager->net;
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int r = 0;

	while (r >= 0 && (r = port_next(&at, &port, err)) > 0) {
		if (if_nametoindex(port.spec.host_name) == 0) /* root inside may have deleted it */
			continue;
		if (has_rate_out(&port.rates))
			r = net_port_shape(net, port.spec.host_name, &port.rates, err);
		if (r >= 0)
			r = net_port_answer(net, &port.spec, err);
		if (r >= 0 && announce && port.spec.proxy_neighbours)
			r = net_port_announce(net, &port.spec, err);
	}
	if (r >= 0 && announce)
		network_announce_again(c);
	return r;
}

int ports_announce(struct container *c, struct ct_error *err)
{
	struct net_context *net = c->manager->net;
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int failed = 0, r;

	/* One that cannot be opened keeps no other one shut; port_next says which is the last, or fails for
	 * good. */
	while ((r = port_next(&at, &port, failed < 0 ? NULL : err)) > 0) {
		if (if_nametoindex(port.spec.host_name) == 0) /* root inside may have deleted it */
			continue;
		r = net_port_open(net, &port.spec, failed < 0 ? NULL : err);
		if (r >= 0)
			r = net_port_announce(net, &port.spec, failed < 0 ? NULL : err);
		if (r < 0 && failed == 0)
			failed = r;
	}
	if (r < 0 && failed == 0)
		failed = r;
	c->network_shut |= failed < 0;
	network_announce_again(c);
	return failed;
}

int ports_announce_again(struct container *c, struct ct_error *err)
{
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int r;

	while ((r = port_next(&at, &port, err)) > 0) {
		if (if_nametoindex(port.spec.host_name) == 0)
			continue;
		r = net_port_announce(c->manager->net, &port.spec, err);
		if (r < 0)
			return r;
	}
	return r;
}

int ports_limit(struct container *c, struct ct_error *err)
{
	return change_limits(c, false, err);
}

int ports_shape(struct container *c, struct ct_error *err)
{
	return change_limits(c, true, err);
}

void ports_snapshot_free(struct ports_snapshot *snapshot)
{
	if (!snapshot)
		return;
	free(snapshot->ports);
	forwards_done(&snapshot->forwards);
	free(snapshot);
}

int ports_snapshot(const struct container *c, struct ports_snapshot **ret, struct ct_error *err)
{
	struct ports_snapshot *s = calloc(1, sizeof(*s));
	struct port_iter at = { .container = c, .slot = c->run.slot };
	int r;

	if (s)
		s->ports = calloc(c->config.n_nets + 1, sizeof(*s->ports));
	if (!s || !s->ports) {
		ports_snapshot_free(s);
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	}
	while ((r = port_next(&at, &s->ports[s->n], err)) > 0)
		s->n++;
	if (r >= 0)
		r = forwards_of(c, &s->forwards, err);
	if (r < 0) {
		ports_snapshot_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static bool has_address(const struct port *port, const struct ip_addr *a)
{
	for (size_t i = 0; i < port->spec.n_addresses; i++)
		if (ip_equal(&port->addresses[i], a))
			return true;
	return false;
}

/* A trunk may come to lead to other VLANs, but a VLAN does not move to another bridge while its link is up:
 * between the two, what comes in by it would be for the host. */
static bool keeps_bridges(const struct net_port_spec *a, const struct net_port_spec *b)
{
	for (size_t i = 0; i < a->n_trunk; i++)
		for (size_t k = 0; k < b->n_trunk; k++)
			if (a->trunk[i].vlan == b->trunk[k].vlan &&
			        !str_eq(a->trunk[i].bridge, b->trunk[k].bridge))
				return false;
	return true;
}

/* The link of a can become what is wanted, b: it only differs in what net_port_configure and the limits set.
 * On a segment, addresses that go are not taken away inside; a trunk has none there. */
static bool can_become(const struct port *a, const struct port *b)
{
	const bool trunk = a->spec.n_trunk > 0;

	if (trunk != (b->spec.n_trunk > 0))
		return false;
	for (size_t i = 0; a->spec.mode == NET_MODE_BRIDGE && !trunk && i < a->spec.n_addresses; i++)
		if (!has_address(b, &a->addresses[i]))
			return false;
	return str_eq(a->spec.host_name, b->spec.host_name) && str_eq(a->guest_name, b->guest_name) &&
	       a->spec.mode == b->spec.mode && str_eq(a->spec.bridge, b->spec.bridge) &&
	       keeps_bridges(&a->spec, &b->spec) &&
	       memcmp(a->spec.mac, b->spec.mac, sizeof(a->spec.mac)) == 0;
}

static bool keeps_port(const struct ports_snapshot *s, const struct port *port)
{
	for (unsigned i = 0; i < s->n; i++)
		if (can_become(port, &s->ports[i]))
			return true;
	return false;
}

static int drop_old_ports(struct container *c, const struct ports_snapshot *before,
        const struct ports_snapshot *now, struct ct_error *err)
{
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < before->n; i++) {
		struct port *port = &before->ports[i];

		if (port->spec.n_trunk) /* it stays, perhaps, and leaves VLANs */
			segments_sweep_later(c->manager);
		if (keeps_port(now, port))
			continue;
		port_settle(port);
		/* All else goes by the configuration, which has it no more, or under another name. */
		(void)traffic_sample_port(c, port->guest_name, port->spec.host_name); /* it goes anyway */
		r = net_port_release(c->manager->net, &port->spec, true, err);
		if (r >= 0) /* else its counters may be there still */
			traffic_port_gone(c, port->guest_name);
		if (port->spec.mode == NET_MODE_BRIDGE)
			segments_sweep_later(c->manager);
	}
	return r;
}

int ports_change(struct container *c, const struct ports_snapshot *before, struct ct_error *err)
{
	struct ports_snapshot *now = NULL;
	int r;

	r = ports_snapshot(c, &now, err);
	if (r < 0)
		return r;
	r = ports_admit(c, err);
	if (r < 0) {
		ports_snapshot_free(now);
		return r;
	}
	r = drop_old_ports(c, before, now, err);
	if (r >= 0)
		r = all_up(c, before, err);
	if (r >= 0)
		r = forwards_change(c, &before->forwards, &now->forwards, err);
	if (r >= 0)
		network_announce_again(c);
	look(c);
	ports_snapshot_free(now);
	return r;
}

/* Ports of the slot that the configuration has not. */
struct strays {
	const struct container *container;
	char prefix[IFNAMSIZ];
	struct net_object objects[128];
	size_t n;
};

static bool is_wanted(const struct container *c, const char *host_name)
{
	char own[IFNAMSIZ];

	for (unsigned i = 0; i < c->config.n_nets; i++) {
		if (!config_net_is_there(&c->config.nets[i]))
			continue;
		ports_host_name(c, c->run.slot, i, own);
		if (str_eq(own, host_name))
			return true;
	}
	return false;
}

static int find_stray(const struct net_object *object, void *userdata)
{
	struct strays *s = userdata;

	if (str_has_prefix(object->host_name, s->prefix) && !is_wanted(s->container, object->host_name) &&
	        s->n < ARRAY_SIZE(s->objects))
		s->objects[s->n++] = *object;
	return 0;
}

static int drop_strays(struct container *c, struct ct_error *err)
{
	struct strays s = { .container = c };
	int r;

	net_port_name(s.prefix, c->manager->tag, c->run.slot, 0);
	s.prefix[strlen(s.prefix) - 1] = '\0'; /* v<tag><slot>. */
	r = net_dump(c->manager->net, find_stray, &s, err);
	for (size_t i = 0; r >= 0 && i < s.n; i++)
		r = net_object_remove(c->manager->net, &s.objects[i], err);
	return r;
}

int ports_restore(struct container *c, struct ct_error *err)
{
	struct forwards forwards = { 0 };
	int r;

	look(c);
	r = drop_strays(c, err);
	if (r >= 0)
		r = all_up(c, NULL, err);
	look(c);
	if (r >= 0)
		r = forwards_of(c, &forwards, err);
	if (r >= 0)
		r = forwards_add(c->manager, &forwards, err);
	forwards_done(&forwards);
	if (r >= 0)
		segments_sweep_later(c->manager);
	if (r >= 0)
		c->network_shut = false;
	return r;
}

/* ---- after a death of ctd ---- */

static void drop_forward(const struct net_publish *publish, void *userdata)
{
	struct manager *m = userdata;

	(void)net_publish_remove(m->net, publish, 1, NULL); /* fsck tells of what is left */
}

/* Ports of a run whose end the last ctd did not see to the end: closed, and forgotten with their links. */
struct leftovers {
	const struct manager *manager;
	char names[256][IFNAMSIZ];
	size_t n;
};

static int find_leftover(const struct net_object *object, void *userdata)
{
	struct leftovers *l = userdata;
	const char *name = object->host_name + 1 + NET_TAG_LEN;
	unsigned long slot = strlen(object->host_name) > 1 + NET_TAG_LEN ? strtoul(name, NULL, 36) : 0;

	if (slot == 0 || pool_has_slot(&l->manager->pool, (uint32_t)slot) || l->n == ARRAY_SIZE(l->names))
		return 0;
	if (l->n == 0 || !str_eq(l->names[l->n - 1], object->host_name))
		memcpy(l->names[l->n++], object->host_name, IFNAMSIZ);
	return 0;
}

static int release_leftovers(struct manager *m, struct ct_error *err)
{
	struct leftovers l = { .manager = m };
	int r = net_dump(m->net, find_leftover, &l, err);

	for (size_t i = 0; r >= 0 && i < l.n; i++) {
		struct net_port_spec spec = { .mode = NET_MODE_NAT };

		memcpy(spec.host_name, l.names[i], IFNAMSIZ);
		(void)net_port_release(m->net, &spec, false, NULL); /* fsck tells of what is left */
	}
	return r < 0 ? r : 0;
}

int ports_recover(struct manager *m, struct ct_error *err)
{
	int r = release_leftovers(m, err);

	if (r < 0)
		return r;
	segments_sweep_later(m);
	network_hosts_later(m);
	return ports_check_publish(m, drop_forward, NULL, m, err);
}

/* ---- resolvers ---- */

/* Loopback resolvers of the host (a local cache) are no use to a guest. */
static unsigned host_dns(struct ip_addr *ret, unsigned max)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/resolv.conf", "re");
	char line[256], word[64];
	unsigned n = 0;

	while (file && n < max && fgets(line, sizeof(line), file))
		if (sscanf(line, "nameserver %63s", word) == 1 && ip_parse(word, &ret[n]) == 0 &&
		        ip_is_unicast(&ret[n]))
			n++;
	return n;
}

unsigned ports_dns(const struct container *c, struct ip_addr *ret, unsigned max)
{
	const struct ip_addr *from = c->config.n_dns ? c->config.dns : c->manager->conf.dns;
	unsigned n = c->config.n_dns ?: c->manager->conf.n_dns;

	for (unsigned i = 0; c->config.n_dns == 0 && i < c->config.n_nets; i++) {
		const struct network *network =
		        *c->config.nets[i].network ? network_by_name(c->manager, c->config.nets[i].network)
		                                   : NULL;

		if (network && network->n_resolvers) {
			from = network->resolvers;
			n = network->n_resolvers;
			break;
		}
	}
	if (n == 0)
		return host_dns(ret, max);
	for (unsigned i = 0; i < n && i < max; i++)
		ret[i] = from[i];
	return n < max ? n : max;
}
