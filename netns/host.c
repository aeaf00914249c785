/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's tables: who may reach whom once the guard (guard.c) has let a packet through.
 *
 * The inet table has four hooks. prerouting: what stays on our bridges has no connections. input: containers
 * reach what is listed of the host's services, pings, and answers. forward: containers on nat networks are
 * reached by answers and port forwards only, routed ones by everybody (other containers if allowed).
 * postrouting: what comes from nat networks and leaves by a device that is not ours gets the host's address.
 * A container's device is told by the prefix of its name, so no rule and no element is added when a container
 * starts.
 *
 * Nothing is forwarded from a container to 169.254.0.0/16: at many hosters the metadata service of the
 * machine itself lives there.
 *
 * A change is one transaction: the kernel evaluates each packet by the old rules or by the new ones.
 */
#include "netns/bridge.h"
#include "netns/guard.h"
#include "netns/link.h"
#include "netns/port.h"
#include "netns/publish.h"
#include "netns/scan.h"
#include "netns/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

#define STATE_BIT(state)    (1U << ((state) + 1)) /* NF_CT_STATE_BIT: not in the exported headers */
#define STATE_INVALID       1U
#define STATE_ANSWER        (STATE_BIT(IP_CT_ESTABLISHED) | STATE_BIT(IP_CT_RELATED))
#define NETWORK             NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT           NFT_PAYLOAD_TRANSPORT_HEADER
#define SOURCE4_OFFSET      12
#define DESTINATION4_OFFSET 16
#define SOURCE6_OFFSET      8
#define DESTINATION6_OFFSET 24
#define BEFORE_FRAGMENTS    (-450) /* NF_IP_PRI_RAW_BEFORE_DEFRAG */

#define TYPE_SERVICE (NFT_TYPE_PROTOCOL << 6 | NFT_TYPE_SERVICE)

struct service_key {
	uint8_t protocol[4];
	uint8_t port[4];
};

enum { NAT4, NAT6, SERVICES, SETS }; /* their ids begin at 30, the ones of port_sets at 1 */
static const struct nft_set sets[SETS] = {
	[NAT4] = { "nat4", 30, NFT_TYPE_IP4, 4, NFT_SET_INTERVAL },
	[NAT6] = { "nat6", 31, NFT_TYPE_IP6, 16, NFT_SET_INTERVAL },
	[SERVICES] = { "services", 32, TYPE_SERVICE, sizeof(struct service_key), 0 },
};

struct layout {
	struct net_context *net;
	const struct net_host_spec *spec;
	struct nft_place p;
	struct nl_batch *b;
};

/* key: NFT_META_IIFNAME or NFT_META_OIFNAME. A comparison shorter than the name is one of its beginning. */
static void match_ours(struct layout *l, uint32_t key, uint32_t op)
{
	nft_meta(l->b, key, R(0));
	nft_cmp(l->b, R(0), op, l->net->prefix, net_prefix_len(l->net));
}

/* Others of our links than ports: "b" of bridges, "t" of sub-interfaces of trunks. */
static void match_kind(struct layout *l, char kind, uint32_t key, uint32_t op)
{
	char prefix[sizeof(l->net->prefix)];

	memcpy(prefix, l->net->prefix, sizeof(prefix));
	prefix[0] = kind;
	nft_meta(l->b, key, R(0));
	nft_cmp(l->b, R(0), op, prefix, net_prefix_len(l->net));
}

/* Sub-interfaces of trunks are ports of bridges. One whose bridge was taken away must not lead to the host.
 */
static void add_rule_no_trunk(struct layout *l, const char *chain)
{
	RULE(&l->p, chain)
	{
		match_kind(l, 't', NFT_META_IIFNAME, NFT_CMP_EQ);
		nft_verdict(l->b, NF_DROP, NULL);
	}
}

/* What is sent to the address of a port's host side or of the uplink, which a tenant can know, a bridge of
 * ours passes up to the host, which is no part of the segment: neither a target nor a router. */
static void add_rule_no_bridge(struct layout *l, const char *chain)
{
	RULE(&l->p, chain)
	{
		match_kind(l, 'b', NFT_META_IIFNAME, NFT_CMP_EQ);
		/* what is bridged is shown as from the bridge to the bridge (br_netfilter) */
		if (str_eq(chain, "forward"))
			match_kind(l, 'b', NFT_META_OIFNAME, NFT_CMP_NEQ);
		nft_verdict(l->b, NF_DROP, NULL);
	}
}

