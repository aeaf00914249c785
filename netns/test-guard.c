/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Root in a container sends what it should not. Every frame is made byte by byte and put on eth0 through a
 * packet socket; what counts is whether the guard let it pass (the port's counter of sent packets) and
 * whether a neighbour or the outside sees it. The same frames without the trick do arrive, so that nothing is
 * refused by mistake of the test. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns/context.h"
#include "netns/link.h"
#include "netns/test-support.h"

static struct net_context *net;
static struct container attacker, victim;
static int outside, raw_attacker, raw_victim, raw_outside;

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
static const uint8_t foreign_mac[6] = { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 };
#define MARK "a mark that nobody else sends"

static struct ip_addr own4, own6, local6, victim4, victim6;

static void ether(struct frame *f, uint16_t type)
{
	frame_ether(f, net_gateway_mac, attacker.spec.mac, type);
}

static void udp4_from(struct frame *f, struct ip_addr from, uint16_t port, uint16_t fragment)
{
	frame_ip4(f, from, victim4, IPPROTO_UDP, fragment, 8 + strlen(MARK));
	frame_udp(f, port, 68, MARK);
}

static void udp6_from(struct frame *f, struct ip_addr from, uint16_t port)
{
	size_t at = f->len;

	frame_ip6(f, from, victim6, IPPROTO_UDP, 64, 8 + strlen(MARK));
	frame_udp(f, port, 546, MARK);
	frame_sum6(f, at, at + 40, IPPROTO_UDP, 6);
}

static void good4(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, own4, 1234, 0);
}

static void good6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, own6, 1234);
}

static void wrong_mac4(struct frame *f)
{
	frame_ether(f, net_gateway_mac, foreign_mac, 0x0800);
	udp4_from(f, own4, 1234, 0);
}

static void wrong_mac6(struct frame *f)
{
	frame_ether(f, net_gateway_mac, foreign_mac, 0x86dd);
	udp6_from(f, own6, 1234);
}

static void neighbours_address4(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, victim4, 1234, 0);
}

static void foreign_address4(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, ip("203.0.113.9"), 1234, 0);
}

static void no_address4(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, ip("0.0.0.0"), 68, 0);
}

static void foreign_address6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, ip("2001:db8:9::9"), 1234);
}

static void link_local_address6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, local6, 1234);
}

static void to_broadcast4(struct frame *f)
{
	frame_ether(f, broadcast, attacker.spec.mac, 0x0800);
	udp4_from(f, own4, 1234, 0);
}

static void to_multicast6(struct frame *f)
{
	frame_ether(f, all_nodes_mac, attacker.spec.mac, 0x86dd);
	udp6_from(f, own6, 1234);
}

static void dhcp_server4(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, own4, 67, 0);
}

static void dhcp_server4_first_fragment(struct frame *f)
{
	ether(f, 0x0800);
	udp4_from(f, own4, 67, 0x2000);
}

static void dhcp_server6(struct frame *f)
{
	ether(f, 0x86dd);
	udp6_from(f, own6, 547);
}

static void source_route4(struct frame *f)
{
	static const uint8_t option[8] = { 131, 7, 4, 192, 0, 2, 2, 0 };
	uint8_t header[20];

	ether(f, 0x0800);
	frame_ip4(f, own4, victim4, IPPROTO_UDP, 0, 8 + 8 + strlen(MARK));
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
	frame_ip4(f, own4, victim4, IPPROTO_ICMP, 0, 8 + strlen(MARK));
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
	frame_ether(f, net_gateway_mac, attacker.spec.mac, outer);
	frame_u16(f, outer_id);
	if (inner) {
		frame_u16(f, inner);
		frame_u16(f, inner_id);
	}
	frame_u16(f, 0x0800);
	udp4_from(f, own4, 1234, 0);
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
	frame_ip6(f, own6, victim6, header, 64, 8 + 8 + strlen(MARK));
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
	frame_ip6(f, own6, victim6, IPPROTO_FRAGMENT, 255, 8 + 8 + strlen(MARK));
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

	frame_ether(f, mac, attacker.spec.mac, 0x86dd);
	at = f->len;
	frame_ip6(f, from, to, IPPROTO_ICMPV6, 255, 32 + strlen(MARK) + 1);
	frame_u8(f, type);
	frame_u8(f, 0);
	frame_add(f, "\0\0\xe0\0\0\0", 6);
	frame_add(f, target.bytes, 16);
	frame_u8(f, type == 135 ? 1 : 2);
	frame_u8(f, 1);
	frame_add(f, attacker.spec.mac, 6);
	frame_add(f, MARK, strlen(MARK) + 1);
	frame_sum6(f, at, at + 40, IPPROTO_ICMPV6, 2);
}

