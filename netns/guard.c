/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard: an allow list for every frame that comes out of a container, ended by a drop.
 *
 * One table of the netdev family. Each port has a chain on the ingress hook of its host side, in place before
 * the link is up, whose policy is to drop and whose only rule goes to the chain "guard", shared by all. There
 * a frame must be found in hash sets whose keys begin with the name of the device: a packet costs the same
 * with one port and with five thousand, and to start a container only elements are added. A port without
 * elements (in the pool, or released) passes nothing. A second chain on the egress hook (Linux 5.16) counts
 * what goes to the container. Both hooks lie outside the tenant's reach and see every frame, whatever its
 * protocol.
 *
 * What passes to the host: IPv4 and IPv6 unicast frames to the gateway's MAC, from the port's MAC and one of
 * its addresses. IPv4 without options; IPv6 without extension headers but a fragment header, and behind that
 * no neighbour discovery. No DHCP servers. VLAN tags are looked for in the frame (payload of the link layer),
 * not in the packet's protocol, because the kernel strips the outer tag before the hook and the protocol then
 * is the inner one.
 *
 * ARP, neighbour discovery and pings of the gateway never reach the host's stack: the guard answers them
 * itself, by turning the frame around. Whatever address the guest asks for, it is told the gateway's MAC,
 * which is the same on all hosts. So the host needs no address on the port, no entry in its neighbour tables
 * can be made by a tenant, no duplicate address is ever seen, and after a move to another host the guest's
 * ARP cache is right. Questions for its own addresses (duplicate detection) are dropped, never answered.
 *
 * A rule whose packet is too short for what it loads does not match. So rules say what is good and lead on; a
 * rule that says what is bad comes only behind one that has loaded as much.
 *
 * Against: extension headers that hide what follows, a fragmented neighbour advertisement, 802.1Q and double
 * tags, priority tags (id 0), overlapping first fragments (the ports are looked at in each fragment with
 * offset 0), floods of made-up MACs and addresses.
 */
#include "netns/guard.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "netns/match.h"

static const uint8_t plain6[] = { IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP, IPPROTO_ESP, IPPROTO_GRE,
	IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_UDPLITE, 115 /* L2TP */ };
static const uint8_t errors_and_echo6[] = { 1, 2, 3, 4, 128, 129 };
static const uint8_t router_types4[] = { 5, 9 };
static const uint16_t server_ports[] = { 67, 547 }; /* DHCP and DHCPv6 servers send from these */

static void add_constant_set(const struct nft_place *p, const struct nft_set *set, const void *keys, size_t n)
{
	struct nft_elements e;

	nft_set_add(p, set);
	e = nft_elements_begin(p, NFT_MSG_NEWSETELEM, set->name);
	for (size_t i = 0; i < n; i++)
		nft_element(p, &e, (const uint8_t *)keys + i * set->key_len, set->key_len);
	nft_elements_end(p, &e);
}

static void add_sets(const struct nft_place *p)
{
	uint16_t ports[ARRAY_SIZE(server_ports)];

	sets_add(p);
	for (size_t i = 0; i < ARRAY_SIZE(server_ports); i++)
		ports[i] = htons(server_ports[i]);
	add_constant_set(p, &(struct nft_set){ "plain6", PLAIN6, NFT_TYPE_PROTOCOL, 1, 0 }, plain6,
	        ARRAY_SIZE(plain6));
	add_constant_set(p, &(struct nft_set){ "errors-and-echo6", ERRORS_AND_ECHO6, NFT_TYPE_ICMP6, 1, 0 },
	        errors_and_echo6, ARRAY_SIZE(errors_and_echo6));
	add_constant_set(p, &(struct nft_set){ "router-types4", ROUTER_TYPES4, NFT_TYPE_ICMP4, 1, 0 },
	        router_types4, ARRAY_SIZE(router_types4));
	add_constant_set(p, &(struct nft_set){ "server-ports", SERVER_PORTS, NFT_TYPE_SERVICE, 2, 0 }, ports,
	        ARRAY_SIZE(ports));
}

static void match_to_gateway(struct nl_batch *b, uint32_t op)
{
	nft_payload(b, LINK, 0, 6, R(0));
	nft_cmp(b, R(0), op, net_gateway_mac, 6);
}

/* Sends the frame, which is an answer by now, back to where it came from. */
static void turn_around(struct nl_batch *b)
{
	nft_payload(b, LINK, 6, 6, R(0));
	nft_payload_set(b, LINK, 0, 6, R(0), NULL);
	nft_immediate(b, R(0), net_gateway_mac, 6);
	nft_payload_set(b, LINK, 6, 6, R(0), NULL);
	nft_meta(b, NFT_META_IIF, R(0));
	nft_forward(b, R(0));
}

