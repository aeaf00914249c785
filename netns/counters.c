/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters of ports: elements of the guard's sets, which live as long as the port is ours, whatever the
 * tenant does to its side of the link (deleting it would reset the link's own). What the guard refused is not
 * counted as sent. */
#include "netns/guard.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

struct counter {
	uint64_t bytes, packets;
};

static uint64_t be64(const struct nlattr *attr)
{
	return attr ? be64toh(mnl_attr_get_u64(attr)) : 0;
}

static int read_counter(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *element[NFTA_SET_ELEM_MAX + 1],
	        *expr[NFTA_EXPR_MAX + 1], *data[NFTA_COUNTER_MAX + 1], *attr;
	struct counter *counter = userdata;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS])
	{
		nl_parse_nested(element, NFTA_SET_ELEM_MAX, attr);
		if (!element[NFTA_SET_ELEM_EXPR])
			continue;
		nl_parse_nested(expr, NFTA_EXPR_MAX, element[NFTA_SET_ELEM_EXPR]);
		if (!expr[NFTA_EXPR_DATA])
			continue;
		nl_parse_nested(data, NFTA_COUNTER_MAX, expr[NFTA_EXPR_DATA]);
		counter->bytes = be64(data[NFTA_COUNTER_BYTES]);
		counter->packets = be64(data[NFTA_COUNTER_PACKETS]);
	}

	return 0;
}

static int get_counter(struct net_context *net, enum port_set set, const char *host_name, struct counter *ret,
        struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	char name[IFNAMSIZ] = { 0 };
	size_t list;
	int r;

	memcpy(name, host_name, strnlen(host_name, sizeof(name) - 1));
	*ret = (struct counter){ 0 };
	nl_batch_reset(&net->batch);
	nft_message(&p, "read a counter", NFT_MSG_GETSETELEM, 0);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[set].name);
	list = nl_nest(&net->batch, NFTA_SET_ELEM_LIST_ELEMENTS);
	nft_element(&p, &(struct nft_elements){ 0 }, name, sizeof(name));
	nl_nest_end(&net->batch, list);
	r = nl_query(&net->nft, &net->batch, read_counter, ret, NULL);
	if (r == -ENOENT)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r < 0)
		return ct_error_set(
		        err, r, "network", "cannot read the counters of \"%s\": %s", host_name, strerror(-r));

	return 0;
}

int net_port_counters(
        struct net_context *net, const char *host_name, struct net_counters *ret, struct ct_error *err)
{
	struct counter sent, received, refused;
	int r;

	r = get_counter(net, PORT_SENT, host_name, &sent, err);
	if (r < 0)
		return r;
	r = get_counter(net, PORT_RECEIVED, host_name, &received, err);
	if (r < 0)
		return r;
	r = get_counter(net, PORT_REFUSED, host_name, &refused, err);
	if (r < 0)
		return r;

	*ret = (struct net_counters){ .in_bytes = received.bytes,
		.in_packets = received.packets,
		.out_bytes = sent.bytes,
		.out_packets = sent.packets,
		.out_dropped = refused.packets };
	return 0;
}
