/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ports.c needs of ports-forward.c. */
#pragma once

#include "ctd/ports.h"

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
