/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking the filter of a port away. */
#pragma once

#include "netns/sets.h"

/* All elements of the port, whatever they are; its chains too, if the link is gone (while it is there they
 * stay, and drop everything). */
int port_remove_filter(struct net_context *net, const char *host_name, struct ct_error *err);
/* Gives every link of ours that has no filter one that passes nothing. */
int port_guard_all(struct net_context *net, struct ct_error *err);
/* Chains whose link has gone: of ports released by this context, or (all) of any. */
int port_sweep(struct net_context *net, bool all, struct ct_error *err);
/* Adds and removes elements in one transaction. */
int port_change_filter(struct net_context *net, const struct scan_keys *add, const struct scan_keys *remove,
        const char *host_name, struct ct_error *err);
/* Takes routes (and with delete_link the link) away; index 0: the link is gone. */
int port_unroute(struct net_context *net, const struct net_port_spec *spec, bool delete_link, int index,
        struct ct_error *err);
