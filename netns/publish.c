/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Port forwards: two maps for each family, from protocol and port, with or without the host's address, to the
 * container's address and port.
 *
 * Only the first packet of a connection is looked up, so it does not matter how many there are. The client's
 * address is kept: the answer finds its way back because the host is the container's only gateway. The
 * exception is a container that calls its own host's address, which may lead back to itself: host.c
 * masquerades that.
 *
 * A port that a program of the host listens on is not taken from it: it would lose its clients without
 * knowing why (and the administrator perhaps his way in). Nor one that another instance of ctd leads
 * elsewhere: the kernel would ask both, and the first answer counts.
 */
#include "netns/publish.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "netns/instances.h"

enum { ANY4, ANY6, AT4, AT6, MAPS };

#define PROTOCOL_PORT (NFT_TYPE_PROTOCOL << 6 | NFT_TYPE_SERVICE)
#define AT_TYPE(ip)   ((ip) << 12 | PROTOCOL_PORT)
#define TO_TYPE(ip)   ((ip) << 6 | NFT_TYPE_SERVICE)

static const struct nft_set maps[MAPS] = {
	[ANY4] = { "publish4", 40, PROTOCOL_PORT, 8, NFT_SET_MAP, TO_TYPE(NFT_TYPE_IP4), 8 },
	[ANY6] = { "publish6", 41, PROTOCOL_PORT, 8, NFT_SET_MAP, TO_TYPE(NFT_TYPE_IP6), 20 },
	[AT4] = { "publish4-at", 42, AT_TYPE(NFT_TYPE_IP4), 12, NFT_SET_MAP, TO_TYPE(NFT_TYPE_IP4), 8 },
	[AT6] = { "publish6-at", 43, AT_TYPE(NFT_TYPE_IP6), 24, NFT_SET_MAP, TO_TYPE(NFT_TYPE_IP6), 20 },
};

static void match_family(struct nl_batch *b, uint8_t family)
{
	nft_meta(b, NFT_META_NFPROTO, R(0));
	nft_cmp_u8(b, R(0), NFT_CMP_EQ, family);
}

/* R(reg): protocol, R(reg + 1): port */
static void load_port(struct nl_batch *b, unsigned reg)
{
	nft_meta(b, NFT_META_L4PROTO, R(reg));
	nft_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, R(reg + 1));
}

static void add_family(const struct nft_place *p, uint8_t family)
{
	bool v4 = family == NFPROTO_IPV4;
	const struct nft_set *any = &maps[v4 ? ANY4 : ANY6], *at = &maps[v4 ? AT4 : AT6];
	unsigned words = v4 ? 1 : 4;
	struct nl_batch *b = p->b;

	RULE(p, "publish")
	{
		match_family(b, family);
		nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, 4 * words, R(0));
		load_port(b, words);
		nft_lookup_map(b, at->name, at->id, R(0), R(8));
		nft_dnat(b, family, R(8), R(8 + words));
	}
	RULE(p, "publish")
	{
		match_family(b, family);
		load_port(b, 0);
		nft_lookup_map(b, any->name, any->id, R(0), R(8));
		nft_destination_type(b, R(0));
		nft_cmp_host32(b, R(0), NFT_CMP_EQ, RTN_LOCAL);
		nft_dnat(b, family, R(8), R(8 + words));
	}
}

/* What goes to 127.0.0.1 or ::1 stays there: it could not leave the host. */
static void add_output(const struct nft_place *p)
{
	struct nl_batch *b = p->b;

	RULE(p, "output")
	{
		nft_meta(b, NFT_META_NFPROTO, R(0));
		nft_cmp_u8(b, R(0), NFT_CMP_EQ, NFPROTO_IPV4);
		nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, 16, 1, R(0));
		nft_cmp_u8(b, R(0), NFT_CMP_EQ, 127);
		nft_verdict(b, NF_ACCEPT, NULL);
	}
	RULE(p, "output")
	{
		match_family(b, NFPROTO_IPV6);
		nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, 24, 16, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, &in6addr_loopback, 16);
		nft_verdict(b, NF_ACCEPT, NULL);
	}
	RULE(p, "output")
	{
		nft_verdict(b, NFT_GOTO, "publish");
	}
}

