/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling a segment where an address is now, so that it need not find out when its caches are stale: an ARP
 * request of an address for itself (RFC 5227), and a neighbour advertisement that nobody asked for (RFC
 * 4861, 7.2.6). Sent from the host's side: on the uplink with the uplink's MAC where the host answers for the
 * address, on a bridge with the container's.
 *
 * Of a port of a bridge whose addresses we do not know, such as a trunk, only the MAC: a reverse ARP request
 * (RFC 903), as hypervisors send one for a guest that has moved, for the switches between.
 *
 * Nobody answers: who wants to be sure says it again.
 */
#include "netns/context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

#include "netns/link.h"
#include "netns/spec.h"

struct frame {
	uint8_t data[14 + 40 + 32];
	size_t len;
};

static void add(struct frame *f, const void *data, size_t len)
{
	memcpy(f->data + f->len, data, len);
	f->len += len;
}

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void make_arp(struct frame *f, const uint8_t mac[static 6], const struct ip_addr *a)
{
	static const uint8_t nobody[6];
	static const uint8_t type_and_request[10] = { 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1 };

	add(f, broadcast, 6);
	add(f, mac, 6);
	add(f, type_and_request, sizeof(type_and_request));
	add(f, mac, 6);
	add(f, a->bytes, 4);
	add(f, nobody, 6);
	add(f, a->bytes, 4);
}

static void make_reverse_arp(struct frame *f, const uint8_t mac[static 6])
{
	static const uint8_t type_and_request[10] = { 0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3 }, none[4];

	add(f, broadcast, 6);
	add(f, mac, 6);
	add(f, type_and_request, sizeof(type_and_request));
	add(f, mac, 6);
	add(f, none, 4);
	add(f, mac, 6);
	add(f, none, 4);
}

/* Of the ICMPv6 message from 54 to the end and its pseudo-header, whose addresses begin at 22. */
static uint16_t checksum(const struct frame *f)
{
	uint32_t sum = IPPROTO_ICMPV6 + (uint32_t)(f->len - 54);

	for (size_t i = 22; i < f->len; i += 2)
		sum += (uint32_t)f->data[i] << 8 | f->data[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void make_advertisement(struct frame *f, const uint8_t mac[static 6], const struct ip_addr *a)
{
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const uint8_t type_and_header[10] = { 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, IPPROTO_ICMPV6, 255 };
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	static const uint8_t override[8] = { 136, 0, 0, 0, 0x20, 0, 0, 0 }, option[2] = { 2, 1 };
	uint16_t sum;

	add(f, all_nodes_mac, 6);
	add(f, mac, 6);
	add(f, type_and_header, sizeof(type_and_header));
	add(f, a->bytes, 16);
	add(f, all_nodes, 16);
	add(f, override, sizeof(override));
	add(f, a->bytes, 16);
	add(f, option, sizeof(option));
	add(f, mac, 6);
	sum = checksum(f);
	memcpy(f->data + 56, &sum, sizeof(sum));
}

/* Of the MAC alone if there is no address. */
static int send_frame(int fd, int index, const uint8_t mac[static 6], const struct ip_addr *a)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = index, .sll_halen = 6 };
	struct frame f = { .len = 0 };

	if (!a)
		make_reverse_arp(&f, mac);
	else if (a->family == AF_INET)
		make_arp(&f, mac, a);
	else
		make_advertisement(&f, mac, a);
	memcpy(&to.sll_protocol, f.data + 12, sizeof(to.sll_protocol));
	memcpy(to.sll_addr, f.data, 6);
	if (sendto(fd, f.data, f.len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;

	return 0;
}

/* Every address of a block in IPv4; of IPv6 there are only single ones here. */
static int announce_address(int fd, int index, const uint8_t mac[static 6], const struct ip_addr *a)
{
	size_t n = a->family == AF_INET ? (size_t)1 << (32 - a->prefix) : 1;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct ip_addr one = network_of(a);

		if (n > 1)
			one.bytes[3] |= (uint8_t)i;
		r = send_frame(fd, index, mac, &one);
	}

	return r;
}

/* Where and as whom; index 0: nowhere. */
static int find_segment(struct net_context *net, const struct net_port_spec *spec, int family, int *ret_index,
        uint8_t mac[static 6], struct ct_error *err)
{
	struct link_info link;
	int r;

	*ret_index = 0;
	if (spec->mode == NET_MODE_BRIDGE) {
		r = link_get(&net->route, &net->batch, spec->bridge, 0, &link, err);
		memcpy(mac, spec->mac, 6);
	} else {
		r = route_uplink(&net->route, &net->batch, family, ret_index);
		if (r < 0)
			return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
		if (*ret_index == 0)
			return 0;
		r = link_get(&net->route, &net->batch, NULL, *ret_index, &link, err);
		memcpy(mac, link.mac, 6);
	}
	if (r < 0)
		return r;

	*ret_index = link.index;
	return 0;
}

static int announce_failed(int r, struct ct_error *err)
{
	return ct_error_set(err, r, "network", "cannot announce an address: %s", strerror(-r));
}

static int announce_mac(struct net_context *net, const struct net_port_spec *spec, int fd, const char *bridge,
        struct ct_error *err)
{
	struct link_info link;
	int r = link_get(&net->route, &net->batch, bridge, 0, &link, err);

	if (r < 0)
		return r;
	r = send_frame(fd, link.index, spec->mac, NULL);
	return r < 0 ? announce_failed(r, err) : 0;
}

/* Trunks, and what has its addresses from elsewhere. */
static int announce_macs(
        struct net_context *net, const struct net_port_spec *spec, int fd, struct ct_error *err)
{
	int r = 0;

	if (spec->n_trunk == 0)
		return announce_mac(net, spec, fd, spec->bridge, err);
	for (size_t i = 0; i < spec->n_trunk && r >= 0; i++)
		r = announce_mac(net, spec, fd, spec->trunk[i].bridge, err);
	return r;
}

int net_port_announce(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (spec->quiet || (spec->mode != NET_MODE_BRIDGE && !spec->proxy_neighbours))
		return 0; /* nobody asks for the address */

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ct_error_set(
		        err, -errno, "network", "cannot open a packet socket: %s", strerror(errno));
	if (spec->mode == NET_MODE_BRIDGE && (spec->n_trunk > 0 || spec->n_addresses == 0))
		return announce_macs(net, spec, fd, err);

	for (size_t i = 0; i < spec->n_addresses; i++) {
		struct ip_addr a = spec_address(spec, i);
		uint8_t mac[6];
		int index;

		r = find_segment(net, spec, a.family, &index, mac, err);
		if (r < 0)
			return r;
		r = index ? announce_address(fd, index, mac, &a) : 0;
		if (r < 0)
			return announce_failed(r, err);
	}

	return 0;
}
