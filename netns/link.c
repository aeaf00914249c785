/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rtnetlink(7). Host routes replace what is there: an address that moves from a container whose namespace is
 * still being torn down by the kernel to another one must not wait for it. Neighbour entries are permanent,
 * so the kernel's garbage collection and its limits do not see them (Linux 5.0), and no ARP or neighbour
 * solicitation ever goes to a container. */
#include "netns/link.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>

#define RULE_MAIN    32000
#define RULE_SOURCE  32001
#define OPERSTATE_UP 6 /* IF_OPER_UP of linux/if.h, which net/if.h excludes */

void link_add_veth(struct nl_batch *b, const char *host_name, const uint8_t host_mac[static 6],
        const char *guest_name, int netns_fd)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	size_t info, data, peer;

	nl_message(
	        b, "make the pair of links", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	nl_put_str(b, IFLA_IFNAME, host_name);
	nl_put(b, IFLA_ADDRESS, host_mac, 6);
	info = nl_nest(b, IFLA_LINKINFO);
	nl_put_str(b, IFLA_INFO_KIND, "veth");
	data = nl_nest(b, IFLA_INFO_DATA);
	peer = b->len;
	nl_put(b, VETH_INFO_PEER, &header, sizeof(header));
	nl_put_str(b, IFLA_IFNAME, guest_name);
	nl_put_u32(b, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	nl_nest_end(b, peer);
	nl_nest_end(b, data);
	nl_nest_end(b, info);
}

void link_quiet(struct nl_batch *b, const char *name)
{
	static const struct {
		uint16_t key;
		uint32_t value;
	} conf[] = {
		{ IPV4_DEVCONF_FORWARDING, 1 },
		{ IPV4_DEVCONF_PROXY_ARP, 0 },
		{ IPV4_DEVCONF_ACCEPT_REDIRECTS, 0 },
		{ IPV4_DEVCONF_SEND_REDIRECTS, 0 },
		{ IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE, 0 },
		{ IPV4_DEVCONF_ARP_IGNORE, 8 },
		{ IPV4_DEVCONF_ROUTE_LOCALNET, 0 },
	};
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	size_t spec, family, values;

	nl_message(b, "set up the link", RTM_SETLINK, 0, &header, sizeof(header));
	nl_put_str(b, IFLA_IFNAME, name);
	spec = nl_nest(b, IFLA_AF_SPEC);
	family = nl_nest(b, AF_INET);
	values = nl_nest(b, IFLA_INET_CONF);
	for (size_t i = 0; i < ARRAY_SIZE(conf); i++)
		nl_put_u32(b, conf[i].key, conf[i].value);
	nl_nest_end(b, values);
	nl_nest_end(b, family);
	nl_nest_end(b, spec);

	link_make_link_local(b, name, 0, false);
}

void link_make_link_local(struct nl_batch *b, const char *name, int index, bool on)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC, .ifi_index = name ? 0 : index };
	size_t spec, family;

	nl_message(b, "set up IPv6 of the link", RTM_SETLINK, 0, &header, sizeof(header));
	nl_tolerate(b, EAFNOSUPPORT);
	if (name)
		nl_put_str(b, IFLA_IFNAME, name);
	spec = nl_nest(b, IFLA_AF_SPEC);
	family = nl_nest(b, AF_INET6);
	nl_put_u8(b, IFLA_INET6_ADDR_GEN_MODE, on ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE);
	nl_nest_end(b, family);
	nl_nest_end(b, spec);
}

void link_delete(struct nl_batch *b, const char *name)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };

	nl_message(b, "delete the link", RTM_DELLINK, 0, &header, sizeof(header));
	nl_tolerate(b, ENODEV);
	nl_put_str(b, IFLA_IFNAME, name);
}

