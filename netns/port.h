/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking the filter of a port away. */
#pragma once

#include "netns/context.h"

/* All elements of the port, whatever they are; its chains too, if the link is gone (while it is there they
 * stay, and drop everything). */
int port_remove_filter(struct net_context *net, const char *host_name, struct ct_error *err);
/* Chains whose link has gone: of ports released by this context, or (all) of any. */
int port_sweep(struct net_context *net, bool all, struct ct_error *err);