static void set_bytes(struct nl_batch *b, uint32_t base, uint32_t offset, const void *data, size_t len,
        const struct nft_checksum *sum)
{
	nft_immediate(b, R(0), data, len);
	nft_payload_set(b, base, offset, len, R(0), sum);
}

static const struct nft_checksum icmp_sum = { NFT_PAYLOAD_CSUM_INET, 2, 0 };
static const struct nft_checksum pseudo_sum = { NFT_PAYLOAD_CSUM_NONE, 0, NFT_PAYLOAD_L4CSUM_PSEUDOHDR };

static void swap_addresses(struct nl_batch *b, uint32_t source, uint32_t len)
{
	nft_payload(b, NETWORK, source, len, R(0));
	nft_payload(b, NETWORK, source + len, len, R(4));
	nft_payload_set(b, NETWORK, source, len, R(4), NULL); /* a sum does not care for the order */
	nft_payload_set(b, NETWORK, source + len, len, R(0), NULL);
}

/* Pings of 169.254.0.0/16: the gateway is made of rules, so the rules answer. */
static void add_echo4(const struct nft_place *p, const char *chain)
{
	static const uint8_t link_local[2] = { 169, 254 }, reply[2] = { 0, 0 };
	struct nl_batch *b = p->b;

	RULE(p, chain)
	{
		nft_payload(b, NETWORK, 16, 2, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, link_local, 2);
		match_u8(b, NETWORK, 9, NFT_CMP_EQ, IPPROTO_ICMP);
		match_masked16(b, 6, 0x3fff, NFT_CMP_EQ, 0);
		match_be16(b, TRANSPORT, 0, NFT_CMP_EQ, 0x0800);
		swap_addresses(b, 12, 4);
		set_bytes(b, TRANSPORT, 0, reply, 2, &icmp_sum);
		turn_around(b);
	}
}

static void add_echo6(const struct nft_place *p, const char *chain)
{
	static const uint8_t link_local[8] = { 0xfe, 0x80 }, reply[2] = { 129, 0 };
	struct nl_batch *b = p->b;

	RULE(p, chain)
	{
		nft_payload(b, NETWORK, 24, 8, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, link_local, 8);
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
		match_be16(b, TRANSPORT, 0, NFT_CMP_EQ, 0x8000);
		match_to_gateway(b, NFT_CMP_EQ);
		swap_addresses(b, 8, 16);
		set_bytes(b, TRANSPORT, 0, reply, 2, &icmp_sum);
		turn_around(b);
	}
}

/* The ends of all ways. */
static void add_ends(const struct nft_place *p)
{
	RULE(p, "refuse")
	{
		nft_meta(p->b, NFT_META_IIFNAME, R(0));
		lookup(p->b, PORT_REFUSED, false);
		nft_verdict(p->b, NF_DROP, NULL);
	}
	RULE(p, "refuse")
	{
		nft_verdict(p->b, NF_DROP, NULL);
	}

	RULE(p, "pass")
	{
		nft_meta(p->b, NFT_META_IIFNAME, R(0));
		lookup(p->b, PORT_PACKETS_OUT, false);
		nft_verdict(p->b, NFT_GOTO, "refuse");
	}
	RULE(p, "pass")
	{
		nft_meta(p->b, NFT_META_IIFNAME, R(0));
		lookup(p->b, PORT_SENT, false);
		nft_verdict(p->b, NF_ACCEPT, NULL);
	}
	add_go(p, "pass", "refuse");

	RULE(p, "toward")
	{
		nft_meta(p->b, NFT_META_OIFNAME, R(0));
		lookup(p->b, PORT_PACKETS_IN, false);
		nft_verdict(p->b, NF_DROP, NULL);
	}
	RULE(p, "toward")
	{
		nft_meta(p->b, NFT_META_OIFNAME, R(0));
		lookup(p->b, PORT_RECEIVED, false);
	}
}

/* Offsets: 6 fragment, 9 protocol, 12 source, 20 behind it. */
static void add_ip4(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "ip4")
	{ /* version 4, no options */
		match_u8(b, NETWORK, 0, NFT_CMP_EQ, 0x45);
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 12, 4, R(6));
		lookup(b, PORT_SOURCE4, false);
		nft_verdict(b, NFT_GOTO, "own4");
	}
	add_go(p, "ip4", "refuse");
}

