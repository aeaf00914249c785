/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rates: what is sold is shaped, not policed, so that TCP gets all of it.
 *
 * Towards the container a token bucket (tc-tbf(8)) sits on the host side of its link. Out of it there is no
 * queue that the tenant cannot touch (frames come in on the host side, and a redirection to an ifb device
 * would lead them around the guard), so the place is where they leave the host: a hierarchy (tc-htb(8)) on
 * the uplink, with one class for all containers and below it one for each that has a rate. The class is the
 * packet's priority, set by the rules of the inet table from the map "class"; a packet without one is not
 * queued by us. Inside a rate, fq_codel (where the kernel has it) shares among flows and keeps the queue
 * short.
 *
 * Where a class of traffic (classes.c) has a rate of its own, it has a place of its own beside the port's at
 * the uplink, and towards the container a hierarchy takes the bucket's place.
 *
 * The map is the record: its element is made before the class and removed after it, so that what was left
 * half-done is found again. A priority whose class is not there is not an error, the packet passes unshaped.
 *
 * The uplink's root is replaced only if it is the kernel's own choice. What an administrator has set up is
 * left alone, and said.
 */
#include "netns/shape.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netns/classes.h"
#include "netns/link.h"
#include "netns/sets.h"
#include "netns/spec.h"

#define PORT_HANDLE  TC_H_MAKE(1u << 16, 0)
#define UPLINK_ALL   (UPLINK_HANDLE | 1)
#define FIRST_MINOR  0x10
#define LAST_MINOR   0x2fff
#define CLASS_MINORS 0x3000 /* from a port's place to those of its classes of traffic */
#define RATE_MIN     8000
#define RATE_MAX     1000000000000ULL
#define FRAME        1514
#define TICK_NSEC    64 /* of the packet scheduler */

static uint32_t burst_of(uint64_t rate, uint32_t burst)
{
	uint64_t ten_msec = rate / 8 / 100;

	if (burst)
		return burst < FRAME ? FRAME : burst;
	if (ten_msec < 4 * FRAME)
		return 4 * FRAME;

	return ten_msec > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ten_msec;
}

static struct tc_ratespec spec_of(uint64_t rate)
{
	uint64_t bytes = rate / 8;

	return (struct tc_ratespec){ .linklayer = TC_LINKLAYER_ETHERNET,
		.rate = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes };
}

static void put_u64(struct nl_batch *b, uint16_t type, uint64_t value)
{
	nl_put(b, type, &value, sizeof(value));
}

static size_t begin_object(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags,
        const struct tcmsg *header, const char *kind)
{
	nl_message(b, what, type, flags, header, sizeof(*header));
	nl_put_str(b, TCA_KIND, kind);
	return nl_nest(b, TCA_OPTIONS);
}

/* Shares inside a rate. A frame must fit into the queue's target time, which at 1 Mbit/s the default of 5 ms
 * would not allow. */
static void put_fair_queue(struct nl_batch *b, int index, uint32_t parent, uint64_t rate)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = parent };
	uint64_t frame_usec = (uint64_t)FRAME * 8 * 1500000 / rate,
	         target = frame_usec > 5000 ? frame_usec : 5000,
	         packets = rate / 8 / 5 / FRAME; /* 200 ms: what a flood leaves behind is soon gone */
	size_t options = begin_object(
	        b, "set up fair queueing", RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &header, "fq_codel");

	nl_tolerate(b, ENOENT); /* without it the rate is kept all the same, first come, first served */
	nl_put_u32(b, TCA_FQ_CODEL_TARGET, (uint32_t)target);
	nl_put_u32(b, TCA_FQ_CODEL_LIMIT, packets < 64 ? 64 : packets > 10240 ? 10240 : (uint32_t)packets);
	nl_put_u32(b, TCA_FQ_CODEL_INTERVAL, (uint32_t)(20 * target));
	nl_nest_end(b, options);
}

/* Towards the container */