static void advertises_gateway(struct frame *f)
{
	discovery(f, all_nodes_mac, local6, ip("ff02::1"), 136, ip("fe80::1"));
}

static void advertises_victim(struct frame *f)
{
	discovery(f, net_gateway_mac, own6, ip("2001:db8:ff::1"), 136, victim6);
}

static void advertises_own(struct frame *f)
{
	discovery(f, all_nodes_mac, own6, ip("ff02::1"), 136, own6);
}

static void router_advertisement(struct frame *f)
{
	discovery(f, all_nodes_mac, local6, ip("ff02::1"), 134, own6);
}

static void router_advertisement_routed(struct frame *f)
{
	discovery(f, net_gateway_mac, own6, victim6, 134, own6);
}

static void redirect6(struct frame *f)
{
	discovery(f, net_gateway_mac, own6, victim6, 137, own6);
}

static void solicits_as_victim(struct frame *f)
{
	discovery(f, all_nodes_mac, victim6, ip("ff02::1"), 135, ip("2001:db8:ff::1"));
}

static void arp(struct frame *f, uint16_t op, const uint8_t ether_mac[6], const uint8_t mac[6],
        struct ip_addr sender, struct ip_addr target)
{
	frame_ether(f, broadcast, ether_mac, 0x0806);
	frame_arp(f, op, mac, sender, broadcast, target);
	frame_add(f, MARK, strlen(MARK));
}

static void arp_as_gateway(struct frame *f)
{
	arp(f, 2, attacker.spec.mac, attacker.spec.mac, ip("169.254.1.1"), victim4);
}

static void arp_as_victim(struct frame *f)
{
	arp(f, 1, attacker.spec.mac, attacker.spec.mac, victim4, ip("169.254.1.1"));
}

static void arp_gratuitous_victim(struct frame *f)
{
	arp(f, 1, attacker.spec.mac, attacker.spec.mac, victim4, victim4);
}

static void arp_other_mac_inside(struct frame *f)
{
	arp(f, 1, attacker.spec.mac, foreign_mac, own4, ip("169.254.1.1"));
}

static void arp_other_mac_outside(struct frame *f)
{
	arp(f, 1, foreign_mac, attacker.spec.mac, own4, ip("169.254.1.1"));
}

static void spanning_tree(struct frame *f)
{
	static const uint8_t bridges[6] = { 0x01, 0x80, 0xc2, 0, 0, 0 };

	frame_ether(f, bridges, attacker.spec.mac, 38); /* a length: 802.3 */
	frame_add(f, "\x42\x42\x03" MARK, 3 + strlen(MARK));
}

static void pppoe(struct frame *f)
{
	frame_ether(f, broadcast, attacker.spec.mac, 0x8863);
	frame_add(f, MARK, strlen(MARK));
}

static void short_ip4(struct frame *f)
{
	ether(f, 0x0800);
	frame_add(f, "\x45\0\0", 3);
	frame_add(f, MARK, 1);
}