static void match_protocol4(struct nl_batch *b, uint8_t protocol, uint32_t op)
{
	match_u8(b, NETWORK, 9, NFT_CMP_EQ, protocol);
	match_masked16(b, 6, 0x1fff, op, 0);
}

/* With its own source. Later fragments pass: what the first one had was looked at, and without it nothing is
 * put together. */
static void add_own4(const struct nft_place *p)
{
	static const uint8_t looked_at[] = { IPPROTO_UDP, IPPROTO_ICMP };
	struct nl_batch *b = p->b;

	RULE(p, "own4")
	{
		match_u8(b, NETWORK, 9, NFT_CMP_EQ, IPPROTO_TCP);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "own4")
	{
		match_protocol4(b, IPPROTO_UDP, NFT_CMP_EQ);
		nft_payload(b, NETWORK, 20, 2, R(0));
		nft_lookup(b, "server-ports", SERVER_PORTS, R(0), true);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	add_echo4(p, "own4");
	RULE(p, "own4")
	{
		match_protocol4(b, IPPROTO_ICMP, NFT_CMP_EQ);
		nft_payload(b, NETWORK, 20, 1, R(0));
		nft_lookup(b, "router-types4", ROUTER_TYPES4, R(0), true);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	for (size_t i = 0; i < ARRAY_SIZE(looked_at); i++) {
		RULE(p, "own4")
		{
			match_protocol4(b, looked_at[i], NFT_CMP_NEQ);
			nft_verdict(b, NFT_GOTO, "pass");
		}
		RULE(p, "own4")
		{
			match_u8(b, NETWORK, 9, NFT_CMP_EQ, looked_at[i]);
			nft_verdict(b, NFT_GOTO, "refuse");
		}
	}
	add_go(p, "own4", "pass");
}

static void add_source6(const struct nft_place *p, enum port_set set, unsigned prefix)
{
	uint8_t mask[16] = { 0 };
	struct nl_batch *b = p->b;

	memset(mask, 0xff, prefix / 8);
	RULE(p, "ip6")
	{
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 8, 16, R(6));
		if (prefix < 128)
			nft_mask(b, R(6), mask, sizeof(mask));
		lookup(b, set, false);
		nft_verdict(b, NFT_GOTO, "own6");
	}
}

/* With a source that may be used anywhere. Offsets are from the IPv6 header: 6 next header, 40 behind it, 48
 * behind a fragment header. */
static void add_own6(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "own6")
	{
		match_be16(b, NETWORK, 40, NFT_CMP_EQ, 135 << 8);
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
		nft_verdict(b, NFT_GOTO, "solicit");
	}
	RULE(p, "own6")
	{
		match_to_gateway(b, NFT_CMP_NEQ);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	add_echo6(p, "own6");
	add_go(p, "own6", "content6");
}

/* What may be in a packet that comes from the right place. */
static void add_content6(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "content6")
	{
		match_set8(b, 6, "plain6", PLAIN6);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "content6")
	{
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_UDP);
		nft_payload(b, NETWORK, 40, 2, R(0));
		nft_lookup(b, "server-ports", SERVER_PORTS, R(0), true);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "content6")
	{
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
		match_set8(b, 40, "errors-and-echo6", ERRORS_AND_ECHO6);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "content6")
	{
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_FRAGMENT);
		nft_verdict(b, NFT_GOTO, "fragment6");
	}
	add_go(p, "content6", "refuse");
}

static void match_later_fragment(struct nl_batch *b, uint32_t op)
{
	match_masked16(b, 42, 0xfff8, op, 0);
}

static void add_fragment6(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "fragment6")
	{
		match_set8(b, 40, "plain6", PLAIN6);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "fragment6")
	{ /* what the first one had was looked at, and without it nothing is put together */
		match_later_fragment(b, NFT_CMP_NEQ);
		match_u8(b, NETWORK, 40, NFT_CMP_EQ, IPPROTO_UDP);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "fragment6")
	{
		match_later_fragment(b, NFT_CMP_NEQ);
		match_u8(b, NETWORK, 40, NFT_CMP_EQ, IPPROTO_ICMPV6);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "fragment6")
	{
		match_later_fragment(b, NFT_CMP_EQ);
		match_u8(b, NETWORK, 40, NFT_CMP_EQ, IPPROTO_UDP);
		nft_payload(b, NETWORK, 48, 2, R(0));
		nft_lookup(b, "server-ports", SERVER_PORTS, R(0), true);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	RULE(p, "fragment6")
	{
		match_later_fragment(b, NFT_CMP_EQ);
		match_u8(b, NETWORK, 40, NFT_CMP_EQ, IPPROTO_ICMPV6);
		match_set8(b, 48, "errors-and-echo6", ERRORS_AND_ECHO6);
		nft_verdict(b, NFT_GOTO, "pass");
	}
	add_go(p, "fragment6", "refuse");
}

