/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watching our tables. Debian's nftables.service, for one, begins with "flush ruleset", which takes the
 * tables of everybody. The kernel can protect a table from that only from Linux 6.9 on and only while its
 * owner lives, so we listen for it instead and put things right at once.
 *
 * Every change of nf_tables is told to who listens, our own too; what matters is one kind of message with our
 * table's name. If messages were lost because too many came, we look whether the tables are there.
 */
#include "netns/context.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

int net_watch_fd(struct net_context *net, struct ct_error *err)
{
	static const int group = NFNLGRP_NFTABLES;
	int r;

	if (net->watch.fd >= 0)
		return net->watch.fd;

	r = nl_open(NETLINK_NETFILTER, &net->watch);
	if (r >= 0 &&
	        setsockopt(net->watch.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		r = -errno;
	if (r < 0) {
		nl_close(&net->watch);
		return ct_error_set(err, r, "network", "cannot watch the filter tables: %s", strerror(-r));
	}

	return net->watch.fd;
}

static bool deletes_ours(const struct net_context *net, const struct nlmsghdr *nlh)
{
	const struct nlattr *attr[NFTA_TABLE_MAX + 1];

	if (nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE))
		return false;
	nl_parse_message(attr, NFTA_TABLE_MAX, nlh, sizeof(struct nfgenmsg));
	return attr[NFTA_TABLE_NAME] && strcmp(mnl_attr_get_str(attr[NFTA_TABLE_NAME]), net->table) == 0;
}

static int ignore(const struct nlmsghdr *nlh, void *userdata)
{
	return 0;
}

/* 1 if one of the two is missing. */
static int is_missing(struct net_context *net, struct ct_error *err)
{
	static const uint8_t families[] = { NFPROTO_NETDEV, NFPROTO_INET };

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct nft_place p = { &net->batch, families[i], net->table };
		int r;

		nl_batch_reset(&net->batch);
		nft_message(&p, "look for the filter table", NFT_MSG_GETTABLE, 0);
		nl_put_str(&net->batch, NFTA_TABLE_NAME, p.table);
		r = nl_query(&net->nft, &net->batch, ignore, NULL, NULL);
		if (r == -ENOENT)
			return 1;
		if (r < 0)
			return ct_error_set(
			        err, r, "network", "cannot look for the filter tables: %s", strerror(-r));
	}

	return 0;
}

int net_watch_read(struct net_context *net, struct ct_error *err)
{
	uint8_t buffer[32 * 1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool lost = false, deleted = false;
	int r;

	r = net_watch_fd(net, err);
	if (r < 0)
		return r;

	for (;;) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)buffer;
		ssize_t n = recv(net->watch.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == ENOBUFS) {
			lost = true;
			continue;
		}
		if (n < 0)
			return ct_error_set(err, -errno, "network", "cannot watch the filter tables: %s",
			        strerror(errno));
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			deleted = deleted || deletes_ours(net, nlh);
	}

	/* deleted and made again since, by us: no news any more */
	return lost || deleted ? is_missing(net, err) : 0;
}