void link_change(struct nl_batch *b, const struct link_change *change)
{
	const unsigned arp = change->no_arp ? IFF_NOARP : 0;
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC,
		.ifi_index = change->index,
		.ifi_flags = (change->up ? IFF_UP : 0) | arp,
		.ifi_change = IFF_UP | arp };

	nl_message(b, change->up ? "bring up the link" : "bring down the link", RTM_SETLINK, 0, &header,
	        sizeof(header));
	if (change->mtu)
		nl_put_u32(b, IFLA_MTU, change->mtu);
	if (change->mac)
		nl_put(b, IFLA_ADDRESS, change->mac, 6);
	if (change->master)
		nl_put_u32(b, IFLA_MASTER, change->master < 0 ? 0 : (uint32_t)change->master);
}

/* A port that joins learns until it is told not to: what it has learned by then is forgotten (flush). An
 * address that the bridge was told of another port would have moved to it, but for NTF_STICKY. */
void link_bridge_port(struct nl_batch *b, int index, bool isolated, const uint8_t *mac)
{
	struct ifinfomsg header = { .ifi_family = AF_BRIDGE, .ifi_index = index };
	struct ndmsg entry = {
		.ndm_family = AF_BRIDGE,
		.ndm_ifindex = index,
		.ndm_state = NUD_NOARP,
		.ndm_flags = NTF_MASTER | NTF_STICKY,
	};
	size_t nest;

	nl_message(b, "set up the port of the bridge", RTM_SETLINK, 0, &header, sizeof(header));
	nest = nl_nest(b, IFLA_PROTINFO);
	nl_put_u8(b, IFLA_BRPORT_LEARNING, 0);
	nl_put_u8(b, IFLA_BRPORT_UNICAST_FLOOD, 0);
	nl_put_u8(b, IFLA_BRPORT_GUARD, 1);
	nl_put_u8(b, IFLA_BRPORT_PROTECT, 1);
	nl_put_u8(b, IFLA_BRPORT_ISOLATED, isolated);
	nl_put(b, IFLA_BRPORT_FLUSH, "", 0);
	nl_nest_end(b, nest);

	if (!mac)
		return;
	nl_message(b, "tell the bridge the port's address", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
	        &entry, sizeof(entry));
	nl_put(b, NDA_LLADDR, mac, 6);
}

static void begin_link(struct nl_batch *b, const char *what, const char *name)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };

	nl_message(b, what, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	nl_put_str(b, IFLA_IFNAME, name);
}

void link_add_bridge(struct nl_batch *b, const char *name, uint32_t mtu)
{
	size_t info;

	begin_link(b, "make the bridge", name);
	if (mtu)
		nl_put_u32(b, IFLA_MTU, mtu);
	info = nl_nest(b, IFLA_LINKINFO);
	nl_put_str(b, IFLA_INFO_KIND, "bridge");
	nl_nest_end(b, info);
}

void link_add_detour(struct nl_batch *b, const char *name)
{
	size_t info;

	begin_link(b, "make the link for rates", name);
	nl_put_u32(b, IFLA_TXQLEN, 1000);
	info = nl_nest(b, IFLA_LINKINFO);
	nl_put_str(b, IFLA_INFO_KIND, "ifb");
	nl_nest_end(b, info);
}

void link_add_vlan(struct nl_batch *b, const char *name, int below, uint16_t vlan, uint32_t priority)
{
	const struct ifla_vlan_qos_mapping mapping = { .from = 0, .to = priority };
	size_t info, data, map;

	begin_link(b, "make the VLAN's sub-interface", name);
	nl_put_u32(b, IFLA_LINK, (uint32_t)below);
	info = nl_nest(b, IFLA_LINKINFO);
	nl_put_str(b, IFLA_INFO_KIND, "vlan");
	data = nl_nest(b, IFLA_INFO_DATA);
	nl_put_u16(b, IFLA_VLAN_ID, vlan);
	if (priority) {
		map = nl_nest(b, IFLA_VLAN_INGRESS_QOS);
		nl_put(b, IFLA_VLAN_QOS_MAPPING, &mapping, sizeof(mapping));
		nl_nest_end(b, map);
	}
	nl_nest_end(b, data);
	nl_nest_end(b, info);
}

