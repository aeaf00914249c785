/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named networks in memory, and what an interface is connected to.
 *
 * The configuration of a container is checked by itself (config-net.c); what it says about a named network is
 * checked here, where networks are known, whenever it is used. A network that is in use cannot be removed, so
 * what was right at create stays right.
 */
#include "ctd/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"

#define NAT_NETWORKS_MAX 256

/* ---- reading ---- */

struct source {
	const char *mode, *bridge, *uplink;
	json_t *ranges, *gateway, *resolver;
	uint64_t vlan, mtu;
	bool isolated, cut;
	const char *tenant;
};

static const struct json_field fields[] = {
	{ "mode", JSON_KIND_STRING, offsetof(struct source, mode), JSON_NO_HAS, true },
	{ "ranges", JSON_KIND_ARRAY, offsetof(struct source, ranges), JSON_NO_HAS, true },
	{ "gateway", JSON_KIND_ARRAY, offsetof(struct source, gateway), JSON_NO_HAS, false },
	{ "resolver", JSON_KIND_ARRAY, offsetof(struct source, resolver), JSON_NO_HAS, false },
	{ "bridge", JSON_KIND_STRING, offsetof(struct source, bridge), JSON_NO_HAS, false },
	{ "uplink", JSON_KIND_STRING, offsetof(struct source, uplink), JSON_NO_HAS, false },
	{ "vlan", JSON_KIND_U64, offsetof(struct source, vlan), JSON_NO_HAS, false },
	{ "mtu", JSON_KIND_U64, offsetof(struct source, mtu), JSON_NO_HAS, false },
	{ "isolated", JSON_KIND_BOOL, offsetof(struct source, isolated), JSON_NO_HAS, false },
	{ "cut", JSON_KIND_BOOL, offsetof(struct source, cut), JSON_NO_HAS, false },
	{ "tenant", JSON_KIND_STRING, offsetof(struct source, tenant), JSON_NO_HAS, false },
	{ NULL },
};

static int read_range(const json_t *item, struct ip_addr *ret, struct ct_error *err)
{
	const char *s = json_string_value(item);

	if (!s || ip_parse_network(s, ret) < 0 || !ip_is_unicast(ret) ||
	        ret->prefix > (ret->family == AF_INET ? 30 : 126) || ret->prefix < 8)
		return ct_error_field(err, "ranges",
		        "\"%.60s\" is not a range: an IPv4 network of /8 to /30 or an IPv6 network of /8 to /126",
		        s ? s : "");
	return 0;
}

static int read_ranges(const json_t *list, struct network *network, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (json_array_size(list) < 1 || json_array_size(list) > NETWORK_RANGES_MAX)
		return ct_error_field(
		        err, "ranges", "a network has 1 to %d ranges of addresses", NETWORK_RANGES_MAX);
	json_array_foreach(list, i, item)
	{
		int r = read_range(item, &network->ranges[i], err);

		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++)
			if (ip_overlaps(&network->ranges[k], &network->ranges[i]))
				return ct_error_field(err, "ranges", "two ranges of the network overlap");
	}
	network->n_ranges = (unsigned)json_array_size(list);
	return 0;
}

static int read_address(const char *field, const json_t *item, struct ip_addr *ret, struct ct_error *err)
{
	const char *s = json_string_value(item);

	if (!s || ip_parse(s, ret) < 0 || !ip_is_unicast(ret) || ret->prefix != ip_full_prefix(ret))
		return ct_error_field(err, field, "\"%.60s\" is not an IPv4 or IPv6 address", s ? s : "");
	return 0;
}

static bool in_ranges(const struct network *network, const struct ip_addr *a)
{
	for (unsigned i = 0; i < network->n_ranges; i++)
		if (ip_contains(&network->ranges[i], a))
			return true;
	return false;
}

static int read_gateways(const json_t *list, struct network *network, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		struct ip_addr a;
		int r = read_address("gateway", item, &a, err);

		if (r < 0)
			return r;
		if (network->gateway[a.family == AF_INET6].family)
			return ct_error_field(
			        err, "gateway", "a network has one gateway of each family at most");
		if (!in_ranges(network, &a))
			return ct_error_field(
			        err, "gateway", "the gateway must be within a range of the network");
		network->gateway[a.family == AF_INET6] = a;
	}
	return 0;
}

static int read_resolvers(const json_t *list, struct network *network, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (json_array_size(list) > NETWORK_RESOLVERS_MAX)
		return ct_error_field(
		        err, "resolver", "a network has at most %d resolvers", NETWORK_RESOLVERS_MAX);
	json_array_foreach(list, i, item)
	{
		int r = read_address("resolver", item, &network->resolvers[i], err);

		if (r < 0)
			return r;
	}
	network->n_resolvers = (unsigned)json_array_size(list);
	return 0;
}

