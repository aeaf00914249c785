/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's interfaces: from its configuration to addresses that it leases and ports that netns/ makes.
 */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "netns/net.h"

struct manager;
struct container;
struct pool_item;
struct config;
struct lease;

/* ---- leases: ports-lease.c ---- */

/* Leases all addresses and published ports of the configuration for the container, and addresses from a range
 * for interfaces without any (mode nat, named networks), within the caller's transaction. c->leases is set on
 * success; what it held of ranges before is kept where it still fits. -EEXIST names the owner; -ENOSPC: the
 * range is used up. */
int ports_lease(struct container *c, const struct config *config, struct ct_error *err);
/* The same of the addresses that another node has given it of ranges, and no others: CT_ERROR_REFUSED. They
 * are as ports_leased has them. */
int ports_lease_same(struct container *c, const json_t *addresses, struct ct_error *err);
/* What it has of ranges, a new value: [[INTERFACE, ADDRESS], ...]. NULL: out of memory. */
json_t *ports_leased(const struct container *c);
/* Fills c->leases from the database; called once for all containers at start. */
int ports_load(struct manager *m, struct ct_error *err);
/* The same for one, after a transaction that was rolled back. */
void ports_reload(struct container *c);
/* 1 if the database's leases are not those of the configuration, 0 if they are. */
int ports_check_leases(struct container *c, struct ct_error *err);

/* ---- what can be kept: ports-limits.c ---- */

struct config_net;
struct net_attach;

/* What the interface of the configuration asks can be kept where it is connected (-EINVAL with the field),
 * and it may be there. */
int ports_check_net(const struct manager *m, const struct config *config, const struct config_net *net,
        const struct net_attach *attach, struct ct_error *err);
/* How many connections of the interface the host tracks at a time: what was asked for, else what the node has
 * for all; 0: no limit. */
uint32_t ports_connections(
        const struct manager *m, const struct config_net *net, const struct net_attach *attach);
/* Of all interfaces, and what is guaranteed is there to be guaranteed. */
int ports_check_limits(const struct container *c, struct ct_error *err);
/* The last alone: what is guaranteed to all that run is no more than the uplink's rate. */
int ports_admit(const struct container *c, struct ct_error *err);

/* ---- published ports: ports-forward.c ---- */

/* For fsck: calls each for every forward that no running container has, and counts those that are missing of
 * running ones (at least one) by container. */
int ports_check_publish(struct manager *m, void (*stray)(const struct net_publish *publish, void *userdata),
        void (*missing)(struct container *c, void *userdata), void *userdata, struct ct_error *err);

/* ---- ports: ports.c ---- */

/* Makes what is missing, configures and brings up every interface, in the namespaces of item, then publishes.
 * On failure the caller drops the item, which takes the links, after ports_down. */
int ports_up(struct container *c, struct pool_item *item, struct ct_error *err);
/* Counts what went through, takes forwards, filters and routes out; the links go with the namespace. */
void ports_down(struct container *c);
/* Brings a running container to what its configuration says, whatever there is: links, filters, limits,
 * rates, addresses, forwards; what is too much goes. */
int ports_restore(struct container *c, struct ct_error *err);

/* The limits of a running container again, after a network of its has been cut or restored. */
int ports_limit(struct container *c, struct ct_error *err);
/* Its rates and limits again, on the host's side alone; what has lost its link is left out. */
int ports_shape(struct container *c, struct ct_error *err);

/* A change of a running container: what there is, taken before its configuration and leases change ... */
struct ports_snapshot;
int ports_snapshot(const struct container *c, struct ports_snapshot **ret, struct ct_error *err);
void ports_snapshot_free(struct ports_snapshot *snapshot);
DEFINE_CLEANUP(struct ports_snapshot *, ports_snapshot_free);
/* ... and the way from there to what they say now. */
int ports_change(struct container *c, const struct ports_snapshot *before, struct ct_error *err);

/* After recovery: forwards that lead to nobody go. */
int ports_recover(struct manager *m, struct ct_error *err);
/* What its speed is to be now, without what is guaranteed of it. */
void ports_rates(const struct container *c, const struct config_net *net, struct net_rates *ret);
/* The uplink has become another: rates and answers for addresses are brought there, and announced if it was
 * not there before. Nothing inside is touched. */
int ports_follow_uplink(struct container *c, bool announce, struct ct_error *err);
/* One that was held for another node is this node's: its addresses lead to it, and are announced. */
int ports_announce(struct container *c, struct ct_error *err);
/* As said before, for who has not heard it. */
int ports_announce_again(struct container *c, struct ct_error *err);
/* The name of the host side of an interface. */
void ports_host_name(const struct container *c, uint32_t slot, unsigned i, char ret[IFNAMSIZ]);

/* Tells ifupdown, systemd-networkd and NetworkManager inside, where they are, what was set up from outside.
 * root_fd: as of guest_apply. A failure is logged, and changes nothing of what is set up. */
void ports_tell_guest(const struct container *c, int root_fd, bool first_start);

/* The addresses of the resolvers that a container is to use: its own, its network's, the node's, the host's.
 * The number of them, at most max. */
unsigned ports_dns(const struct container *c, struct ip_addr *ret, unsigned max);
