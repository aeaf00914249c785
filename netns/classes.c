/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic by prefix: a chain behind all decisions of the inet table (hook postrouting), which
 * looks the far end up in a map of prefixes and counts the packet under port and class. The counters are made
 * by the first packet, so a start costs nothing; there are no rules as long as there are no classes, so a
 * packet costs nothing either.
 *
 * The value that a prefix is mapped to is at the same time the packet's priority towards the container: the
 * place in the port's own hierarchy, if it has one (shape.c). Out of it, a map from port and class to a place
 * at the uplink says where; what is not in it keeps the place of its port. */
#include "netns/classes.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "netns/counters.h"
#include "netns/spec.h"

#define CHUNK 1000 /* prefixes in one transaction; it must fit into one send */

struct class_key {
	char name[IFNAMSIZ];
	uint32_t class; /* CLASS_HANDLE(index) */
};

enum { PREFIXES4, PREFIXES6, OUT, IN, RATES, SETS };
static const struct nft_set sets[SETS] = {
	[PREFIXES4] = { "classes4", 50, NFT_TYPE_IP4, 4, NFT_SET_INTERVAL | NFT_SET_MAP, NFT_TYPE_MARK, 4,
	        0 },
	[PREFIXES6] = { "classes6", 51, NFT_TYPE_IP6, 16, NFT_SET_INTERVAL | NFT_SET_MAP, NFT_TYPE_MARK, 4,
	        0 },
	[OUT] = { "sent-classes", 52, NFT_TYPE_IFNAME << 6 | NFT_TYPE_MARK, sizeof(struct class_key),
	        NFT_SET_EVAL, 0, 0, 1 << 18 },
	[IN] = { "received-classes", 53, NFT_TYPE_IFNAME << 6 | NFT_TYPE_MARK, sizeof(struct class_key),
	        NFT_SET_EVAL, 0, 0, 1 << 18 },
	[RATES] = { "class-rates", 54, NFT_TYPE_IFNAME << 6 | NFT_TYPE_MARK, sizeof(struct class_key),
	        NFT_SET_MAP, NFT_TYPE_MARK, 4, 0 },
};

/* By way of the packet's priority, which is as it was afterwards if it is to be: nft(8) 1.0.6 aborts when it
 * prints a key of which a part comes out of a map. */
static void class_by_priority(struct nl_batch *b, bool keep)
{
	if (keep)
		nft_meta(b, NFT_META_PRIORITY, R(12));
	nft_meta_set(b, NFT_META_PRIORITY, R(4));
	nft_meta(b, NFT_META_PRIORITY, R(4));
	if (keep)
		nft_meta_set(b, NFT_META_PRIORITY, R(12));
}

static void add_rule(struct net_context *net, const struct nft_place *p, bool v4, bool out)
{
	const struct nft_set *prefixes = &sets[v4 ? PREFIXES4 : PREFIXES6], *counters = &sets[out ? OUT : IN];
	uint32_t source = v4 ? 12 : 8, len = v4 ? 4 : 16, name = out ? NFT_META_IIFNAME : NFT_META_OIFNAME;
	struct nl_batch *b = p->b;

	RULE(p, "classes")
	{
		nft_meta(b, name, R(0));
		nft_cmp(b, R(0), NFT_CMP_EQ, net->prefix, net_prefix_len(net));
		nft_meta(b, NFT_META_NFPROTO, R(4));
		nft_cmp_u8(b, R(4), NFT_CMP_EQ, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
		nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, out ? source + len : source, len, R(8));
		nft_lookup_map(b, prefixes->name, prefixes->id, R(8), R(4));
		class_by_priority(b, out);
		nft_count(b, counters->name, counters->id, R(0));
		if (out)
			nft_lookup_map(b, sets[RATES].name, sets[RATES].id, R(0), R(8));
		nft_meta_set(b, NFT_META_PRIORITY, out ? R(8) : R(4));
	}
}

/* Chain, sets and rules, with the maps of prefixes empty. */
static int prepare(struct net_context *net, bool any, struct ct_error *err)
{
	static const struct nft_hook hook = { NF_INET_POST_ROUTING, 300, NULL, "filter", NF_ACCEPT };
	struct nft_place p = inet_place(net);

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	nft_chain_add(&p, "classes", &hook);
	nft_chain_flush(&p, "classes");
	for (size_t i = 0; i < SETS; i++)
		nft_set_add(&p, &sets[i]);
	nft_set_flush(&p, sets[PREFIXES4].name);
	nft_set_flush(&p, sets[PREFIXES6].name);
	/* out first: from one container to another, the priority is that of the way in */
	for (unsigned i = 0; any && i < 4; i++)
		add_rule(net, &p, i & 1, i < 2);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, net->table, err);
}

static int add_prefixes(struct net_context *net, const struct ip_addr *prefixes, size_t n, unsigned class,
        struct ct_error *err)
{
	const uint32_t value = CLASS_HANDLE(class);
	struct nft_place p = inet_place(net);
	int r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	for (unsigned set = PREFIXES4; set <= PREFIXES6; set++) {
		struct nft_elements e = { 0 };

		for (size_t i = 0; i < n; i++) {
			if ((prefixes[i].family == AF_INET) != (set == PREFIXES4))
				continue;
			if (e.n >= 500) { /* an attribute holds no more than 64 KiB */
				nft_elements_end(&p, &e);
				e.n = 0;
			}
			if (e.n == 0)
				e = nft_elements_begin(&p, NFT_MSG_NEWSETELEM, sets[set].name);
			nft_element_interval_mapped(&p, &e, &prefixes[i], &value, sizeof(value));
		}
		if (e.n > 0)
			nft_elements_end(&p, &e);
	}
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, NULL, err);
	if (r == -EEXIST || r == -EBUSY || r == -ENOTEMPTY)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EEXIST, "prefixes of classes %u and others overlap", class);

	return r;
}