static int read_link(const char *field, const char *value, char ret[IFNAMSIZ], struct ct_error *err)
{
	if (!value)
		return 0;
	if (!*value || strlen(value) >= IFNAMSIZ || strpbrk(value, "/ \t") || !str_is_printable(value))
		return ct_error_field(err, field, "%s must be the name of a link", field);
	memcpy(ret, value, strlen(value) + 1);
	return 0;
}

static int check_links(const struct network *n, const struct source *in, struct ct_error *err)
{
	bool segment = n->mode == CONFIG_NET_BRIDGE || n->mode == CONFIG_NET_VLAN;

	if (n->mode == CONFIG_NET_NONE)
		return ct_error_field(err, "mode", "a network of mode none would connect nothing");
	if (in->vlan > 4094)
		return ct_error_field(err, "vlan", "a VLAN has an id of 1 to 4094");
	if (in->mtu && (in->mtu < 1280 || in->mtu > 65535))
		return ct_error_field(err, "mtu", "the MTU must be 1280 to 65535");
	if (n->mode == CONFIG_NET_BRIDGE && !*n->bridge == !*n->uplink)
		return ct_error_field(err, "bridge",
		        "a network of mode bridge needs either a bridge that is there or an uplink to make one on");
	if (n->mode == CONFIG_NET_VLAN && (!in->vlan || !*n->uplink))
		return ct_error_field(err, "vlan", "a network of mode vlan needs a VLAN id and an uplink");
	if (n->mode != CONFIG_NET_VLAN && in->vlan)
		return ct_error_field(err, "vlan", "only a network of mode vlan has a VLAN id");
	if (!segment && (*n->bridge || *n->uplink))
		return ct_error_field(err, "uplink", "only networks of mode bridge and vlan have a link");
	if ((n->mode == CONFIG_NET_NAT || n->mode == CONFIG_NET_ROUTED) &&
	        (n->gateway[0].family || n->gateway[1].family || in->isolated))
		return ct_error_field(err, "gateway",
		        "networks of mode nat and routed have the host as their gateway, and no segment");
	return 0;
}

int network_read(const json_t *config, const char *name, struct network *ret, struct ct_error *err)
{
	struct source in = { 0 };
	int r;

	*ret = (struct network){ 0 };
	if (strlen(name) >= sizeof(ret->name))
		return ct_error_field(err, "name", "a name has at most 63 bytes");
	memcpy(ret->name, name, strlen(name) + 1);

	r = json_read(config, fields, &in, err);
	if (r >= 0)
		r = config_net_mode_read(in.mode, &ret->mode, err);
	if (r >= 0)
		r = read_ranges(in.ranges, ret, err);
	if (r >= 0)
		r = read_gateways(in.gateway, ret, err);
	if (r >= 0)
		r = read_resolvers(in.resolver, ret, err);
	if (r >= 0)
		r = read_link("bridge", in.bridge, ret->bridge, err);
	if (r >= 0)
		r = read_link("uplink", in.uplink, ret->uplink, err);
	if (r >= 0)
		r = check_links(ret, &in, err);
	if (r >= 0 && in.tenant)
		r = config_check_name("tenant", in.tenant, err);
	if (r < 0)
		return r;
	if (in.tenant)
		memcpy(ret->tenant, in.tenant, strlen(in.tenant) + 1);

	ret->vlan = (uint16_t)in.vlan;
	ret->mtu = (uint32_t)in.mtu;
	ret->isolated = in.isolated;
	ret->cut = in.cut;
	return 0;
}

void network_free(struct network *network)
{
	if (!network)
		return;
	free(network->config);
	free(network);
}

/* ---- all of them ---- */

static int load_one(const struct network_row *row, void *userdata)
{
	struct manager *m = userdata;
	_cleanup_json_ json_t *config = NULL;
	struct network *network = calloc(1, sizeof(*network));
	struct ct_error error = { 0 };
	int r;

	if (!network)
		return -ENOMEM;
	r = json_parse(row->config, strlen(row->config), &config, &error);
	if (r >= 0)
		r = network_read(config, row->name, network, &error);
	if (r < 0) {
		log_error("network \"%s\" cannot be loaded: %s", row->name, error.text);
		network_free(network);
		return 0; /* its containers say that it is missing, the others go on */
	}
	network->number = row->number;
	network->created_usec = row->created_usec;
	network->config = strdup(row->config);
	if (!network->config) {
		network_free(network);
		return -ENOMEM;
	}
	HASH_ADD_STR(m->networks, name, network);
	return 0;
}

int networks_load(struct manager *m, struct ct_error *err)
{
	return store_network_each(m->store, load_one, m, err);
}

void networks_free(struct manager *m)
{
	struct network *network, *next;

	HASH_ITER(hh, m->networks, network, next)
	{
		HASH_DEL(m->networks, network);
		network_free(network);
	}
}

