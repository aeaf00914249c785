/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The netdev table: what may leave a container, and what answers its ARP. See guard.c. */
#pragma once

#include "netns/context.h"

/* Keys of the sets, as they lie in registers. */
struct guard_port_key {
	char name[IFNAMSIZ];
	uint8_t mac[8]; /* 6 and two zeros */
};
struct guard_source4_key {
	struct guard_port_key port;
	uint8_t address[4];
};
struct guard_source6_key {
	struct guard_port_key port;
	uint8_t address[16];
};

/* The sets that have elements of ports, in the order of enum guard_set; a key begins with the host name. */
enum guard_set {
	GUARD_PORTS,   /* guard_port_key */
	GUARD_SOURCE4, /* guard_source4_key */
	GUARD_SOURCE6, /* guard_source6_key */
	GUARD_BLOCK64, /* guard_source6_key, masked */
	GUARD_BLOCK56,
	GUARD_BLOCK48,
	GUARD_SENT,     /* name; counts what leaves the container */
	GUARD_RECEIVED, /* name; counts what goes to it */
	GUARD_REFUSED,  /* name; counts what was dropped */
	GUARD_SETS,
};
extern const struct nft_set guard_sets[GUARD_SETS];

/* The whole table without ports; in a transaction that the caller began. Ports that are there keep their
 * filter. */
void guard_add_table(const struct nft_place *p);

/* The two chains of a port. */
#define GUARD_CHAIN_MAX (IFNAMSIZ + 4)
void guard_add_port(const struct nft_place *p, const char *host_name);
void guard_remove_port(const struct nft_place *p, const char *host_name);

/* The set for a source of this prefix length, or GUARD_SETS if there is none. */
enum guard_set guard_set_of(const struct ip_addr *a);

static inline struct nft_place guard_place(struct net_context *net)
{
	return (struct nft_place){ &net->batch, NFPROTO_NETDEV, net->table };
}
