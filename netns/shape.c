/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rates: what is sold is shaped, not policed, so that TCP gets all of it.
 *
 * Towards the container a token bucket (tc-tbf(8)) sits on the host side of its link. Out of it there is no
 * queue that the tenant cannot touch (frames come in on the host side), so for what the host routes the place
 * is where it leaves the host: a hierarchy (tc-htb(8)) on the uplink, with one class for all containers and
 * below it one for each that has a rate. The class is the packet's priority, set by the rules of the inet
 * table from the map "class"; a packet without one is not queued by us. Inside a rate, fq_codel (where the
 * kernel has it) shares among flows and keeps the queue short.
 *
 * What a port of a bridge sends may leave by many ports. It makes a detour instead, behind the guard: see
 * shape-segment.c. By an uplink that has our hierarchy it leaves as all else does.
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
#include "netns/queue.h"
#include "netns/sets.h"
#include "netns/spec.h"

#define PORT_HANDLE TC_H_MAKE(1u << 16, 0)
#define FIRST_MINOR 0x10
/* The priority of a bridge's port is still that of the frame where it leaves the host, and where that is not
 * by classes its last four bits choose among queues (tc-prio(8)): those of no priority. */
#define SEGMENT_STEP 16
#define LAST_MINOR   0x2fff
#define CLASS_MINORS 0x3000 /* from a port's place to those of its classes of traffic */
/* A port of a bridge has no such classes; the places of them are the classes of up to so many of its kind. */
#define SEGMENT_PLACES NET_CLASSES_MAX

/* Towards the container */

static void put_bucket(struct nl_batch *b, int index, const struct net_rates *rates)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC,
		.tcm_ifindex = index,
		.tcm_parent = TC_H_ROOT,
		.tcm_handle = PORT_HANDLE };
	uint32_t least = queue_burst(rates->in, rates->burst);
	/* What is larger than the bucket would never come through. */
	uint32_t burst = least < rates->frame ? rates->frame : least;
	uint64_t queue = rates->in / 8 / 20 + burst + 16 * QUEUE_FRAME; /* 50 ms */
	struct tc_tbf_qopt qopt = { .rate = queue_spec(rates->in),
		.limit = queue > UINT32_MAX ? UINT32_MAX : (uint32_t)queue,
		.buffer = queue_ticks(burst, rates->in) };
	size_t options = queue_begin(b, "set the rate towards the container", RTM_NEWQDISC,
	        NLM_F_CREATE | NLM_F_REPLACE, &header, "tbf");

	nl_put(b, TCA_TBF_PARMS, &qopt, sizeof(qopt));
	if (rates->in / 8 > UINT32_MAX)
		queue_put_u64(b, TCA_TBF_RATE64, rates->in / 8);
	nl_put_u32(b, TCA_TBF_BURST, burst);
	nl_nest_end(b, options);
	queue_put_fair(b, index, PORT_HANDLE | 1, rates->in);
}

/* Whichever it is. */
static void remove_bucket(struct nl_batch *b, int index)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT };

	nl_message(b, "remove the rate towards the container", RTM_DELQDISC, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
}

/* A rate of its own for each class that has one; the rest is together in one place. */
static void put_classes_in(struct nl_batch *b, int index, const struct net_rates *rates)
{
	uint64_t rest = rates->in ? rates->in : QUEUE_RATE_MAX;

	queue_put_root(b, index, CLASSES_HANDLE, CLASSES_DEFAULT, true);
	queue_put_class(b, index, CLASSES_HANDLE, CLASSES_HANDLE | CLASSES_DEFAULT, rest, rest, rates->burst,
	        NLM_F_REPLACE);
	queue_put_fair(b, index, CLASSES_HANDLE | CLASSES_DEFAULT, rest);
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++) {
		uint64_t rate = rates->classes[i].in;

		if (!rate) {
			queue_remove_class(b, index, CLASS_HANDLE(i));
			continue;
		}
		queue_put_class(
		        b, index, CLASSES_HANDLE, CLASS_HANDLE(i), rate, rate, rates->burst, NLM_F_REPLACE);
		queue_put_fair(b, index, CLASS_HANDLE(i), rate);
	}
}

