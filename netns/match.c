/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the rules of the netdev table are made of. All use the registers from R(0) on. */
#include "netns/match.h"

void lookup(struct nl_batch *b, enum port_set set, bool inverted)
{
	nft_lookup(b, port_sets[set].name, port_sets[set].id, R(0), inverted);
}

/* R0..5: the port and a MAC out of the frame. */
void load_port(struct nl_batch *b, uint32_t base, uint32_t mac_offset)
{
	nft_meta(b, NFT_META_IIFNAME, R(0));
	nft_payload(b, base, mac_offset, 6, R(4));
}

void match_u8(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t op, uint8_t value)
{
	nft_payload(b, base, offset, 1, R(0));
	nft_cmp_u8(b, R(0), op, value);
}

void match_be16(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t op, uint16_t value)
{
	nft_payload(b, base, offset, 2, R(0));
	nft_cmp_be16(b, R(0), op, value);
}

void match_masked16(struct nl_batch *b, uint32_t offset, uint16_t mask, uint32_t op, uint16_t value)
{
	uint16_t be = htons(mask);

	nft_payload(b, NETWORK, offset, 2, R(0));
	nft_mask(b, R(0), &be, sizeof(be));
	nft_cmp_be16(b, R(0), op, value);
}

void match_set8(struct nl_batch *b, uint32_t offset, const char *set, uint32_t id)
{
	nft_payload(b, NETWORK, offset, 1, R(0));
	nft_lookup(b, set, id, R(0), false);
}

void add_go(const struct nft_place *p, const char *chain, const char *to)
{
	RULE(p, chain)
	{
		nft_verdict(p->b, NFT_GOTO, to);
	}
}
