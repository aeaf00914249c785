/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host, containers and an outside world, each a network namespace of the test's own. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "netns/net.h"

#define TEST_TAG "test"

/* Exits with 77 (skip) if not root. Then the process is in a fresh network namespace, which plays the host,
 * forever. */
void world_begin(void);

int world_namespace(void); /* a new one with lo up; fd */
void world_enter(int fd);
void world_leave(void); /* back to the host */

/* Makes "up0" on the host with 192.0.2.1/24 and 2001:db8:ff::1/64, and its other end "out0" with .2 and ::2
 * in a new namespace whose default route leads to the host. Returns that namespace. */
int world_outside(void);

/* Sockets opened in a namespace. */
int raw_open(int netns, const char *ifname);
int socket_open(int netns, int family, int type, int protocol);

/* Runs a program in the current namespace: its exit status, and what it printed if ret is not NULL (to be
 * freed). */
int run(const char *const argv[], char **ret);

struct ip_addr ip(const char *text);

struct container {
	int netns;
	struct ip_addr addresses[4];
	struct net_port_spec spec;
};

/* A container with a configured port. addresses: up to four, ends with NULL. */
void container_begin(struct net_context *net, struct container *c, uint32_t number, enum net_mode mode,
        const char *const addresses[]);
void container_end(struct net_context *net, struct container *c);

/* A host with an outside, whose routed containers reach each other. Returns the namespace outside. */
int routed_begin(struct net_context **ret);

/* A host with an outside, for bridges. Returns the namespace outside. At the end what was left goes, bridges
 * too. */
int segments_begin(struct net_context **ret);
void segments_end(struct net_context *net, int outside);

void segment_add(struct net_context *net, const struct net_bridge_spec *spec);

/* A container with a port of bridge 7; container_end ends it too. */
void segment_member_begin(struct net_context *net, struct container *c, uint32_t number, bool isolated,
        const char *a4, const char *a6);

#define MARK "a mark that nobody else sends"

extern const uint8_t broadcast[6], all_nodes_mac[6];
extern const uint8_t foreign_mac[6]; /* of no container */

/* A frame under construction. */
struct frame {
	uint8_t data[2048];
	size_t len;
};
void frame_ether(struct frame *f, const uint8_t to[6], const uint8_t from[6], uint16_t type);
void frame_add(struct frame *f, const void *data, size_t len);
void frame_u8(struct frame *f, uint8_t value);
void frame_u16(struct frame *f, uint16_t value);
void frame_ip4(struct frame *f, struct ip_addr from, struct ip_addr to, uint8_t protocol, uint16_t fragment,
        size_t payload);
void frame_ip6(
        struct frame *f, struct ip_addr from, struct ip_addr to, uint8_t next, uint8_t hops, size_t payload);
void frame_udp(
        struct frame *f, uint16_t from, uint16_t to, const char *text); /* no checksum needed on IPv4 */
/* Fills in the checksum of an ICMPv6 or UDP message that lies from offset to the end, behind the IPv6 header
 * at ip6. */
void frame_sum6(struct frame *f, size_t ip6, size_t offset, uint8_t protocol, size_t sum_offset);
void frame_arp(struct frame *f, uint16_t op, const uint8_t sender_mac[6], struct ip_addr sender,
        const uint8_t target_mac[6], struct ip_addr target);
/* A whole one to all, with the mark behind it; ether_mac is that of the frame. */
void frame_arp_marked(struct frame *f, uint16_t op, const uint8_t ether_mac[6], const uint8_t mac[6],
        struct ip_addr sender, struct ip_addr target);
void frame_send(int raw, const struct frame *f);

/* Reads frames that came in (not those sent here) until one holds the text or for that time; the length, or
 * 0. */
size_t raw_wait(int raw, const void *text, size_t text_len, int timeout_msec, uint8_t *ret, size_t size);
