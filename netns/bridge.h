/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bridges of ours. */
#pragma once

#include "netns/context.h"

int bridge_remove_all(struct net_context *net, struct ct_error *err);
