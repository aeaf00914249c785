/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this host can do. Kernel parts are tried, not looked up by version: a transaction of nf_tables that
 * holds what we need and is given up on purpose (it ends with a message that must fail, so the kernel undoes
 * all of it) and links made in a namespace of the probe's own. */
#include "netns/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "netns/link.h"

/* A throw-away network namespace; the caller comes back at once. */
static int scratch_namespace(struct net_context *net, int *ret_fd)
{
	_cleanup_close_ int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (setns(net->home_fd, CLONE_NEWNET) < 0)
		abort(); /* style-ok: as in context.c */
	if (fd < 0)
		return -errno;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Whether a link of that kind can be made; in the namespace of the socket. */
static bool try_link(struct nl_sock *sock, struct nl_batch *b, const char *kind, int below)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	size_t info, data;

	nl_batch_reset(b);
	nl_message(b, "try a link", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	if (below)
		nl_put_u32(b, IFLA_LINK, (uint32_t)below);
	info = nl_nest(b, IFLA_LINKINFO);
	nl_put_str(b, IFLA_INFO_KIND, kind);
	data = nl_nest(b, IFLA_INFO_DATA);
	if (below)
		nl_put_u16(b, IFLA_VLAN_ID, 2);
	nl_nest_end(b, data);
	nl_nest_end(b, info);
	return nl_transact(sock, b, NULL, NULL) == 0;
}

static void probe_links(struct net_context *net, struct net_probe *ret)
{
	_cleanup_nl_sock_ struct nl_sock inside = NL_SOCK_INIT;
	_cleanup_close_ int fd = -1;
	struct link_info link;

	if (scratch_namespace(net, &fd) < 0 || net_open_inside(net, fd, &inside, NULL) < 0)
		return;
	ret->veth = try_link(&inside, &net->batch, "veth", 0);
	if (ret->veth && link_get(&inside, &net->batch, "veth0", 0, &link, NULL) == 0)
		ret->vlan = try_link(&inside, &net->batch, "vlan", link.index);
}

/* Carried out as far as fill's messages, then undone: deleting a table that does not exist ends every such
 * transaction. */
static bool try_nft(struct net_context *net, uint8_t family, void (*fill)(const struct nft_place *p))
{
	struct nft_place p = { &net->batch, family, "ctd-probe" };
	struct ct_error err = { 0 };

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	nft_table_add(&p);
	fill(&p);
	p.table = "ctd-probe-none";
	nft_message(&p, "undo", NFT_MSG_DELTABLE, 0);
	nl_put_str(&net->batch, NFTA_TABLE_NAME, p.table);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, "undo", &err) == -ENOENT &&
	       strncmp(err.text, "cannot undo", 11) == 0;
}

static void fill_set(const struct nft_place *p)
{
	nft_set_add(p, &(struct nft_set){ "s", 1, 0, 4, 0 });
}

static void fill_netdev(const struct nft_place *p)
{
	nft_chain_add(p, "in",
	        &(struct nft_hook){
	                .number = NF_NETDEV_INGRESS, .device = "lo", .type = "filter", .policy = NF_DROP });
	nft_chain_add(p, "out",
	        &(struct nft_hook){
	                .number = NF_NETDEV_EGRESS, .device = "lo", .type = "filter", .policy = NF_ACCEPT });
}

static void fill_masquerade(const struct nft_place *p)
{
	struct nft_rule rule;

	nft_chain_add(p, "nat",
	        &(struct nft_hook){ .number = NF_INET_POST_ROUTING,
	                .priority = 100,
	                .type = "nat",
	                .policy = NF_ACCEPT });
	rule = nft_rule_begin(p, "nat");
	nft_masquerade(p->b);
	nft_rule_end(p, &rule);
}

static int probe_uplink(struct net_context *net, struct net_probe *ret, struct ct_error *err)
{
	struct link_info link;
	int index, r;

	r = route_uplink(&net->route, &net->batch, AF_INET, &index);
	if (r == 0 && index == 0)
		r = route_uplink(&net->route, &net->batch, AF_INET6, &index);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
	if (index == 0 || !if_indextoname((unsigned)index, ret->uplink))
		return 0;

	r = link_get(&net->route, &net->batch, NULL, index, &link, err);
	ret->uplink_mtu = link.mtu;
	return r == -ENODEV ? 0 : r;
}

int net_probe(struct net_context *net, struct net_probe *ret, struct ct_error *err)
{
	uint64_t value;

	*ret = (struct net_probe){ 0 };
	probe_links(net, ret);
	ret->nft = try_nft(net, NFPROTO_INET, fill_set);
	ret->nft_netdev = try_nft(net, NFPROTO_NETDEV, fill_netdev);
	ret->nft_masquerade = try_nft(net, NFPROTO_INET, fill_masquerade);
	ret->ip_forward = read_u64_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", &value) == 0 && value != 0;
	ret->ipv6 = access("/proc/sys/net/ipv6", F_OK) == 0;
	return probe_uplink(net, ret, err);
}
