/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dumps of links, routes, chains and set elements, each reduced to what is ours.
 *
 * A dump during which something changed (NLM_F_DUMP_INTR) is taken as it is: what is ours nobody else
 * changes, and a link that goes with its container meanwhile may as well have gone afterwards.
 */
#include "netns/scan.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/str.h"

void scan_objects_done(struct scan_objects *objects)
{
	free(objects->objects);
	free(objects->indexes);
	objects->objects = NULL;
	objects->indexes = NULL;
}

static int add_object(struct scan_objects *objects, const struct net_object *object, int index)
{
	if (objects->n == objects->max) {
		size_t max = objects->max ? 2 * objects->max : 64;
		struct net_object *grown = reallocarray(objects->objects, max, sizeof(*grown));
		int *indexes;

		if (!grown)
			return -ENOMEM;
		objects->objects = grown;
		indexes = reallocarray(objects->indexes, max, sizeof(*indexes));
		if (!indexes)
			return -ENOMEM;
		objects->indexes = indexes;
		objects->max = max;
	}

	objects->objects[objects->n] = *object;
	objects->indexes[objects->n++] = index;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct net_object *)a)->host_name, ((const struct net_object *)b)->host_name);
}

void scan_objects_sort(struct scan_objects *objects)
{
	if (objects->n > 0)
		qsort(objects->objects, objects->n, sizeof(*objects->objects), by_name);
}

bool scan_objects_have(const struct scan_objects *sorted, const char *host_name)
{
	struct net_object key = { 0 };

	memcpy(key.host_name, host_name, strnlen(host_name, IFNAMSIZ - 1));
	return sorted->n > 0 && bsearch(&key, sorted->objects, sorted->n, sizeof(key), by_name);
}

struct element_scan {
	enum port_set set;
	const char *host_name;
	struct scan_keys *keys;
};

static int read_element(struct element_scan *scan, const struct nlattr *element)
{
	const struct nlattr *attr[NFTA_SET_ELEM_MAX + 1], *data[NFTA_DATA_MAX + 1];
	char name[IFNAMSIZ] = { 0 };
	struct scan_key key = { .set = scan->set };
	size_t len;

	nl_parse_nested(attr, NFTA_SET_ELEM_MAX, element);
	if (!attr[NFTA_SET_ELEM_KEY])
		return 0;
	nl_parse_nested(data, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_KEY]);
	if (!data[NFTA_DATA_VALUE])
		return 0;

	len = mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]);
	if (len < IFNAMSIZ || len > sizeof(key.bytes))
		return 0;
	memcpy(name, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), sizeof(name) - 1);
	if (scan->host_name && !str_eq(name, scan->host_name))
		return 0;

	memcpy(key.bytes, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), len);
	return set_keys_push(scan->keys, &key);
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
		r = read_element(userdata, attr);
		if (r < 0)
			return r;
	}

	return 0;
}

int scan_elements(struct net_context *net, enum port_set set, const char *host_name, struct scan_keys *ret,
        struct ct_error *err)
{
	size_t first = set == PORT_SETS ? 0 : set, end = set == PORT_SETS ? PORT_SETS : set + 1;

	for (size_t i = first; i < end; i++) {
		struct element_scan scan = { .set = (enum port_set)i, .host_name = host_name, .keys = ret };
		struct nft_place p = set_place(net, i);
		int r;

		nl_batch_reset(&net->batch);
		nft_message(&p, "read a filter set", NFT_MSG_GETSETELEM, NLM_F_DUMP);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[i].name);
		r = nl_query(&net->nft, &net->batch, read_elements, &scan, NULL);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return ct_error_set(err, r, "network", "cannot read the filter set \"%s\": %s",
			        port_sets[i].name, strerror(-r));
	}

	return 0;
}

struct object_scan {
	struct net_context *net;
	struct scan_objects *objects;
	int index; /* of the one link asked for, or 0 */
	int family;
};

static bool is_ours(const struct net_context *net, const char *name)
{
	return str_has_prefix(name, net->prefix) && strlen(name) < IFNAMSIZ;
}

static int read_link(const struct nlmsghdr *nlh, void *userdata)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(nlh);
	struct object_scan *scan = userdata;
	const struct nlattr *attr[IFLA_MAX + 1];
	struct net_object object = { .kind = NET_OBJECT_LINK, .up = header->ifi_flags & IFF_UP };

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return 0;
	nl_parse_message(attr, IFLA_MAX, nlh, sizeof(*header));
	if (!attr[IFLA_IFNAME] || !is_ours(scan->net, mnl_attr_get_str(attr[IFLA_IFNAME])))
		return 0;

	memcpy(object.host_name, mnl_attr_get_str(attr[IFLA_IFNAME]),
	        strlen(mnl_attr_get_str(attr[IFLA_IFNAME])));
	return add_object(scan->objects, &object, header->ifi_index);
}

