/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files ports-*.c need of each other. */
#pragma once

#include "ctd/config.h"
#include "ctd/ports.h"

struct port {
	struct net_port_spec spec; /* its pointers lead into this struct */
	struct ip_addr addresses[CONFIG_IPS_MAX + 2];
	char guest_name[IFNAMSIZ];
	struct net_limits limits;
	struct net_rates rates;
};

/* Each interface that is there, in order: of which container and as the links of which slot is set before the
 * first; i is that of the one found. */
struct port_iter {
	const struct container *container;
	uint32_t slot;
	unsigned i, next;
	bool taken[2];
};
/* 1: port is filled; 0: there is no more; an error: of the one at i, after which the others can be had. */
int port_next(struct port_iter *at, struct port *port, struct ct_error *err);

/* The published ports of a container as the kernel is to have them: one for each family of its addresses. */
struct forwards {
	struct net_publish *list;
	size_t n;
};

void forwards_done(struct forwards *f);
/* What the configuration and the leases say. -EINVAL: there is no address that a port could lead to. */
int forwards_of(const struct container *c, struct forwards *ret, struct ct_error *err);
int forwards_add(struct manager *m, const struct forwards *f, struct ct_error *err);
/* Takes out those of before that now has not, then adds those of now. */
int forwards_change(
        struct container *c, const struct forwards *before, const struct forwards *now, struct ct_error *err);
/* All of the container; what cannot be taken out is found at the next start of ctd, and by fsck. */
void forwards_remove(struct container *c);
