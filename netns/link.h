/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rtnetlink messages about links, addresses, routes and neighbours. All append to a batch. */
#pragma once

#include <net/if.h>

#include "netns/nl.h"

/* A veth pair, both sides down: host_name here with the MAC, guest_name in the namespace. */
void link_add_veth(struct nl_batch *b, const char *host_name, const uint8_t host_mac[static 6],
        const char *guest_name, int netns_fd);
/* Nothing that a host side does by itself: no link-local address, no redirects, no ARP answers. */
void link_quiet(struct nl_batch *b, const char *name);
/* Whether IPv6 gives the link (by name, or by index if name is NULL) a link-local address when it comes up.
 * No error without IPv6. */
void link_make_link_local(struct nl_batch *b, const char *name, int index, bool on);
void link_delete(struct nl_batch *b, const char *name);

struct link_change {
	int index;
	bool up;
	bool no_arp;        /* it neither asks nor answers; false: leave */
	uint32_t mtu;       /* 0: leave */
	const uint8_t *mac; /* NULL: leave */
	int master;         /* index of a bridge; 0: leave; -1: none */
};
void link_change(struct nl_batch *b, const struct link_change *change);

struct link_info {
	int index, peer_index, master;
	uint8_t mac[6];
	bool up;
	bool carrier;  /* seen by the kernel's transmit side too */
	uint16_t vlan; /* of a VLAN's sub-interface */
	bool shaped;   /* has a token bucket at its root */
	uint32_t mtu;
};
/* By name, or by index if name is NULL. -ENODEV if there is none, without touching err. */
int link_get(struct nl_sock *sock, struct nl_batch *b, const char *name, int index, struct link_info *ret,
        struct ct_error *err);

/* A port of a bridge: only what is told is known of it, and nothing unknown is sent to it. Without a MAC
 * (NULL) nothing is told. */
void link_bridge_port(struct nl_batch *b, int index, bool isolated, const uint8_t *mac);
void link_add_bridge(struct nl_batch *b, const char *name, uint32_t mtu);
/* What is sent to it comes in again where it came from (ifb): a place for a queue. */
void link_add_detour(struct nl_batch *b, const char *name);
/* priority: of what comes in by it without one in its tag; 0: none. */
void link_add_vlan(struct nl_batch *b, const char *name, int below, uint16_t vlan, uint32_t priority);

/* Links below a master whose name begins so, and sub-interfaces of such. */
int link_count_ports(struct nl_sock *sock, struct nl_batch *b, int master, const char *prefix, unsigned *ret,
        struct ct_error *err);

void address_add(
        struct nl_batch *b, int index, const struct ip_addr *a); /* with its prefix; no duplicate detection */
void address_remove(struct nl_batch *b, int index, const struct ip_addr *a); /* none there: no error */

struct route {
	const struct ip_addr *to;  /* NULL: default, of the gateway's family */
	const struct ip_addr *via; /* NULL: on the link */
	int index;
	uint8_t protocol;
	uint32_t table; /* 0: main */
};
void route_add(struct nl_batch *b, const struct route *route); /* replaces one to the same destination */
void route_remove(struct nl_batch *b, const struct route *route);

/* What has its source in the network and would leave by a default route takes that of the table instead. */
void rule_add(struct nl_batch *b, const struct ip_addr *from, uint32_t table);
void rule_remove(struct nl_batch *b, const struct ip_addr *from, uint32_t table);

void neighbour_add(
        struct nl_batch *b, int index, const struct ip_addr *a, const uint8_t mac[static 6]); /* permanent */
void neighbour_learn(struct nl_batch *b, int index, const struct ip_addr *a,
        const uint8_t mac[static 6]); /* as if it had answered */
void proxy_add(struct nl_batch *b, int index, const struct ip_addr *a, uint8_t protocol);
void proxy_remove(struct nl_batch *b, int index, const struct ip_addr *a);

/* The device that a packet to the outside world would leave by; 0: none. */
int route_uplink(struct nl_sock *sock, struct nl_batch *b, int family, int *ret_index);