/* With another source: link-local or none, which is good for finding the gateway and for nothing else. */
static void add_other6(const struct nft_place *p)
{
	static const uint8_t multicast[2] = { 0x33, 0x33 };
	struct nl_batch *b = p->b;

	RULE(p, "other6")
	{
		load_port(b, LINK, 6);
		lookup(b, PORT_MAC, true);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "other6")
	{
		match_be16(b, NETWORK, 40, NFT_CMP_EQ, 135 << 8);
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
		nft_verdict(b, NFT_GOTO, "solicit");
	}
	add_echo6(p, "other6");
	RULE(p, "other6")
	{ /* router solicitations: nobody answers, nothing is wrong with them */
		match_be16(b, NETWORK, 40, NFT_CMP_EQ, 133 << 8);
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_ICMPV6);
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "other6")
	{ /* multicast listener reports have a hop-by-hop header: the same */
		nft_payload(b, LINK, 0, 2, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, multicast, sizeof(multicast));
		match_u8(b, NETWORK, 6, NFT_CMP_EQ, IPPROTO_HOPOPTS);
		nft_verdict(b, NF_DROP, NULL);
	}
	add_go(p, "other6", "refuse");
}

/* A neighbour solicitation from a port with the right MAC. It is 24 bytes and one option of 8, which is what
 * Linux sends; a duplicate address detection has no option. Of the IPv6 header: 4 payload length, 7 hop
 * limit, 8 source; then 48 target, 64 option. */
static void add_solicit(const struct nft_place *p)
{
	static const uint8_t advertisement[2] = { 136, 0 }, flags[4] = { 0xe0 }, zero[16];
	uint8_t option[8] = { 2, 1 };
	struct nl_batch *b = p->b;

	memcpy(option + 2, net_gateway_mac, 6);

	RULE(p, "solicit")
	{
		match_be16(b, NETWORK, 4, NFT_CMP_NEQ, 32);
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "solicit")
	{
		nft_payload(b, NETWORK, 8, 16, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, zero, sizeof(zero));
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "solicit")
	{ /* for itself */
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 48, 16, R(6));
		lookup(b, PORT_SOURCE6, false);
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "solicit")
	{
		match_u8(b, NETWORK, 7, NFT_CMP_EQ, 255);
		match_be16(b, NETWORK, 64, NFT_CMP_EQ, 0x0101);
		nft_payload(b, NETWORK, 8, 16, R(0));
		nft_payload(b, NETWORK, 48, 16, R(4));
		nft_payload_set(b, NETWORK, 8, 16, R(4), &pseudo_sum);
		nft_payload_set(b, NETWORK, 24, 16, R(0), &pseudo_sum);
		set_bytes(b, TRANSPORT, 0, advertisement, 2, &icmp_sum);
		set_bytes(b, TRANSPORT, 4, flags, 4, &icmp_sum); /* router, solicited, override */
		set_bytes(b, TRANSPORT, 24, option, 8, &icmp_sum);
		turn_around(b);
	}
	add_go(p, "solicit", "refuse");
}

/* Offsets: 6 operation, 8 sender's MAC and address, 18 target's. */
static void add_arp(const struct nft_place *p)
{
	static const uint8_t ethernet_ip_request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 }, reply[2] = { 0, 2 },
	                     zero[4];
	struct nl_batch *b = p->b;

	RULE(p, "arp")
	{
		load_port(b, LINK, 6);
		lookup(b, PORT_MAC, true);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "arp")
	{
		load_port(b, NETWORK, 8);
		lookup(b, PORT_MAC, true);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "arp")
	{ /* duplicate detection */
		nft_payload(b, NETWORK, 14, 4, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, zero, sizeof(zero));
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "arp")
	{
		load_port(b, NETWORK, 8);
		nft_payload(b, NETWORK, 14, 4, R(6));
		lookup(b, PORT_SOURCE4, true);
		nft_verdict(b, NFT_GOTO, "refuse");
	}
	RULE(p, "arp")
	{ /* announcements of its own address */
		load_port(b, LINK, 6);
		nft_payload(b, NETWORK, 24, 4, R(6));
		lookup(b, PORT_SOURCE4, false);
		nft_verdict(b, NF_DROP, NULL);
	}
	RULE(p, "arp")
	{
		nft_payload(b, NETWORK, 0, 8, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, ethernet_ip_request, sizeof(ethernet_ip_request));
		nft_payload(b, NETWORK, 8, 10, R(0));
		nft_payload(b, NETWORK, 24, 4, R(4));
		nft_payload_set(b, NETWORK, 18, 10, R(0), NULL);
		nft_payload_set(b, NETWORK, 14, 4, R(4), NULL);
		set_bytes(b, NETWORK, 8, net_gateway_mac, 6, NULL);
		set_bytes(b, NETWORK, 6, reply, 2, NULL);
		turn_around(b);
	}
	add_go(p, "arp", "refuse");
}

