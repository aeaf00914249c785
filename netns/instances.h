/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other instances of ctd on this host. */
#pragma once

#include "netns/context.h"

#define INSTANCES_MAX 256

/* By the names of their tables. */
struct instances {
	char tables[INSTANCES_MAX][NET_TABLE_LEN];
	size_t n;
};
int instances_find_others(struct net_context *net, struct instances *ret, struct ct_error *err);
