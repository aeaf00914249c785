/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queueing disciplines of ports and of the uplink. */
#pragma once

#include "netns/context.h"

/* Takes the port's class at the uplink away, and its element; the queue of the port goes with its link. */
int shape_release(struct net_context *net, const char *host_name, struct ct_error *err);