static int check(const struct net_class *classes, size_t n, struct ct_error *err)
{
	char text[IP_ADDR_STRLEN];

	if (n > NET_CLASSES_MAX)
		return ct_error_field(
		        err, "classes", "there can be at most %d classes of traffic", NET_CLASSES_MAX);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < classes[i].n_prefixes; k++) {
			const struct ip_addr *a = &classes[i].prefixes[k];
			struct ip_addr network = network_of(a);

			if ((a->family != AF_INET && a->family != AF_INET6) || a->prefix == 0 ||
			        !ip_equal(a, &network))
				return ct_error_field(err, "classes", "\"%s\" is not a prefix",
				        ip_format(a, text, sizeof(text)));
		}
	}

	return 0;
}

int net_classes_apply(
        struct net_context *net, const struct net_class *classes, size_t n, struct ct_error *err)
{
	int r;

	r = check(classes, n, err);
	if (r < 0)
		return r;
	r = prepare(net, n > 0, err);
	if (r < 0)
		return r;

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < classes[i].n_prefixes; k += CHUNK) {
			size_t left = classes[i].n_prefixes - k;

			r = add_prefixes(
			        net, classes[i].prefixes + k, left < CHUNK ? left : CHUNK, (unsigned)i, err);
			if (r < 0)
				return r;
		}
	}

	return 0;
}

int net_classes_reset(struct net_context *net, struct ct_error *err)
{
	struct nft_place p = inet_place(net);

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	nft_set_flush(&p, sets[OUT].name);
	nft_set_flush(&p, sets[IN].name);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, net->table, err);
}

/* 0 and zeros if there is no such element. */
static int get(struct net_context *net, const struct nft_set *set, const struct class_key *key,
        struct counter *ret, struct ct_error *err)
{
	struct nft_place p = inet_place(net);
	struct nft_elements e;
	int r;

	*ret = (struct counter){ 0 };
	nl_batch_reset(&net->batch);
	e = nft_elements_begin(&p, NFT_MSG_GETSETELEM, set->name);
	nft_element(&p, &e, key, sizeof(*key));
	nft_elements_end(&p, &e);
	r = nl_query(&net->nft, &net->batch, counter_read_one, ret, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ct_error_set(
		        err, r, "network", "cannot read the counters of a class: %s", strerror(-r));

	return 1;
}

static struct class_key key_of(const char *host_name, unsigned class)
{
	struct class_key key = { .class = CLASS_HANDLE(class) };

	memcpy(key.name, host_name, strnlen(host_name, sizeof(key.name) - 1));
	return key;
}

int net_class_counters(struct net_context *net, const char *host_name, unsigned class,
        struct net_counters *ret, struct ct_error *err)
{
	struct class_key key = key_of(host_name, class);
	struct counter out, in;
	int r;

	if (class >= NET_CLASSES_MAX)
		return ct_error_field(err, "class", "classes are numbered from 0 to %d", NET_CLASSES_MAX - 1);
	r = get(net, &sets[OUT], &key, &out, err);
	if (r < 0)
		return r;
	r = get(net, &sets[IN], &key, &in, err);
	if (r < 0)
		return r;

	*ret = (struct net_counters){ .in_bytes = in.bytes,
		.in_packets = in.packets,
		.out_bytes = out.bytes,
		.out_packets = out.packets };
	return 0;
}

/* One element is taken out, or put in with what it is mapped to. */
static int change(struct net_context *net, const struct nft_set *set, const char *host_name, unsigned class,
        const uint32_t *value, struct ct_error *err)
{
	struct class_key key = key_of(host_name, class);
	struct nft_place p = inet_place(net);
	struct nft_elements e;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	e = nft_elements_begin(&p, value ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, set->name);
	if (value)
		nft_element_mapped(&p, &e, &key, sizeof(key), value, sizeof(*value));
	else
		nft_element(&p, &e, &key, sizeof(key));
	nft_elements_end(&p, &e);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

int classes_rate(struct net_context *net, const char *host_name, const uint32_t handles[NET_CLASSES_MAX],
        struct ct_error *err)
{
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++) {
		struct class_key key = key_of(host_name, i);
		struct counter unused;
		int r;

		r = get(net, &sets[RATES], &key, &unused, err);
		if (r < 0)
			return r;
		if ((r > 0) == (handles[i] != 0))
			continue; /* a port's handles are always the same */
		r = change(net, &sets[RATES], host_name, i, handles[i] ? &handles[i] : NULL, err);
		if (r < 0)
			return r;
	}

	return 0;
}

int classes_release(struct net_context *net, const char *host_name, struct ct_error *err)
{
	for (unsigned i = 0; i < 2 * NET_CLASSES_MAX; i++) {
		const struct nft_set *set = &sets[i & 1 ? OUT : IN];
		struct class_key key = key_of(host_name, i / 2);
		struct counter unused;
		int r;

		r = get(net, set, &key, &unused, err);
		if (r > 0)
			r = change(net, set, host_name, i / 2, NULL, err);
		if (r < 0)
			return r;
	}

	return 0;
}
