/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic. */
#pragma once

#include "netns/context.h"

/* Takes away the counters of a port. */
int classes_release(struct net_context *net, const char *host_name, struct ct_error *err);
