/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The netdev table: what may leave a container, and what answers its ARP. See guard.c. */
#pragma once

#include "netns/sets.h"

/* The whole table without ports; in a transaction that the caller began. Ports that are there keep their
 * filter. */
void guard_add_table(const struct nft_place *p);

/* The two chains of a port. */
#define GUARD_CHAIN_MAX (IFNAMSIZ + 4)
void guard_add_port(const struct nft_place *p, const char *host_name);
/* Which of the shared chains its frames go to: "guard" unless told otherwise. */
void guard_lead_port(const struct nft_place *p, const char *host_name, const char *chain);
void guard_remove_port(const struct nft_place *p, const char *host_name);
