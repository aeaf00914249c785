/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames made by hand on a segment, by who has one port of it: none leaves it but those that are its own,
 * with no tag, or on a trunk with one of the tags that are its own. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns/context.h"
#include "netns/test-support.h"

static struct net_context *net;
static int outside;
static struct container attacker, victim;
static struct ip_addr own4, own6, local6, victim4, victim6;

static int begin(void **state)
{
	outside = segments_begin(&net);
	return 0;
}

static int end(void **state)
{
	segments_end(net, outside);
	return 0;
}

static void arp_request(struct frame *f)
{
	frame_arp_marked(f, 1, attacker.spec.mac, attacker.spec.mac, own4, victim4);
}

static void arp_gratuitous(struct frame *f)
{
	frame_arp_marked(f, 1, attacker.spec.mac, attacker.spec.mac, own4, own4);
}

static void arp_probe(struct frame *f)
{
	frame_arp_marked(f, 1, attacker.spec.mac, attacker.spec.mac, ip("0.0.0.0"), own4);
}

static void arp_probe_of_victim(struct frame *f)
{
	frame_arp_marked(f, 1, attacker.spec.mac, attacker.spec.mac, ip("0.0.0.0"), victim4);
}

static void arp_as_another(struct frame *f)
{
	frame_arp_marked(f, 2, attacker.spec.mac, attacker.spec.mac, ip("10.5.0.99"), victim4);
}

static void arp_other_mac(struct frame *f)
{
	frame_arp_marked(f, 1, attacker.spec.mac, foreign_mac, own4, victim4);
}

static void discovery(struct frame *f, uint8_t type, struct ip_addr from, struct ip_addr target, size_t bare,
        uint8_t option, const uint8_t *mac)
{
	size_t at;

	frame_ether(f, all_nodes_mac, attacker.spec.mac, 0x86dd);
	at = f->len;
	frame_ip6(f, from, ip("ff02::1"), IPPROTO_ICMPV6, 255, bare + (mac ? 8 : 0));
	frame_u8(f, type);
	frame_add(f, "\0\0\0\x60\0\0\0", 7);
	if (bare == 24)
		frame_add(f, target.bytes, 16);
	if (mac) {
		frame_u8(f, option);
		frame_u8(f, 1);
		frame_add(f, mac, 6);
	}
	frame_sum6(f, at, at + 40, IPPROTO_ICMPV6, 2);
}

static void solicits(struct frame *f)
{
	discovery(f, 135, own6, victim6, 24, 1, attacker.spec.mac);
}

static void solicits_locally(struct frame *f)
{
	discovery(f, 135, local6, victim6, 24, 1, attacker.spec.mac);
}

static void detects_duplicates(struct frame *f)
{
	discovery(f, 135, ip("::"), own6, 24, 0, NULL);
}

static void solicits_routers(struct frame *f)
{
	discovery(f, 133, local6, own6, 8, 1, attacker.spec.mac);
}

static void advertises(struct frame *f)
{
	discovery(f, 136, own6, own6, 24, 2, attacker.spec.mac);
}

static void blocks_victims_detection(struct frame *f)
{
	discovery(f, 135, ip("::"), victim6, 24, 0, NULL);
}

static void solicits_with_other_mac(struct frame *f)
{
	discovery(f, 135, own6, victim6, 24, 1, foreign_mac);
}

static void advertises_victim(struct frame *f)
{
	discovery(f, 136, own6, victim6, 24, 2, attacker.spec.mac);
}

static void advertises_other_mac(struct frame *f)
{
	discovery(f, 136, own6, own6, 24, 2, foreign_mac);
}

static void advertises_a_router(struct frame *f)
{
	discovery(f, 134, local6, own6, 24, 1, attacker.spec.mac);
}

static void redirects(struct frame *f)
{
	discovery(f, 137, local6, own6, 24, 2, attacker.spec.mac);
}

static void report(struct frame *f, const char *options, uint8_t type)
{
	size_t at;

	frame_ether(f, all_nodes_mac, attacker.spec.mac, 0x86dd);
	at = f->len;
	frame_ip6(f, local6, ip("ff02::16"), IPPROTO_HOPOPTS, 1, 8 + 28);
	frame_add(f, options, 8);
	frame_u8(f, type);
	frame_add(f, "\0\0\0\0\0\0\x01\x04\0\0\0", 11);
	frame_add(f, ip("ff02::1:ff00:1").bytes, 16);
	frame_sum6(f, at, at + 48, IPPROTO_ICMPV6, 2);
}

static void reports_groups(struct frame *f)
{
	report(f, "\x3a\0\x05\x02\0\0\x01\0", 143);
}