static void match_state(struct layout *l, uint32_t key, uint32_t bits)
{
	nft_ct(l->b, key, R(0));
	nft_mask(l->b, R(0), &bits, sizeof(bits));
	nft_cmp_host32(l->b, R(0), NFT_CMP_NEQ, 0);
}

static void match_family(struct layout *l, uint8_t family)
{
	nft_meta(l->b, NFT_META_NFPROTO, R(0));
	nft_cmp_u8(l->b, R(0), NFT_CMP_EQ, family);
}

static void match_protocol(struct layout *l, uint8_t protocol)
{
	nft_meta(l->b, NFT_META_L4PROTO, R(0));
	nft_cmp_u8(l->b, R(0), NFT_CMP_EQ, protocol);
}

/* The source or destination is in a nat network. */
static void match_nat(struct layout *l, uint8_t family, bool source, bool inverted)
{
	bool v4 = family == NFPROTO_IPV4;
	const struct nft_set *set = &sets[v4 ? NAT4 : NAT6];
	uint32_t offset = v4 ? (source ? SOURCE4_OFFSET : DESTINATION4_OFFSET)
	                     : (source ? SOURCE6_OFFSET : DESTINATION6_OFFSET);

	match_family(l, family);
	nft_payload(l->b, NETWORK, offset, v4 ? 4 : 16, R(0));
	nft_lookup(l->b, set->name, set->id, R(0), inverted);
}

static void add_rule_state(struct layout *l, const char *chain, uint32_t key, uint32_t bits, int32_t verdict)
{
	RULE(&l->p, chain)
	{
		match_state(l, key, bits);
		nft_verdict(l->b, verdict, NULL);
	}
}

static void add_rule_always(struct layout *l, const char *chain, int32_t verdict)
{
	RULE(&l->p, chain)
	{
		nft_verdict(l->b, verdict, NULL);
	}
}

/* The port that key names has an element in the set, which may have been made to match only now and then. */
static void add_rule_set(struct layout *l, const char *chain, uint32_t key, enum port_set set)
{
	RULE(&l->p, chain)
	{
		nft_meta(l->b, key, R(0));
		nft_lookup(l->b, port_sets[set].name, port_sets[set].id, R(0), false);
		nft_verdict(l->b, NF_DROP, NULL);
	}
}

/* What a new connection counts against, of the port it comes from and of the one it goes to. The kernel calls
 * a connection new until it has seen an answer, and many streams of datagrams are never answered: it is one
 * when its first packet is, which is not confirmed yet. */
static void add_limits(struct layout *l)
{
	add_rule_state(l, "new-from", NFT_CT_STATUS, IPS_CONFIRMED, NFT_RETURN);
	add_rule_state(l, "new-to", NFT_CT_STATUS, IPS_CONFIRMED, NFT_RETURN);
	add_rule_set(l, "new-from", NFT_META_IIFNAME, PORT_NEW_CONNECTIONS);
	add_rule_set(l, "new-from", NFT_META_IIFNAME, PORT_CONNECTIONS);
	add_rule_set(l, "new-to", NFT_META_OIFNAME, PORT_NEW_CONNECTIONS);
	add_rule_set(l, "new-to", NFT_META_OIFNAME, PORT_CONNECTIONS);
	add_rule_set(l, "internal", NFT_META_IIFNAME, PORT_INTERNAL);
}

static void add_rule_jump(struct layout *l, const char *chain, const char *to)
{
	RULE(&l->p, chain)
	{
		nft_verdict(l->b, NFT_JUMP, to);
	}
}

static void add_rule_icmp(struct layout *l, const char *chain, uint8_t family, uint8_t protocol, uint8_t type)
{
	RULE(&l->p, chain)
	{
		match_family(l, family);
		match_protocol(l, protocol);
		nft_payload(l->b, TRANSPORT, 0, 1, R(0));
		nft_cmp_u8(l->b, R(0), NFT_CMP_EQ, type);
		nft_verdict(l->b, NF_ACCEPT, NULL);
	}
}

