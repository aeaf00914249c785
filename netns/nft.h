/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nf_tables messages: a transaction, tables, chains, sets with elements, rules out of expressions.
 *
 * Expressions work on registers. We use the 32-bit ones by number (R(0)..R(15)): a lookup takes as many as
 * the set's key is long. */
#pragma once

#include <netinet/in.h>
/* before it, or both define the same */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "netns/nl.h"

#define R(n) (NFT_REG32_00 + (n))

/* One transaction: all messages between take effect together or not at all. */
void nft_begin(struct nl_batch *b);
void nft_end(struct nl_batch *b);

/* What the following calls speak of. */
struct nft_place {
	struct nl_batch *b;
	uint8_t family; /* NFPROTO_INET, NFPROTO_NETDEV */
	const char *table;
};

void nft_message(const struct nft_place *p, const char *what, uint8_t type, uint16_t flags);

void nft_table_add(const struct nft_place *p);
void nft_table_delete(const struct nft_place
                *p); /* no error if there is none (the caller made it in the same transaction) */

struct nft_hook {
	uint32_t number;
	int32_t priority;
	const char *device; /* netdev family only */
	const char *type;   /* filter, nat */
	uint32_t policy;    /* NF_DROP, NF_ACCEPT */
};

void nft_chain_add(
        const struct nft_place *p, const char *name, const struct nft_hook *hook); /* NULL: not hooked */
void nft_chain_delete(const struct nft_place *p, const char *name);
void nft_chain_flush(const struct nft_place *p, const char *name); /* deletes its rules */

struct nft_set {
	const char *name;
	uint32_t id;       /* for reference within the transaction */
	uint32_t key_type; /* as nft(8) numbers its types, so that it can print them */
	uint32_t key_len;
	uint32_t flags;
	uint32_t data_type, data_len; /* of a map (NFT_SET_MAP in flags) */
	uint32_t size;                /* of one that packets add to (NFT_SET_EVAL in flags) */
};

void nft_set_add(const struct nft_place *p, const struct nft_set *set);
void nft_set_flush(const struct nft_place *p, const char *name);

/* Elements: begin, one or more keys, end. type NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM. */
struct nft_elements {
	size_t list;
	uint16_t n;
	bool add;
};
struct nft_elements nft_elements_begin(const struct nft_place *p, uint8_t type, const char *set);
void nft_element(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len);
/* With a counter of its own that starts at zero. */
void nft_element_counted(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len);
/* That matches while the limit, per second, is exceeded. */
struct nft_limit {
	uint64_t rate;
	uint32_t burst;
	bool bytes;
};
void nft_element_over(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len,
        const struct nft_limit *limit);
/* That matches for a connection that is one more than count. */
void nft_element_connections(
        const struct nft_place *p, struct nft_elements *e, const void *key, size_t len, uint32_t count);
void nft_element_interval(const struct nft_place *p, struct nft_elements *e, const struct ip_addr *network);
/* Of a map. */
void nft_element_mapped(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len,
        const void *data, size_t data_len);
void nft_element_interval_mapped(const struct nft_place *p, struct nft_elements *e,
        const struct ip_addr *network, const void *data, size_t data_len);
void nft_elements_end(const struct nft_place *p, struct nft_elements *e);

/* Types as nft(8) numbers them, six bits each in a concatenation: the kernel does not care, but nft prints by
 * them. */
enum {
	NFT_TYPE_IP4 = 7,
	NFT_TYPE_IP6 = 8,
	NFT_TYPE_ETHER = 9,
	NFT_TYPE_PROTOCOL = 12,
	NFT_TYPE_SERVICE = 13,
	NFT_TYPE_ICMP4 = 14,
	NFT_TYPE_MARK = 19,
	NFT_TYPE_ICMP6 = 29,
	NFT_TYPE_IFNAME = 41,
};

/* A rule: begin, expressions, end. */
struct nft_rule {
	size_t list;
};
struct nft_rule nft_rule_begin(const struct nft_place *p, const char *chain);
void nft_rule_end(const struct nft_place *p, struct nft_rule *rule);

/* RULE(place, chain) { expressions } */
#define RULE(p, chain)                                                                                       \
	for (struct nft_rule rule_ = nft_rule_begin(p, chain), *once_ = &rule_; once_;                       \
	        nft_rule_end(p, &rule_), once_ = NULL)

void nft_meta(struct nl_batch *b, uint32_t key, uint32_t reg);
void nft_meta_set(struct nl_batch *b, uint32_t key, uint32_t reg);
void nft_ct(struct nl_batch *b, uint32_t key, uint32_t reg);
void nft_payload(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg);
/* A part of the packet set from a register, with the checksum in the same header brought along. */
struct nft_checksum {
	uint32_t type;   /* NFT_PAYLOAD_CSUM_* */
	uint32_t offset; /* of the checksum, from the base */
	uint32_t flags;  /* NFT_PAYLOAD_L4CSUM_PSEUDOHDR */
};
void nft_payload_set(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg,
        const struct nft_checksum *sum);
void nft_immediate(struct nl_batch *b, uint32_t reg, const void *data, size_t len);
void nft_cmp(struct nl_batch *b, uint32_t reg, uint32_t op, const void *data, size_t len);
void nft_cmp_u8(struct nl_batch *b, uint32_t reg, uint32_t op, uint8_t value);
void nft_cmp_be16(struct nl_batch *b, uint32_t reg, uint32_t op, uint16_t value);
void nft_cmp_host32(struct nl_batch *b, uint32_t reg, uint32_t op, uint32_t value);
/* reg &= mask */
void nft_mask(struct nl_batch *b, uint32_t reg, const void *mask, size_t len);
void nft_lookup(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg, bool inverted);
void nft_verdict(struct nl_batch *b, int32_t code, const char *chain); /* chain for NFT_JUMP, NFT_GOTO */
/* The value goes to data_reg. */
void nft_lookup_map(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg, uint32_t data_reg);
/* Adds the key in the register if it is not there, and counts the packet. */
void nft_count(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg);
void nft_masquerade(struct nl_batch *b);
void nft_no_track(struct nl_batch *b); /* the packet's connection is not looked for and not made */
/* To the address and port in the registers; family NFPROTO_IPV4 or NFPROTO_IPV6. */
void nft_dnat(struct nl_batch *b, uint32_t family, uint32_t address_reg, uint32_t port_reg);
void nft_destination_type(struct nl_batch *b, uint32_t reg); /* RTN_LOCAL and so on, of the host's routes */
void nft_forward(
        struct nl_batch *b, uint32_t device_reg); /* out of the device whose index is in the register */
void nft_reject_tcp(struct nl_batch *b);          /* with a reset */