bool shape_any_class(const struct net_rates *rates, bool out)
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

/* A family without a route for a while is no change. */
int shape_uplinks(struct net_context *net, int ret[2], struct ct_error *err)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int r = route_uplink(&net->route, &net->batch, families[i], &ret[i]);

		if (r < 0)
			return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
		if (!ret[i])
			continue;
		shape_link_seen(net, ret[i]);
		net->uplinks_changed |= ret[i] != net->uplinks[i];
		net->uplinks[i] = ret[i];
	}
	return 0;
}

static int find_uplinks(struct net_context *net, struct uplinks *ret, struct ct_error *err)
{
	int now[2], r;

	ret->n = 0;
	r = shape_uplinks(net, now, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(now); i++)
		if (now[i] && (ret->n == 0 || ret->indexes[0] != now[i]))
			ret->indexes[ret->n++] = now[i];
	return r;
}

int net_uplinks(struct net_context *net, int ret[2], struct ct_error *err)
{
	int r = shape_uplinks(net, ret, err);

	if (r < 0)
		return r;
	r = net->uplinks_changed;
	if (ret[0] || ret[1]) /* else nobody does anything about it yet */
		net->uplinks_changed = false;
	return r;
}

int shape_set_up_link(struct net_context *net, int index, struct ct_error *err)
{
	struct nl_batch *b = &net->batch;
	char name[IFNAMSIZ] = "?";
	int r;

	nl_batch_reset(b);
	queue_put_root(b, index, UPLINK_HANDLE, 0, false);
	(void)if_indextoname((unsigned)index, name);
	r = nl_transact(&net->route, b, name, err);
	if (r < 0)
		return r;

	/* whatever root there is, ours has our handle: elsewhere there is no place for the class of all */
	nl_batch_reset(b);
	queue_put_class(b, index, UPLINK_HANDLE, UPLINK_ALL, QUEUE_RATE_MAX, QUEUE_RATE_MAX, 0, NLM_F_EXCL);
	r = nl_transact(&net->route, b, name, NULL);
	if (r == -EEXIST)
		return 0;
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EEXIST,
		        "the uplink \"%s\" has a queueing discipline set up by hand; rates out of the host need it removed "
		        "(tc qdisc del dev %s root)",
		        name, name);

	net->uplinks_changed = true; /* who came before it with a rate has no place there yet */
	return 0;
}

struct classes {
	const char *host_name;
	uint32_t own;                       /* 0: none yet */
	size_t n_segment;                   /* others that are ports of bridges */
	uint8_t used[(LAST_MINOR + 8) / 8]; /* by minor number */
	uint8_t segments[0x10000 / SEGMENT_STEP / 8];
};

static uint32_t place_of(uint32_t class, unsigned i)
{
	return class + (i + 1) * CLASS_MINORS;
}

static bool is_segment(uint32_t class)
{
	return TC_H_MIN(class) > LAST_MINOR;
}

static int read_class(struct classes *classes, const struct nlattr *element)
{
	const struct nlattr *attr[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1], *data[NFTA_DATA_MAX + 1];
	uint32_t class, minor, step;

	nl_parse_nested(attr, NFTA_SET_ELEM_MAX, element);
	if (!attr[NFTA_SET_ELEM_KEY] || !attr[NFTA_SET_ELEM_DATA])
		return 0;
	nl_parse_nested(key, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_KEY]);
	nl_parse_nested(data, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_DATA]);
	if (!key[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]) != IFNAMSIZ ||
	        !data[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]) != sizeof(class))
		return 0;

	memcpy(&class, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), sizeof(class));
	minor = TC_H_MIN(class) % CLASS_MINORS;
	step = TC_H_MIN(class) / SEGMENT_STEP;
	classes->used[minor / 8] |= (uint8_t)(1U << minor % 8);
	if (is_segment(class))
		classes->segments[step / 8] |= (uint8_t)(1U << step % 8);
	if (strncmp(mnl_attr_get_payload(key[NFTA_DATA_VALUE]), classes->host_name, IFNAMSIZ) == 0)
		classes->own = class;
	else if (is_segment(class))
		classes->n_segment++;
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