struct network *network_by_name(const struct manager *m, const char *name)
{
	struct network *network = NULL;

	HASH_FIND_STR(m->networks, name, network);
	return network;
}

unsigned network_count_users(const struct manager *m, const struct network *network, const char **ret_one)
{
	struct container *c, *next;
	unsigned n = 0;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (str_eq(c->config.nets[i].network, network->name)) {
			n++;
			if (ret_one)
				*ret_one = c->row.name;
			break;
		}
	return n;
}

/* ---- what an interface is connected to ---- */

static void set_scope(struct net_attach *a)
{
	if (a->mode == CONFIG_NET_PRIVATE && a->network)
		(void)snprintf(a->scope, sizeof(a->scope), "network %s", a->network->name); /* they fit */
	else if (a->mode == CONFIG_NET_VLAN)
		(void)snprintf(a->scope, sizeof(a->scope), "vlan %u %s", a->vlan, a->uplink);
	else if (a->mode == CONFIG_NET_BRIDGE)
		(void)snprintf(a->scope, sizeof(a->scope), "%s %s", *a->bridge ? "bridge" : "uplink",
		        *a->bridge ? a->bridge : a->uplink);
	else
		a->scope[0] = '\0';
}

struct net_attach network_attach_vlan(const struct net_attach *trunk, unsigned i)
{
	struct net_attach one = *trunk;

	one.vlan = trunk->trunk[i];
	one.n_trunk = 0;
	set_scope(&one);
	return one;
}

static int check_static(const struct config_net *net, const struct network *network, struct ct_error *err)
{
	char text[IP_ADDR_STRLEN];

	for (unsigned i = 0; i < net->n_ips; i++) {
		struct ip_addr a = net->ips[i];

		if (network->mode != CONFIG_NET_ROUTED)
			a.prefix = ip_full_prefix(&a);
		if (!in_ranges(network, &a))
			return ct_error_field(err, "ip",
			        "the address %s is in no range of the network \"%s\"",
			        ip_format(&a, text, sizeof(text)), network->name);
	}
	return 0;
}

int network_attach(
        const struct manager *m, const struct config_net *net, struct net_attach *ret, struct ct_error *err)
{
	const struct network *network;

	*ret = (struct net_attach){ .mode = net->mode,
		.gateway = { net->gateway[0], net->gateway[1] },
		.bridge = net->bridge,
		.uplink = net->uplink,
		.vlan = net->n_trunk ? net->trunk[0] : net->vlan,
		.trunk = net->trunk,
		.n_trunk = net->n_trunk,
		.mtu = net->mtu,
		.isolated = net->isolated };
	if (!*net->network) {
		set_scope(ret);
		return 0;
	}

	network = network_by_name(m, net->network);
	if (!network)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT,
		        "there is no network \"%s\" (ctctl network list shows all)", net->network);
	if (net->mode != CONFIG_NET_NAMED && net->mode != network->mode)
		return ct_error_field(err, "mode", "the network \"%s\" is of mode %s, not %s", network->name,
		        config_net_mode_name(network->mode), config_net_mode_name(net->mode));

	ret->mode = network->mode;
	ret->network = network;
	memcpy(ret->gateway, network->gateway, sizeof(ret->gateway));
	ret->bridge = network->bridge;
	ret->uplink = network->uplink;
	ret->vlan = network->vlan;
	ret->mtu = net->mtu ? net->mtu : network->mtu;
	ret->isolated = network->isolated || net->isolated;
	set_scope(ret);
	return check_static(net, network, err);
}

/* ---- the host ---- */

int network_host_apply(struct manager *m, struct ct_error *err)
{
	struct ip_addr nat[NAT_NETWORKS_MAX];
	struct net_host_spec spec = {
		.nat_networks = nat,
		.nat_peers = m->conf.nat_peers,
		.routed_peers = m->conf.routed_peers,
		.services = m->conf.services,
		.n_services = m->conf.n_services,
		.enable_forwarding = true,
	};
	struct network *network, *next;

	if (m->conf.nat_network.family)
		nat[spec.n_nat_networks++] = m->conf.nat_network;
	if (m->conf.nat_network6.family)
		nat[spec.n_nat_networks++] = m->conf.nat_network6;
	HASH_ITER(hh, m->networks, network, next)
	for (unsigned i = 0; network->mode == CONFIG_NET_NAT && i < network->n_ranges; i++) {
		if (spec.n_nat_networks == NAT_NETWORKS_MAX)
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
			        "all networks of mode nat together have at most %d ranges",
			        NAT_NETWORKS_MAX - 2);
		nat[spec.n_nat_networks++] = network->ranges[i];
	}
	return net_host_apply(m->net, &spec, err);
}
