/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames made byte by byte, honest and not. */
#include <stdarg.h>
#include <string.h>

#include "netns/context.h"
#include "netns/test-frames.h"

struct frame_world frame_world;

static void ether(struct frame *f, uint16_t type)
{
	frame_ether(f, net_gateway_mac, frame_world.attacker.spec.mac, type);
}

void frame_udp4_from(struct frame *f, struct ip_addr from, uint16_t port, uint16_t fragment)
{
	frame_ip4(f, from, frame_world.victim4, IPPROTO_UDP, fragment, 8 + strlen(MARK));
	frame_udp(f, port, 68, MARK);
}

static void udp6_from(struct frame *f, struct ip_addr from, uint16_t port)
{
	size_t at = f->len;

	frame_ip6(f, from, frame_world.victim6, IPPROTO_UDP, 64, 8 + strlen(MARK));
	frame_udp(f, port, 546, MARK);
	frame_sum6(f, at, at + 40, IPPROTO_UDP, 6);
}

void frame_good4(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, frame_world.own4, 1234, 0);
}

void frame_good6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, frame_world.own6, 1234);
}

static void wrong_mac4(struct frame *f)
{
	frame_ether(f, net_gateway_mac, foreign_mac, 0x0800);
	frame_udp4_from(f, frame_world.own4, 1234, 0);
}

static void wrong_mac6(struct frame *f)
{
	frame_ether(f, net_gateway_mac, foreign_mac, 0x86dd);
	udp6_from(f, frame_world.own6, 1234);
}

void frame_neighbours_address4(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, frame_world.victim4, 1234, 0);
}

static void foreign_address4(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, ip("203.0.113.9"), 1234, 0);
}

static void no_address4(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, ip("0.0.0.0"), 68, 0);
}

static void foreign_address6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, ip("2001:db8:9::9"), 1234);
}

static void link_local_address6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, frame_world.local6, 1234);
}

static void to_broadcast4(struct frame *f)
{
	frame_ether(f, broadcast, frame_world.attacker.spec.mac, 0x0800);
	frame_udp4_from(f, frame_world.own4, 1234, 0);
}

static void to_multicast6(struct frame *f)
{
	frame_ether(f, all_nodes_mac, frame_world.attacker.spec.mac, 0x86dd);
	udp6_from(f, frame_world.own6, 1234);
}

static void dhcp_server4(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, frame_world.own4, 67, 0);
}

static void dhcp_server4_first_fragment(struct frame *f)
{
	ether(f, 0x0800);
	frame_udp4_from(f, frame_world.own4, 67, 0x2000);
}

static void dhcp_server6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, frame_world.own6, 547);
}

static void source_route4(struct frame *f)
{
	static const uint8_t option[8] = { 131, 7, 4, 192, 0, 2, 2, 0 };
	uint8_t header[20];

	ether(f, 0x0800);
	frame_ip4(f, frame_world.own4, frame_world.victim4, IPPROTO_UDP, 0, 8 + 8 + strlen(MARK));
	memcpy(header, f->data + 14, sizeof(header));
	header[0] = 0x47;
	f->len = 14;
	frame_add(f, header, sizeof(header));
	frame_add(f, option, sizeof(option));
	frame_udp(f, 1234, 68, MARK);
}

static void icmp4(struct frame *f, uint8_t type)
{
	ether(f, 0x0800);
	frame_ip4(f, frame_world.own4, frame_world.victim4, IPPROTO_ICMP, 0, 8 + strlen(MARK));
	frame_u8(f, type);
	frame_u8(f, 0);
	frame_u16(f, 0);
	frame_add(f, "1234", 4);
	frame_add(f, MARK, strlen(MARK));
}

static void redirect4(struct frame *f)
{
	icmp4(f, 5);
}

static void router4(struct frame *f)
{
	icmp4(f, 9);
}

static void tagged(struct frame *f, uint16_t outer, uint16_t outer_id, uint16_t inner, uint16_t inner_id)
{
	frame_ether(f, net_gateway_mac, frame_world.attacker.spec.mac, outer);
	frame_u16(f, outer_id);
	if (inner) {
		frame_u16(f, inner);
		frame_u16(f, inner_id);
	}
	frame_u16(f, 0x0800);
	frame_udp4_from(f, frame_world.own4, 1234, 0);
}

static void tag(struct frame *f)
{
	tagged(f, 0x8100, 5, 0, 0);
}

static void priority_tag(struct frame *f)
{
	tagged(f, 0x8100, 0xe000, 0, 0);
}

static void double_tag(struct frame *f)
{
	tagged(f, 0x8100, 0, 0x8100, 0);
}

static void provider_tag(struct frame *f)
{
	tagged(f, 0x88a8, 0, 0, 0);
}

static void provider_double_tag(struct frame *f)
{
	tagged(f, 0x88a8, 0, 0x8100, 0);
}

