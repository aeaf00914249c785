/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The links on which rates out of the host are kept, and the host answers for addresses.
 *
 * They are those that the default routes lead to. But a route may be lost, or lead elsewhere from now on: the
 * places of ports stay on the link, and so does what they have counted. To forget them would be to take them
 * for new when the route is back, and to leave a port's place to the next that gets its number. So links are
 * remembered as long as they are there. Those of before this context are found once, by their root and by the
 * addresses that somebody of ours has the host answer for there (NDA_PROTOCOL, Linux 5.2): to look for what
 * is not on a link does no harm, so those of another instance do none.
 */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "netns/shape.h"

void shape_link_seen(struct net_context *net, int index)
{
	struct shape_links *links = &net->shaped;

	for (size_t i = 0; i < links->n; i++)
		if (links->indexes[i] == index)
			return;
	if (links->n == SHAPE_LINKS)
		memmove(links->indexes, links->indexes + 1, --links->n * sizeof(*links->indexes));
	links->indexes[links->n++] = index;
}

/* The detour of a segment has the same handle. */
static bool is_detour(const struct nlmsghdr *nlh)
{
	const struct nlattr *attr[TCA_MAX + 1], *options[TCA_HTB_MAX + 1];
	struct tc_htb_glob glob;

	nl_parse_message(attr, TCA_MAX, nlh, sizeof(struct tcmsg));
	if (!attr[TCA_OPTIONS])
		return false;
	nl_parse_nested(options, TCA_HTB_MAX, attr[TCA_OPTIONS]);
	if (!options[TCA_HTB_INIT] || mnl_attr_get_payload_len(options[TCA_HTB_INIT]) < sizeof(glob))
		return false;
	memcpy(&glob, mnl_attr_get_payload(options[TCA_HTB_INIT]), sizeof(glob));
	return glob.defcls == SEGMENT_NONE;
}

static bool is_root(const struct nlmsghdr *nlh)
{
	const struct tcmsg *header = mnl_nlmsg_get_payload(nlh);

	return nlh->nlmsg_type == RTM_NEWQDISC && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*header) &&
	       header->tcm_parent == TC_H_ROOT && header->tcm_handle == UPLINK_HANDLE && !is_detour(nlh);
}

static int read_root(const struct nlmsghdr *nlh, void *userdata)
{
	const struct tcmsg *header = mnl_nlmsg_get_payload(nlh);

	if (is_root(nlh))
		shape_link_seen(userdata, header->tcm_ifindex);
	return 0;
}

static int read_is_root(const struct nlmsghdr *nlh, void *userdata)
{
	*(bool *)userdata |= is_root(nlh);
	return 0;
}

int shape_is_ours(struct net_context *net, int index, struct ct_error *err)
{
	const struct tcmsg root = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT };
	bool ours = false;
	int r;

	/* the answer is an echo, and there is none of what the kernel does not show: see shape-count.c */
	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "look at the root of a link", RTM_GETQDISC, NLM_F_ECHO | NLM_F_ACK, &root,
	        sizeof(root));
	r = nl_query(&net->route, &net->batch, read_is_root, &ours, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(err, r, "network", "cannot read the queue of a link: %s", strerror(-r));
	return ours;
}

static int find_roots(struct net_context *net, struct ct_error *err)
{
	const struct tcmsg all = { .tcm_family = AF_UNSPEC };

	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "find rates", RTM_GETQDISC, NLM_F_DUMP, &all, sizeof(all));
	return nl_query(&net->route, &net->batch, read_root, net, err);
}

static int read_answer(const struct nlmsghdr *nlh, void *userdata)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr[NDA_MAX + 1];

	if (nlh->nlmsg_type != RTM_NEWNEIGH || mnl_nlmsg_get_payload_len(nlh) < sizeof(*header) ||
	        !(header->ndm_flags & NTF_PROXY))
		return 0;
	nl_parse_message(attr, NDA_MAX, nlh, sizeof(*header));
	if (attr[NDA_PROTOCOL] && mnl_attr_get_u8(attr[NDA_PROTOCOL]) == NET_ROUTE_PROTOCOL &&
	        header->ndm_ifindex > 0)
		shape_link_seen(userdata, header->ndm_ifindex);
	return 0;
}

static int find_answers(struct net_context *net, struct ct_error *err)
{
	const struct ndmsg all = { .ndm_family = AF_UNSPEC, .ndm_flags = NTF_PROXY };

	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "find addresses that are answered for", RTM_GETNEIGH, NLM_F_DUMP, &all,
	        sizeof(all));
	return nl_query(&net->route, &net->batch, read_answer, net, err);
}

int shape_links(struct net_context *net, struct shape_links *ret, struct ct_error *err)
{
	struct shape_links *links = &net->shaped;
	char name[IFNAMSIZ];
	size_t n = 0;
	int r;

	if (!net->shaped_known) {
		r = find_roots(net, err);
		if (r >= 0)
			r = find_answers(net, err);
		if (r < 0)
			return r;
		net->shaped_known = true;
	}
	for (size_t i = 0; i < links->n; i++)
		if (if_indextoname((unsigned)links->indexes[i], name))
			links->indexes[n++] = links->indexes[i];
	links->n = n;
	*ret = *links;
	return 0;
}