void publish_add_table(const struct nft_place *p)
{
	static const struct nft_hook prerouting = { NF_INET_PRE_ROUTING, -100, NULL, "nat", NF_ACCEPT },
	                             output = { NF_INET_LOCAL_OUT, -100, NULL, "nat", NF_ACCEPT };

	nft_chain_add(p, "publish", NULL);
	nft_chain_add(p, "prerouting", &prerouting);
	nft_chain_add(p, "output", &output);
	nft_chain_flush(p, "publish");
	nft_chain_flush(p, "prerouting");
	nft_chain_flush(p, "output");
	for (size_t i = 0; i < MAPS; i++)
		nft_set_add(p, &maps[i]);

	add_family(p, NFPROTO_IPV4);
	add_family(p, NFPROTO_IPV6);
	RULE(p, "prerouting")
	{
		nft_verdict(p->b, NFT_GOTO, "publish");
	}
	add_output(p);
}

static int check(const struct net_publish *publish, struct ct_error *err)
{
	unsigned count = publish->count ? publish->count : 1;

	if (publish->protocol != IPPROTO_TCP && publish->protocol != IPPROTO_UDP)
		return ct_error_field(err, "publish", "ports can be published of tcp and udp");
	if (publish->to.family != AF_INET && publish->to.family != AF_INET6)
		return ct_error_field(err, "publish", "a published port needs an address of the container");
	if (publish->address.family != 0 && publish->address.family != publish->to.family)
		return ct_error_field(err, "publish",
		        "a port of an IPv4 address can only lead to an IPv4 address, and IPv6 to IPv6");
	if (count > NET_PUBLISH_MAX)
		return ct_error_field(
		        err, "publish", "at most %d ports can be published in one range", NET_PUBLISH_MAX);
	if (publish->port == 0 || publish->to_port == 0 || publish->port + count > 65536U ||
	        publish->to_port + count > 65536U)
		return ct_error_field(err, "publish", "ports must be 1 to 65535");

	return 0;
}

static size_t map_of(const struct net_publish *publish)
{
	bool v4 = publish->to.family == AF_INET;

	return publish->address.family ? (v4 ? AT4 : AT6) : (v4 ? ANY4 : ANY6);
}

/* Returns the length. */
static size_t make_key(uint8_t key[static 24], const struct net_publish *publish, unsigned i)
{
	size_t at = publish->address.family ? ip_len(&publish->address) : 0;
	uint16_t port = htons((uint16_t)(publish->port + i));

	memset(key, 0, 24);
	memcpy(key, publish->address.bytes, at);
	key[at] = publish->protocol;
	memcpy(key + at + 4, &port, sizeof(port));
	return at + 8;
}

static size_t make_data(uint8_t data[static 20], const struct net_publish *publish, unsigned i)
{
	size_t len = ip_len(&publish->to);
	uint16_t port = htons((uint16_t)(publish->to_port + i));

	memset(data, 0, 20);
	memcpy(data, publish->to.bytes, len);
	memcpy(data + len, &port, sizeof(port));
	return len + 4;
}

/* Whether a program of the host listens there: then we cannot. UDP sockets are shared by none, TCP ones only
 * by those that do not listen. */
static bool host_listens(const struct net_publish *publish, unsigned i)
{
	_cleanup_close_ int fd = -1;
	static const int on = 1;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = { 0 };
	bool tcp = publish->protocol == IPPROTO_TCP, v4 = publish->to.family == AF_INET;
	uint16_t port = htons((uint16_t)(publish->port + i));

	fd = socket(publish->to.family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (tcp)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

	address.any.sa_family = (sa_family_t)publish->to.family;
	if (v4) {
		address.v4.sin_port = port;
		memcpy(&address.v4.sin_addr, publish->address.bytes, 4);
	} else {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
		address.v6.sin6_port = port;
		memcpy(&address.v6.sin6_addr, publish->address.bytes, 16);
	}
	return bind(fd, &address.any, v4 ? sizeof(address.v4) : sizeof(address.v6)) < 0 &&
	       errno == EADDRINUSE;
}

static int taken(const struct net_publish *publish, unsigned i, const char *by, struct ct_error *err)
{
	char address[IP_ADDR_STRLEN] = "";

	if (publish->address.family)
		ip_format_addr(&publish->address, address, sizeof(address));
	(void)ct_error_kind_set(err, CT_ERROR_STATE, -EEXIST, "port %u/%s%s%s is taken by %s",
	        publish->port + i, publish->protocol == IPPROTO_TCP ? "tcp" : "udp", address[0] ? " of " : "",
	        address, by);
	return -EEXIST;
}

/* All ports of one publication, in one message. */
static void put_ports(const struct nft_place *p, uint8_t type, const struct net_publish *publish)
{
	const struct nft_set *map = &maps[map_of(publish)];
	struct nft_elements e = nft_elements_begin(p, type, map->name);

	for (unsigned i = 0; i == 0 || i < publish->count; i++) {
		uint8_t key[24], data[20];
		size_t len = make_key(key, publish, i), data_len = make_data(data, publish, i);

		if (type == NFT_MSG_NEWSETELEM)
			nft_element_mapped(p, &e, key, len, data, data_len);
		else
			nft_element(p, &e, key, len);
	}
	nft_elements_end(p, &e);
}

static int read_data(
        const struct nlattr *element, uint8_t *ret_key, size_t key_len, uint8_t *ret_data, size_t data_len)
{
	const struct nlattr *attr[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1], *data[NFTA_DATA_MAX + 1];

	nl_parse_nested(attr, NFTA_SET_ELEM_MAX, element);
	if (!attr[NFTA_SET_ELEM_KEY] || !attr[NFTA_SET_ELEM_DATA])
		return 0;
	nl_parse_nested(key, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_KEY]);
	nl_parse_nested(data, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_DATA]);
	if (!key[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]) != key_len ||
	        !data[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]) != data_len)
		return 0;

	memcpy(ret_key, mnl_attr_get_payload(key[NFTA_DATA_VALUE]), key_len);
	memcpy(ret_data, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), data_len);
	return 1;
}

