/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sets in which ports have elements, in both tables. All per-port state of the packet filter is in these.
 */
#pragma once

#include "netns/context.h"

/* Keys, as they lie in registers. */
struct port_key {
	char name[IFNAMSIZ];
	uint8_t mac[8]; /* 6 and two zeros */
};
struct source4_key {
	struct port_key port;
	uint8_t address[4];
};
struct source6_key {
	struct port_key port;
	uint8_t address[16];
};
struct trunk_key {
	char name[IFNAMSIZ];
	uint8_t tag[4]; /* 2 as in the frame, and two zeros */
};

/* Every key begins with the host name. */
enum port_set {
	/* netdev table; a configured port has elements in the first, in some of the sources and in the three
	   counters */
	PORT_MAC,     /* port_key */
	PORT_SOURCE4, /* source4_key */
	PORT_SOURCE6, /* source6_key */
	PORT_BLOCK64, /* source6_key, masked */
	PORT_BLOCK56,
	PORT_BLOCK48,
	PORT_TRUNK,    /* trunk_key; of trunks, the tags */
	PORT_BRIDGED,  /* name; of ports of a bridge */
	PORT_SENT,     /* name; counts what leaves the container */
	PORT_RECEIVED, /* name; counts what goes to it */
	PORT_REFUSED,  /* name; counts what was dropped */
	/* from here on only if asked for; the key is the name */
	PORT_PACKETS_OUT, /* drops what is over its limit, or all */
	PORT_PACKETS_IN,
	PORT_SEGMENT_NO_MAIL, /* as PORT_NO_MAIL, on a bridge */
	/* inet table */
	PORT_CONNECTIONS,     /* drops what would be one too many */
	PORT_NEW_CONNECTIONS, /* drops what is over its limit */
	PORT_NO_MAIL,
	PORT_INTERNAL, /* drops bytes over its limit that stay on this host */
	PORT_CLASS,    /* a map to the class at the uplink: see shape.c */
	PORT_SETS,
};
#define PORT_FIRST_NAME     PORT_BRIDGED /* from here on the key is the name */
#define PORT_FIRST_OPTIONAL PORT_PACKETS_OUT
#define PORT_FIRST_INET     PORT_CONNECTIONS
#define PORT_LIMITS_END     PORT_CLASS

extern const struct nft_set port_sets[PORT_SETS];

/* The set for a source of this prefix length, or PORT_SETS if there is none. */
enum port_set port_set_of(const struct ip_addr *a);

/* The hierarchy at an uplink, and in it the place of ports without a rate: there only while the uplink has
 * one. As a plain priority its last bits are those of no priority. */
#define UPLINK_HANDLE (0xc7d0u << 16)
#define UPLINK_REST   (UPLINK_HANDLE | 0xf000u)
/* What a port of a bridge sends has a priority with this upper half once the guard has passed it: by that the
 * inet table tells it from what else comes by the bridge. The lower half is its class, on the detour of its
 * rate (shape-segment.c) and at the uplink, if it has one; else that of ports without a rate. */
#define SEGMENT_PRIORITY UPLINK_HANDLE

/* The tables. */
struct nft_place guard_place(struct net_context *net);
struct nft_place inet_place(struct net_context *net);
struct nft_place set_place(struct net_context *net, enum port_set set);

/* Declares the sets of one table. */
void sets_add(const struct nft_place *p);

/* One element of one of the guard's sets. */
struct scan_key {
	enum port_set set;
	uint8_t bytes[sizeof(struct source6_key)];
};

struct scan_keys {
	struct scan_key *keys;
	size_t n, max;
};
void scan_keys_done(struct scan_keys *keys);
#define _cleanup_scan_keys_ CLEANUP(scan_keys_done)

int set_keys_push(struct scan_keys *keys, const struct scan_key *key);
bool set_keys_have(const struct scan_keys *keys, const struct scan_key *key);
struct scan_key set_key_of_name(enum port_set set, const char *host_name);

/* Messages that add or remove the keys, in a transaction that was begun. Counters are added with theirs. */
void set_keys_put(struct net_context *net, uint8_t type, const struct scan_keys *keys);

/* Positive: the element is there; 0: it is not. */
int set_has(struct net_context *net, const struct scan_key *key, struct ct_error *err);
