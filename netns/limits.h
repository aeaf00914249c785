/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits of ports. */
#pragma once

#include "netns/sets.h"

/* Adds to ret the keys of all limits that the port has. */
int limits_find(struct net_context *net, const char *host_name, struct scan_keys *ret, struct ct_error *err);
