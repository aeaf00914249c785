/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places at an uplink: which number is whose.
 *
 * The map "class" of the inet table is the record, of an instance of ctd for its own ports. By one uplink
 * several instances may leave, each with a table and a map of its own; but there is one hierarchy, and one
 * set of numbers. So a number is taken that is in nobody's map. Nothing locks them: who has put a number in
 * looks once more, and if by now another has it too, takes another one. All begin to look at a place of
 * their own, so that this hardly ever happens.
 *
 * How much all of them may send together is for one instance to say. Its set "uplinks" has the links on which
 * it does; there the others have their places, and leave the rest to it.
 */
#include "netns/shape.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "netns/instances.h"
#include "netns/queue.h"
#include "netns/sets.h"

#define FIRST_MINOR 0x10
/* The priority of a bridge's port is still that of the frame where it leaves the host, and where that is not
 * by classes its last four bits choose among queues (tc-prio(8)): those of no priority. */
#define SEGMENT_STEP 16
#define LAST_MINOR   0x2fff
#define CLASS_MINORS 0x3000 /* from a port's place to those of its classes of traffic */
/* A port of a bridge has no such classes; the places of them are the classes of up to so many of its kind. */
#define SEGMENT_PLACES NET_CLASSES_MAX

#define TRIES 16

static const struct nft_set uplinks = { "uplinks", 60, NFT_TYPE_IFNAME, IFNAMSIZ, 0 };

struct places {
	const char *host_name;
	struct shape_place own;
	uint8_t used[(LAST_MINOR + 8) / 8]; /* by minor number */
	uint8_t segments[0x10000 / SEGMENT_STEP / 8];
};

uint32_t place_of_class(uint32_t place, unsigned i)
{
	return place + (i + 1) * CLASS_MINORS;
}

bool place_is_segment(uint32_t place)
{
	return TC_H_MIN(place) > LAST_MINOR;
}

/* ---- reading ---- */

static void add_place(struct places *places, uint32_t place)
{
	uint32_t minor = TC_H_MIN(place) % CLASS_MINORS, step = TC_H_MIN(place) / SEGMENT_STEP;

	places->used[minor / 8] |= (uint8_t)(1U << minor % 8);
	if (place_is_segment(place))
		places->segments[step / 8] |= (uint8_t)(1U << step % 8);
}

/* host_name NULL: another instance's, which has none of ours. */
static void read_place(struct places *places, const struct nlattr *element)
{
	const struct nlattr *attr[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1], *data[NFTA_DATA_MAX + 1];
	uint32_t place;

	nl_parse_nested(attr, NFTA_SET_ELEM_MAX, element);
	if (!attr[NFTA_SET_ELEM_KEY] || !attr[NFTA_SET_ELEM_DATA])
		return;
	nl_parse_nested(key, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_KEY]);
	nl_parse_nested(data, NFTA_DATA_MAX, attr[NFTA_SET_ELEM_DATA]);
	if (!key[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]) != IFNAMSIZ ||
	        !data[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]) != sizeof(place))
		return;

	memcpy(&place, mnl_attr_get_payload(data[NFTA_DATA_VALUE]), sizeof(place));
	add_place(places, place);
	if (!places->host_name)
		return;
	if (strncmp(mnl_attr_get_payload(key[NFTA_DATA_VALUE]), places->host_name, IFNAMSIZ) == 0)
		places->own.handle = place;
	else if (place_is_segment(place))
		places->own.other_segments++;
}

static int read_places(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *attr;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS]) read_place(userdata, attr);
	return 0;
}

/* Of one instance; key NULL: all of its ports. */
static int read_map(struct net_context *net, const char *table, const struct scan_key *key,
        struct places *places, struct ct_error *err)
{
	struct nft_place p = { &net->batch, NFPROTO_INET, table };
	int r;