static const struct {
	const char *name;
	void (*make)(struct frame *f);
	bool passes,
	        reaches; /* the guard; the neighbour (a lone fragment waits for the others at the host) */
} frames[] = {
	{ "IPv4", good4, true, true },
	{ "IPv6", good6, true, true },
	{ "first fragment of UDP", fragment6_good, true, false },
	{ "later fragment", fragment6_later, true, false },
	{ "fragment of an echo request", fragment6_of_echo, true, false },
	{ "foreign MAC, IPv4", wrong_mac4, false, false },
	{ "foreign MAC, IPv6", wrong_mac6, false, false },
	{ "neighbour's address", neighbours_address4, false, false },
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

static void apply(void)
{
	struct ct_error err = { 0 };
	struct net_host_spec spec = { .routed_peers = true, .enable_forwarding = true };

	if (net_host_apply(net, &spec, &err) < 0)
		fail_msg("apply: %s", err.text);
}

static struct net_counters counters(const struct container *c)
{
	struct net_counters ret;
	struct ct_error err = { 0 };

	if (net_port_counters(net, c->spec.host_name, &ret, &err) < 0)
		fail_msg("counters: %s", err.text);
	return ret;
}

static int begin(void **state)
{
	struct ct_error err = { 0 };

	own4 = ip("198.51.100.1");
	own6 = ip("2001:db8:1::1");
	victim4 = ip("198.51.100.2");
	victim6 = ip("2001:db8:1::2");
	outside = world_outside();
	if (net_context_new(TEST_TAG, &net, &err) < 0)
		fail_msg("context: %s", err.text);
	apply();

	container_begin(net, &attacker, 1, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.1", "2001:db8:1::1", NULL });
	container_begin(net, &victim, 2, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.2", "2001:db8:1::2", NULL });
	net_link_local(&local6, attacker.spec.mac);
	raw_attacker = raw_open(attacker.netns, "eth0");
	raw_victim = raw_open(victim.netns, "eth0");
	raw_outside = raw_open(outside, "out0");
	return 0;
}

static int end(void **state)
{
	close(raw_attacker);
	close(raw_victim);
	close(raw_outside);
	container_end(net, &attacker);
	container_end(net, &victim);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static void drain(void)
{
	const int raws[] = { raw_attacker, raw_victim, raw_outside };

	for (size_t i = 0; i < ARRAY_SIZE(raws); i++)
		(void)raw_wait(raws[i], "\x01never", 6, 0, NULL, 0);
}

static void try_all(void)
{
	drain();
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		struct net_counters before = counters(&attacker), after;
		struct frame f;
		bool passed, reached;

		frames[i].make(&f);
		frame_send(raw_attacker, &f);
		reached = raw_wait(raw_victim, MARK, strlen(MARK), frames[i].reaches ? 1000 : 20, NULL, 0) >
		                  0 ||
		          raw_wait(raw_outside, MARK, strlen(MARK), 0, NULL, 0) > 0;
		after = counters(&attacker);
		passed = after.out_packets != before.out_packets;
		if (passed != frames[i].passes || reached != frames[i].reaches)
			fail_msg("%s: %s, %s", frames[i].name, passed ? "passed" : "did not pass",
			        reached ? "was seen" : "was not seen");
	}
}

static void only_honest_frames_pass(void **state)
{
	try_all();
}

static void nothing_changes_when_the_host_is_applied_again(void **state)
{
	struct ct_error err = { 0 };

	apply();
	assert_int_equal(net_port_configure(net, &attacker.spec, attacker.netns, &err), 0);
	try_all();
}

/* While rules are replaced again and again: not one of many frames slips through. */
static void no_gap_while_rules_are_replaced(void **state)
{
	struct net_counters before = counters(&attacker), after;
	struct ct_error err = { 0 };
	struct frame bad, good;

	drain();
	neighbours_address4(&bad);
	good4(&good);
	for (int round = 0; round < 20; round++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			for (int i = 0; i < 500; i++)
				frame_send(raw_attacker, &bad);
			_exit(0);
		}
		for (int i = 0; i < 3; i++) {
			apply();
			assert_int_equal(net_port_configure(net, &attacker.spec, attacker.netns, &err), 0);
		}
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	after = counters(&attacker);
	assert_int_equal(after.out_packets, before.out_packets);
	assert_int_equal(after.out_dropped - before.out_dropped, 20 * 500);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);

	frame_send(raw_attacker, &good);
	assert_true(raw_wait(raw_victim, MARK, strlen(MARK), 1000, NULL, 0) > 0);
}

static void guard_answers_for_the_gateway(void **state)
{
	static const uint8_t operation_and_mac[8] = { 0, 2, 0x02, 'c', 't', 'd', 0, 1 };
	uint8_t answer[256];
	struct frame f;

	drain();
	frame_ether(&f, broadcast, attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, attacker.spec.mac, own4, broadcast, ip("169.254.1.1"));
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, operation_and_mac, 8, 1000, answer, sizeof(answer)) >= 42);
	assert_memory_equal(answer, attacker.spec.mac, 6);
	assert_memory_equal(answer + 6, net_gateway_mac, 6);
	assert_memory_equal(answer + 28, ip("169.254.1.1").bytes, 4);
	assert_memory_equal(answer + 32, attacker.spec.mac, 6);
	assert_memory_equal(answer + 38, own4.bytes, 4);

	/* duplicate detection: nobody has its address */
	frame_ether(&f, broadcast, attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, attacker.spec.mac, ip("0.0.0.0"), broadcast, own4);
	frame_send(raw_attacker, &f);
	frame_ether(&f, broadcast, attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, attacker.spec.mac, own4, broadcast, own4);
	frame_send(raw_attacker, &f);
	assert_int_equal(raw_wait(raw_attacker, net_gateway_mac, 6, 50, NULL, 0), 0);
}