/* From a port of a bridge that the host has an address on: the same, but that the guard lets neighbours be
 * found there. */
static void add_input_segment(struct layout *l)
{
	static const uint32_t upper = 0xffff0000;
	static const uint8_t discovery[] = { 133, 135, 136 }; /* a host may be their router, too */

	RULE(&l->p, "input")
	{
		nft_meta(l->b, NFT_META_PRIORITY, R(0));
		nft_mask(l->b, R(0), &upper, sizeof(upper));
		nft_cmp_host32(l->b, R(0), NFT_CMP_EQ, SEGMENT_PRIORITY);
		nft_verdict(l->b, NFT_GOTO, "segment");
	}
	for (size_t i = 0; i < ARRAY_SIZE(discovery); i++)
		add_rule_icmp(l, "segment", NFPROTO_IPV6, IPPROTO_ICMPV6, discovery[i]);
	RULE(&l->p, "segment")
	{
		nft_verdict(l->b, NFT_GOTO, "to-host");
	}
}

static void add_input(struct layout *l)
{
	static const struct {
		uint8_t family, protocol, type;
	} echo[] = { { NFPROTO_IPV4, IPPROTO_ICMP, 8 }, { NFPROTO_IPV6, IPPROTO_ICMPV6, 128 } };

	add_rule_no_trunk(l, "input");
	add_rule_no_bridge(l, "input");
	add_input_segment(l);
	RULE(&l->p, "input")
	{
		match_ours(l, NFT_META_IIFNAME, NFT_CMP_NEQ);
		nft_verdict(l->b, NF_ACCEPT, NULL);
	}
	add_rule_jump(l, "input", "internal");
	RULE(&l->p, "input")
	{
		nft_verdict(l->b, NFT_GOTO, "to-host");
	}
	add_rule_state(l, "to-host", NFT_CT_STATE, STATE_ANSWER, NF_ACCEPT);
	add_rule_state(l, "to-host", NFT_CT_STATE, STATE_INVALID, NF_DROP);
	add_rule_jump(l, "to-host", "new-from");
	RULE(&l->p, "to-host")
	{
		nft_meta(l->b, NFT_META_L4PROTO, R(0));
		nft_payload(l->b, TRANSPORT, 2, 2, R(1));
		nft_lookup(l->b, sets[SERVICES].name, sets[SERVICES].id, R(0), false);
		nft_verdict(l->b, NF_ACCEPT, NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(echo); i++)
		add_rule_icmp(l, "to-host", echo[i].family, echo[i].protocol, echo[i].type);
	add_rule_always(l, "to-host", NF_DROP);
}

/* Where bridged frames are shown to the host's tables (br_netfilter), those of bridges of ours would have
 * connections in its table, which nobody counts, and fragments put together in the place where all others'
 * are. The host has no address there; nothing of it is its affair. */
static void add_segments(struct layout *l)
{
	RULE(&l->p, "segments")
	{
		match_kind(l, 'b', NFT_META_IIFNAME, NFT_CMP_EQ);
		nft_no_track(l->b);
	}
}

/* What the kernel knows no connection of. One that has moved here it knows by the first packet that passes,
 * but not if that ends it: then the other side would wait for ever. From a nat network none could have moved,
 * and nothing would be put in place of the address. */
static void add_forward_unknown(struct layout *l)
{
	static const uint8_t fin_or_rst = 0x05;

	RULE(&l->p, "unknown")
	{
		match_nat(l, NFPROTO_IPV4, true, false);
		nft_verdict(l->b, NF_DROP, NULL);
	}
	RULE(&l->p, "unknown")
	{
		match_nat(l, NFPROTO_IPV6, true, false);
		nft_verdict(l->b, NF_DROP, NULL);
	}
	RULE(&l->p, "unknown")
	{
		match_protocol(l, IPPROTO_TCP);
		nft_payload(l->b, TRANSPORT, 13, 1, R(0));
		nft_mask(l->b, R(0), &fin_or_rst, sizeof(fin_or_rst));
		nft_cmp_u8(l->b, R(0), NFT_CMP_NEQ, 0);
		nft_verdict(l->b, NFT_RETURN, NULL);
	}
	add_rule_always(l, "unknown", NF_DROP);
}

static void add_forward_from(struct layout *l)
{
	static const uint8_t link_local[2] = { 169, 254 };
	static const uint32_t rest = UPLINK_REST;

	add_forward_unknown(l);
	RULE(&l->p, "from-port")
	{
		match_state(l, NFT_CT_STATE, STATE_INVALID);
		nft_verdict(l->b, NFT_JUMP, "unknown");
	}
	RULE(&l->p, "from-port")
	{
		match_family(l, NFPROTO_IPV4);
		nft_payload(l->b, NETWORK, DESTINATION4_OFFSET, 2, R(0));
		nft_cmp(l->b, R(0), NFT_CMP_EQ, link_local, sizeof(link_local));
		nft_verdict(l->b, NF_DROP, NULL);
	}
	RULE(&l->p, "from-port")
	{
		match_protocol(l, IPPROTO_TCP);
		nft_payload(l->b, TRANSPORT, 2, 2, R(0));
		nft_cmp_be16(l->b, R(0), NFT_CMP_EQ, 25);
		nft_meta(l->b, NFT_META_IIFNAME, R(0));
		nft_lookup(l->b, port_sets[PORT_NO_MAIL].name, port_sets[PORT_NO_MAIL].id, R(0), false);
		nft_reject_tcp(l->b);
	}
	RULE(&l->p, "from-port")
	{
		match_state(l, NFT_CT_STATE, STATE_BIT(IP_CT_NEW));
		nft_verdict(l->b, NFT_JUMP, "new-from");
	}
	RULE(&l->p, "from-port")
	{
		nft_immediate(l->b, R(4), &rest, sizeof(rest));
		nft_meta_set(l->b, NFT_META_PRIORITY, R(4));
	}
	RULE(&l->p, "from-port")
	{ /* the uplink's classes are chosen by priority, without a filter */
		nft_meta(l->b, NFT_META_IIFNAME, R(0));
		nft_lookup_map(l->b, port_sets[PORT_CLASS].name, port_sets[PORT_CLASS].id, R(0), R(4));
		nft_meta_set(l->b, NFT_META_PRIORITY, R(4));
	}
}

static void add_forward_nat(struct layout *l, uint8_t family)
{
	RULE(&l->p, "to-port")
	{
		match_nat(l, family, false, false);
		nft_verdict(l->b, NFT_GOTO, "to-nat");
	}
	if (l->spec->nat_peers) {
		RULE(&l->p, "to-nat")
		{
			match_ours(l, NFT_META_IIFNAME, NFT_CMP_EQ);
			match_nat(l, family, true, false);
			nft_verdict(l->b, NF_ACCEPT, NULL);
		}
	}
	if (!l->spec->routed_peers) {
		RULE(&l->p, "to-routed")
		{
			match_ours(l, NFT_META_IIFNAME, NFT_CMP_EQ);
			match_nat(l, family, true, true);
			nft_verdict(l->b, NF_DROP, NULL);
		}
	}
}

static void add_forward(struct layout *l)
{
	RULE(&l->p, "forward")
	{
		match_ours(l, NFT_META_IIFNAME, NFT_CMP_EQ);
		nft_verdict(l->b, NFT_GOTO, "from-port");
	}
	add_rule_no_trunk(l, "forward");
	add_rule_no_bridge(l, "forward");
	RULE(&l->p, "forward")
	{
		match_ours(l, NFT_META_OIFNAME, NFT_CMP_EQ);
		nft_verdict(l->b, NFT_GOTO, "to-port");
	}
	add_forward_from(l);
	RULE(&l->p, "from-port")
	{
		match_ours(l, NFT_META_OIFNAME, NFT_CMP_NEQ);
		nft_verdict(l->b, NF_ACCEPT, NULL);
	}
	add_rule_jump(l, "from-port", "internal");
	RULE(&l->p, "from-port")
	{
		nft_verdict(l->b, NFT_GOTO, "to-port");
	}

	add_rule_state(l, "to-port", NFT_CT_STATE, STATE_ANSWER, NF_ACCEPT);
	add_rule_jump(l, "to-port", "new-to");
	add_rule_state(l, "to-nat", NFT_CT_STATUS, IPS_DST_NAT, NF_ACCEPT);
	add_forward_nat(l, NFPROTO_IPV4);
	add_forward_nat(l, NFPROTO_IPV6);
	RULE(&l->p, "to-port")
	{
		nft_verdict(l->b, NFT_GOTO, "to-routed");
	}
	add_rule_always(l, "to-nat", NF_DROP);
	add_rule_always(l, "to-routed", NF_ACCEPT);
}

static void add_masquerade(struct layout *l, uint8_t family)
{
	RULE(&l->p, "postrouting")
	{
		match_ours(l, NFT_META_OIFNAME, NFT_CMP_NEQ);
		match_nat(l, family, true, false);
		nft_masquerade(l->b);
	}
	RULE(&l->p, "postrouting")
	{ /* by way of a published port, perhaps to itself, which would take its own address for a forgery */
		match_ours(l, NFT_META_OIFNAME, NFT_CMP_EQ);
		match_nat(l, family, true, false);
		match_state(l, NFT_CT_STATUS, IPS_DST_NAT);
		nft_masquerade(l->b);
	}
}

static void add_networks(struct layout *l, int family, const struct nft_set *set)
{
	struct nft_elements e = { 0 };
	const struct ip_addr *networks = l->spec->nat_networks;

	for (size_t i = 0; i < l->spec->n_nat_networks; i++) {
		bool seen = networks[i].family != family;

		for (size_t k = 0; k < l->spec->n_nat_networks && !seen; k++)
			seen = k != i && ip_contains(&networks[k], &networks[i]) &&
			       !(k > i && ip_equal(&networks[k], &networks[i]));
		if (seen)
			continue; /* within another one, or of the other family */
		if (e.n == 0)
			e = nft_elements_begin(&l->p, NFT_MSG_NEWSETELEM, set->name);
		nft_element_interval(&l->p, &e, &networks[i]);
	}
	if (e.n > 0)
		nft_elements_end(&l->p, &e);
}

static void add_services(struct layout *l)
{
	struct nft_elements e;

	if (l->spec->n_services == 0)
		return;
	e = nft_elements_begin(&l->p, NFT_MSG_NEWSETELEM, sets[SERVICES].name);
	for (size_t i = 0; i < l->spec->n_services; i++) {
		struct service_key key = { 0 };
		uint16_t port = htons(l->spec->services[i].port);

		key.protocol[0] = l->spec->services[i].protocol;
		memcpy(key.port, &port, sizeof(port));
		nft_element(&l->p, &e, &key, sizeof(key));
	}
	nft_elements_end(&l->p, &e);
}

static void add_inet_table(struct layout *l)
{
	static const struct {
		const char *name;
		struct nft_hook hook;
	} chains[] = {
		{ "internal", { 0 } },
		{ "new-from", { 0 } },
		{ "new-to", { 0 } },
		{ "unknown", { 0 } },
		{ "from-port", { 0 } },
		{ "to-nat", { 0 } },
		{ "to-routed", { 0 } },
		{ "to-port", { 0 } },
		{ "to-host", { 0 } },
		{ "segment", { 0 } },
		{ "segments", { NF_INET_PRE_ROUTING, BEFORE_FRAGMENTS, NULL, "filter", NF_ACCEPT } },
		{ "input", { NF_INET_LOCAL_IN, 0, NULL, "filter", NF_ACCEPT } },
		{ "forward", { NF_INET_FORWARD, 0, NULL, "filter", NF_ACCEPT } },
		{ "postrouting", { NF_INET_POST_ROUTING, 100, NULL, "nat", NF_ACCEPT } },
	};

	nft_table_add(&l->p);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		nft_chain_add(&l->p, chains[i].name, chains[i].hook.type ? &chains[i].hook : NULL);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		nft_chain_flush(&l->p, chains[i].name);
	for (size_t i = 0; i < SETS; i++) {
		nft_set_add(&l->p, &sets[i]);
		nft_set_flush(&l->p, sets[i].name);
	}
	sets_add(&l->p);

	add_networks(l, AF_INET, &sets[NAT4]);
	add_networks(l, AF_INET6, &sets[NAT6]);
	add_services(l);
	add_limits(l);
	add_segments(l);
	add_input(l);
	add_forward(l);
	add_masquerade(l, NFPROTO_IPV4);
	add_masquerade(l, NFPROTO_IPV6);
	publish_add_table(&l->p);
}

/* With forwarding on, a host no longer listens to router advertisements unless accept_ra is 2: it would lose
 * its own IPv6. */
static int keep_router_advertisements(struct net_context *net)
{
	char path[64 + IFNAMSIZ], name[IFNAMSIZ];
	uint64_t value;
	int index, r;

	r = route_uplink(&net->route, &net->batch, AF_INET6, &index);
	if (r < 0)
		return r;
	if (index == 0 || !if_indextoname((unsigned)index, name))
		return 0;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
	r = read_u64_at(AT_FDCWD, path, &value);
	if (r < 0 || value != 1)
		return r;

	return write_file_at(AT_FDCWD, path, "2");
}

static int enable_forwarding(struct net_context *net, struct ct_error *err)
{
	static const char v4[] = "/proc/sys/net/ipv4/ip_forward",
	                  v6[] = "/proc/sys/net/ipv6/conf/all/forwarding";
	uint64_t value;
	int r;

	r = read_u64_at(AT_FDCWD, v4, &value);
	if (r >= 0 && value == 0)
		r = write_file_at(AT_FDCWD, v4, "1");
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot turn on \"%s\": %s", v4, strerror(-r));

	r = read_u64_at(AT_FDCWD, v6, &value);
	if (r == -ENOENT)
		return 0; /* a host without IPv6 */
	if (r >= 0 && value == 0) {
		r = keep_router_advertisements(net);
		if (r >= 0)
			r = write_file_at(AT_FDCWD, v6, "1");
	}
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot turn on \"%s\": %s", v6, strerror(-r));

	return 0;
}

