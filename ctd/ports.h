/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's interfaces: from its configuration to addresses that it leases and ports that netns/ makes.
 */
#pragma once

#include "base/error.h"
#include "netns/net.h"

struct manager;
struct container;
struct pool_item;
struct config;

/* Leases all addresses of the configuration for the container, and private ones for an interface of mode nat
 * without any, within the caller's transaction. c->private is set on success. -EEXIST names the owner;
 * -ENOSPC: the private range is used up. */
int ports_lease(struct container *c, const struct config *config, struct ct_error *err);
/* Fills c->private from the leases in the database; called once for all containers at start. */
int ports_load(struct manager *m, struct ct_error *err);

/* Makes what is missing, configures and brings up every interface, in the namespaces of item. On failure the
 * caller drops the item, which takes the links. */
int ports_up(struct container *c, struct pool_item *item, struct ct_error *err);
/* Takes filters and routes out; the links go with the namespace. */
void ports_down(struct container *c);
/* Brings the ports of a running container to what they must be again: filters, addresses, routes, a link that
 * was deleted. */
int ports_restore(struct container *c, struct ct_error *err);
/* 1 if the database's leases are not those of the configuration, 0 if they are. */
int ports_check_leases(struct container *c, struct ct_error *err);
/* The addresses of the resolvers that a container is to use: its own, the node's, the host's. The number of
 * them, at most max. */
unsigned ports_dns(const struct container *c, struct ip_addr *ret, unsigned max);
