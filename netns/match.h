/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the rules of the netdev table are made of. A match that cannot load what it compares (a short packet)
 * does not match. */
#pragma once

#include "netns/sets.h"

#define LINK      NFT_PAYLOAD_LL_HEADER
#define NETWORK   NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT NFT_PAYLOAD_TRANSPORT_HEADER

/* Sets that never change, in guard.c. */
enum { PLAIN6 = 20, ERRORS_AND_ECHO6, ROUTER_TYPES4, SERVER_PORTS };

void lookup(struct nl_batch *b, enum port_set set, bool inverted);
void load_port(struct nl_batch *b, uint32_t base, uint32_t mac_offset);
void match_u8(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t op, uint8_t value);
void match_be16(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t op, uint16_t value);
void match_masked16(struct nl_batch *b, uint32_t offset, uint16_t mask, uint32_t op, uint16_t value);
void match_set8(struct nl_batch *b, uint32_t offset, const char *set, uint32_t id);
void add_go(const struct nft_place *p, const char *chain, const char *to);

/* Frames of ports of a bridge: chains "bridged" and those behind it, in guard-bridge.c. */
void guard_add_bridged(const struct nft_place *p);
