/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard of a port of a bridge. There the guest finds its neighbours itself, so ARP and neighbour
 * discovery pass if they speak of nothing but the port's own MAC and addresses, whatever MAC they go to. All
 * else is as for other ports.
 *
 * A bridge of the administrator's may have an address of the host: what comes from a port is marked, so that
 * the inet table keeps it from the host's services as well.
 *
 * Of a trunk, each frame must have one of the port's tags (802.1Q, no priority) and no second one; behind it
 * the same rules hold. The kernel has taken the outer tag off when the hook is called, and the headers that
 * rules load are those behind it.
 *
 * A multicast listener report is the one packet with a hop-by-hop header that passes, in the one form that
 * RFC 2710 and 3810 know: a router alert and two bytes of padding. Without it a switch that snoops would cut
 * the guest off from neighbour discovery.
 */
#include "netns/match.h"

/* Offsets: 6 operation, 8 sender's MAC and address. A probe for a duplicate has no sender's address. */
static void add_arp(const struct nft_place *p)
{
	static const uint8_t ethernet_ip[6] = { 0, 1, 8, 0, 6, 4 }, zero[4];
	struct nl_batch *b = p->b;

	RULE(p, "bridged-arp")
	{
		load_port(b, LINK, 6);
		lookup(b, PORT_MAC, true);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "bridged-arp")
	{
		load_port(b, NETWORK, 8);
		nft_payload(b, NETWORK, 14, 4, R(6));
		lookup(b, PORT_SOURCE4, false);
		nft_payload(b, NETWORK, 0, 6, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, ethernet_ip, sizeof(ethernet_ip));
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "bridged-arp")
	{
		load_port(b, NETWORK, 8);
		nft_payload(b, NETWORK, 24, 4, R(6));
		lookup(b, PORT_SOURCE4, false);
		nft_payload(b, NETWORK, 14, 4, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, zero, sizeof(zero));
		nft_payload(b, NETWORK, 0, 6, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, ethernet_ip, sizeof(ethernet_ip));
		nft_verdict(b, NFT_GOTO, "pass");
	}
	add_go(p, "bridged-arp", "refuse");
}

static void match_discovery(struct nl_batch *b, uint8_t type)
{
	match_be16(b, NETWORK, 40, NFT_CMP_EQ, (uint16_t)(type << 8));
	match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
	match_u8(b, NETWORK, 7, NFT_CMP_EQ, 255);
}

/* Nothing but the message, or the message and one option of that type with the port's MAC. */
static void add_discovery(
        const struct nft_place *p, uint8_t type, uint16_t bare, uint8_t option, bool own_target)
{
	struct nl_batch *b = p->b;

	for (unsigned with_option = 0; with_option < 2; with_option++) {
		RULE(p, "bridged-own6")
		{
			match_discovery(b, type);
			match_be16(b, NETWORK, 4, NFT_CMP_EQ, (uint16_t)(bare + 8 * with_option));
			if (with_option) {
				match_be16(b, NETWORK, 40 + bare, NFT_CMP_EQ, (uint16_t)(option << 8 | 1));
				load_port(b, NETWORK, 42U + bare);
				lookup(b, PORT_MAC, false);
			}
			if (own_target) {
				load_port(b, LINK, 6);
				nft_payload(b, NETWORK, 48, 16, R(6));
				lookup(b, PORT_SOURCE6, false);
			}
			nft_verdict(b, NFT_GOTO, "pass");
		}
	}
}

/* Offsets are from the IPv6 header: 4 payload length, 6 next header, 8 source, 24 destination, 40 behind it.
 */
