/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of a port's specification, and the elements of the packet filter that follow from it.
 *
 * An IPv4 block is counted out, address by address, so that one set and one lookup do for all; of IPv6 the
 * usual block sizes have a set each.
 */
#include "netns/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/str.h"

#include "netns/bridge.h"

#define IP4_MAX 1024 /* addresses of one port, blocks counted out */

int spec_check_name(const struct net_context *net, const char *name, struct ct_error *err)
{
	if (!str_has_prefix(name, net->prefix) || strlen(name) >= IFNAMSIZ || str_has_suffix(name, "-to") ||
	        str_has_suffix(name, "-by"))
		return ct_error_field(err, "host_name", "the host side must be named \"%s...\"", net->prefix);

	return 0;
}

struct ip_addr network_of(const struct ip_addr *a)
{
	struct ip_addr network = *a;

	for (size_t i = 0; i < ip_len(a); i++) {
		unsigned bits = a->prefix > 8 * i ? a->prefix - 8U * i : 0;

		if (bits < 8)
			network.bytes[i] &= (uint8_t)(0xff00U >> bits);
	}

	return network;
}

struct ip_addr inside_of(const struct ip_addr *a)
{
	struct ip_addr network = network_of(a), inside = *a;

	if (a->family == AF_INET6 && a->prefix < 128 && ip_equal(&network, a))
		inside.bytes[15] |= 1;
	inside.prefix = ip_full_prefix(a);
	return inside;
}

struct ip_addr net_port_inside(const struct net_port_spec *spec, size_t i)
{
	return spec->mode == NET_MODE_BRIDGE ? spec->addresses[i] : inside_of(&spec->addresses[i]);
}

struct ip_addr spec_address(const struct net_port_spec *spec, size_t i)
{
	struct ip_addr a = spec->addresses[i];

	if (spec->mode == NET_MODE_BRIDGE)
		a.prefix = ip_full_prefix(&a);
	return a;
}

static int check_trunk(const struct net_port_spec *spec, struct ct_error *err)
{
	char name[IFNAMSIZ];

	if (spec->n_trunk > NET_TRUNK_MAX ||
	        (spec->n_trunk > 0 && (spec->bridge[0] || spec->gateway4.family || spec->gateway6.family ||
	                                      spec->source_gateway4.family || spec->source_gateway6.family)))
		return ct_error_field(err, "trunk", "a trunk has at most %d VLANs, no bridge and no gateway",
		        NET_TRUNK_MAX);
	for (size_t i = 0; i < spec->n_trunk; i++)
		if (spec->trunk[i].vlan < 1 || spec->trunk[i].vlan > 4094 || !spec->trunk[i].bridge[0] ||
		        trunk_name(name, spec->host_name, spec->trunk[i].vlan) < 0)
			return ct_error_field(
			        err, "trunk", "a VLAN of a trunk has an id of 1 to 4094, and a bridge");
	return 0;
}

int spec_check(const struct net_context *net, const struct net_port_spec *spec, struct ct_error *err)
{
	char text[IP_ADDR_STRLEN];
	size_t n4 = 0;
	int r;

	r = spec_check_name(net, spec->host_name, err);
	if (r < 0)
		return r;
	if (spec->mode != NET_MODE_NAT && spec->mode != NET_MODE_ROUTED && spec->mode != NET_MODE_BRIDGE)
		return ct_error_field(err, "mode", "a port must be of mode nat, routed or bridge");
	r = check_trunk(spec, err);
	if (r < 0)
		return r;
	if ((spec->mode == NET_MODE_BRIDGE) != (spec->bridge[0] != 0 || spec->n_trunk > 0))
		return ct_error_field(err, "bridge", "a port of mode bridge, and no other, needs a bridge");
	if (spec->mode == NET_MODE_BRIDGE && spec->proxy_neighbours)
		return ct_error_field(err, "proxy_neighbours", "a port of a bridge answers for itself");
	if ((spec->mac[0] & 3) != 2)
		return ct_error_field(err, "mac", "the MAC must be unicast and locally administered");
	if (spec->n_addresses > NET_ADDRESSES_MAX)
		return ct_error_field(err, "addresses", "a port has at most %d addresses", NET_ADDRESSES_MAX);
	if (spec->mtu != 0 && (spec->mtu < 1280 || spec->mtu > 65535))
		return ct_error_field(err, "mtu", "the MTU must be 1280 to 65535");

	for (size_t i = 0; i < spec->n_addresses; i++) {
		const struct ip_addr single = spec_address(spec, i), *a = &single;

		if (port_set_of(a) == PORT_SETS)
			return ct_error_field(err, "addresses",
			        "\"%s\" cannot be given to a container: IPv4 blocks may be /24 to /32, IPv6 blocks /48, /56, "
			        "/64 or /128",
			        ip_format(a, text, sizeof(text)));
		if (!ip_is_unicast(a))
			return ct_error_field(err, "addresses",
			        "\"%s\" is not an address that a container can have",
			        ip_format(a, text, sizeof(text)));
		if (spec->proxy_neighbours && a->family == AF_INET6 && a->prefix < 128)
			return ct_error_field(err, "addresses",
			        "\"%s\" must be routed to this host: single addresses only can be answered for on the uplink",
			        ip_format(a, text, sizeof(text)));
		if (a->family == AF_INET)
			n4 += (size_t)1 << (32 - a->prefix);
	}
	if (n4 > IP4_MAX)
		return ct_error_field(err, "addresses",
		        "a port has at most %d IPv4 addresses, all blocks together", IP4_MAX);

	return 0;
}