	nl_batch_reset(&net->batch);
	nft_message(&p, "read a filter map", NFT_MSG_GETSETELEM, key ? 0 : NLM_F_DUMP);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[PORT_CLASS].name);
	if (key) {
		size_t list = nl_nest(&net->batch, NFTA_SET_ELEM_LIST_ELEMENTS);

		nft_element(&p, &(struct nft_elements){ 0 }, key->bytes, IFNAMSIZ);
		nl_nest_end(&net->batch, list);
	}
	r = nl_query(&net->nft, &net->batch, read_places, places, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "network", "cannot read the classes of the uplink: %s", strerror(-r));

	return 0;
}

int place_find(struct net_context *net, const char *host_name, bool others, struct shape_place *ret,
        struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	struct places places = { .host_name = host_name };
	int r;

	r = read_map(net, net->table, others ? NULL : &key, &places, err);
	*ret = places.own;
	return r;
}

static int read_others(
        struct net_context *net, const struct instances *others, struct places *places, struct ct_error *err)
{
	const char *host_name = places->host_name;
	int r = 0;

	places->host_name = NULL;
	for (size_t i = 0; r >= 0 && i < others->n; i++)
		r = read_map(net, others->tables[i], NULL, places, err);
	places->host_name = host_name;
	return r;
}

/* ---- taking ---- */

static bool has_bit(const uint8_t *bits, uint32_t n)
{
	return bits[n / 8] & 1U << n % 8;
}

/* With that minor number below it; 0: all are taken, or they are places of another kind of port. */
static uint32_t free_segment(const struct places *places, uint32_t minor)
{
	bool any = !has_bit(places->used, minor);
	uint32_t free = 0;

	for (unsigned i = 0; i < SEGMENT_PLACES; i++) {
		uint32_t place = place_of_class(minor, i);

		if (has_bit(places->segments, place / SEGMENT_STEP))
			any = true;
		else if (!free)
			free = place;
	}
	return any ? free : 0;
}

/* Where this instance begins to look: a number that a segment can have as well. */
static uint32_t first_minor(const struct net_context *net)
{
	uint32_t h = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < NET_TAG_LEN; i++)
		h = (h ^ (uint8_t)net->tag[i]) * 16777619U;
	return FIRST_MINOR + (h ^ h >> 16) % (LAST_MINOR / SEGMENT_STEP) * SEGMENT_STEP;
}

/* 0: there is none. */
static uint32_t free_minor(const struct net_context *net, const struct places *places, bool segment)
{
	const uint32_t step = segment ? SEGMENT_STEP : 1, first = first_minor(net);
	uint32_t minor = first;

	do {
		uint32_t found = segment                        ? free_segment(places, minor)
		                 : has_bit(places->used, minor) ? 0
		                                                : minor;

		if (found)
			return found;
		minor = minor + step > LAST_MINOR ? FIRST_MINOR : minor + step;
	} while (minor != first);

	return 0;
}

static bool is_taken(const struct places *others, uint32_t place)
{
	uint32_t minor = TC_H_MIN(place) % CLASS_MINORS;

	if (!has_bit(others->used, minor))
		return false;
	return !place_is_segment(place) || has_bit(others->segments, TC_H_MIN(place) / SEGMENT_STEP) ||
	       free_segment(others, minor) == 0;
}