static void put_bucket(struct nl_batch *b, int index, const struct net_rates *rates)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC,
		.tcm_ifindex = index,
		.tcm_parent = TC_H_ROOT,
		.tcm_handle = PORT_HANDLE };
	uint32_t burst = burst_of(rates->in, rates->burst);
	uint64_t queue = rates->in / 8 / 20 + burst + 16 * FRAME; /* 50 ms */
	struct tc_tbf_qopt qopt = { .rate = spec_of(rates->in),
		.limit = queue > UINT32_MAX ? UINT32_MAX : (uint32_t)queue,
		.buffer = (uint32_t)((uint64_t)burst * 8 * 1000000000 / TICK_NSEC / rates->in) };
	size_t options = begin_object(b, "set the rate towards the container", RTM_NEWQDISC,
	        NLM_F_CREATE | NLM_F_REPLACE, &header, "tbf");

	nl_put(b, TCA_TBF_PARMS, &qopt, sizeof(qopt));
	if (rates->in / 8 > UINT32_MAX)
		put_u64(b, TCA_TBF_RATE64, rates->in / 8);
	nl_put_u32(b, TCA_TBF_BURST, burst);
	nl_nest_end(b, options);
	put_fair_queue(b, index, PORT_HANDLE | 1, rates->in);
}

/* Whichever it is. */
static void remove_bucket(struct nl_batch *b, int index)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT };

	nl_message(b, "remove the rate towards the container", RTM_DELQDISC, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
}

/* One hierarchy: the root, if it is not there. What is in no class goes to the one with the minor number
 * rest, 0: is not queued. */
static void put_root(struct nl_batch *b, int index, uint32_t handle, uint32_t rest, bool replace)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT, .tcm_handle = handle
	};
	struct tc_htb_glob glob = { .version = TC_HTB_PROTOVER, .rate2quantum = 10, .defcls = rest };
	size_t options = begin_object(b, "set up the queue", RTM_NEWQDISC,
	        NLM_F_CREATE | NLM_F_EXCL | (replace ? NLM_F_REPLACE : 0), &header, "htb");

	nl_put(b, TCA_HTB_INIT, &glob, sizeof(glob));
	nl_nest_end(b, options);
	nl_tolerate(b, EEXIST);
}

static void put_class(struct nl_batch *b, int index, uint32_t parent, uint32_t handle, uint64_t rate,
        uint64_t ceil, uint32_t burst, uint16_t flag)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = parent, .tcm_handle = handle
	};
	uint64_t ticks = (uint64_t)burst_of(ceil, burst) * 8 * 1000000000 / TICK_NSEC;
	struct tc_htb_opt opt = { .rate = spec_of(rate),
		.ceil = spec_of(ceil),
		.buffer = (uint32_t)(ticks / rate > UINT32_MAX ? UINT32_MAX : ticks / rate),
		.cbuffer = (uint32_t)(ticks / ceil),
		.quantum = ceil < 100000000 ? FRAME : 40 * FRAME };
	size_t options = begin_object(b, "set a rate", RTM_NEWTCLASS, NLM_F_CREATE | flag, &header, "htb");

	nl_put(b, TCA_HTB_PARMS, &opt, sizeof(opt));
	if (rate / 8 > UINT32_MAX)
		put_u64(b, TCA_HTB_RATE64, rate / 8);
	if (ceil / 8 > UINT32_MAX)
		put_u64(b, TCA_HTB_CEIL64, ceil / 8);
	nl_nest_end(b, options);
}

static void remove_class(struct nl_batch *b, int index, uint32_t handle)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_handle = handle };

	nl_message(b, "remove a rate", RTM_DELTCLASS, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
}