int scan_links(struct net_context *net, struct scan_objects *ret, struct ct_error *err)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	struct object_scan scan = { .net = net, .objects = ret };

	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "list links", RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
	nl_put_u32(&net->batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return nl_query(&net->route, &net->batch, read_link, &scan, err);
}

static const char *link_name(const struct scan_objects *objects, int index)
{
	for (size_t i = 0; i < objects->n; i++) {
		if (objects->objects[i].kind == NET_OBJECT_LINK && objects->indexes[i] == index)
			return objects->objects[i].host_name;
	}

	return NULL;
}

static int read_route(const struct nlmsghdr *nlh, void *userdata)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(nlh);
	struct object_scan *scan = userdata;
	const struct nlattr *attr[RTA_MAX + 1];
	struct net_object object = { .kind = NET_OBJECT_ROUTE };
	const char *name;
	int index;

	if (nlh->nlmsg_type != RTM_NEWROUTE || header->rtm_protocol != NET_ROUTE_PROTOCOL)
		return 0;
	nl_parse_message(attr, RTA_MAX, nlh, sizeof(*header));
	if (!attr[RTA_OIF] || !attr[RTA_DST])
		return 0;

	index = (int)mnl_attr_get_u32(attr[RTA_OIF]);
	object.address.family = header->rtm_family;
	object.address.prefix = header->rtm_dst_len;
	if (mnl_attr_get_payload_len(attr[RTA_DST]) != ip_len(&object.address))
		return 0;
	memcpy(object.address.bytes, mnl_attr_get_payload(attr[RTA_DST]), ip_len(&object.address));
	if (scan->index)
		return index == scan->index ? add_object(scan->objects, &object, index) : 0;

	name = link_name(scan->objects, index);
	if (!name)
		return 0;
	memcpy(object.host_name, name, sizeof(object.host_name));
	return add_object(scan->objects, &object, index);
}

static int scan_family(struct object_scan *scan, uint8_t family, struct ct_error *err)
{
	struct rtmsg header = {
		.rtm_family = family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = NET_ROUTE_PROTOCOL
	};
	struct nl_batch *b = &scan->net->batch;
	int r;

	nl_batch_reset(b);
	nl_message(b, "list routes", RTM_GETROUTE, NLM_F_DUMP, &header, sizeof(header));
	if (scan->index)
		nl_put_u32(b, RTA_OIF, (uint32_t)scan->index);
	r = nl_query(&scan->net->route, b, read_route, scan, err);
	if (r == -ENOENT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
		return 0; /* no such table yet, no IPv6 */

	return r;
}

int scan_routes(struct net_context *net, struct scan_objects *ret, struct ct_error *err)
{
	return scan_routes_of(net, 0, ret, err);
}

int scan_routes_of(struct net_context *net, int index, struct scan_objects *ret, struct ct_error *err)
{
	struct object_scan scan = { .net = net, .objects = ret, .index = index };
	int r;

	r = scan_family(&scan, AF_INET, err);
	if (r < 0)
		return r;

	return scan_family(&scan, AF_INET6, err);
}

static int read_chain(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *attr[NFTA_CHAIN_MAX + 1];
	struct object_scan *scan = userdata;
	struct net_object object = { .kind = NET_OBJECT_FILTER };
	const char *name;

	nl_parse_message(attr, NFTA_CHAIN_MAX, nlh, sizeof(struct nfgenmsg));
	if (!attr[NFTA_CHAIN_TABLE] || !attr[NFTA_CHAIN_NAME] || !attr[NFTA_CHAIN_HOOK])
		return 0;

	name = mnl_attr_get_str(attr[NFTA_CHAIN_NAME]);
	if (!str_eq(mnl_attr_get_str(attr[NFTA_CHAIN_TABLE]), scan->net->table) ||
	        !is_ours(scan->net, name) || str_has_suffix(name, "-to") || str_has_suffix(name, "-by"))
		return 0;

	memcpy(object.host_name, name, strlen(name));
	return add_object(scan->objects, &object, 0);
}

int scan_chains(struct net_context *net, struct scan_objects *ret, struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	struct object_scan scan = { .net = net, .objects = ret };

	nl_batch_reset(&net->batch);
	nft_message(&p, "list filter chains", NFT_MSG_GETCHAIN, NLM_F_DUMP);
	return nl_query(&net->nft, &net->batch, read_chain, &scan, err);
}