static void add_guard(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "guard")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x0800);
		match_to_gateway(b, NFT_CMP_EQ);
		nft_verdict(b, NFT_GOTO, "ip4");
	}
	RULE(p, "guard")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x86dd);
		match_to_gateway(b, NFT_CMP_EQ);
		nft_verdict(b, NFT_GOTO, "ip6");
	}
	RULE(p, "guard")
	{
		nft_meta(b, NFT_META_IIFNAME, R(0));
		lookup(b, PORT_BRIDGED, false);
		nft_verdict(b, NFT_GOTO, "bridged");
	}
	RULE(p, "guard")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x86dd);
		nft_verdict(b, NFT_GOTO, "ip6");
	}
	RULE(p, "guard")
	{
		match_be16(b, LINK, 12, NFT_CMP_EQ, 0x0806);
		nft_verdict(b, NFT_GOTO, "arp");
	}
	add_go(p, "guard", "refuse");
}

void guard_add_table(const struct nft_place *p)
{
	static const char *const chains[] = { "refuse", "pass", "toward", "solicit", "fragment6", "own6",
		"content6", "bridged-own6", "bridged-mail4", "bridged-mail6", "bridged6", "bridged-arp",
		"bridged", "trunked", "trunk", "other6", "ip6", "own4", "ip4", "arp", "guard" };

	nft_table_add(p);
	add_sets(p);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		nft_chain_add(p, chains[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		nft_chain_flush(p, chains[i]);

	add_ends(p);
	add_solicit(p);
	add_fragment6(p);
	add_content6(p);
	add_own6(p);
	add_other6(p);
	add_source6(p, PORT_SOURCE6, 128);
	add_source6(p, PORT_BLOCK64, 64);
	add_source6(p, PORT_BLOCK56, 56);
	add_source6(p, PORT_BLOCK48, 48);
	add_go(p, "ip6", "other6");
	add_own4(p);
	add_ip4(p);
	add_arp(p);
	guard_add_bridged(p);
	add_guard(p);
}

static void chain_names(
        const char *host_name, char in[static GUARD_CHAIN_MAX], char out[static GUARD_CHAIN_MAX])
{
	(void)snprintf(in, GUARD_CHAIN_MAX, "%s", host_name);
	(void)snprintf(out, GUARD_CHAIN_MAX, "%s-to", host_name);
}

void guard_add_port(const struct nft_place *p, const char *host_name)
{
	char in[GUARD_CHAIN_MAX], out[GUARD_CHAIN_MAX];

	chain_names(host_name, in, out);
	nft_chain_add(p, in,
	        &(struct nft_hook){ .number = NF_NETDEV_INGRESS,
	                .device = host_name,
	                .type = "filter",
	                .policy = NF_DROP });
	nft_chain_flush(p, in); /* left over from a link of the same name, which the kernel keeps from 6.10 */
	add_go(p, in, "guard");
	nft_chain_add(p, out,
	        &(struct nft_hook){ .number = NF_NETDEV_EGRESS,
	                .device = host_name,
	                .type = "filter",
	                .policy = NF_ACCEPT });
	nft_chain_flush(p, out);
	add_go(p, out, "toward");
}

void guard_lead_port(const struct nft_place *p, const char *host_name, const char *chain)
{
	char in[GUARD_CHAIN_MAX], out[GUARD_CHAIN_MAX];

	chain_names(host_name, in, out);
	nft_chain_flush(p, in);
	add_go(p, in, chain);
}

void guard_remove_port(const struct nft_place *p, const char *host_name)
{
	char in[GUARD_CHAIN_MAX], out[GUARD_CHAIN_MAX];

	chain_names(host_name, in, out);
	nft_chain_delete(p, in);
	nft_chain_delete(p, out);
}
