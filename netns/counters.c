/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters of ports: elements of the guard's sets, which live as long as the port is ours, whatever the
 * tenant does to its side of the link (deleting it would reset the link's own). What the guard refused is not
 * counted as sent. */
#include "netns/counters.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

static uint64_t be64(const struct nlattr *attr)
{
	return attr ? be64toh(mnl_attr_get_u64(attr)) : 0;
}

const char *counter_read(const struct nlattr *attr, struct counter *ret)
{
	const struct nlattr *element[NFTA_SET_ELEM_MAX + 1], *key[NFTA_DATA_MAX + 1],
	        *expr[NFTA_EXPR_MAX + 1], *data[NFTA_COUNTER_MAX + 1];

	nl_parse_nested(element, NFTA_SET_ELEM_MAX, attr);
	if (!element[NFTA_SET_ELEM_KEY] || !element[NFTA_SET_ELEM_EXPR])
		return NULL;
	nl_parse_nested(key, NFTA_DATA_MAX, element[NFTA_SET_ELEM_KEY]);
	nl_parse_nested(expr, NFTA_EXPR_MAX, element[NFTA_SET_ELEM_EXPR]);
	if (!key[NFTA_DATA_VALUE] || mnl_attr_get_payload_len(key[NFTA_DATA_VALUE]) < IFNAMSIZ ||
	        !expr[NFTA_EXPR_DATA])
		return NULL;

	nl_parse_nested(data, NFTA_COUNTER_MAX, expr[NFTA_EXPR_DATA]);
	ret->bytes = be64(data[NFTA_COUNTER_BYTES]);
	ret->packets = be64(data[NFTA_COUNTER_PACKETS]);
	return mnl_attr_get_payload(key[NFTA_DATA_VALUE]);
}

int counter_read_one(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *attr;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS])(void)
	        counter_read(attr, userdata); /* the one that was asked for */
	return 0;
}

static int get_counter(struct net_context *net, enum port_set set, const char *host_name, struct counter *ret,
        struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	char name[IFNAMSIZ] = { 0 };
	size_t list;
	int r;

	memcpy(name, host_name, strnlen(host_name, sizeof(name) - 1));
	*ret = (struct counter){ 0 };
	nl_batch_reset(&net->batch);
	nft_message(&p, "read a counter", NFT_MSG_GETSETELEM, 0);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
	nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[set].name);
	list = nl_nest(&net->batch, NFTA_SET_ELEM_LIST_ELEMENTS);
	nft_element(&p, &(struct nft_elements){ 0 }, name, sizeof(name));
	nl_nest_end(&net->batch, list);
	r = nl_query(&net->nft, &net->batch, counter_read_one, ret, NULL);
	if (r == -ENOENT)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r < 0)
		return ct_error_set(
		        err, r, "network", "cannot read the counters of \"%s\": %s", host_name, strerror(-r));

	return 0;
}

int net_port_counters(
        struct net_context *net, const char *host_name, struct net_counters *ret, struct ct_error *err)
{
	struct counter sent, received, refused;
	int r;

	r = get_counter(net, PORT_SENT, host_name, &sent, err);
	if (r < 0)
		return r;
	r = get_counter(net, PORT_RECEIVED, host_name, &received, err);
	if (r < 0)
		return r;
	r = get_counter(net, PORT_REFUSED, host_name, &refused, err);
	if (r < 0)
		return r;

	*ret = (struct net_counters){ .in_bytes = received.bytes,
		.in_packets = received.packets,
		.out_bytes = sent.bytes,
		.out_packets = sent.packets,
		.out_dropped = refused.packets };
	return 0;
}

struct row {
	char name[IFNAMSIZ];
	enum port_set set;
	struct counter counter;
};

struct rows {
	enum port_set set; /* being read */
	struct row *rows;
	size_t n, max;
};

static void rows_done(struct rows *rows)
{
	free(rows->rows);
}

static int read_rows(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *list[NFTA_SET_ELEM_LIST_MAX + 1], *attr;
	struct rows *rows = userdata;

	nl_parse_message(list, NFTA_SET_ELEM_LIST_MAX, nlh, sizeof(struct nfgenmsg));
	if (!list[NFTA_SET_ELEM_LIST_ELEMENTS])
		return 0;
	mnl_attr_for_each_nested(attr, list[NFTA_SET_ELEM_LIST_ELEMENTS])
	{
		struct row row = { .set = rows->set };
		const char *name = counter_read(attr, &row.counter);

		if (!name)
			continue;
		if (rows->n == rows->max) {
			size_t max = rows->max ? 2 * rows->max : 256;
			struct row *grown = reallocarray(rows->rows, max, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			rows->rows = grown;
			rows->max = max;
		}
		memcpy(row.name, name, sizeof(row.name) - 1);
		rows->rows[rows->n++] = row;
	}

	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void add_row(struct net_counters *counters, const struct row *row)
{
	if (row->set == PORT_SENT) {
		counters->out_bytes = row->counter.bytes;
		counters->out_packets = row->counter.packets;
	} else if (row->set == PORT_RECEIVED) {
		counters->in_bytes = row->counter.bytes;
		counters->in_packets = row->counter.packets;
	} else {
		counters->out_dropped = row->counter.packets;
	}
}

int net_counters_dump(struct net_context *net,
        int (*each)(const char *host_name, const struct net_counters *counters, void *userdata),
        void *userdata, struct ct_error *err)
{
	CLEANUP(rows_done) struct rows rows = { 0 };
	struct nft_place p = guard_place(net);
	int r;

	for (rows.set = PORT_SENT; rows.set <= PORT_REFUSED; rows.set++) {
		nl_batch_reset(&net->batch);
		nft_message(&p, "read the counters", NFT_MSG_GETSETELEM, NLM_F_DUMP);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_TABLE, p.table);
		nl_put_str(&net->batch, NFTA_SET_ELEM_LIST_SET, port_sets[rows.set].name);
		r = nl_query(&net->nft, &net->batch, read_rows, &rows, err);
		if (r < 0)
			return r;
	}

	if (rows.n > 0)
		qsort(rows.rows, rows.n, sizeof(*rows.rows), by_name);
	for (size_t i = 0; i < rows.n;) {
		struct net_counters counters = { 0 };
		const char *name = rows.rows[i].name;
		unsigned missing = 1U << PORT_SENT | 1U << PORT_RECEIVED | 1U << PORT_REFUSED;

		for (; i < rows.n && strcmp(rows.rows[i].name, name) == 0; i++) {
			add_row(&counters, &rows.rows[i]);
			missing &= ~(1U << rows.rows[i].set);
		}
		if (missing) /* to go on from zero would count all of it again */
			continue;
		r = each(name, &counters, userdata);
		if (r != 0)
			return r;
	}

	return 0;
}
