/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of netns/ share: the context and the names of what lies in the filter tables. */
#pragma once

#include "netns/net.h"
#include "netns/nft.h"
#include "netns/nl.h"

#define NET_TABLE_LEN (sizeof("ctd-") + NET_TAG_LEN)

#define SHAPE_LINKS 64 /* uplinks of segments are among them */
struct shape_links {
	int indexes[SHAPE_LINKS];
	size_t n;
};

struct net_context {
	char tag[NET_TAG_LEN + 1];
	char prefix[NET_TAG_LEN + 2]; /* v<tag>: of every link that is ours */
	char table[NET_TABLE_LEN];
	int home_fd; /* the network namespace of the host */
	struct nl_sock route, nft;
	struct nl_sock watch; /* opened when first asked for */
	struct nl_batch batch;
	/* ports that were released while their link was still there: from Linux 6.10 their chains outlive it
	 */
	char (*lingering)[IFNAMSIZ];
	size_t n_lingering, max_lingering;
	struct shape_links shaped; /* shape-links.c; known: those of before this context are in it */
	bool shaped_known;
	int uplinks[2]; /* of IPv4 and IPv6, when last looked for; changed: net_uplinks has not told of it yet
	                 */
	bool uplinks_changed;
	bool uplinks_shared; /* another instance says what one of them has, when last looked for */
};

static inline size_t net_prefix_len(const struct net_context *net)
{
	return NET_TAG_LEN + 1;
}

/* The host side of every port has this address, on every host: a guest's idea of its gateway stays true when
 * it is moved. */
extern const uint8_t net_gateway_mac[6];

/* Enters the other namespace only to open a socket there. */
int net_open_inside(struct net_context *net, int netns_fd, struct nl_sock *ret, struct ct_error *err);

/* The interface identifier that IPv6 makes of a MAC, as a link-local address. */
void net_link_local(struct ip_addr *ret, const uint8_t mac[static 6]);
