/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queueing disciplines of ports and of the uplink. */
#pragma once

#include <linux/pkt_sched.h>

#include "netns/context.h"
#include "netns/sets.h"

/* Takes the port's class at the uplink away, and its element; the queue of the port goes with its link. */
int shape_release(struct net_context *net, const char *host_name, struct ct_error *err);

/* Where a port's rates out of the host are kept: the links, and on each of them the port's place and those of
 * its classes of traffic, which need not be there. None if it has no such rate. */
struct shape_places {
	struct shape_links links;
	uint32_t handles[1 + NET_CLASSES_MAX];
	size_t n_handles;
};
int shape_find(
        struct net_context *net, const char *host_name, struct shape_places *ret, struct ct_error *err);

/* shape-links.c: all links on which there are such places; those that a route leads to are among them once
 * they were seen. */
int shape_links(struct net_context *net, struct shape_links *ret, struct ct_error *err);
void shape_link_seen(struct net_context *net, int index);

/* Where the default routes of IPv4 and IPv6 lead now; 0: nowhere. That they came to lead elsewhere is
 * remembered until net_uplinks tells it: what is set on these links may not be on those of later. */
int shape_uplinks(struct net_context *net, int ret[2], struct ct_error *err);

/* Positive: the hierarchy at the link's root is ours; 0: it is not. */
int shape_is_ours(struct net_context *net, int index, struct ct_error *err);

/* Places at uplinks: shape-places.c. */
struct shape_place {
	uint32_t handle;       /* of a port; 0: none */
	size_t other_segments; /* of this instance's other ports, those of bridges */
};
/* others: they are counted as well. */
int place_find(struct net_context *net, const char *host_name, bool others, struct shape_place *ret,
        struct ct_error *err);
/* One that no port of any instance has: the port's own if it is of that kind, else it is given up. */
int place_take(
        struct net_context *net, const char *host_name, bool segment, uint32_t *ret, struct ct_error *err);
int place_forget(struct net_context *net, const char *host_name, struct ct_error *err);
uint32_t place_of_class(uint32_t place, unsigned i); /* that of a class of traffic, beside the port's */
bool place_is_segment(uint32_t place);

/* Who says how much all may send by a link. */
struct shape_rate {
	char link[IFNAMSIZ];
	char other[NET_TABLE_LEN]; /* another instance, by its tables; "": none */
	bool own;                  /* this one */
	bool alone;                /* there are no others */
};
int place_rate_of(struct net_context *net, int index, struct shape_rate *ret, struct ct_error *err);
int place_rate_say(struct net_context *net, const char *link, bool say, struct ct_error *err);
/* Positive: another instance keeps the link's rate, and these rates want nothing guaranteed of it; if they do
 * it is refused. */
int shape_check_guarantee(
        struct net_context *net, int index, const struct net_rates *rates, struct ct_error *err);

/* One way: a rate of any class of traffic. */
bool shape_any_class(const struct net_rates *rates, bool out);

/* The root of a link by which frames leave the host, and the class of all. If it is there already, that one
 * stays as it is; if it is another's, no class goes below it (-EEXIST). */
#define UPLINK_ALL (UPLINK_HANDLE | 1)
int shape_set_up_link(struct net_context *net, int index, struct ct_error *err);

/* Of ports of bridges: shape-segment.c. A class on a link of ours, and one of the same number where the frame
 * leaves the host: there is one priority to choose both, so both hierarchies have one handle. What is in no
 * class on our link has none with that number: by that its root is told from that of an uplink. */
#define SEGMENT_HANDLE UPLINK_HANDLE
#define SEGMENT_NONE   0xffffu

/* The link's index; 0: there is none. */
int segment_index(struct net_context *net, int *ret, struct ct_error *err);
/* The link is there, made if need be. Refused where the kernel has no such links. */
int segment_check(struct net_context *net, struct ct_error *err);
int segment_remove(struct net_context *net, struct ct_error *err);
/* All that the guard passes of the port goes through the class from now on. */
int segment_rate(struct net_context *net, const char *host_name, uint32_t class,
        const struct net_rates *rates, struct ct_error *err);
/* last: of all ports, so that the link can go. */
int segment_release(
        struct net_context *net, const char *host_name, uint32_t class, bool last, struct ct_error *err);