static uint16_t read_vlan(const struct nlattr *linkinfo)
{
	const struct nlattr *info[IFLA_INFO_MAX + 1], *data[IFLA_VLAN_MAX + 1];

	nl_parse_nested(info, IFLA_INFO_MAX, linkinfo);
	if (!info[IFLA_INFO_KIND] || strcmp(mnl_attr_get_str(info[IFLA_INFO_KIND]), "vlan") != 0 ||
	        !info[IFLA_INFO_DATA])
		return 0;
	nl_parse_nested(data, IFLA_VLAN_MAX, info[IFLA_INFO_DATA]);
	return data[IFLA_VLAN_ID] ? mnl_attr_get_u16(data[IFLA_VLAN_ID]) : 0;
}

static int read_link(const struct nlmsghdr *nlh, void *userdata)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(nlh);
	struct link_info *info = userdata;
	const struct nlattr *attr[IFLA_MAX + 1];

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return 0;
	nl_parse_message(attr, IFLA_MAX, nlh, sizeof(*header));
	info->index = header->ifi_index;
	info->up = header->ifi_flags & IFF_UP;
	if (attr[IFLA_LINKINFO])
		info->vlan = read_vlan(attr[IFLA_LINKINFO]);
	if (attr[IFLA_MASTER])
		info->master = (int)mnl_attr_get_u32(attr[IFLA_MASTER]);
	if (attr[IFLA_ADDRESS] && mnl_attr_get_payload_len(attr[IFLA_ADDRESS]) == sizeof(info->mac))
		memcpy(info->mac, mnl_attr_get_payload(attr[IFLA_ADDRESS]), sizeof(info->mac));
	if (attr[IFLA_MTU])
		info->mtu = mnl_attr_get_u32(attr[IFLA_MTU]);
	if (attr[IFLA_OPERSTATE])
		info->carrier = mnl_attr_get_u8(attr[IFLA_OPERSTATE]) == OPERSTATE_UP;
	if (attr[IFLA_QDISC])
		info->shaped = strcmp(mnl_attr_get_str(attr[IFLA_QDISC]), "tbf") == 0 ||
		               strcmp(mnl_attr_get_str(attr[IFLA_QDISC]), "htb") == 0;
	if (attr[IFLA_LINK])
		info->peer_index = (int)mnl_attr_get_u32(attr[IFLA_LINK]);
	return 0;
}

int link_get(struct nl_sock *sock, struct nl_batch *b, const char *name, int index, struct link_info *ret,
        struct ct_error *err)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC, .ifi_index = name ? 0 : index };
	int r;

	*ret = (struct link_info){ 0 };
	nl_batch_reset(b);
	nl_message(b, "look at a link", RTM_GETLINK, 0, &header, sizeof(header));
	if (name)
		nl_put_str(b, IFLA_IFNAME, name);
	nl_put_u32(b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = nl_query(sock, b, read_link, ret, NULL);
	if (r < 0 && r != -ENODEV)
		return ct_error_set(err, r, "network", "cannot look at a link: %s", strerror(-r));

	return r;
}

static void put_address(struct nl_batch *b, const struct ip_addr *a)
{
	nl_put_ip(b, IFA_LOCAL, a);
	nl_put_ip(b, IFA_ADDRESS, a);
}

void address_add(struct nl_batch *b, int index, const struct ip_addr *a)
{
	struct ifaddrmsg header = { .ifa_family = (uint8_t)a->family,
		.ifa_prefixlen = a->prefix,
		.ifa_flags = a->family == AF_INET6 ? IFA_F_NODAD : 0,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = (uint32_t)index };

	nl_message(b, "add an address inside", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &header,
	        sizeof(header));
	put_address(b, a);
}

void address_remove(struct nl_batch *b, int index, const struct ip_addr *a)
{
	struct ifaddrmsg header = {
		.ifa_family = (uint8_t)a->family, .ifa_prefixlen = a->prefix, .ifa_index = (uint32_t)index
	};

	nl_message(b, "remove an address inside", RTM_DELADDR, 0, &header, sizeof(header));
	nl_tolerate(b, EADDRNOTAVAIL);
	put_address(b, a);
}

