/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named networks, and what an interface is connected to.
 *
 * A named network has a mode, ranges from which its containers get addresses, and what else is the same for
 * all of them: gateway, resolvers, link. It is one row of the database, whose config is what people gave
 * (checked by one table, as a container's), and one value here.
 */
#pragma once

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "base/error.h"
#include "ctd/config-net.h"

struct manager;
struct container;

#define NETWORK_RANGES_MAX    16
#define NETWORK_RESOLVERS_MAX 3

struct network {
	char name[64];
	uint32_t number;
	enum config_net_mode mode;
	struct ip_addr ranges[NETWORK_RANGES_MAX];
	unsigned n_ranges;
	struct ip_addr gateway[2];
	struct ip_addr resolvers[NETWORK_RESOLVERS_MAX];
	unsigned n_resolvers;
	char bridge[IFNAMSIZ], uplink[IFNAMSIZ];
	uint16_t vlan;
	uint32_t mtu;
	bool isolated;
	bool cut;        /* nothing in or out of its interfaces */
	char tenant[64]; /* only for containers of this one; "": for all */
	char *config;    /* as it is stored */
	uint64_t created_usec;
	UT_hash_handle hh;
};

/* Reads and checks. name is that of the network. -EINVAL with the field. */
int network_read(const json_t *config, const char *name, struct network *ret, struct ct_error *err);
void network_free(struct network *network);

/* All of the database; before the host's filters are made. */
int networks_load(struct manager *m, struct ct_error *err);
void networks_free(struct manager *m);
/* NULL: there is none. */
struct network *network_by_name(const struct manager *m, const char *name);
/* How many containers have an interface on it; the name of one of them in *ret_one (may be NULL). */
unsigned network_count_users(const struct manager *m, const struct network *network, const char **ret_one);

/* What an interface is connected to: its own keys, or those of its network. Strings are borrowed. */
struct net_attach {
	enum config_net_mode mode; /* never CONFIG_NET_NAMED */
	const struct network *network;
	struct ip_addr gateway[2];
	const char *bridge, *uplink;
	uint16_t vlan;
	uint32_t mtu;
	bool isolated;
	const uint16_t *trunk; /* n_trunk tags, in place of vlan; n_trunk 0: none */
	unsigned n_trunk;
	char scope[96]; /* where its addresses must be unique; "": among the routes of the host; of a trunk,
	                   of its first VLAN */
};
/* What a trunk is connected to by one of its VLANs. */
struct net_attach network_attach_vlan(const struct net_attach *trunk, unsigned i);
/* -ENOENT: there is no such network; -EINVAL: the interface and its network do not agree. */
int network_attach(
        const struct manager *m, const struct config_net *net, struct net_attach *ret, struct ct_error *err);

/* The host's tables as ctd.conf and the networks want them, and the speed of the uplink. */
int network_host_apply(struct manager *m, struct ct_error *err);

/* ---- network-segment.c: bridges of ours, made and removed with their use ---- */

/* The name of the bridge that the interface is a port of. -ENODEV: its uplink is not there. */
int segment_name(const struct manager *m, const struct net_attach *attach, char ret[static IFNAMSIZ],
        struct ct_error *err);
/* The link by which what leaves a segment leaves the host, and where a part can be guaranteed; "": there is
 * none, or it is not known. */
const char *segment_uplink(const struct net_attach *attach);
/* The same as segment_name, and it is there. */
int segment_up(
        struct manager *m, const struct net_attach *attach, char ret[static IFNAMSIZ], struct ct_error *err);
/* Soon, bridges that have no port any more go. */
void segments_sweep_later(struct manager *m);
/* At once, for fsck: how many are left although nobody has a port on them, or a negative errno. */
int segments_sweep(struct manager *m, struct ct_error *err);
void segments_free(struct manager *m);

/* ---- network-watch.c: the filter tables stay ---- */

/* From now on, tables that somebody deletes are made again. */
int network_watch(struct manager *m, struct ct_error *err);
void network_watch_free(struct manager *m);

/* ---- network-uplink.c: what lies on the uplink follows it ---- */

/* From now on. */
int network_uplink_watch(struct manager *m, struct ct_error *err);
void network_uplink_free(struct manager *m);

/* ---- network-announce.c: where addresses are is said more than once ---- */

/* The ports of one that runs, or is about to, have just been announced. */
void network_announce_again(struct container *c);
void network_announce_free(struct manager *m);

/* ---- network-hosts.c: RUNTIME/hosts ---- */

/* Soon the file is written anew. */
void network_hosts_later(struct manager *m);
void network_hosts_free(struct manager *m);
/* Whether it is an address that has a name, and not a block. */
bool network_has_name(const struct ip_addr *a);

/* ---- network-names.c: what containers know of each other ---- */

/* The names and addresses may be others: all that run are told, some at once and some soon. */
void network_names_tell(struct manager *m);
/* One that is being started. root_fd: as of guest_apply. A failure is logged. */
void network_names_begin(struct container *c, int root_fd);
void network_names_free(struct manager *m);