static int put(struct net_context *net, const char *host_name, uint32_t place, struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	struct nft_place p = inet_place(net);
	struct nft_elements e;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	e = nft_elements_begin(&p, NFT_MSG_NEWSETELEM, port_sets[PORT_CLASS].name);
	nft_element_mapped(&p, &e, key.bytes, IFNAMSIZ, &place, sizeof(place));
	nft_elements_end(&p, &e);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

int place_forget(struct net_context *net, const char *host_name, struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, host_name);
	const struct scan_keys keys = { .keys = (struct scan_key *)&key, .n = 1 };

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	set_keys_put(net, NFT_MSG_DELSETELEM, &keys);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

/* Puts one in; positive: now it is the port's alone. */
static int try_take(struct net_context *net, const struct instances *others, const char *host_name,
        bool segment, uint32_t *ret, struct ct_error *err)
{
	struct places places = { .host_name = host_name }, theirs = { 0 };
	uint32_t minor;
	int r;

	r = read_map(net, net->table, NULL, &places, err);
	if (r >= 0)
		r = read_others(net, others, &places, err);
	if (r < 0)
		return r;
	minor = free_minor(net, &places, segment);
	if (!minor)
		return ct_error_set(err, -ENOSPC, "network", "too many ports have a rate on this host");

	*ret = UPLINK_HANDLE | minor;
	r = put(net, host_name, *ret, err);
	if (r >= 0)
		r = read_others(net, others, &theirs, err);
	if (r < 0)
		return r;
	if (!is_taken(&theirs, *ret))
		return 1;
	return place_forget(net, host_name, err);
}

int place_take(
        struct net_context *net, const char *host_name, bool segment, uint32_t *ret, struct ct_error *err)
{
	struct instances others;
	struct shape_place own;
	int r;

	r = place_find(net, host_name, false, &own, err);
	if (r < 0)
		return r;
	*ret = own.handle;
	if (own.handle && place_is_segment(own.handle) == segment && TC_H_MAJ(own.handle) == UPLINK_HANDLE)
		return 0;
	if (own.handle) { /* it was another kind of port */
		r = shape_release(net, host_name, err);
		if (r < 0)
			return r;
	}

	r = instances_find_others(net, &others, err);
	for (unsigned i = 0; r == 0 && i < TRIES; i++)
		r = try_take(net, &others, host_name, segment, ret, err);
	if (r == 0)
		return ct_error_set(err, -EBUSY, "network",
		        "other instances of ctd take places at the uplink at the same time; try again");
	return r < 0 ? r : 0;
}

/* ---- the rate of all ---- */

static int ignore(const struct nlmsghdr *nlh, void *userdata)
{
	return 0;
}

static int says_rate(struct net_context *net, const char *table, const char *link, struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, link);
	struct nft_place p = { &net->batch, NFPROTO_INET, table };
	struct nft_elements e;
	int r;

	nl_batch_reset(&net->batch);
	e = nft_elements_begin(&p, NFT_MSG_GETSETELEM, uplinks.name);
	nft_element(&p, &e, key.bytes, IFNAMSIZ);
	nft_elements_end(&p, &e);
	r = nl_query(&net->nft, &net->batch, ignore, NULL, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "network", "cannot see who keeps the uplink's rate: %s", strerror(-r));

	return r == 0;
}

int place_rate_of(struct net_context *net, int index, struct shape_rate *ret, struct ct_error *err)
{
	struct instances others;
	int r;

	*ret = (struct shape_rate){ 0 };
	if (!if_indextoname((unsigned)index, ret->link))
		return 0; /* it has just gone */
	r = instances_find_others(net, &others, err);
	if (r >= 0)
		r = says_rate(net, net->table, ret->link, err);
	ret->own = r > 0;
	ret->alone = others.n == 0;
	for (size_t i = 0; r >= 0 && !*ret->other && i < others.n; i++) {
		r = says_rate(net, others.tables[i], ret->link, err);
		if (r > 0)
			memcpy(ret->other, others.tables[i], NET_TABLE_LEN);
	}
	return r < 0 ? r : 0;
}

int place_rate_say(struct net_context *net, const char *link, bool say, struct ct_error *err)
{
	const struct scan_key key = set_key_of_name(PORT_CLASS, link);
	struct nft_place p = inet_place(net);
	struct nft_elements e;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	nft_set_add(&p, &uplinks);
	e = nft_elements_begin(&p, say ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, uplinks.name);
	nft_element(&p, &e, key.bytes, IFNAMSIZ);
	nft_elements_end(&p, &e);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, link, err);
}
