/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of ports and their elements.
 *
 * The sets are hash tables that grow (nf_tables makes them so when no size is given); a lookup costs the same
 * whatever is in them, an element is added without touching a rule, and so the kernel has no rules to check
 * again.
 *
 * Some elements carry an expression, which the kernel evaluates when it is found: a counter, a limit, a count
 * of connections. A limit "over" is a match while the limit is exceeded; an element without an expression
 * always matches. So one lookup serves for a limit and for cutting a port off.
 */
#include "netns/sets.h"

#include <errno.h>
#include <string.h>

#define TYPE_PORT (NFT_TYPE_IFNAME << 6 | NFT_TYPE_ETHER)

const struct nft_set port_sets[PORT_SETS] = {
	[PORT_MAC] = { "ports", 1, TYPE_PORT, sizeof(struct port_key), 0 },
	[PORT_SOURCE4] = { "source4", 2, TYPE_PORT << 6 | NFT_TYPE_IP4, sizeof(struct source4_key), 0 },
	[PORT_SOURCE6] = { "source6", 3, TYPE_PORT << 6 | NFT_TYPE_IP6, sizeof(struct source6_key), 0 },
	[PORT_BLOCK64] = { "block64", 4, TYPE_PORT << 6 | NFT_TYPE_IP6, sizeof(struct source6_key), 0 },
	[PORT_BLOCK56] = { "block56", 5, TYPE_PORT << 6 | NFT_TYPE_IP6, sizeof(struct source6_key), 0 },
	[PORT_BLOCK48] = { "block48", 6, TYPE_PORT << 6 | NFT_TYPE_IP6, sizeof(struct source6_key), 0 },
	[PORT_TRUNK] = { "trunk", 19, NFT_TYPE_IFNAME << 6 | NFT_TYPE_MARK, sizeof(struct trunk_key), 0 },
	[PORT_BRIDGED] = { "bridged", 17, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_SENT] = { "sent", 7, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_RECEIVED] = { "received", 8, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_REFUSED] = { "refused", 9, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_PACKETS_OUT] = { "packets-out", 10, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_PACKETS_IN] = { "packets-in", 11, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_SEGMENT_NO_MAIL] = { "segment-no-mail", 18, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_CONNECTIONS] = { "connections", 12, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_NEW_CONNECTIONS] = { "new-connections", 13, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_NO_MAIL] = { "no-mail", 14, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_INTERNAL] = { "internal", 15, NFT_TYPE_IFNAME, IFNAMSIZ, 0 },
	[PORT_CLASS] = { "class", 16, NFT_TYPE_IFNAME, IFNAMSIZ, NFT_SET_MAP, NFT_TYPE_MARK, 4 },
};

enum port_set port_set_of(const struct ip_addr *a)
{
	if (a->family == AF_INET)
		return a->prefix >= 24 ? PORT_SOURCE4 : PORT_SETS;

	switch (a->prefix) {
	case 128: return PORT_SOURCE6;
	case 64: return PORT_BLOCK64;
	case 56: return PORT_BLOCK56;
	case 48: return PORT_BLOCK48;
	default: return PORT_SETS;
	}
}

struct nft_place guard_place(struct net_context *net)
{
	return (struct nft_place){ &net->batch, NFPROTO_NETDEV, net->table };
}

struct nft_place inet_place(struct net_context *net)
{
	return (struct nft_place){ &net->batch, NFPROTO_INET, net->table };
}

struct nft_place set_place(struct net_context *net, enum port_set set)
{
	return set < PORT_FIRST_INET ? guard_place(net) : inet_place(net);
}

void sets_add(const struct nft_place *p)
{
	bool netdev = p->family == NFPROTO_NETDEV;

	for (size_t i = netdev ? 0 : PORT_FIRST_INET; i < (netdev ? PORT_FIRST_INET : PORT_SETS); i++)
		nft_set_add(p, &port_sets[i]);
}

void scan_keys_done(struct scan_keys *keys)
{
	free(keys->keys);
	keys->keys = NULL;
}

int set_keys_push(struct scan_keys *keys, const struct scan_key *key)
{
	if (keys->n == keys->max) {
		size_t max = keys->max ? 2 * keys->max : 16;
		struct scan_key *grown = reallocarray(keys->keys, max, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		keys->keys = grown;
		keys->max = max;
	}

	keys->keys[keys->n++] = *key;
	return 0;
}

bool set_keys_have(const struct scan_keys *keys, const struct scan_key *key)
{
	for (size_t i = 0; i < keys->n; i++) {
		if (keys->keys[i].set == key->set &&
		        memcmp(keys->keys[i].bytes, key->bytes, port_sets[key->set].key_len) == 0)
			return true;
	}

	return false;
}

struct scan_key set_key_of_name(enum port_set set, const char *host_name)
{
	struct scan_key key = { .set = set };

	memcpy(key.bytes, host_name, strnlen(host_name, IFNAMSIZ - 1));
	return key;
}

static bool has_counter(enum port_set set)
{
	return set >= PORT_SENT && set < PORT_FIRST_OPTIONAL;
}

void set_keys_put(struct net_context *net, uint8_t type, const struct scan_keys *keys)
{
	for (size_t set = 0; set < PORT_SETS; set++) {
		struct nft_place p = set_place(net, set);
		struct nft_elements e = { 0 };

		for (size_t i = 0; i < keys->n; i++) {
			const struct scan_key *key = &keys->keys[i];

			if (key->set != set)
				continue;
			if (e.n == 0)
				e = nft_elements_begin(&p, type, port_sets[set].name);
			if (type == NFT_MSG_NEWSETELEM && has_counter(set))
				nft_element_counted(&p, &e, key->bytes, port_sets[set].key_len);
			else
				nft_element(&p, &e, key->bytes, port_sets[set].key_len);
		}
		if (e.n > 0)
			nft_elements_end(&p, &e);
	}
}

static int ignore(const struct nlmsghdr *nlh, void *userdata)
{
	return 0;
}

int set_has(struct net_context *net, const struct scan_key *key, struct ct_error *err)
{
	struct nft_place p = set_place(net, key->set);
	struct nft_elements e;
	int r;

	nl_batch_reset(&net->batch);
	e = nft_elements_begin(&p, NFT_MSG_GETSETELEM, port_sets[key->set].name);
	nft_element(&p, &e, key->bytes, port_sets[key->set].key_len);
	nft_elements_end(&p, &e);
	r = nl_query(&net->nft, &net->batch, ignore, NULL, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "network", "cannot look into the packet filter: %s", strerror(-r));

	return r == 0;
}
