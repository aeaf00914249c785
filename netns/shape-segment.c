/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rate out of a port of a bridge.
 *
 * Its frames leave by whatever port of the bridge the addressee is at, so there is no one place at which they
 * leave. What the guard has passed is therefore sent through a link of kind ifb, one for all ports, where a
 * hierarchy (tc-htb(8)) has a class for each port that has a rate, and from there goes on as if it had just
 * come in: the kernel does not show it to the guard twice. A second chain on the port's ingress hook, behind
 * the guard's, sets the priority that chooses the class and sends the frame on the detour (the statement fwd
 * marks it for ifb since Linux 5.7). Ports without a rate have no such chain, and it costs them nothing.
 *
 * What leaves the host by the uplink of the segment meets a hierarchy there as well, if there is one of ours:
 * its priority chooses the class there, which is a place among those of all that leave by it. There a part
 * can be guaranteed; what the port sends in all is measured before, on the detour.
 *
 * If somebody deletes the link, the frames go nowhere: a port that is to be slowed never passes unslowed.
 */
#include "netns/shape.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netns/link.h"
#include "netns/queue.h"
#include "netns/sets.h"

#define BEHIND_GUARD 10
#define CHAIN_MAX    (IFNAMSIZ + 4)

static void link_name(const struct net_context *net, char ret[static IFNAMSIZ])
{
	(void)snprintf(ret, IFNAMSIZ, "i%s", net->tag);
}

static void chain_name(const char *host_name, char ret[static CHAIN_MAX])
{
	(void)snprintf(ret, CHAIN_MAX, "%s-by", host_name);
}

static int find_link(struct net_context *net, struct link_info *ret, struct ct_error *err)
{
	char name[IFNAMSIZ];

	link_name(net, name);
	return link_get(&net->route, &net->batch, name, 0, ret, err);
}

int segment_index(struct net_context *net, int *ret, struct ct_error *err)
{
	struct link_info link = { 0 };
	int r = find_link(net, &link, err);

	*ret = link.index;
	return r == -ENODEV ? 0 : r;
}

int segment_check(struct net_context *net, struct ct_error *err)
{
	struct link_info link;
	char name[IFNAMSIZ];
	int r;

	r = find_link(net, &link, err);
	if (r != -ENODEV)
		return r;
	link_name(net, name);
	nl_batch_reset(&net->batch);
	link_add_detour(&net->batch, name);
	link_make_link_local(&net->batch, name, 0, false);
	r = nl_transact(&net->route, &net->batch, name, err);
	if (r == -EOPNOTSUPP)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, r,
		        "a rate out of an interface of a bridge, VLAN or private network needs links of kind ifb, which this kernel does not have: load the module ifb, or leave rate_out out");
	return r;
}

int segment_remove(struct net_context *net, struct ct_error *err)
{
	char name[IFNAMSIZ];

	link_name(net, name);
	nl_batch_reset(&net->batch);
	link_delete(&net->batch, name);
	return nl_transact(&net->route, &net->batch, name, err);
}

static void put_detour(const struct nft_place *p, const char *host_name, uint32_t class, int link)
{
	char chain[CHAIN_MAX];

	chain_name(host_name, chain);
	nft_chain_add(p, chain,
	        &(struct nft_hook){ .number = NF_NETDEV_INGRESS,
	                .priority = BEHIND_GUARD,
	                .device = host_name,
	                .type = "filter",
	                .policy = NF_DROP });
	nft_chain_flush(p, chain);
	RULE(p, chain)
	{
		nft_immediate(p->b, R(0), &class, sizeof(class));
		nft_meta_set(p->b, NFT_META_PRIORITY, R(0));
		nft_immediate(p->b, R(0), &link, sizeof(link));
		nft_forward(p->b, R(0));
	}
}

/* From all uplinks but this one. */
static int leave_uplinks(struct net_context *net, uint32_t class, int except, struct ct_error *err)
{
	struct shape_links links;
	int r = shape_links(net, &links, err);

	if (r < 0)
		return r;
	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < links.n; i++)
		if (links.indexes[i] != except)
			queue_remove_class(&net->batch, links.indexes[i], class);
	return nl_transact(&net->route, &net->batch, "uplink", err);
}

/* What the detour lets through must not wait once more because a tag makes its frames longer. */
static uint64_t with_room(uint64_t rate)
{
	return rate > QUEUE_RATE_MAX / 2 ? QUEUE_RATE_MAX : rate + rate / 8;
}

/* What is in no class leaves before all that is in one. So what has no rate has a place too, and all of it is
 * borrowed; where the uplink has a rate it is there already. */