/* A rate of its own for each class that has one; the rest is together in one place. */
static void put_classes_in(struct nl_batch *b, int index, const struct net_rates *rates)
{
	uint64_t rest = rates->in ? rates->in : RATE_MAX;

	put_root(b, index, CLASSES_HANDLE, CLASSES_DEFAULT, true);
	put_class(b, index, CLASSES_HANDLE, CLASSES_HANDLE | CLASSES_DEFAULT, rest, rest, rates->burst,
	        NLM_F_REPLACE);
	put_fair_queue(b, index, CLASSES_HANDLE | CLASSES_DEFAULT, rest);
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++) {
		uint64_t rate = rates->classes[i].in;

		if (!rate) {
			remove_class(b, index, CLASS_HANDLE(i));
			continue;
		}
		put_class(b, index, CLASSES_HANDLE, CLASS_HANDLE(i), rate, rate, rates->burst, NLM_F_REPLACE);
		put_fair_queue(b, index, CLASS_HANDLE(i), rate);
	}
}

static bool any_class(const struct net_rates *rates, bool out)
{
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		if (out ? rates->classes[i].out : rates->classes[i].in)
			return true;

	return false;
}

/* Out of the host */

struct uplinks {
	int indexes[2];
	size_t n;
};

static int find_uplinks(struct net_context *net, struct uplinks *ret, struct ct_error *err)
{
	static const int families[] = { AF_INET, AF_INET6 };

	ret->n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int index, r;

		r = route_uplink(&net->route, &net->batch, families[i], &index);
		if (r < 0)
			return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
		if (index && (ret->n == 0 || ret->indexes[0] != index))
			ret->indexes[ret->n++] = index;
	}

	return 0;
}

/* The root and the class of all. If it is there already, that one stays as it is; if it is another's, no
 * class goes below it. */
static int set_up_uplink(struct net_context *net, int index, struct ct_error *err)
{
	struct nl_batch *b = &net->batch;
	char name[IFNAMSIZ] = "?";
	int r;

	nl_batch_reset(b);
	put_root(b, index, UPLINK_HANDLE, 0, false);
	(void)if_indextoname((unsigned)index, name);
	r = nl_transact(&net->route, b, name, err);
	if (r < 0)
		return r;

	/* whatever root there is, ours has our handle: elsewhere there is no place for the class of all */
	nl_batch_reset(b);
	put_class(b, index, UPLINK_HANDLE, UPLINK_ALL, RATE_MAX, RATE_MAX, 0, NLM_F_EXCL);
	nl_tolerate(b, EEXIST);
	r = nl_transact(&net->route, b, name, NULL);
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EEXIST,
		        "the uplink \"%s\" has a queueing discipline set up by hand; rates out of the host need it removed "
		        "(tc qdisc del dev %s root)",
		        name, name);

	return 0;
}

struct classes {
	const char *host_name;
	uint32_t own;                       /* 0: none yet */
	uint8_t used[(LAST_MINOR + 8) / 8]; /* by minor number */
};

static int read_class(struct classes *classes, const struct nlattr *element)
{
	const struct nlattr *attr[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1], *data[NFTA_DATA_MAX + 1];
	uint32_t class;

	nl_parse_nested(attr, NFTA_SET_ELEM_MAX, element);
	if (!attr[NFTA_SET_ELEM_KEY] || !attr[NFTA_SET_ELEM_DATA])
		return 0;
	nl_parse_nested(key, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_KEY]);
	nl_parse_nested(data, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_DATA]);
	if (!key[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]) != IFNAMSIZ ||
	        !data[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]) != sizeof(class))
		return 0;

	memcpy(&class, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), sizeof(class));
	if (TC_H_MIN(class) <= LAST_MINOR)
		classes->used[TC_H_MIN(class) / 8] |= (uint8_t)(1U << TC_H_MIN(class) % 8);
	if (strncmp(mnl_attr_get_payload(key[NFTA_DATA_VALUE]), classes->host_name, IFNAMSIZ) == 0)
		classes->own = class;
	return 0;
}

static int read_classes(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *attr;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS])(void)
	        read_class(userdata, attr); /* cannot fail */
	return 0;
}