static void hides_advertisement_behind_alert(struct frame *f)
{
	report(f, "\x3a\0\x05\x02\0\0\x01\0", 136);
}

static void hides_options_behind_alert(struct frame *f)
{
	report(f, "\x3c\0\x05\x02\0\0\x01\0", 143);
}

static void datagram(struct frame *f, const uint8_t to_mac[6], const uint8_t mac[6], struct ip_addr from,
        struct ip_addr to, uint16_t port)
{
	frame_ether(f, to_mac, mac, 0x0800);
	frame_ip4(f, from, to, IPPROTO_UDP, 0, 8 + strlen(MARK));
	frame_udp(f, port, 68, MARK);
}

static void sends(struct frame *f)
{
	datagram(f, victim.spec.mac, attacker.spec.mac, own4, victim4, 1234);
}

static void broadcasts(struct frame *f)
{
	datagram(f, broadcast, attacker.spec.mac, own4, ip("10.5.0.255"), 1234);
}

static void serves_dhcp(struct frame *f)
{
	datagram(f, broadcast, attacker.spec.mac, own4, ip("255.255.255.255"), 67);
}

static void sends_as_another(struct frame *f)
{
	datagram(f, victim.spec.mac, attacker.spec.mac, ip("10.5.0.99"), victim4, 1234);
}

static void sends_from_other_mac(struct frame *f)
{
	datagram(f, victim.spec.mac, foreign_mac, own4, victim4, 1234);
}

static void tags(struct frame *f)
{
	struct frame inner;

	datagram(&inner, victim.spec.mac, attacker.spec.mac, own4, victim4, 1234);
	frame_ether(f, victim.spec.mac, attacker.spec.mac, 0x8100);
	frame_u16(f, 0);
	frame_add(f, inner.data + 12, inner.len - 12);
}

static void speaks_spanning_tree(struct frame *f)
{
	static const uint8_t bridges[6] = { 0x01, 0x80, 0xc2, 0, 0, 0 };

	frame_ether(f, bridges, attacker.spec.mac, 38);
	frame_add(f, "\x42\x42\x03" MARK, 3 + strlen(MARK));
}

/* What is cut off behind the next header's number. */
static void cut_ip6(struct frame *f)
{
	frame_ether(f, victim.spec.mac, attacker.spec.mac, 0x86dd);
	frame_add(f, "\x60\0\0\0\0\x10\x06\x40", 8);
}

static void tcp4(struct frame *f, uint16_t fragment, uint16_t port)
{
	frame_ether(f, victim.spec.mac, attacker.spec.mac, 0x0800);
	frame_ip4(f, own4, victim4, IPPROTO_TCP, fragment, 20 + strlen(MARK));
	frame_u16(f, 40000);
	frame_u16(f, port);
	frame_add(f, "\0\0\0\1\0\0\0\0\x50\2\xff\xff\0\0\0", 16);
	frame_add(f, MARK, strlen(MARK));
}

static void mails(struct frame *f)
{
	tcp4(f, 0, 25);
}

static void mails_in_a_first_fragment(struct frame *f)
{
	tcp4(f, 0x2000, 25);
}

static void sends_a_later_fragment(struct frame *f)
{
	tcp4(f, 0x2003, 25);
}

static void connects_elsewhere(struct frame *f)
{
	tcp4(f, 0, 26);
}

static void mails_by_the_gateways_mac(struct frame *f)
{
	tcp4(f, 0, 25);
	memcpy(f->data, net_gateway_mac, 6);
}

static void tcp6(struct frame *f, bool fragmented, uint16_t offset, uint16_t port)
{
	frame_ether(f, victim.spec.mac, attacker.spec.mac, 0x86dd);
	frame_ip6(f, own6, victim6, fragmented ? IPPROTO_FRAGMENT : IPPROTO_TCP, 64,
	        (fragmented ? 8U : 0U) + 20 + strlen(MARK));
	if (fragmented) {
		frame_u16(f, IPPROTO_TCP << 8);
		frame_u16(f, offset | 1);
		frame_add(f, "\0\0\0\7", 4);
	}
	frame_u16(f, 40000);
	frame_u16(f, port);
	frame_add(f, "\0\0\0\1\0\0\0\0\x50\2\xff\xff\0\0\0", 16);
	frame_add(f, MARK, strlen(MARK));
}

static void mails6(struct frame *f)
{
	tcp6(f, false, 0, 25);
}

static void mails6_in_a_first_fragment(struct frame *f)
{
	tcp6(f, true, 0, 25);
}

static void sends_a_later_fragment6(struct frame *f)
{
	tcp6(f, true, 24, 25);
}