/* Eight bytes of an extension header in front of a good datagram. */
static void extended6(struct frame *f, uint8_t header, uint8_t type)
{
	size_t at;

	ether(f, 0x86dd);
	at = f->len;
	frame_ip6(f, frame_world.own6, frame_world.victim6, header, 64, 8 + 8 + strlen(MARK));
	frame_u8(f, IPPROTO_UDP);
	frame_u8(f, 0);
	frame_u8(f, type); /* of a routing header; a PadN option otherwise */
	frame_u8(f, type == 1 ? 4 : 0);
	frame_add(f, "\0\0\0\0", 4);
	frame_udp(f, 1234, 546, MARK);
	frame_sum6(f, at, at + 48, IPPROTO_UDP, 6);
}

static void hop_by_hop6(struct frame *f)
{
	extended6(f, IPPROTO_HOPOPTS, 1);
}

static void destination_options6(struct frame *f)
{
	extended6(f, IPPROTO_DSTOPTS, 1);
}

static void routing6(struct frame *f)
{
	extended6(f, IPPROTO_ROUTING, 4);
}

static void routing6_type0(struct frame *f)
{
	extended6(f, IPPROTO_ROUTING, 0);
}

static void fragment6(struct frame *f, uint8_t next, uint16_t offset_and_more, uint8_t first, uint8_t second)
{
	ether(f, 0x86dd);
	frame_ip6(f, frame_world.own6, frame_world.victim6, IPPROTO_FRAGMENT, 255, 8 + 8 + strlen(MARK));
	frame_u8(f, next);
	frame_u8(f, 0);
	frame_u16(f, offset_and_more);
	frame_add(f, "abcd", 4);
	frame_u8(f, first);
	frame_u8(f, second);
	frame_add(f, "123456" MARK, 6 + strlen(MARK));
}

static void fragment6_good(struct frame *f)
{
	fragment6(f, IPPROTO_UDP, 1, 4, 210);
}

static void fragment6_later(struct frame *f)
{
	fragment6(f, IPPROTO_UDP, 8 << 3, 2, 35);
}

static void fragment6_of_echo(struct frame *f)
{
	fragment6(f, IPPROTO_ICMPV6, 1, 128, 0);
}

static void fragment6_of_advertisement(struct frame *f)
{
	fragment6(f, IPPROTO_ICMPV6, 1, 136, 0);
}

static void fragment6_of_router(struct frame *f)
{
	fragment6(f, IPPROTO_ICMPV6, 0, 134, 0);
}

static void fragment6_of_server(struct frame *f)
{
	fragment6(f, IPPROTO_UDP, 1, 547 >> 8, 547 & 0xff);
}

static void fragment6_hides_header(struct frame *f)
{
	fragment6(f, IPPROTO_DSTOPTS, 1, IPPROTO_ICMPV6, 0);
}

static void fragment6_in_fragment(struct frame *f)
{
	fragment6(f, IPPROTO_FRAGMENT, 1, IPPROTO_ICMPV6, 0);
}

/* 24 bytes of neighbour discovery with the target, and an option with the attacker's MAC. */
static void discovery(struct frame *f, const uint8_t mac[6], struct ip_addr from, struct ip_addr to,
        uint8_t type, struct ip_addr target)
{
	size_t at;

	frame_ether(f, mac, frame_world.attacker.spec.mac, 0x86dd);
	at = f->len;
	frame_ip6(f, from, to, IPPROTO_ICMPV6, 255, 32 + strlen(MARK) + 1);
	frame_u8(f, type);
	frame_u8(f, 0);
	frame_add(f, "\0\0\xe0\0\0\0", 6);
	frame_add(f, target.bytes, 16);
	frame_u8(f, type == 135 ? 1 : 2);
	frame_u8(f, 1);
	frame_add(f, frame_world.attacker.spec.mac, 6);
	frame_add(f, MARK, strlen(MARK) + 1);
	frame_sum6(f, at, at + 40, IPPROTO_ICMPV6, 2);
}

static void advertises_gateway(struct frame *f)
{
	discovery(f, all_nodes_mac, frame_world.local6, ip("ff02::1"), 136, ip("fe80::1"));
}

static void advertises_victim(struct frame *f)
{
	discovery(f, net_gateway_mac, frame_world.own6, ip("2001:db8:ff::1"), 136, frame_world.victim6);
}

static void advertises_own(struct frame *f)
{
	discovery(f, all_nodes_mac, frame_world.own6, ip("ff02::1"), 136, frame_world.own6);
}

static void router_advertisement(struct frame *f)
{
	discovery(f, all_nodes_mac, frame_world.local6, ip("ff02::1"), 134, frame_world.own6);
}

static void router_advertisement_routed(struct frame *f)
{
	discovery(f, net_gateway_mac, frame_world.own6, frame_world.victim6, 134, frame_world.own6);
}

static void redirect6(struct frame *f)
{
	discovery(f, net_gateway_mac, frame_world.own6, frame_world.victim6, 137, frame_world.own6);
}

static void solicits_as_victim(struct frame *f)
{
	discovery(f, all_nodes_mac, frame_world.victim6, ip("ff02::1"), 135, ip("2001:db8:ff::1"));
}

