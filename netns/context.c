/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The context: sockets of the host's network namespace, and the way into another one.
 *
 * A netlink socket belongs to the namespace in which it was opened, for good. So to configure a container
 * from outside we enter its namespace for one socket(2) and go back. ctd has one thread, so nothing else runs
 * meanwhile. If the way back fails (the kernel needs a little memory for it) there is no safe way to go on:
 * everything the process did next would hit the container's network, as root. Then it aborts; ctd may die at
 * any instant without harm to containers.
 */
#include "netns/context.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(struct net_context *, net_context_free);

const uint8_t net_gateway_mac[6] = { 0x02, 'c', 't', 'd', 0x00, 0x01 };

static bool tag_is_valid(const char *tag)
{
	size_t n = 0;

	for (; tag[n]; n++) {
		if (!(tag[n] >= 'a' && tag[n] <= 'z') && !(tag[n] >= '0' && tag[n] <= '9'))
			return false;
	}

	return n == NET_TAG_LEN;
}

int net_context_new(const char tag[static NET_TAG_LEN + 1], struct net_context **ret, struct ct_error *err)
{
	CLEANUP(net_context_freep) struct net_context *net = NULL;
	int r;

	if (!tag_is_valid(tag))
		return ct_error_field(
		        err, "tag", "the tag must be %d lower-case letters or digits", NET_TAG_LEN);

	net = calloc(1, sizeof(*net));
	if (!net)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	net->route = net->nft = net->watch = NL_SOCK_INIT;
	memcpy(net->tag, tag, NET_TAG_LEN);
	(void)snprintf(net->prefix, sizeof(net->prefix), "v%s", net->tag);
	(void)snprintf(net->table, sizeof(net->table), "ctd-%s", net->tag);

	net->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (net->home_fd < 0)
		return ct_error_set(
		        err, -errno, "network", "cannot open /proc/self/ns/net: %s", strerror(errno));

	r = nl_open(NETLINK_ROUTE, &net->route);
	if (r < 0)
		return ct_error_set(
		        err, r, "network", "cannot open a routing netlink socket: %s", strerror(-r));

	r = nl_open(NETLINK_NETFILTER, &net->nft);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot talk to nf_tables (is it in this kernel?): %s",
		        strerror(-r));

	*ret = TAKE_PTR(net);
	return 0;
}

void net_context_free(struct net_context *net)
{
	if (!net)
		return;
	nl_close(&net->route);
	nl_close(&net->nft);
	nl_close(&net->watch);
	nl_batch_done(&net->batch);
	cleanup_closep(&net->home_fd);
	free(net->lingering);
	free(net);
}

int net_open_inside(struct net_context *net, int netns_fd, struct nl_sock *ret, struct ct_error *err)
{
	int r;

	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return ct_error_set(err, -errno, "network",
		        "cannot enter the container's network namespace: %s", strerror(errno));

	r = nl_open(NETLINK_ROUTE, ret);
	if (setns(net->home_fd, CLONE_NEWNET) < 0)
		abort(); /* style-ok: in another network namespace there is no way on */
	if (r < 0)
		return ct_error_set(err, r, "network",
		        "cannot open a netlink socket in the container's network namespace: %s",
		        strerror(-r));

	return 0;
}