/* The kernel inside does the rest: it pings the gateway, so it has resolved it, in both families. */
static void gateway_can_be_pinged(void **state)
{
	struct frame f;
	uint8_t answer[256];
	size_t at;

	drain();
	ether(&f, 0x0800);
	frame_ip4(&f, own4, ip("169.254.1.1"), IPPROTO_ICMP, 0, 8);
	frame_add(&f, "\x08\0\xf7\xff\0\0\0\0", 8); /* with its checksum */
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, net_gateway_mac, 6, 1000, answer, sizeof(answer)) >= 42);
	assert_memory_equal(answer + 26, ip("169.254.1.1").bytes, 4);
	assert_memory_equal(answer + 30, own4.bytes, 4);
	assert_memory_equal(answer + 34, "\0\0\xff\xff", 4);

	ether(&f, 0x86dd);
	at = f.len;
	frame_ip6(&f, local6, ip("fe80::1"), IPPROTO_ICMPV6, 64, 8);
	frame_add(&f, "\x80\0\0\0\0\0\0\0", 8);
	frame_sum6(&f, at, at + 40, IPPROTO_ICMPV6, 2);
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, ip("fe80::1").bytes, 16, 1000, answer, sizeof(answer)) >= 62);
	assert_memory_equal(answer + 22, ip("fe80::1").bytes, 16);
	assert_memory_equal(answer + 38, local6.bytes, 16);
	assert_int_equal(answer[54], 129);
	f.len = 62;
	memcpy(f.data, answer, f.len);
	frame_sum6(&f, 14, 54, IPPROTO_ICMPV6, 2);
	assert_memory_equal(f.data + 56, answer + 56, 2); /* the guard's checksum is right */
}

static void duplicate_detection_is_not_answered(void **state)
{
	struct frame f;
	size_t at;

	drain();
	frame_ether(&f, all_nodes_mac, attacker.spec.mac, 0x86dd);
	at = f.len;
	frame_ip6(&f, ip("::"), ip("ff02::1:ff00:1"), IPPROTO_ICMPV6, 255, 24);
	frame_add(&f, "\x87\0\0\0\0\0\0\0", 8);
	frame_add(&f, own6.bytes, 16);
	frame_sum6(&f, at, at + 40, IPPROTO_ICMPV6, 2);
	frame_send(raw_attacker, &f);
	assert_int_equal(raw_wait(raw_attacker, own6.bytes, 16, 50, NULL, 0), 0);
}

