/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the rates of a port had no room for.
 *
 * Towards the container the queue at the root of its host side counts it, with what queues below it drop.
 * Out of it each place that the port has at the uplink, or on the detour of a segment, has a queue of its own
 * (tc-fq_codel(8)). Where the kernel has none of that kind it makes a plain one, which it does not show; then
 * the place's class counts.
 *
 * One queue is asked for at a time, however many the host has: a dump would be of all of them. The kernel
 * answers such a request as an echo (NLM_F_ECHO), and not at all of a queue that it does not show, so the
 * acknowledgement is asked for as well. Its numbers have 32 bits and begin at zero when a rate is set anew.
 */
#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netns/link.h"
#include "netns/shape.h"

struct drops {
	uint64_t sum;
	bool any;
};

static int read_drops(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *attr[TCA_MAX + 1], *stats[TCA_STATS_MAX + 1];
	struct gnet_stats_queue queue;
	struct drops *drops = userdata;

	if (nlh->nlmsg_type != RTM_NEWQDISC && nlh->nlmsg_type != RTM_NEWTCLASS)
		return 0;
	nl_parse_message(attr, TCA_MAX, nlh, sizeof(struct tcmsg));
	if (!attr[TCA_STATS2])
		return 0;
	nl_parse_nested(stats, TCA_STATS_MAX, attr[TCA_STATS2]);
	if (!stats[TCA_STATS_QUEUE] || mnl_attr_get_payload_len(stats[TCA_STATS_QUEUE]) < sizeof(queue))
		return 0;
	memcpy(&queue, mnl_attr_get_payload(stats[TCA_STATS_QUEUE]), sizeof(queue));
	drops->sum += queue.drops;
	drops->any = true;
	return 0;
}

/* What is not there has dropped nothing; but a link that is not found, or a queue that is not shown, is an
 * error. */
static int ask(struct net_context *net, uint16_t type, const struct tcmsg *header, struct drops *drops)
{
	int r;

	drops->any = false;
	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "read what a rate dropped", type, NLM_F_ECHO | NLM_F_ACK, header,
	        sizeof(*header));
	r = nl_query(&net->route, &net->batch, read_drops, drops, NULL);
	return r == -ENOENT ? 0 : r;
}

static int ask_port(struct net_context *net, int index, struct drops *drops)
{
	const struct tcmsg root = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT };
	int r = ask(net, RTM_GETQDISC, &root, drops);

	return r < 0 || drops->any ? r : -ENODEV;
}

static int ask_place(struct net_context *net, int index, uint32_t place, struct drops *drops)
{
	const struct tcmsg queue = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = place },
	                   class = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_handle = place };
	int r = ask(net, RTM_GETQDISC, &queue, drops);

	return (r < 0 && r != -EINVAL) || drops->any ? r : ask(net, RTM_GETTCLASS, &class, drops);
}

/* A class of traffic without a rate has no place, and the port has none if only classes have rates. */
static int ask_places(
        struct net_context *net, const char *host_name, struct drops *drops, struct ct_error *err)
{
	struct shape_places places;
	bool any = false;
	int r = shape_find(net, host_name, &places, err);

	for (size_t i = 0; r >= 0 && i < places.links.n; i++)
		for (size_t k = 0; r >= 0 && k < places.n_handles; k++) {
			r = ask_place(net, places.links.indexes[i], places.handles[k], drops);
			any |= drops->any;
		}
	return r < 0 || any ? r : -ENODEV;
}

int net_port_rate_drops(struct net_context *net, const char *host_name, const struct net_rates *rates,
        uint64_t *ret, struct ct_error *err)
{
	const bool in = rates->in || shape_any_class(rates, false),
	           out = rates->out || shape_any_class(rates, true);
	struct drops drops = { 0 };
	struct link_info link;
	int r;

	*ret = 0;
	if (!in && !out)
		return 0;
	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r >= 0 && in)
		r = link.shaped ? ask_port(net, link.index, &drops) : -ENODEV;
	if (r >= 0 && out)
		r = ask_places(net, host_name, &drops, err);
	if (r < 0 && err && !err->code)
		return ct_error_set(
		        err, r, "network", "cannot read the queues of \"%s\": %s", host_name, strerror(-r));
	*ret = drops.sum;
	return r < 0 ? r : 1;
}
