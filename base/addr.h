/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IP addresses and prefixes as plain values. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip_addr {
	int family;        /* AF_INET, AF_INET6; 0: none */
	uint8_t bytes[16]; /* network order; 4 or 16 of them */
	uint8_t prefix;    /* 0..32 or 0..128; of an address without /N: 32 or 128 */
};

#define IP_ADDR_STRLEN (INET6_ADDRSTRLEN + 4)

/* ADDR or ADDR/PREFIX, numeric only. -EINVAL. */
int ip_parse(const char *s, struct ip_addr *ret);
/* As ip_parse, but with the host bits required to be zero (a network). */
int ip_parse_network(const char *s, struct ip_addr *ret);
/* With /N unless N is the full length. buf of IP_ADDR_STRLEN. Returns buf. */
char *ip_format(const struct ip_addr *a, char *buf, size_t size);
/* Without /N. */
char *ip_format_addr(const struct ip_addr *a, char *buf, size_t size);

static inline size_t ip_len(const struct ip_addr *a)
{
	return a->family == AF_INET ? 4 : 16;
}

static inline uint8_t ip_full_prefix(const struct ip_addr *a)
{
	return a->family == AF_INET ? 32 : 128;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);      /* family, bytes and prefix */
bool ip_contains(const struct ip_addr *net, const struct ip_addr *a); /* a's whole prefix lies within net */
bool ip_overlaps(const struct ip_addr *a, const struct ip_addr *b);
/* The nth address of a network (n = 0: the network's own), prefix full. -ERANGE when outside. */
int ip_nth(const struct ip_addr *net, uint64_t n, struct ip_addr *ret);
/* True for what a tenant may hold: not unspecified, loopback, multicast, link-local, broadcast. */
bool ip_is_unicast(const struct ip_addr *a);