/* With that minor number below it; 0: all are taken, or they are places of another kind of port. */
static uint32_t free_segment(const struct classes *classes, uint32_t minor)
{
	bool any = !(classes->used[minor / 8] & 1U << minor % 8);
	uint32_t free = 0;

	for (unsigned i = 0; i < SEGMENT_PLACES; i++) {
		uint32_t step = place_of(minor, i) / SEGMENT_STEP;

		if (classes->segments[step / 8] & 1U << step % 8)
			any = true;
		else if (!free)
			free = place_of(minor, i);
	}
	return any ? free : 0;
}

/* 0: there is none. */
static uint32_t free_minor(const struct classes *classes, bool segment)
{
	uint32_t found = 0;

	for (uint32_t minor = FIRST_MINOR; !found && minor <= LAST_MINOR; minor += segment ? SEGMENT_STEP : 1)
		found = segment                                      ? free_segment(classes, minor)
		        : classes->used[minor / 8] & 1U << minor % 8 ? 0
		                                                     : minor;
	return found;
}

/* At the uplink, or of a port of a bridge. */
static int choose_class(
        struct net_context *net, const char *host_name, bool segment, uint32_t *ret, struct ct_error *err)
{
	struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	struct nft_place p = inet_place(net);
	struct nft_elements e;
	struct classes classes;
	uint32_t minor;
	int r;

	r = find_class(net, host_name, true, &classes, err);
	if (r < 0)
		return r;
	*ret = classes.own;
	if (classes.own && is_segment(classes.own) == segment && TC_H_MAJ(classes.own) == UPLINK_HANDLE)
		return 0;
	if (classes.own) { /* it was another kind of port */
		r = shape_release(net, host_name, err);
		if (r < 0)
			return r;
	}