static void arp_as_gateway(struct frame *f)
{
	frame_arp_marked(f, 2, frame_world.attacker.spec.mac, frame_world.attacker.spec.mac,
	        ip("169.254.1.1"), frame_world.victim4);
}

static void arp_as_victim(struct frame *f)
{
	frame_arp_marked(f, 1, frame_world.attacker.spec.mac, frame_world.attacker.spec.mac,
	        frame_world.victim4, ip("169.254.1.1"));
}

static void arp_gratuitous_victim(struct frame *f)
{
	frame_arp_marked(f, 1, frame_world.attacker.spec.mac, frame_world.attacker.spec.mac,
	        frame_world.victim4, frame_world.victim4);
}

static void arp_other_mac_inside(struct frame *f)
{
	frame_arp_marked(
	        f, 1, frame_world.attacker.spec.mac, foreign_mac, frame_world.own4, ip("169.254.1.1"));
}

static void arp_other_mac_outside(struct frame *f)
{
	frame_arp_marked(
	        f, 1, foreign_mac, frame_world.attacker.spec.mac, frame_world.own4, ip("169.254.1.1"));
}

static void spanning_tree(struct frame *f)
{
	static const uint8_t bridges[6] = { 0x01, 0x80, 0xc2, 0, 0, 0 };

	frame_ether(f, bridges, frame_world.attacker.spec.mac, 38); /* a length: 802.3 */
	frame_add(f, "\x42\x42\x03" MARK, 3 + strlen(MARK));
}

static void pppoe(struct frame *f)
{
	frame_ether(f, broadcast, frame_world.attacker.spec.mac, 0x8863);
	frame_add(f, MARK, strlen(MARK));
}

static void short_ip4(struct frame *f)
{
	ether(f, 0x0800);
	frame_add(f, "\x45\0\0", 3);
	frame_add(f, MARK, 1);
}

const struct test_frame test_frames[] = {
	{ "IPv4", frame_good4, true, true },
	{ "IPv6", frame_good6, true, true },
	{ "first fragment of UDP", fragment6_good, true, false },
	{ "later fragment", fragment6_later, true, false },
	{ "fragment of an echo request", fragment6_of_echo, true, false },
	{ "foreign MAC, IPv4", wrong_mac4, false, false },
	{ "foreign MAC, IPv6", wrong_mac6, false, false },
	{ "neighbour's address", frame_neighbours_address4, false, false },
	{ "foreign IPv4 address", foreign_address4, false, false },
	{ "no IPv4 address", no_address4, false, false },
	{ "foreign IPv6 address", foreign_address6, false, false },
	{ "link-local source", link_local_address6, false, false },
	{ "IPv4 to the broadcast MAC", to_broadcast4, false, false },
	{ "IPv6 to a multicast MAC", to_multicast6, false, false },
	{ "DHCP server", dhcp_server4, false, false },
	{ "DHCP server, fragment", dhcp_server4_first_fragment, false, false },
	{ "DHCPv6 server", dhcp_server6, false, false },
	{ "DHCPv6 server, fragment", fragment6_of_server, false, false },
	{ "IPv4 source route", source_route4, false, false },
	{ "ICMP redirect", redirect4, false, false },
	{ "ICMP router advertisement", router4, false, false },
	{ "802.1Q", tag, false, false },
	{ "802.1Q priority tag", priority_tag, false, false },
	{ "802.1Q twice", double_tag, false, false },
	{ "802.1ad", provider_tag, false, false },
	{ "802.1ad and 802.1Q", provider_double_tag, false, false },
	{ "hop-by-hop options", hop_by_hop6, false, false },
	{ "destination options", destination_options6, false, false },
	{ "routing header", routing6, false, false },
	{ "routing header 0", routing6_type0, false, false },
	{ "fragment of an advertisement", fragment6_of_advertisement, false, false },
	{ "atomic fragment of a router advertisement", fragment6_of_router, false, false },
	{ "fragment with options behind", fragment6_hides_header, false, false },
	{ "fragment in a fragment", fragment6_in_fragment, false, false },
	{ "advertises the gateway", advertises_gateway, false, false },
	{ "advertises the neighbour", advertises_victim, false, false },
	{ "advertises itself", advertises_own, false, false },
	{ "router advertisement", router_advertisement, false, false },
	{ "router advertisement through the host", router_advertisement_routed, false, false },
	{ "redirect", redirect6, false, false },
	{ "solicits as the neighbour", solicits_as_victim, false, false },
	{ "ARP as the gateway", arp_as_gateway, false, false },
	{ "ARP as the neighbour", arp_as_victim, false, false },
	{ "gratuitous ARP of the neighbour", arp_gratuitous_victim, false, false },
	{ "ARP with another MAC inside", arp_other_mac_inside, false, false },
	{ "ARP from another MAC", arp_other_mac_outside, false, false },
	{ "spanning tree", spanning_tree, false, false },
	{ "PPPoE discovery", pppoe, false, false },
	{ "IPv4 cut short", short_ip4, false, false },
};

const size_t n_test_frames = ARRAY_SIZE(test_frames);
