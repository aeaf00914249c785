/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several instances of ctd may run on one host. Each has filter tables of its own, and links, and sees the
 * containers of no other. What they have in common is what the host has once: places at an uplink, ports that
 * lead inside. Who takes one of these looks into the tables of the others. A table outlives its daemon as its
 * containers do, so one that does not run just now is seen as well.
 */
#include "netns/instances.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/str.h"
#include "netns/sets.h"

struct search {
	const char *own;
	struct instances *found;
};

static int read_table(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *attr[NFTA_TABLE_MAX + 1];
	struct search *search = userdata;
	const char *name;

	nl_parse_message(attr, NFTA_TABLE_MAX, nlh, sizeof(struct nfgenmsg));
	if (!attr[NFTA_TABLE_NAME])
		return 0;
	name = mnl_attr_get_str(attr[NFTA_TABLE_NAME]);
	if (!str_has_prefix(name, "ctd-") || strlen(name) != NET_TABLE_LEN - 1 || str_eq(name, search->own))
		return 0;
	if (search->found->n == INSTANCES_MAX)
		return -E2BIG;

	memcpy(search->found->tables[search->found->n++], name, NET_TABLE_LEN);
	return 0;
}

int instances_find_others(struct net_context *net, struct instances *ret, struct ct_error *err)
{
	struct search search = { .own = net->table, .found = ret };
	struct nft_place p = inet_place(net);
	int r;

	ret->n = 0;
	nl_batch_reset(&net->batch);
	nft_message(&p, "list filter tables", NFT_MSG_GETTABLE, NLM_F_DUMP);
	r = nl_query(&net->nft, &net->batch, read_table, &search, NULL);
	return r < 0 ? ct_error_set(
	                       err, r, "network", "cannot look for other instances of ctd: %s", strerror(-r))
	             : 0;
}
