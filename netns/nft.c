/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nf_tables by its netlink messages (linux/netfilter/nf_tables.h; Linux 6.1 and up).
 *
 * Numbers in nf_tables attributes are big-endian, except in the data that expressions compare with, which is
 * as it lies in the register. Every function appends to a batch and cannot fail by itself; the batch
 * remembers what went wrong.
 */
#include "netns/nft.h"

#include <errno.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

static void batch_mark(struct nl_batch *b, uint16_t type)
{
	struct nfgenmsg header = { .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

	nl_message(b, "change the packet filter", type, 0, &header, sizeof(header));
}

void nft_begin(struct nl_batch *b)
{
	batch_mark(b, NFNL_MSG_BATCH_BEGIN);
}

void nft_end(struct nl_batch *b)
{
	batch_mark(b, NFNL_MSG_BATCH_END);
}

void nft_message(const struct nft_place *p, const char *what, uint8_t type, uint16_t flags)
{
	struct nfgenmsg header = { .nfgen_family = p->family, .version = NFNETLINK_V0 };

	nl_message(p->b, what, NFNL_SUBSYS_NFTABLES << 8 | type, flags, &header, sizeof(header));
}

void nft_table_add(const struct nft_place *p)
{
	nft_message(p, "add the filter table", NFT_MSG_NEWTABLE, NLM_F_CREATE);
	nl_put_str(p->b, NFTA_TABLE_NAME, p->table);
}

void nft_table_delete(const struct nft_place *p)
{
	nft_message(p, "delete the filter table", NFT_MSG_DELTABLE, 0);
	nl_put_str(p->b, NFTA_TABLE_NAME, p->table);
	nl_tolerate(p->b, ENOENT);
}

void nft_chain_add(const struct nft_place *p, const char *name, const struct nft_hook *hook)
{
	size_t nest;

	nft_message(p, "add a filter chain", NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	nl_put_str(p->b, NFTA_CHAIN_TABLE, p->table);
	nl_put_str(p->b, NFTA_CHAIN_NAME, name);
	if (!hook)
		return;

	nest = nl_nest(p->b, NFTA_CHAIN_HOOK);
	nl_put_be32(p->b, NFTA_HOOK_HOOKNUM, hook->number);
	nl_put_be32(p->b, NFTA_HOOK_PRIORITY, (uint32_t)hook->priority);
	if (hook->device)
		nl_put_str(p->b, NFTA_HOOK_DEV, hook->device);
	nl_nest_end(p->b, nest);
	nl_put_str(p->b, NFTA_CHAIN_TYPE, hook->type);
	nl_put_be32(p->b, NFTA_CHAIN_POLICY, hook->policy);
}

void nft_chain_delete(const struct nft_place *p, const char *name)
{
	nft_message(p, "delete a filter chain", NFT_MSG_DELCHAIN, 0);
	nl_put_str(p->b, NFTA_CHAIN_TABLE, p->table);
	nl_put_str(p->b, NFTA_CHAIN_NAME, name);
}

void nft_chain_flush(const struct nft_place *p, const char *name)
{
	nft_message(p, "flush a filter chain", NFT_MSG_DELRULE, 0);
	nl_put_str(p->b, NFTA_RULE_TABLE, p->table);
	nl_put_str(p->b, NFTA_RULE_CHAIN, name);
}

/* A note that nft(8) leaves and reads: without it it prints names backwards. Type 0, length 4, value 1 (in
 * the host's order). */
static const uint8_t host_order[6] = { 0, 4, 1 };

void nft_set_add(const struct nft_place *p, const struct nft_set *set)
{
	nft_message(p, "add a filter set", NFT_MSG_NEWSET, NLM_F_CREATE);
	nl_put_str(p->b, NFTA_SET_TABLE, p->table);
	nl_put_str(p->b, NFTA_SET_NAME, set->name);
	nl_put_be32(p->b, NFTA_SET_ID, set->id);
	nl_put_be32(p->b, NFTA_SET_FLAGS, set->flags);
	nl_put_be32(p->b, NFTA_SET_KEY_TYPE, set->key_type);
	nl_put_be32(p->b, NFTA_SET_KEY_LEN, set->key_len);
	if (set->size) {
		size_t desc = nl_nest(p->b, NFTA_SET_DESC);

		nl_put_be32(p->b, NFTA_SET_DESC_SIZE, set->size);
		nl_nest_end(p->b, desc);
	}
	if (set->flags & NFT_SET_MAP) {
		nl_put_be32(p->b, NFTA_SET_DATA_TYPE, set->data_type);
		nl_put_be32(p->b, NFTA_SET_DATA_LEN, set->data_len);
	}
	if (set->key_type == NFT_TYPE_IFNAME)
		nl_put(p->b, NFTA_SET_USERDATA, host_order, sizeof(host_order));
}

void nft_set_flush(const struct nft_place *p, const char *name)
{
	nft_message(p, "flush a filter set", NFT_MSG_DELSETELEM, 0);
	nl_put_str(p->b, NFTA_SET_ELEM_LIST_TABLE, p->table);
	nl_put_str(p->b, NFTA_SET_ELEM_LIST_SET, name);
}

struct nft_elements nft_elements_begin(const struct nft_place *p, uint8_t type, const char *set)
{
	bool add = type == NFT_MSG_NEWSETELEM;
	struct nft_elements e = { .add = add };

	nft_message(p, "change or read a filter set", type, add ? NLM_F_CREATE : 0);
	nl_put_str(p->b, NFTA_SET_ELEM_LIST_TABLE, p->table);
	nl_put_str(p->b, NFTA_SET_ELEM_LIST_SET, set);
	e.list = nl_nest(p->b, NFTA_SET_ELEM_LIST_ELEMENTS);
	return e;
}

static void put_key(struct nl_batch *b, const void *key, size_t len)
{
	size_t nest = nl_nest(b, NFTA_SET_ELEM_KEY);

	nl_put(b, NFTA_DATA_VALUE, key, len);
	nl_nest_end(b, nest);
}

void nft_element(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len)
{
	size_t element = nl_nest(p->b, NFTA_LIST_ELEM);

	put_key(p->b, key, len);
	nl_nest_end(p->b, element);
	e->n++;
}

void nft_element_mapped(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len,
        const void *data, size_t data_len)
{
	size_t element = nl_nest(p->b, NFTA_LIST_ELEM), nest;

	put_key(p->b, key, len);
	nest = nl_nest(p->b, NFTA_SET_ELEM_DATA);
	nl_put(p->b, NFTA_DATA_VALUE, data, data_len);
	nl_nest_end(p->b, nest);
	nl_nest_end(p->b, element);
	e->n++;
}

static size_t element_begin(struct nl_batch *b, const void *key, size_t len)
{
	size_t element = nl_nest(b, NFTA_LIST_ELEM);

	put_key(b, key, len);
	return element;
}

void nft_element_counted(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len)
{
	size_t element = element_begin(p->b, key, len), expr = nl_nest(p->b, NFTA_SET_ELEM_EXPR);

	nl_put_str(p->b, NFTA_EXPR_NAME, "counter");
	nl_nest_end(p->b, expr);
	nl_nest_end(p->b, element);
	e->n++;
}

void nft_element_over(const struct nft_place *p, struct nft_elements *e, const void *key, size_t len,
        const struct nft_limit *limit)
{
	size_t element = element_begin(p->b, key, len), expr = nl_nest(p->b, NFTA_SET_ELEM_EXPR), data;

	nl_put_str(p->b, NFTA_EXPR_NAME, "limit");
	data = nl_nest(p->b, NFTA_EXPR_DATA);
	nl_put_be64(p->b, NFTA_LIMIT_RATE, limit->rate);
	nl_put_be64(p->b, NFTA_LIMIT_UNIT, 1);
	nl_put_be32(p->b, NFTA_LIMIT_BURST, limit->burst);
	nl_put_be32(p->b, NFTA_LIMIT_TYPE, limit->bytes ? NFT_LIMIT_PKT_BYTES : NFT_LIMIT_PKTS);
	nl_put_be32(p->b, NFTA_LIMIT_FLAGS, NFT_LIMIT_F_INV);
	nl_nest_end(p->b, data);
	nl_nest_end(p->b, expr);
	nl_nest_end(p->b, element);
	e->n++;
}

void nft_element_connections(
        const struct nft_place *p, struct nft_elements *e, const void *key, size_t len, uint32_t count)
{
	size_t element = element_begin(p->b, key, len), expr = nl_nest(p->b, NFTA_SET_ELEM_EXPR), data;

	nl_put_str(p->b, NFTA_EXPR_NAME, "connlimit");
	data = nl_nest(p->b, NFTA_EXPR_DATA);
	nl_put_be32(p->b, NFTA_CONNLIMIT_COUNT, count);
	nl_put_be32(p->b, NFTA_CONNLIMIT_FLAGS, NFT_CONNLIMIT_F_INV);
	nl_nest_end(p->b, data);
	nl_nest_end(p->b, expr);
	nl_nest_end(p->b, element);
	e->n++;
}

/* The first address behind a network; false if the network reaches the end of all addresses. */
static bool after_network(const struct ip_addr *network, uint8_t *ret)
{
	size_t len = ip_len(network);
	unsigned carry = 0;

	memcpy(ret, network->bytes, len);
	if (network->prefix == 0)
		return false;
	for (size_t i = len; i-- > 0;) {
		unsigned add = carry;

		if (i == (network->prefix - 1U) / 8)
			add += 1U << (7 - (network->prefix - 1U) % 8);
		add += ret[i];
		ret[i] = (uint8_t)add;
		carry = add >> 8;
	}

	return !carry;
}

static void put_interval_end(const struct nft_place *p, struct nft_elements *e, const struct ip_addr *network)
{
	uint8_t end[16];
	size_t element;

	if (!after_network(network, end))
		return;

	element = nl_nest(p->b, NFTA_LIST_ELEM);
	put_key(p->b, end, ip_len(network));
	nl_put_be32(p->b, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	nl_nest_end(p->b, element);
	e->n++;
}

void nft_element_interval(const struct nft_place *p, struct nft_elements *e, const struct ip_addr *network)
{
	nft_element(p, e, network->bytes, ip_len(network));
	put_interval_end(p, e, network);
}

void nft_element_interval_mapped(const struct nft_place *p, struct nft_elements *e,
        const struct ip_addr *network, const void *data, size_t data_len)
{
	nft_element_mapped(p, e, network->bytes, ip_len(network), data, data_len);
	put_interval_end(p, e, network);
}

void nft_elements_end(const struct nft_place *p, struct nft_elements *e)
{
	nl_nest_end(p->b, e->list);
}

struct nft_rule nft_rule_begin(const struct nft_place *p, const char *chain)
{
	struct nft_rule rule;

	nft_message(p, "add a filter rule", NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	nl_put_str(p->b, NFTA_RULE_TABLE, p->table);
	nl_put_str(p->b, NFTA_RULE_CHAIN, chain);
	rule.list = nl_nest(p->b, NFTA_RULE_EXPRESSIONS);
	return rule;
}

void nft_rule_end(const struct nft_place *p, struct nft_rule *rule)
{
	nl_nest_end(p->b, rule->list);
}

struct expr {
	size_t element, data;
};

static struct expr expr_begin(struct nl_batch *b, const char *name)
{
	struct expr e;

	e.element = nl_nest(b, NFTA_LIST_ELEM);
	nl_put_str(b, NFTA_EXPR_NAME, name);
	e.data = nl_nest(b, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct nl_batch *b, struct expr e)
{
	nl_nest_end(b, e.data);
	nl_nest_end(b, e.element);
}

static void put_data(struct nl_batch *b, uint16_t type, const void *data, size_t len)
{
	size_t nest = nl_nest(b, type);

	nl_put(b, NFTA_DATA_VALUE, data, len);
	nl_nest_end(b, nest);
}

void nft_meta(struct nl_batch *b, uint32_t key, uint32_t reg)
{
	struct expr e = expr_begin(b, "meta");

	nl_put_be32(b, NFTA_META_KEY, key);
	nl_put_be32(b, NFTA_META_DREG, reg);
	expr_end(b, e);
}

void nft_meta_set(struct nl_batch *b, uint32_t key, uint32_t reg)
{
	struct expr e = expr_begin(b, "meta");

	nl_put_be32(b, NFTA_META_KEY, key);
	nl_put_be32(b, NFTA_META_SREG, reg);
	expr_end(b, e);
}

void nft_ct(struct nl_batch *b, uint32_t key, uint32_t reg)
{
	struct expr e = expr_begin(b, "ct");

	nl_put_be32(b, NFTA_CT_KEY, key);
	nl_put_be32(b, NFTA_CT_DREG, reg);
	expr_end(b, e);
}

void nft_payload(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct expr e = expr_begin(b, "payload");

	nl_put_be32(b, NFTA_PAYLOAD_DREG, reg);
	nl_put_be32(b, NFTA_PAYLOAD_BASE, base);
	nl_put_be32(b, NFTA_PAYLOAD_OFFSET, offset);
	nl_put_be32(b, NFTA_PAYLOAD_LEN, len);
	expr_end(b, e);
}

void nft_payload_set(struct nl_batch *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg,
        const struct nft_checksum *sum)
{
	struct expr e = expr_begin(b, "payload");

	nl_put_be32(b, NFTA_PAYLOAD_SREG, reg);
	nl_put_be32(b, NFTA_PAYLOAD_BASE, base);
	nl_put_be32(b, NFTA_PAYLOAD_OFFSET, offset);
	nl_put_be32(b, NFTA_PAYLOAD_LEN, len);
	if (sum) {
		nl_put_be32(b, NFTA_PAYLOAD_CSUM_TYPE, sum->type);
		nl_put_be32(b, NFTA_PAYLOAD_CSUM_OFFSET, sum->offset);
		nl_put_be32(b, NFTA_PAYLOAD_CSUM_FLAGS, sum->flags);
	}
	expr_end(b, e);
}

void nft_immediate(struct nl_batch *b, uint32_t reg, const void *data, size_t len)
{
	struct expr e = expr_begin(b, "immediate");

	nl_put_be32(b, NFTA_IMMEDIATE_DREG, reg);
	put_data(b, NFTA_IMMEDIATE_DATA, data, len);
	expr_end(b, e);
}

void nft_cmp(struct nl_batch *b, uint32_t reg, uint32_t op, const void *data, size_t len)
{
	struct expr e = expr_begin(b, "cmp");

	nl_put_be32(b, NFTA_CMP_SREG, reg);
	nl_put_be32(b, NFTA_CMP_OP, op);
	put_data(b, NFTA_CMP_DATA, data, len);
	expr_end(b, e);
}

void nft_cmp_u8(struct nl_batch *b, uint32_t reg, uint32_t op, uint8_t value)
{
	nft_cmp(b, reg, op, &value, sizeof(value));
}

void nft_cmp_be16(struct nl_batch *b, uint32_t reg, uint32_t op, uint16_t value)
{
	uint16_t be = htons(value);

	nft_cmp(b, reg, op, &be, sizeof(be));
}

void nft_cmp_host32(struct nl_batch *b, uint32_t reg, uint32_t op, uint32_t value)
{
	nft_cmp(b, reg, op, &value, sizeof(value));
}

void nft_mask(struct nl_batch *b, uint32_t reg, const void *mask, size_t len)
{
	static const uint8_t zero[16];
	struct expr e = expr_begin(b, "bitwise");

	nl_put_be32(b, NFTA_BITWISE_SREG, reg);
	nl_put_be32(b, NFTA_BITWISE_DREG, reg);
	nl_put_be32(b, NFTA_BITWISE_LEN, len);
	put_data(b, NFTA_BITWISE_MASK, mask, len);
	put_data(b, NFTA_BITWISE_XOR, zero, len);
	expr_end(b, e);
}

void nft_lookup(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg, bool inverted)
{
	struct expr e = expr_begin(b, "lookup");

	nl_put_str(b, NFTA_LOOKUP_SET, set);
	nl_put_be32(b, NFTA_LOOKUP_SET_ID, set_id);
	nl_put_be32(b, NFTA_LOOKUP_SREG, reg);
	if (inverted)
		nl_put_be32(b, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
	expr_end(b, e);
}

void nft_lookup_map(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg, uint32_t data_reg)
{
	struct expr e = expr_begin(b, "lookup");

	nl_put_str(b, NFTA_LOOKUP_SET, set);
	nl_put_be32(b, NFTA_LOOKUP_SET_ID, set_id);
	nl_put_be32(b, NFTA_LOOKUP_SREG, reg);
	nl_put_be32(b, NFTA_LOOKUP_DREG, data_reg);
	expr_end(b, e);
}

void nft_verdict(struct nl_batch *b, int32_t code, const char *chain)
{
	struct expr e = expr_begin(b, "immediate");
	size_t data, verdict;

	nl_put_be32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = nl_nest(b, NFTA_IMMEDIATE_DATA);
	verdict = nl_nest(b, NFTA_DATA_VERDICT);
	nl_put_be32(b, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		nl_put_str(b, NFTA_VERDICT_CHAIN, chain);
	nl_nest_end(b, verdict);
	nl_nest_end(b, data);
	expr_end(b, e);
}

void nft_dnat(struct nl_batch *b, uint32_t family, uint32_t address_reg, uint32_t port_reg)
{
	struct expr e = expr_begin(b, "nat");

	nl_put_be32(b, NFTA_NAT_TYPE, NFT_NAT_DNAT);
	nl_put_be32(b, NFTA_NAT_FAMILY, family);
	nl_put_be32(b, NFTA_NAT_REG_ADDR_MIN, address_reg);
	nl_put_be32(b, NFTA_NAT_REG_PROTO_MIN, port_reg);
	nl_put_be32(b, NFTA_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
	expr_end(b, e);
}

void nft_destination_type(struct nl_batch *b, uint32_t reg)
{
	struct expr e = expr_begin(b, "fib");

	nl_put_be32(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nl_put_be32(b, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
	nl_put_be32(b, NFTA_FIB_DREG, reg);
	expr_end(b, e);
}

void nft_count(struct nl_batch *b, const char *set, uint32_t set_id, uint32_t reg)
{
	struct expr e = expr_begin(b, "dynset");
	size_t counter;

	nl_put_str(b, NFTA_DYNSET_SET_NAME, set);
	nl_put_be32(b, NFTA_DYNSET_SET_ID, set_id);
	nl_put_be32(b, NFTA_DYNSET_OP, NFT_DYNSET_OP_ADD);
	nl_put_be32(b, NFTA_DYNSET_SREG_KEY, reg);
	counter = nl_nest(b, NFTA_DYNSET_EXPR);
	nl_put_str(b, NFTA_EXPR_NAME, "counter");
	nl_nest_end(b, counter);
	expr_end(b, e);
}

void nft_masquerade(struct nl_batch *b)
{
	expr_end(b, expr_begin(b, "masq"));
}

void nft_no_track(struct nl_batch *b)
{
	expr_end(b, expr_begin(b, "notrack"));
}

void nft_forward(struct nl_batch *b, uint32_t device_reg)
{
	struct expr e = expr_begin(b, "fwd");

	nl_put_be32(b, NFTA_FWD_SREG_DEV, device_reg);
	expr_end(b, e);
}

void nft_reject_tcp(struct nl_batch *b)
{
	struct expr e = expr_begin(b, "reject");

	nl_put_be32(b, NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST);
	expr_end(b, e);
}