struct dump {
	size_t map;
	int (*each)(const struct net_publish *publish, void *userdata);
	void *userdata;
};

static int read_publish(const struct dump *dump, const struct nlattr *element)
{
	const struct nft_set *map = &maps[dump->map];
	bool v4 = dump->map == ANY4 || dump->map == AT4;
	struct net_publish publish = { .count = 1, .to = { .family = v4 ? AF_INET : AF_INET6 } };
	size_t at = map->key_len - 8;
	uint8_t key[24], data[20];
	uint16_t port;

	if (read_data(element, key, map->key_len, data, map->data_len) == 0)
		return 0;

	publish.to.prefix = ip_full_prefix(&publish.to);
	memcpy(publish.to.bytes, data, ip_len(&publish.to));
	memcpy(&port, data + ip_len(&publish.to), sizeof(port));
	publish.to_port = ntohs(port);
	if (at) {
		publish.address.family = publish.to.family;
		publish.address.prefix = publish.to.prefix;
		memcpy(publish.address.bytes, key, at);
	}
	publish.protocol = key[at];
	memcpy(&port, key + at + 4, sizeof(port));
	publish.port = ntohs(port);
	return dump->each(&publish, dump->userdata);
}

static int read_elements(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *attr;
	int r;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS])
	{
		r = read_publish(userdata, attr);
		if (r != 0)
			return r;
	}

	return 0;
}

static int dump_table(struct net_context *net, const char *table,
        int (*each)(const struct net_publish *publish, void *userdata), void *userdata)
{
	struct nft_place p = { &net->batch, NFPROTO_INET, table };

	for (size_t i = 0; i < MAPS; i++) {
		struct dump dump = { .map = i, .each = each, .userdata = userdata };
		int r;

		nl_batch_reset(&net->batch);
		nft_message(&p, "read a filter map", NFT_MSG_GETSETELEM, NLM_F_DUMP);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, maps[i].name);
		r = nl_query(&net->nft, &net->batch, read_elements, &dump, NULL);
		if (r == -ENOENT)
			continue;
		if (r != 0)
			return r;
	}

	return 0;
}

int net_publish_dump(struct net_context *net, int (*each)(const struct net_publish *publish, void *userdata),
        void *userdata, struct ct_error *err)
{
	return dump_table(net, net->table, each, userdata);
}

struct search {
	const struct net_publish *list;
	size_t n;
	const char *table; /* of another instance, or NULL */
	struct net_publish
	        *have; /* of the list's ports, those that are there with the same target, count 1 */
	size_t n_have, max_have;
	struct ct_error *err;
};

/* The index within the range if it has the port, or -1. */
static int index_of(const struct net_publish *range, const struct net_publish *one)
{
	unsigned count = range->count ? range->count : 1;

	if (range->protocol != one->protocol || range->to.family != one->to.family ||
	        range->address.family != one->address.family || one->port < range->port ||
	        one->port >= range->port + count)
		return -1;
	if (range->address.family &&
	        memcmp(range->address.bytes, one->address.bytes, ip_len(&one->address)) != 0)
		return -1;

	return one->port - range->port;
}