static void add_ip6(const struct nft_place *p)
{
	static const uint8_t zero[16], router_alert[8] = { IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0 };
	static const uint8_t reports[] = { 131, 132, 143 };
	struct nl_batch *b = p->b;

	RULE(p, "bridged6") /* duplicate detection: from nowhere, for itself; an option, if any, is a nonce */
	{
		nft_payload(b, NETWORK, 8, 16, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, zero, sizeof(zero));
		match_discovery(b, 135);
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 48, 16, R(6));
		lookup(b, PORT_SOURCE6, false);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
		RULE(p, "bridged6")
		{
			load_port(b, LINK, 6);
			lookup(b, PORT_MAC, false);
			match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_HOPOPTS);
			nft_payload(b, NETWORK, 40, 8, R(0));
			nft_cmp(b, R(0), NFT_CMP_EQ, router_alert, sizeof(router_alert));
			match_u8(b, NETWORK, 48, NFT_CMP_EQ, reports[i]);
			match_u8(b, NETWORK, 24, NFT_CMP_EQ, 0xff);
			nft_verdict(b, NFT_GOTO, "pass");
		}
	}
	RULE(p, "bridged6")
	{
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 8, 16, R(6));
		lookup(b, PORT_SOURCE6, false);
		nft_verdict(b, NFT_GOTO, "bridged-own6");
	}
	add_go(p, "bridged6", "refuse");
	add_discovery(p, 133, 8, 1, false);
	add_discovery(p, 135, 24, 1, false);
	add_discovery(p, 136, 24, 2, true);
	add_go(p, "bridged-own6", "content6");
}

/* TCP to port 25: in the first fragment, which holds the ports. What has options or other headers before it
 * does not pass anyway. */
static void add_no_mail(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "bridged-mail4")
	{
		match_u8(b, NETWORK, 9, NFT_CMP_EQ, IPPROTO_TCP);
		match_masked16(b, 6, 0x1fff, NFT_CMP_EQ, 0);
		match_be16(b, NETWORK, 22, NFT_CMP_EQ, 25);
		nft_meta(b, NFT_META_IIFNAME, R(0));
		lookup(b, PORT_SEGMENT_NO_MAIL, false);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	add_go(p, "bridged-mail4", "ip4");
	RULE(p, "bridged-mail6")
	{
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_TCP);
		match_be16(b, NETWORK, 42, NFT_CMP_EQ, 25);
		nft_meta(b, NFT_META_IIFNAME, R(0));
		lookup(b, PORT_SEGMENT_NO_MAIL, false);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "bridged-mail6")
	{
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_FRAGMENT);
		match_u8(b, NETWORK, 40, NFT_CMP_EQ, IPPROTO_TCP);
		match_masked16(b, 42, 0xfff8, NFT_CMP_EQ, 0);
		match_be16(b, NETWORK, 50, NFT_CMP_EQ, 25);
		nft_meta(b, NFT_META_IIFNAME, R(0));
		lookup(b, PORT_SEGMENT_NO_MAIL, false);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	add_go(p, "bridged-mail6", "bridged6");
}

static void add_trunk(const struct nft_place *p)
{
	static const struct {
		uint16_t type;
		const char *chain;
	} inner[] = { { 0x0800, "bridged-mail4" }, { 0x86dd, "bridged-mail6" }, { 0x0806, "bridged-arp" } };
	struct nl_batch *b = p->b;

	RULE(p, "trunk")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x8100);
		nft_meta(b, NFT_META_IIFNAME, R(0));
		nft_payload(b, LINK, 14, 2, R(4));
		lookup(b, PORT_TRUNK, false);
		nft_verdict(b, NFT_GOTO, "trunked");
	}
	add_go(p, "trunk", "refuse");
	for (size_t i = 0; i < ARRAY_SIZE(inner); i++) {
		RULE(p, "trunked")
		{
			match_be16(b, LINK, 16, NFT_CMP_EQ, inner[i].type);
			nft_verdict(b, NFT_GOTO, inner[i].chain);
		}
	}
	add_go(p, "trunked", "refuse");
}

void guard_add_bridged(const struct nft_place *p)
{
	static const uint32_t segment = UPLINK_REST;
	struct nl_batch *b = p->b;

	add_arp(p);
	add_ip6(p);
	add_no_mail(p);
	add_trunk(p);
	RULE(p, "bridged")
	{
		nft_immediate(b, R(0), &segment, sizeof(segment));
		nft_meta_set(b, NFT_META_PRIORITY, R(0));
	}
	RULE(p, "bridged")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x0800);
		nft_verdict(b, NFT_GOTO, "bridged-mail4");
	}
	RULE(p, "bridged")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x86dd);
		nft_verdict(b, NFT_GOTO, "bridged-mail6");
	}
	RULE(p, "bridged")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x0806);
		nft_verdict(b, NFT_GOTO, "bridged-arp");
	}
	add_go(p, "bridged", "refuse");
}