static void connects_elsewhere6(struct frame *f)
{
	tcp6(f, false, 0, 26);
}

struct expected {
	const char *name;
	void (*make)(struct frame *f);
	bool passes;
};

/* Where mail is blocked. */
static const struct expected mail_frames[] = {
	{ "mail", mails, false },
	{ "mail in a first fragment", mails_in_a_first_fragment, false },
	{ "mail to the gateway's MAC", mails_by_the_gateways_mac, false },
	{ "a later fragment", sends_a_later_fragment, true },
	{ "another port", connects_elsewhere, true },
	{ "mail, IPv6", mails6, false },
	{ "mail in a first fragment, IPv6", mails6_in_a_first_fragment, false },
	{ "a later fragment, IPv6", sends_a_later_fragment6, true },
	{ "another port, IPv6", connects_elsewhere6, true },
};

static const struct expected frames[] = {
	{ "datagram", sends, true },
	{ "broadcast", broadcasts, true },
	{ "ARP request", arp_request, true },
	{ "gratuitous ARP", arp_gratuitous, true },
	{ "ARP probe", arp_probe, true },
	{ "solicitation", solicits, true },
	{ "solicitation from the link-local address", solicits_locally, true },
	{ "duplicate detection", detects_duplicates, true },
	{ "router solicitation", solicits_routers, true },
	{ "advertisement", advertises, true },
	{ "multicast report", reports_groups, true },
	{ "ARP probe of another's", arp_probe_of_victim, false },
	{ "ARP as another", arp_as_another, false },
	{ "ARP with another MAC", arp_other_mac, false },
	{ "duplicate detection of another's", blocks_victims_detection, false },
	{ "solicitation with another MAC", solicits_with_other_mac, false },
	{ "advertisement of another's", advertises_victim, false },
	{ "advertisement of another MAC", advertises_other_mac, false },
	{ "router advertisement", advertises_a_router, false },
	{ "redirect", redirects, false },
	{ "advertisement behind an alert", hides_advertisement_behind_alert, false },
	{ "options behind an alert", hides_options_behind_alert, false },
	{ "DHCP server", serves_dhcp, false },
	{ "foreign address", sends_as_another, false },
	{ "foreign MAC", sends_from_other_mac, false },
	{ "priority tag", tags, false },
	{ "spanning tree", speaks_spanning_tree, false },
	{ "IPv6 cut short", cut_ip6, false },
};

static void judge(int raw_attacker, int raw_victim, const struct expected *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct frame f;
		bool reached;

		(void)raw_wait(raw_victim, "\x01never", 6, 0, NULL, 0);
		list[i].make(&f);
		frame_send(raw_attacker, &f);
		/* the whole frame behind the MACs is its mark */
		reached =
		        raw_wait(raw_victim, f.data + 6, f.len - 6, list[i].passes ? 10000 : 20, NULL, 0) > 0;
		if (reached != list[i].passes)
			fail_msg("%s: %s", list[i].name, reached ? "was seen" : "was not seen");
	}
}

/* The same whether what passes makes the detour of a rate or not. */
static void only_honest_frames_pass(void **state)
{
	const struct net_limits no_mail = { .block_mail = true }, none = { 0 };
	const struct net_rates rate = { .out = 1000000000, .segment = true };
	struct ct_error err = { 0 };
	int raw_attacker, raw_victim;

	own4 = ip("10.5.0.1");
	own6 = ip("fd05::1");
	victim4 = ip("10.5.0.2");
	victim6 = ip("fd05::2");
	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &attacker, 1, false, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &victim, 2, false, "10.5.0.2/24", "fd05::2/64");
	net_link_local(&local6, attacker.spec.mac);
	raw_attacker = raw_open(attacker.netns, "eth0");
	raw_victim = raw_open(victim.netns, "eth0");
	(void)poll(NULL, 0, 100); /* for reports of the kernel's own */

	for (unsigned slowed = 0; slowed < 2; slowed++) {
		if (slowed && net_port_shape(net, attacker.spec.host_name, &rate, &err) < 0)
			fail_msg("%s", err.text);
		judge(raw_attacker, raw_victim, frames, ARRAY_SIZE(frames));
		assert_int_equal(net_port_limit(net, attacker.spec.host_name, &no_mail, NULL), 0);
		judge(raw_attacker, raw_victim, mail_frames, ARRAY_SIZE(mail_frames));
		assert_int_equal(net_port_limit(net, attacker.spec.host_name, &none, NULL), 0);
	}

	close(raw_attacker);
	close(raw_victim);
	container_end(net, &attacker);
	container_end(net, &victim);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

