/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shells made ahead: a slot (id range and link names), its user and network namespace, and the veth of eth0
 * whose host side drops everything.
 *
 * Making namespaces and links costs most of a start and has a long tail; the pool pays it when nobody waits.
 * Slots are leases: a slot is free, in the pool, or held by exactly one running container (the run row says
 * which). The pool is not recorded: what it held goes with ctd's death, because only its fds kept it alive.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "libct/ct.h"

struct manager;

struct pool_item {
	uint32_t slot; /* 0: none */
	struct ct_shell shell;
	int idmap_fd;  /* user namespace for the idmapped mounts of the layers */
	bool has_link; /* the veth of index 0 is made */
	char host_name[IFNAMSIZ];
};
#define POOL_ITEM_INIT ((struct pool_item){ .shell = { .userns_fd = -1, .netns_fd = -1 }, .idmap_fd = -1 })

#define POOL_MAX 32

struct pool {
	struct manager *manager;
	uint8_t *used; /* bitmap of slots */
	uint32_t next; /* where the search for a free one begins */
	struct pool_item items[POOL_MAX];
	unsigned n_items;
	sd_event_source *refill;
};

int pool_init(struct pool *pool, struct manager *m, struct ct_error *err);
void pool_done(struct pool *pool);
/* Marks a slot that a running container holds (at recovery). -EEXIST. */
int pool_claim_slot(struct pool *pool, uint32_t slot);
/* A free one for a container that does not run, 0: there is none. */
uint32_t pool_lease_slot(struct pool *pool);
bool pool_has_slot(const struct pool *pool, uint32_t slot); /* somebody holds it */
void pool_release_slot(struct pool *pool, uint32_t slot);
/* A shell, from the pool or made on the spot. with_link: the veth is wanted. */
int pool_take(struct pool *pool, bool with_link, struct pool_item *ret, struct ct_error *err);
/* Closes the namespaces (the link goes with them) and frees the slot. For a start that failed. */
void pool_item_drop(struct pool *pool, struct pool_item *item);
/* Refills when no shell has been taken for a while. */
void pool_refill_later(struct pool *pool);