static int check_spec(const struct net_host_spec *spec, struct ct_error *err)
{
	for (size_t i = 0; i < spec->n_nat_networks; i++) {
		const struct ip_addr *a = &spec->nat_networks[i];

		if ((a->family != AF_INET && a->family != AF_INET6) || a->prefix == 0 ||
		        a->prefix > ip_full_prefix(a))
			return ct_error_field(err, "nat_networks",
			        "a nat network must be ADDRESS/PREFIX, the prefix not 0");
	}
	for (size_t i = 0; i < spec->n_services; i++) {
		uint8_t protocol = spec->services[i].protocol;

		if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || spec->services[i].port == 0)
			return ct_error_field(
			        err, "services", "a service must be a port of 1 to 65535 of tcp or udp");
	}

	return 0;
}

int net_host_apply(struct net_context *net, const struct net_host_spec *spec, struct ct_error *err)
{
	struct layout l = { net, spec, inet_place(net), &net->batch };
	struct nft_place guard = guard_place(net);
	int r;

	r = check_spec(spec, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	guard_add_table(&guard);
	add_inet_table(&l);
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, net->table, err);
	if (r < 0)
		return r;

	r = port_guard_all(net, err);
	if (r < 0)
		return r;

	if (spec->enable_forwarding) {
		r = enable_forwarding(net, err);
		if (r < 0)
			return r;
	}

	return port_sweep(net, true, err);
}

static int remove_links(struct net_context *net, struct ct_error *err)
{
	_cleanup_scan_objects_ struct scan_objects links = { 0 };
	int r;

	r = scan_links(net, &links, err);
	if (r < 0)
		return r;

	for (size_t i = 0; i < links.n; i++) {
		r = net_object_remove(net, &links.objects[i], err);
		if (r < 0)
			return r;
	}

	return bridge_remove_all(net, err);
}

int net_host_remove(struct net_context *net, struct ct_error *err)
{
	struct nft_place place = guard_place(net);
	int r;

	/* links first: no moment in which one is up without its filter */
	r = remove_links(net, err);
	if (r < 0)
		return r;

	for (int i = 0; i < 2; i++) {
		nl_batch_reset(&net->batch);
		nft_begin(&net->batch);
		nft_table_delete(&place);
		nft_end(&net->batch);
		r = nl_transact(&net->nft, &net->batch, net->table, NULL);
		if (r < 0 && r != -ENOENT)
			return ct_error_set(err, r, "network", "cannot delete the filter table \"%s\": %s",
			        net->table, strerror(-r));
		place.family = NFPROTO_INET;
	}

	return 0;
}