static void sends_ip6(struct frame *f)
{
	tcp6(f, false, 0, 26);
}

static const struct tagged {
	const char *name;
	void (*make)(struct frame *f);
	uint16_t types[2], tags[2]; /* of tags; 0: none */
	bool passes;
} tagged_frames[] = {
	{ "one VLAN", sends, { 0x8100 }, { 42 }, true },
	{ "the other VLAN", sends, { 0x8100 }, { 43 }, true },
	{ "IPv6", sends_ip6, { 0x8100 }, { 43 }, true },
	{ "ARP request", arp_request, { 0x8100 }, { 42 }, true },
	{ "solicitation", solicits, { 0x8100 }, { 42 }, true },
	{ "no tag", sends, { 0 }, { 0 }, false },
	{ "ARP without a tag", arp_request, { 0 }, { 0 }, false },
	{ "another VLAN", sends, { 0x8100 }, { 44 }, false },
	{ "priority tag", sends, { 0x8100 }, { 0 }, false },
	{ "VLAN 4095", sends, { 0x8100 }, { 4095 }, false },
	{ "priority", sends, { 0x8100 }, { 0xe000 | 42 }, false },
	{ "drop eligible", sends, { 0x8100 }, { 0x1000 | 42 }, false },
	{ "802.1ad", sends, { 0x88a8 }, { 42 }, false },
	{ "two tags", sends, { 0x8100, 0x8100 }, { 42, 43 }, false },
	{ "two tags, 802.1ad inside", sends, { 0x8100, 0x88a8 }, { 42, 42 }, false },
	{ "two tags, 802.1ad outside", sends, { 0x88a8, 0x8100 }, { 42, 42 }, false },
	{ "priority tag before the tag", sends, { 0x8100, 0x8100 }, { 0, 42 }, false },
	{ "foreign address", sends_as_another, { 0x8100 }, { 42 }, false },
	{ "foreign MAC", sends_from_other_mac, { 0x8100 }, { 42 }, false },
	{ "ARP as another", arp_as_another, { 0x8100 }, { 42 }, false },
	{ "advertisement of another's", advertises_victim, { 0x8100 }, { 43 }, false },
	{ "router advertisement", advertises_a_router, { 0x8100 }, { 42 }, false },
	{ "DHCP server", serves_dhcp, { 0x8100 }, { 42 }, false },
	{ "spanning tree", speaks_spanning_tree, { 0x8100 }, { 42 }, false },
};

/* Whether somebody on the uplink sees it, whatever its tag then is. */
static bool is_carried(int raw_attacker, int raw_outside, const struct tagged *t, int timeout_msec)
{
	struct frame plain, f = { 0 };

	(void)raw_wait(raw_outside, "\x01never", 6, 0, NULL, 0);
	t->make(&plain);
	frame_add(&f, plain.data, 12);
	for (size_t k = 0; k < 2 && t->types[k]; k++) {
		frame_u16(&f, t->types[k]);
		frame_u16(&f, t->tags[k]);
	}
	frame_add(&f, plain.data + 12, plain.len - 12);
	frame_send(raw_attacker, &f);
	return raw_wait(raw_outside, plain.data + 14, plain.len - 14, timeout_msec, NULL, 0) > 0;
}

static void judge_tagged(int raw_attacker, int raw_outside)
{
	for (size_t i = 0; i < ARRAY_SIZE(tagged_frames); i++) {
		const struct tagged *t = &tagged_frames[i];
		bool reached = is_carried(raw_attacker, raw_outside, t, t->passes ? 10000 : 20);

		if (reached != t->passes)
			fail_msg("tagged, %s: %s", t->name, reached ? "was seen" : "was not seen");
	}
}

static void trunk_begin(struct container *c)
{
	struct ct_error err = { 0 };

	*c = (struct container){ .netns = world_namespace(), .addresses = { ip("10.5.0.1"), ip("fd05::1") } };
	c->spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = NET_MODE_BRIDGE,
		.addresses = c->addresses,
		.n_addresses = 2,
		.n_trunk = 2,
		.trunk = { { .vlan = 42 }, { .vlan = 43 } } };
	net_bridge_name(c->spec.trunk[0].bridge, TEST_TAG, 7);
	net_bridge_name(c->spec.trunk[1].bridge, TEST_TAG, 8);
	net_port_name(c->spec.host_name, TEST_TAG, 1, 0);
	net_port_mac(c->spec.mac, c->spec.host_name, 0);
	for (unsigned again = 0; again < 2; again++)
		if ((!again && net_port_create(net, c->spec.host_name, "eth0", c->netns, &err) < 0) ||
		        net_port_configure(net, &c->spec, c->netns, &err) < 0)
			fail_msg("%s", err.text);
	(void)poll(NULL, 0, 50); /* see container_begin */
}