static struct scan_key make_key(enum port_set set, const struct net_port_spec *spec, const struct ip_addr *a)
{
	struct scan_key key = { .set = set };
	struct port_key port = { 0 };

	memcpy(port.name, spec->host_name, sizeof(port.name));
	memcpy(port.mac, spec->mac, sizeof(spec->mac));
	memcpy(key.bytes, &port, set >= PORT_FIRST_NAME ? sizeof(port.name) : sizeof(port));
	if (a)
		memcpy(key.bytes + sizeof(port), a->bytes, ip_len(a));
	return key;
}

static int push_address(struct scan_keys *keys, const struct net_port_spec *spec, const struct ip_addr *a)
{
	struct ip_addr network = network_of(a);
	size_t n = a->family == AF_INET ? (size_t)1 << (32 - a->prefix) : 1;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct ip_addr one = network;
		struct scan_key key;

		if (n > 1)
			one.bytes[3] |= (uint8_t)i;
		key = make_key(port_set_of(a), spec, &one);
		r = set_keys_push(keys, &key);
	}

	return r;
}

/* Of a bridge: that it is one, and its link-local address, with which it speaks to its neighbours. */
static int bridged_keys(const struct net_port_spec *spec, struct scan_keys *ret)
{
	struct scan_key key = make_key(PORT_BRIDGED, spec, NULL);
	struct ip_addr local;
	int r;

	r = set_keys_push(ret, &key);
	if (r < 0)
		return r;

	net_link_local(&local, spec->mac);
	return push_address(ret, spec, &local);
}

/* Of a trunk: its tags, without priority, and its link-local address. */
static int trunk_keys(const struct net_port_spec *spec, struct scan_keys *ret)
{
	struct ip_addr local;

	for (size_t i = 0; i < spec->n_trunk; i++) {
		struct scan_key key = set_key_of_name(PORT_TRUNK, spec->host_name);
		uint16_t tag = htons(spec->trunk[i].vlan);
		int r;

		memcpy(key.bytes + IFNAMSIZ, &tag, sizeof(tag));
		r = set_keys_push(ret, &key);
		if (r < 0)
			return r;
	}
	net_link_local(&local, spec->mac);
	return push_address(ret, spec, &local);
}

int spec_keys(const struct net_port_spec *spec, struct scan_keys *ret)
{
	static const enum port_set fixed[] = { PORT_MAC, PORT_SENT, PORT_RECEIVED, PORT_REFUSED };
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
		struct scan_key key = make_key(fixed[i], spec, NULL);

		r = set_keys_push(ret, &key);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < spec->n_addresses; i++) {
		struct ip_addr a = spec_address(spec, i);

		r = push_address(ret, spec, &a);
		if (r < 0)
			return r;
	}

	if (spec->n_trunk > 0)
		return trunk_keys(spec, ret);
	return spec->mode == NET_MODE_BRIDGE ? bridged_keys(spec, ret) : 0;
}