static int place_rest(struct net_context *net, int index, struct ct_error *err)
{
	struct nl_batch *b = &net->batch;
	int r;

	nl_batch_reset(b);
	queue_put_class(b, index, UPLINK_ALL, UPLINK_REST, QUEUE_RATE_MIN, QUEUE_RATE_MAX, 0, NLM_F_EXCL);
	r = nl_transact(&net->route, b, "uplink", NULL);
	if (r == -EEXIST)
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "network",
		        "cannot give what has no rate its place at the uplink: %s", strerror(-r));

	nl_batch_reset(b);
	queue_put_fair(b, index, UPLINK_REST, QUEUE_RATE_MAX);
	return nl_transact(&net->route, b, "uplink", err);
}

/* Ours, with all that is needed for a guarantee there; made if need be. Positive: it is there. */
static int share_link(struct net_context *net, int index, const struct net_rates *rates, struct ct_error *err)
{
	int r = shape_is_ours(net, index, err);

	if (r < 0 || (r == 0 && !rates->out_guaranteed))
		return r;
	r = shape_check_guarantee(net, index, rates, err);
	if (r < 0)
		return r;
	r = shape_set_up_link(net, index, err);
	if (r >= 0 && rates->out_guaranteed)
		r = place_rest(net, index, err);
	return r < 0 ? r : 1;
}

/* A place at the uplink. Without anything guaranteed it is wanted only where others have theirs: else its
 * frames would come before all of these. */
static int share_uplink(
        struct net_context *net, uint32_t class, const struct net_rates *rates, struct ct_error *err)
{
	struct link_info uplink = { 0 };
	int r;

	if (*rates->uplink) {
		r = link_get(&net->route, &net->batch, rates->uplink, 0, &uplink, err);
		if (r == -ENODEV && rates->out_guaranteed)
			return ct_error_kind_set(err, CT_ERROR_REFUSED, r,
			        "there is no link \"%s\" of which to guarantee a part", rates->uplink);
		if (r < 0 && r != -ENODEV)
			return r;
	}
	if (uplink.index) {
		r = share_link(net, uplink.index, rates, err);
		if (r < 0)
			return r;
		if (r == 0)
			uplink.index = 0;
	}
	r = leave_uplinks(net, class, uplink.index, err);
	if (r < 0 || !uplink.index)
		return r;

	shape_link_seen(net, uplink.index);
	nl_batch_reset(&net->batch);
	queue_put_class(&net->batch, uplink.index, UPLINK_ALL, class,
	        rates->out_guaranteed ? rates->out_guaranteed : QUEUE_RATE_MIN, with_room(rates->out),
	        rates->burst, NLM_F_REPLACE);
	queue_put_fair(&net->batch, uplink.index, class, rates->out);
	return nl_transact(&net->route, &net->batch, rates->uplink, err);
}

int segment_rate(struct net_context *net, const char *host_name, uint32_t class,
        const struct net_rates *rates, struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	struct nl_batch *b = &net->batch;
	struct link_info link;
	int r;

	r = share_uplink(net, class, rates, err);
	if (r < 0)
		return r;
	r = find_link(net, &link, err);
	if (r < 0)
		return r == -ENODEV ? ct_error_set(err, r, "network", "the link for rates has gone") : r;

	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = link.index, .up = true });
	queue_put_root(b, link.index, SEGMENT_HANDLE, SEGMENT_NONE, true);
	queue_put_class(
	        b, link.index, SEGMENT_HANDLE, class, rates->out, rates->out, rates->burst, NLM_F_REPLACE);
	queue_put_fair(b, link.index, class, rates->out);
	r = nl_transact(&net->route, b, host_name, err);
	if (r < 0)
		return r;

	nl_batch_reset(b);
	nft_begin(b);
	put_detour(&p, host_name, class, link.index);
	nft_end(b);
	return nl_transact(&net->nft, b, host_name, err);
}

/* The chain may have gone with the port's link. */
static int remove_detour(struct net_context *net, const char *host_name, struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	char chain[CHAIN_MAX];
	int r;

	chain_name(host_name, chain);
	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	nft_chain_delete(&p, chain);
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, host_name, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(err, r, "network", "cannot take the rate out of \"%s\" away: %s",
		        host_name, strerror(-r));
	return 0;
}

int segment_release(
        struct net_context *net, const char *host_name, uint32_t class, bool last, struct ct_error *err)
{
	struct link_info link;
	char name[IFNAMSIZ];
	int r;

	r = remove_detour(net, host_name, err);
	if (r < 0)
		return r;
	r = leave_uplinks(net, class, 0, err);
	if (r < 0)
		return r;
	r = find_link(net, &link, err);
	if (r < 0)
		return r == -ENODEV ? 0 : r;

	link_name(net, name);
	nl_batch_reset(&net->batch);
	if (last)
		link_delete(&net->batch, name);
	else
		queue_remove_class(&net->batch, link.index, class);
	return nl_transact(&net->route, &net->batch, host_name, err);
}