	minor = free_minor(&classes, segment);
	if (!minor)
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

static void put_rate_out(struct nl_batch *b, int index, uint32_t handle, const struct net_rates *rates,
        uint64_t rate, uint64_t ceil)
{
	if (!ceil) {
		queue_remove_class(b, index, handle);
		return;
	}
	queue_put_class(b, index, UPLINK_ALL, handle, rate, ceil, rates->burst, NLM_F_REPLACE);
	queue_put_fair(b, index, handle, ceil);
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
		r = shape_set_up_link(net, ret->indexes[i], err);
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
	r = choose_class(net, host_name, false, &class, err);
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

int shape_find(struct net_context *net, const char *host_name, struct shape_places *ret, struct ct_error *err)
{
	struct uplinks uplinks = { 0 };
	struct classes classes;
	int r;

	*ret = (struct shape_places){ 0 };
	r = find_class(net, host_name, false, &classes, err);
	if (r < 0 || classes.own == 0)
		return r;
	ret->handles[ret->n_handles++] = classes.own;
	r = find_uplinks(net, &uplinks, err);
	if (r >= 0)
		r = shape_links(net, &ret->links, err);
	if (r < 0)
		return r;
	if (is_segment(classes.own)) {
		int detour;

		r = segment_index(net, &detour, err);
		if (r < 0 || !detour)
			return r;
		if (ret->links.n == SHAPE_LINKS)
			ret->links.n--;
		ret->links.indexes[ret->links.n++] = detour;
		return 0;
	}
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		ret->handles[ret->n_handles++] = place_of(classes.own, i);
	return 0;
}

static int remove_uplink_classes(
        struct net_context *net, const char *host_name, uint32_t class, struct ct_error *err)
{
	static const uint32_t none[NET_CLASSES_MAX];
	struct uplinks uplinks;
	struct shape_links links;
	int r;

	r = classes_rate(net, host_name, none, err);
	if (r >= 0)
		r = find_uplinks(net, &uplinks, err);
	if (r >= 0)
		r = shape_links(net, &links, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < links.n; i++) {
		queue_remove_class(&net->batch, links.indexes[i], class);
		for (unsigned k = 0; k < NET_CLASSES_MAX; k++)
			queue_remove_class(&net->batch, links.indexes[i], place_of(class, k));
	}
	return nl_transact(&net->route, &net->batch, host_name, err);
}

int shape_release(struct net_context *net, const char *host_name, struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	const struct scan_keys keys = { .keys = (struct scan_key *)&key, .n = 1 };
	struct classes classes;
	bool segment;
	int r;

	r = find_class(net, host_name, false, &classes, err);
	if (r < 0 || classes.own == 0)
		return r;
	segment = is_segment(classes.own) || TC_H_MAJ(classes.own) != UPLINK_HANDLE;
	if (segment) {
		r = find_class(net, host_name, true, &classes, err); /* the last one takes all along */
		if (r >= 0)
			r = segment_release(net, host_name, classes.own, classes.n_segment == 0, err);
	} else {
		r = remove_uplink_classes(net, host_name, classes.own, err);
	}
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	set_keys_put(net, NFT_MSG_DELSETELEM, &keys);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

static int shape_segment(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	uint32_t class;
	int r;

	r = segment_check(net, err);
	if (r >= 0)
		r = choose_class(net, host_name, true, &class, err);
	if (r >= 0) /* that of an older ctd goes with the first of its classes */
		r = segment_check(net, err);
	return r < 0 ? r : segment_rate(net, host_name, class, rates, err);
}

int net_segments_settle(struct net_context *net, struct ct_error *err)
{
	struct classes classes;
	int index, r;

	r = segment_index(net, &index, err);
	if (r < 0 || !index)
		return r;
	r = find_class(net, "", true, &classes, err);
	return r < 0 || classes.n_segment ? r : segment_remove(net, err);
}

static int check_rate(uint64_t rate, const char *field, struct ct_error *err)
{
	if (rate != 0 && (rate < QUEUE_RATE_MIN || rate > QUEUE_RATE_MAX))
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
	if (rates->segment && (shape_any_class(rates, false) || shape_any_class(rates, true)))
		return ct_error_field(
		        err, "class_rate_out", "a port of a bridge has one rate in and one out");
	if (rates->segment && rates->out_guaranteed && !*rates->uplink)
		return ct_error_field(err, "rate_out_guaranteed",
		        "a part of an uplink can be guaranteed on a bridge that is joined to one only");
	if (rates->out_guaranteed > rates->out)
		return ct_error_field(
		        err, "rate_out_guaranteed", "no more can be guaranteed than the whole rate");

	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	if (shape_any_class(rates, false))
		put_classes_in(&net->batch, link.index, rates);
	else if (rates->in)
		put_bucket(&net->batch, link.index, rates);
	else if (link.shaped)
		remove_bucket(&net->batch, link.index);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	if (!rates->out && !shape_any_class(rates, true))
		return shape_release(net, host_name, err);
	return rates->segment ? shape_segment(net, host_name, rates, err)
	                      : shape_out(net, host_name, rates, err);
}

/* What ports without a rate send: it has what the others leave. */
static void put_rest(struct nl_batch *b, int index, uint64_t rate)
{
	uint64_t least = rate / 100 > QUEUE_RATE_MIN ? rate / 100 : QUEUE_RATE_MIN;

	if (!rate) {
		queue_remove_class(b, index, UPLINK_REST);
		return;
	}
	queue_put_class(b, index, UPLINK_ALL, UPLINK_REST, least, rate, 0, NLM_F_REPLACE);
	queue_put_fair(b, index, UPLINK_REST, rate);
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
		r = rate ? shape_set_up_link(net, uplinks.indexes[i], err) : 0;
		if (r < 0)
			return r;
		nl_batch_reset(&net->batch);
		queue_put_class(&net->batch, uplinks.indexes[i], UPLINK_HANDLE, UPLINK_ALL,
		        rate ? rate : QUEUE_RATE_MAX, rate ? rate : QUEUE_RATE_MAX, 0, NLM_F_REPLACE);
		nl_tolerate(&net->batch, rate ? 0 : ENOENT);
		put_rest(&net->batch, uplinks.indexes[i], rate);
		r = nl_transact(&net->route, &net->batch, "uplink", err);
		if (r < 0)
			return r;
	}

	return 0;
}