static void put_route(
        struct nl_batch *b, const char *what, uint16_t type, uint16_t flags, const struct route *route)
{
	const struct ip_addr *family = route->to ? route->to : route->via;
	uint8_t scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE : /* any */
	                        route->via || family->family == AF_INET6 ? RT_SCOPE_UNIVERSE
	                                                                 : RT_SCOPE_LINK;
	struct rtmsg header = { .rtm_family = (uint8_t)family->family,
		.rtm_dst_len = route->to ? route->to->prefix : 0,
		.rtm_table = route->table ? RT_TABLE_UNSPEC : RT_TABLE_MAIN,
		.rtm_protocol = route->protocol,
		.rtm_scope = scope,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = route->via ? RTNH_F_ONLINK : 0 };

	nl_message(b, what, type, flags, &header, sizeof(header));
	if (route->to)
		nl_put_ip(b, RTA_DST, route->to);
	if (route->via)
		nl_put_ip(b, RTA_GATEWAY, route->via);
	nl_put_u32(b, RTA_OIF, (uint32_t)route->index);
	if (route->table)
		nl_put_u32(b, RTA_TABLE, route->table);
}

void route_add(struct nl_batch *b, const struct route *route)
{
	put_route(b, "add a route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

void route_remove(struct nl_batch *b, const struct route *route)
{
	put_route(b, "remove a route", RTM_DELROUTE, 0, route);
	nl_tolerate(b, ESRCH);
}

static void put_rule(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags,
        const struct fib_rule_hdr *header, uint32_t priority)
{
	nl_message(b, what, type, flags, header, sizeof(*header));
	nl_tolerate(b, type == RTM_NEWRULE ? EEXIST : ENOENT);
	nl_put_u32(b, FRA_PRIORITY, priority);
}

/* Before the main table's turn (32766): all of it but its default routes, then ours. */
void rule_add(struct nl_batch *b, const struct ip_addr *from, uint32_t table)
{
	const uint16_t flags = NLM_F_CREATE | NLM_F_EXCL;
	struct fib_rule_hdr header = {
		.family = (uint8_t)from->family, .table = RT_TABLE_MAIN, .action = FR_ACT_TO_TBL
	};

	put_rule(b, "add a rule inside", RTM_NEWRULE, flags, &header, RULE_MAIN);
	nl_put_u32(b, FRA_TABLE, RT_TABLE_MAIN);
	nl_put_u32(b, FRA_SUPPRESS_PREFIXLEN, 0);

	header.table = RT_TABLE_UNSPEC;
	header.src_len = from->prefix;
	put_rule(b, "add a rule inside", RTM_NEWRULE, flags, &header, RULE_SOURCE);
	nl_put_u32(b, FRA_TABLE, table);
	nl_put_ip(b, FRA_SRC, from);
}

void rule_remove(struct nl_batch *b, const struct ip_addr *from, uint32_t table)
{
	const struct fib_rule_hdr header = {
		.family = (uint8_t)from->family, .src_len = from->prefix, .action = FR_ACT_TO_TBL
	};

	put_rule(b, "remove a rule inside", RTM_DELRULE, 0, &header, RULE_SOURCE);
	nl_put_u32(b, FRA_TABLE, table);
	nl_put_ip(b, FRA_SRC, from);
}

static void put_neighbour(
        struct nl_batch *b, int index, const struct ip_addr *a, const uint8_t mac[static 6], uint16_t state)
{
	const struct ndmsg header = {
		.ndm_family = (uint8_t)a->family, .ndm_ifindex = index, .ndm_state = state
	};

	nl_message(b, "add a neighbour", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof(header));
	nl_put_ip(b, NDA_DST, a);
	nl_put(b, NDA_LLADDR, mac, 6);
}

void neighbour_add(struct nl_batch *b, int index, const struct ip_addr *a, const uint8_t mac[static 6])
{
	put_neighbour(b, index, a, mac, NUD_PERMANENT);
}

void neighbour_learn(struct nl_batch *b, int index, const struct ip_addr *a, const uint8_t mac[static 6])
{
	put_neighbour(b, index, a, mac, NUD_REACHABLE);
}

void proxy_add(struct nl_batch *b, int index, const struct ip_addr *a, uint8_t protocol)
{
	struct ndmsg header = {
		.ndm_family = (uint8_t)a->family, .ndm_ifindex = index, .ndm_flags = NTF_PROXY
	};

	nl_message(b, "answer for an address on the uplink", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
	        &header, sizeof(header));
	nl_put_ip(b, NDA_DST, a);
	nl_put_u8(b, NDA_PROTOCOL, protocol);
}

void proxy_remove(struct nl_batch *b, int index, const struct ip_addr *a)
{
	struct ndmsg header = {
		.ndm_family = (uint8_t)a->family, .ndm_ifindex = index, .ndm_flags = NTF_PROXY
	};

	nl_message(
	        b, "stop to answer for an address on the uplink", RTM_DELNEIGH, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
	nl_put_ip(b, NDA_DST, a);
}

struct port_count {
	const char *prefix;
	unsigned n;
};

static int count_port(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *attr[IFLA_MAX + 1];
	struct port_count *count = userdata;

	nl_parse_message(attr, IFLA_MAX, nlh, sizeof(struct ifinfomsg));
	if (!attr[IFLA_IFNAME])
		return 0;
	const char *name = mnl_attr_get_str(attr[IFLA_IFNAME]);
	/* v and t: a port's host side, or its sub-interface of a trunk's VLAN */
	if (*name && (*name == *count->prefix || *name == 't') &&
	        strncmp(name + 1, count->prefix + 1, strlen(count->prefix + 1)) == 0)
		count->n++;
	return 0;
}

int link_count_ports(struct nl_sock *sock, struct nl_batch *b, int master, const char *prefix, unsigned *ret,
        struct ct_error *err)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	struct port_count count = { .prefix = prefix };
	int r;

	nl_batch_reset(b);
	nl_message(b, "list the ports of a bridge", RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
	nl_put_u32(b, IFLA_MASTER, (uint32_t)master);
	nl_put_u32(b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = nl_query(sock, b, count_port, &count, err);
	*ret = count.n;
	return r;
}

static int read_uplink(const struct nlmsghdr *nlh, void *userdata)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr[RTA_MAX + 1];
	int *index = userdata;

	if (nlh->nlmsg_type != RTM_NEWROUTE || header->rtm_type != RTN_UNICAST)
		return 0;
	nl_parse_message(attr, RTA_MAX, nlh, sizeof(*header));
	if (attr[RTA_OIF])
		*index = (int)mnl_attr_get_u32(attr[RTA_OIF]);
	return 0;
}

int route_uplink(struct nl_sock *sock, struct nl_batch *b, int family, int *ret_index)
{
	/* any address of the public Internet does: nothing is sent */
	static const struct ip_addr v4 = { AF_INET, { 192, 88, 99, 1 }, 32 };
	static const struct ip_addr v6 = { AF_INET6, { 0x20, 0x00, [15] = 1 }, 128 };
	const struct ip_addr *to = family == AF_INET ? &v4 : &v6;
	struct rtmsg header = { .rtm_family = (uint8_t)family, .rtm_dst_len = to->prefix };
	int r;

	*ret_index = 0;
	nl_batch_reset(b);
	nl_message(b, "look for the uplink", RTM_GETROUTE, 0, &header, sizeof(header));
	nl_put_ip(b, RTA_DST, to);
	r = nl_query(sock, b, read_uplink, ret_index, NULL);
	if (r == -ENETUNREACH || r == -EHOSTUNREACH || r == -EAFNOSUPPORT || r == -EOPNOTSUPP ||
	        r == -EACCES || r == -EINVAL)
		return 0; /* no such route, or one that refuses */

	return r;
}