static void reconfigure(struct container *c)
{
	struct ct_error err = { 0 };

	if (net_port_configure(net, &c->spec, c->netns, &err) < 0)
		fail_msg("%s", err.text);
}

/* The tags change places: what was sent with the one leaves with the other. The first frames after it may be
 * lost. */
static void tags_change_places(struct container *c, int raw_inside, int raw_outside)
{
	struct net_trunk first = c->spec.trunk[0];

	memcpy(c->spec.trunk[0].bridge, c->spec.trunk[1].bridge, sizeof(first.bridge));
	memcpy(c->spec.trunk[1].bridge, first.bridge, sizeof(first.bridge));
	reconfigure(c);
	for (size_t i = 0; i < 2; i++) {
		unsigned tries = 0;

		while (!is_carried(raw_inside, raw_outside, &tagged_frames[i], 1000))
			if (++tries == 10)
				fail_msg("moved, %s: was not seen", tagged_frames[i].name);
	}
	judge_tagged(raw_inside, raw_outside);
}

/* On the same link: a VLAN that is not its own any more is left, another is joined, and what was a trunk is
 * judged as what it has become. */
static void a_trunk_becomes_another(struct container *c, int raw_inside, int raw_outside)
{
	struct frame f = { 0 };

	c->spec.trunk[0] = c->spec.trunk[1];
	c->spec.n_trunk = 1;
	reconfigure(c);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(net_bridge_remove(net, 8, NULL), -EBUSY);

	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 });
	c->spec.trunk[1] = (struct net_trunk){ .vlan = 42 };
	net_bridge_name(c->spec.trunk[1].bridge, TEST_TAG, 7);
	c->spec.n_trunk = 2;
	reconfigure(c);
	judge_tagged(raw_inside, raw_outside);
	tags_change_places(c, raw_inside, raw_outside);

	c->spec.n_trunk = 0;
	c->spec.mode = NET_MODE_ROUTED;
	reconfigure(c);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(net_bridge_remove(net, 8, NULL), 0);
	frame_ether(&f, net_gateway_mac, c->spec.mac, 0x0800);
	frame_ip4(&f, c->addresses[0], ip("192.0.2.2"), 17, 0, 8 + strlen("no trunk"));
	frame_udp(&f, 4000, 4000, "no trunk");
	for (unsigned i = 0; i < 10; i++) {
		frame_send(raw_inside, &f);
		if (raw_wait(raw_outside, "no trunk", strlen("no trunk"), 1000, NULL, 0) > 0)
			return;
	}
	fail_msg("what was a trunk sends nothing");
}

/* Its sub-interfaces keep the bridges, and go with it. */
static void a_trunk_carries_its_tags_and_no_others(void **state)
{
	const struct net_rates rate = { .out = 1000000000, .segment = true };
	int raw_attacker, raw_outside;
	struct ct_error err = { 0 };

	if (net_bridge_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 },
	            &err) == -EOPNOTSUPP)
		skip(); /* no VLANs here: the lab's tests run this one */
	segment_add(net, &(struct net_bridge_spec){ .number = 8, .uplink = "up0", .vlan = 43 });
	own4 = ip("10.5.0.1");
	own6 = ip("fd05::1");
	victim4 = ip("10.5.0.2");
	victim6 = ip("fd05::2");
	trunk_begin(&attacker);
	memcpy(victim.spec.mac, foreign_mac, sizeof(foreign_mac));
	net_link_local(&local6, attacker.spec.mac);
	raw_attacker = raw_open(attacker.netns, "eth0");
	raw_outside = raw_open(outside, "out0");

	judge_tagged(raw_attacker, raw_outside);
	assert_int_equal(net_port_shape(net, attacker.spec.host_name, &rate, NULL), 0);
	judge_tagged(raw_attacker, raw_outside);

	assert_int_equal(net_bridge_remove(net, 7, NULL), -EBUSY);
	a_trunk_becomes_another(&attacker, raw_attacker, raw_outside);
	close(raw_attacker);
	close(raw_outside);
	container_end(net, &attacker);
	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 });
	segment_add(net, &(struct net_bridge_spec){ .number = 8, .uplink = "up0", .vlan = 43 });
	trunk_begin(&attacker);
	container_end(net, &attacker);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(net_bridge_remove(net, 8, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_honest_frames_pass),
		cmocka_unit_test(a_trunk_carries_its_tags_and_no_others),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