/* all: every port's; else only that of host_name. */
static int find_class(
        struct net_context *net, const char *host_name, bool all, struct classes *ret, struct ct_error *err)
{
	struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	struct nft_place p = inet_place(net);
	int r;

	*ret = (struct classes){ .host_name = host_name };
	nl_batch_reset(&net->batch);
	nft_message(&p, "read a filter map", NFT_MSG_GETSETELEM, all ? NLM_F_DUMP : 0);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[PORT_CLASS].name);
	if (!all) {
		size_t list = nl_nest(&net->batch, NFTA_SET_ELEM_LIST_ELEMENTS);

		nft_element(&p, &(struct nft_elements){ 0 }, key.bytes, IFNAMSIZ);
		nl_nest_end(&net->batch, list);
	}
	r = nl_query(&net->nft, &net->batch, read_classes, ret, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "network", "cannot read the classes of the uplink: %s", strerror(-r));

	return 0;
}

static int choose_class(struct net_context *net, const char *host_name, uint32_t *ret, struct ct_error *err)
{
	struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	struct nft_place p = inet_place(net);
	struct nft_elements e;
	struct classes classes;
	uint32_t minor = FIRST_MINOR;
	int r;

	r = find_class(net, host_name, true, &classes, err);
	if (r < 0)
		return r;
	*ret = classes.own;
	if (classes.own)
		return 0;

	while (minor <= LAST_MINOR && classes.used[minor / 8] & 1U << minor % 8)
		minor++;
	if (minor > LAST_MINOR)
		return ct_error_set(err, -ENOSPC, "network", "too many ports have a rate on this host");

	*ret = UPLINK_HANDLE | minor;
	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	e = nft_elements_begin(&p, NFT_MSG_NEWSETELEM, port_sets[PORT_CLASS].name);
	nft_element_mapped(&p, &e, key.bytes, IFNAMSIZ, ret, sizeof(*ret));
	nft_elements_end(&p, &e);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

static uint32_t place_of(uint32_t class, unsigned i)
{
	return class + (i + 1) * CLASS_MINORS;
}

static void put_rate_out(struct nl_batch *b, int index, uint32_t handle, const struct net_rates *rates,
        uint64_t rate, uint64_t ceil)
{
	if (!ceil) {
		remove_class(b, index, handle);
		return;
	}
	put_class(b, index, UPLINK_ALL, handle, rate, ceil, rates->burst, NLM_F_REPLACE);
	put_fair_queue(b, index, handle, ceil);
}

static int find_uplinks_ready(struct net_context *net, struct uplinks *ret, struct ct_error *err)
{
	int r;

	r = find_uplinks(net, ret, err);
	if (r < 0)
		return r;
	if (ret->n == 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENODEV,
		        "there is no uplink (no default route) on which to keep a rate out of the host");
	for (size_t i = 0; i < ret->n; i++) {
		r = set_up_uplink(net, ret->indexes[i], err);
		if (r < 0)
			return r;
	}

	return 0;
}

static int shape_out(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	uint64_t rate = rates->out_guaranteed ? rates->out_guaranteed : rates->out;
	uint32_t class, handles[NET_CLASSES_MAX];
	struct uplinks uplinks;
	int r;

	r = find_uplinks_ready(net, &uplinks, err);
	if (r < 0)
		return r;
	r = choose_class(net, host_name, &class, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < uplinks.n; i++) {
		put_rate_out(&net->batch, uplinks.indexes[i], class, rates, rate, rates->out);
		for (unsigned k = 0; k < NET_CLASSES_MAX; k++) {
			uint64_t own = rates->classes[k].out;

			put_rate_out(&net->batch, uplinks.indexes[i], place_of(class, k), rates, own, own);
		}
	}
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	for (unsigned k = 0; k < NET_CLASSES_MAX; k++)
		handles[k] = rates->classes[k].out ? place_of(class, k) : 0;
	return classes_rate(net, host_name, handles, err);
}

int shape_release(struct net_context *net, const char *host_name, struct ct_error *err)
{
	static const uint32_t none[NET_CLASSES_MAX];
	const struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	const struct scan_keys keys = { .keys = (struct scan_key *)&key, .n = 1 };
	struct uplinks uplinks;
	struct classes classes;
	int r;

	r = find_class(net, host_name, false, &classes, err);
	if (r < 0 || classes.own == 0)
		return r;
	r = classes_rate(net, host_name, none, err);
	if (r < 0)
		return r;
	r = find_uplinks(net, &uplinks, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < uplinks.n; i++) {
		remove_class(&net->batch, uplinks.indexes[i], classes.own);
		for (unsigned k = 0; k < NET_CLASSES_MAX; k++)
			remove_class(&net->batch, uplinks.indexes[i], place_of(classes.own, k));
	}
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	set_keys_put(net, NFT_MSG_DELSETELEM, &keys);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

static int check_rate(uint64_t rate, const char *field, struct ct_error *err)
{
	if (rate != 0 && (rate < RATE_MIN || rate > RATE_MAX))
		return ct_error_field(err, field, "a rate must be 8000 bits per second to 1 Tbit/s");

	return 0;
}

int net_port_shape(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	struct link_info link;
	int r;

	r = spec_check_name(net, host_name, err);
	if (r == 0)
		r = check_rate(rates->in, "rate_in", err);
	if (r == 0)
		r = check_rate(rates->out, "rate_out", err);
	if (r == 0)
		r = check_rate(rates->out_guaranteed, "rate_out_guaranteed", err);
	for (unsigned i = 0; r == 0 && i < NET_CLASSES_MAX; i++) {
		r = check_rate(rates->classes[i].in, "class_rate_in", err);
		if (r == 0)
			r = check_rate(rates->classes[i].out, "class_rate_out", err);
	}
	if (r < 0)
		return r;
	if (rates->out_guaranteed > rates->out)
		return ct_error_field(
		        err, "rate_out_guaranteed", "no more can be guaranteed than the whole rate");

	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	if (any_class(rates, false))
		put_classes_in(&net->batch, link.index, rates);
	else if (rates->in)
		put_bucket(&net->batch, link.index, rates);
	else if (link.shaped)
		remove_bucket(&net->batch, link.index);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	return rates->out || any_class(rates, true) ? shape_out(net, host_name, rates, err)
	                                            : shape_release(net, host_name, err);
}

/* What ports without a rate send: it has what the others leave. */
static void put_rest(struct nl_batch *b, int index, uint64_t rate)
{
	uint64_t least = rate / 100 > RATE_MIN ? rate / 100 : RATE_MIN;

	if (!rate) {
		remove_class(b, index, UPLINK_REST);
		return;
	}
	put_class(b, index, UPLINK_ALL, UPLINK_REST, least, rate, 0, NLM_F_REPLACE);
	put_fair_queue(b, index, UPLINK_REST, rate);
}

int net_uplink_shape(struct net_context *net, uint64_t rate, struct ct_error *err)
{
	struct uplinks uplinks;
	int r;

	r = check_rate(rate, "rate", err);
	if (r < 0)
		return r;
	r = find_uplinks(net, &uplinks, err);
	if (r < 0)
		return r;

	for (size_t i = 0; i < uplinks.n; i++) {
		r = rate ? set_up_uplink(net, uplinks.indexes[i], err) : 0;
		if (r < 0)
			return r;
		nl_batch_reset(&net->batch);
		put_class(&net->batch, uplinks.indexes[i], UPLINK_HANDLE, UPLINK_ALL, rate ? rate : RATE_MAX,
		        rate ? rate : RATE_MAX, 0, NLM_F_REPLACE);
		nl_tolerate(&net->batch, rate ? 0 : ENOENT);
		put_rest(&net->batch, uplinks.indexes[i], rate);
		r = nl_transact(&net->route, &net->batch, "uplink", err);
		if (r < 0)
			return r;
	}

	return 0;
}
