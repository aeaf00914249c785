/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Port forwards: their part of the inet table. */
#pragma once

#include "netns/sets.h"

/* Chains, maps and rules, in a transaction that was begun; the forwards that are there stay. */
void publish_add_table(const struct nft_place *p);