static bool same_target(const struct net_publish *range, unsigned i, const struct net_publish *one)
{
	return range->to_port + i == one->to_port &&
	       memcmp(range->to.bytes, one->to.bytes, ip_len(&one->to)) == 0;
}

/* Of two instances nobody knows which is asked first: there a port of all addresses is one of each too. */
static int index_among(const struct search *search, size_t k, const struct net_publish *one)
{
	struct net_publish range = search->list[k], other = *one;

	if (search->table && (!range.address.family || !other.address.family))
		range.address.family = other.address.family = 0;
	return index_of(&range, &other);
}

static int find_conflict(const struct net_publish *one, void *userdata)
{
	struct search *search = userdata;

	for (size_t k = 0; k < search->n; k++) {
		int i = index_among(search, k, one);
		char by[IP_ADDR_STRLEN + NET_TABLE_LEN + 64], address[IP_ADDR_STRLEN];

		if (i < 0 || same_target(&search->list[k], (unsigned)i, one))
			continue;
		(void)snprintf(by, sizeof(by), "%s port %u%s%s%s",
		        ip_format_addr(&one->to, address, sizeof(address)), one->to_port,
		        search->table ? ", of another ctd of this host (its tables are " : "",
		        search->table ? search->table : "", search->table ? ")" : "");
		return taken(&search->list[k], (unsigned)i, by, search->err);
	}

	return 0;
}

static int find_have(const struct net_publish *one, void *userdata)
{
	struct search *search = userdata;

	for (size_t k = 0; k < search->n; k++) {
		int i = index_of(&search->list[k], one);

		if (i < 0 || !same_target(&search->list[k], (unsigned)i, one))
			continue;
		if (search->n_have == search->max_have) {
			size_t max = search->max_have ? 2 * search->max_have : 16;
			struct net_publish *grown = reallocarray(search->have, max, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			search->have = grown;
			search->max_have = max;
		}
		search->have[search->n_have++] = *one;
		return 0;
	}

	return 0;
}

static int check_list(const struct net_publish *list, size_t n, struct ct_error *err)
{
	for (size_t k = 0; k < n; k++) {
		int r;

		r = check(&list[k], err);
		if (r < 0)
			return r;
	}

	return 0;
}

static int check_others(
        struct net_context *net, const struct net_publish *list, size_t n, struct ct_error *err)
{
	struct instances others = { .n = 0 };
	int r = n ? instances_find_others(net, &others, err) : 0;

	for (size_t i = 0; r >= 0 && i < others.n; i++) {
		struct search search = { .list = list, .n = n, .table = others.tables[i], .err = err };

		r = dump_table(net, search.table, find_conflict, &search);
	}
	return r;
}

int net_publish_add(struct net_context *net, const struct net_publish *list, size_t n, struct ct_error *err)
{
	struct search search = { .list = list, .n = n, .err = err };
	struct nft_place p = inet_place(net);
	int r;

	r = check_list(list, n, err);
	if (r >= 0)
		r = check_others(net, list, n, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < n; k++) {
		for (unsigned i = 0; i == 0 || i < list[k].count; i++) {
			if (host_listens(&list[k], i))
				return taken(&list[k], i, "a program of the host", err);
		}
	}

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	for (size_t k = 0; k < n; k++)
		put_ports(&p, NFT_MSG_NEWSETELEM, &list[k]);
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, NULL, err);
	if (r != -EBUSY && r != -EEXIST)
		return r;

	r = net_publish_dump(net, find_conflict, &search, err);
	if (r < 0)
		return r;

	return ct_error_kind_set(err, CT_ERROR_STATE, -EEXIST, "a port is published twice in one request");
}

int net_publish_remove(
        struct net_context *net, const struct net_publish *list, size_t n, struct ct_error *err)
{
	struct search search = { .list = list, .n = n, .err = err };
	struct nft_place p = inet_place(net);
	int r;

	r = check_list(list, n, err);
	if (r < 0)
		return r;

	r = net_publish_dump(net, find_have, &search, err);
	if (r == 0) {
		nl_batch_reset(&net->batch);
		nft_begin(&net->batch);
		for (size_t k = 0; k < search.n_have; k++)
			put_ports(&p, NFT_MSG_DELSETELEM, &search.have[k]);
		nft_end(&net->batch);
		r = nl_transact(&net->nft, &net->batch, NULL, err);
	}

	free(search.have);
	return r;
}