/* Made, but nobody's yet; and released with its link still up. */
static void without_a_container_nothing_passes(void **state)
{
	struct container c = { .netns = world_namespace() };
	struct ct_error err = { 0 };
	struct frame f;
	int raw;

	net_port_name(c.spec.host_name, TEST_TAG, 3, 0);
	if (net_port_create(net, c.spec.host_name, "eth0", c.netns, &err) < 0)
		fail_msg("create: %s", err.text);
	raw = raw_open(c.netns, "eth0");
	drain();
	good4(&f);
	frame_send(raw, &f);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);

	c.spec.guest_name = "eth0";
	c.spec.mode = NET_MODE_ROUTED;
	c.spec.addresses = c.addresses;
	c.addresses[0] = ip("198.51.100.3");
	c.spec.n_addresses = 1;
	net_port_mac(c.spec.mac, TEST_TAG, 3, 0);
	assert_int_equal(net_port_configure(net, &c.spec, c.netns, &err), 0);
	frame_ether(&f, net_gateway_mac, c.spec.mac, 0x0800);
	udp4_from(&f, c.addresses[0], 1234, 0);
	frame_send(raw, &f);
	assert_true(raw_wait(raw_victim, MARK, strlen(MARK), 1000, NULL, 0) > 0);

	assert_int_equal(net_port_release(net, &c.spec, false, &err), 0);
	frame_send(raw, &f);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);
	assert_int_equal(net_port_release(net, &c.spec, true, &err), 0); /* again, and gone for good */
	close(raw);
	close(c.netns);
}

/* A VLAN device inside: its tag does not lie in the frame but beside it, and a priority tag (id 0) would be
 * stripped by the host. */
static void tags_beside_the_frame_are_seen(void **state)
{
	static const uint16_t ids[] = { 0, 5 };
	static struct nl_batch b;
	struct nl_sock sock;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct net_counters before = counters(&attacker), after;
		struct link_info link;
		struct frame f;
		int r, raw;

		world_enter(attacker.netns);
		assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
		assert_int_equal(link_get(&sock, &b, "eth0", 0, &link, NULL), 0);
		nl_batch_reset(&b);
		link_add_vlan(&b, "tagged", link.index, ids[i]);
		r = nl_transact(&sock, &b, "tagged", NULL);
		if (r == -EOPNOTSUPP) { /* this kernel has no VLANs; the lab's has */
			world_leave();
			nl_close(&sock);
			break;
		}
		assert_int_equal(r, 0);
		assert_int_equal(link_get(&sock, &b, "tagged", 0, &link, NULL), 0);
		nl_batch_reset(&b);
		link_make_link_local(&b, "tagged", 0, false);
		link_change(&b, &(struct link_change){ .index = link.index, .up = true });
		assert_int_equal(nl_transact(&sock, &b, "tagged", NULL), 0);
		world_leave();

		raw = raw_open(attacker.netns, "tagged");
		drain();
		good4(&f);
		frame_send(raw, &f);
		assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 100, NULL, 0), 0);
		after = counters(&attacker);
		assert_int_equal(after.out_packets, before.out_packets);
		assert_true(after.out_dropped > before.out_dropped);
		close(raw);

		nl_batch_reset(&b);
		link_delete(&b, "tagged");
		assert_int_equal(nl_transact(&sock, &b, "tagged", NULL), 0);
		nl_close(&sock);
	}
	nl_batch_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_honest_frames_pass),
		cmocka_unit_test(nothing_changes_when_the_host_is_applied_again),
		cmocka_unit_test(no_gap_while_rules_are_replaced),
		cmocka_unit_test(guard_answers_for_the_gateway),
		cmocka_unit_test(gateway_can_be_pinged),
		cmocka_unit_test(duplicate_detection_is_not_answered),
		cmocka_unit_test(without_a_container_nothing_passes),
		cmocka_unit_test(tags_beside_the_frame_are_seen),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
