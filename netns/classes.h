/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic. */
#pragma once

#include <linux/pkt_sched.h>

#include "netns/context.h"

/* Of the hierarchy that a port has towards its container: what is in no class, and each class. */
#define CLASSES_HANDLE  TC_H_MAKE(2U << 16, 0)
#define CLASSES_DEFAULT 1U
#define CLASS_HANDLE(i) (CLASSES_HANDLE | ((uint32_t)(i) + 2))

/* Where at the uplink what the port sends goes, by class; 0: where the rest of it goes. */
int classes_rate(struct net_context *net, const char *host_name, const uint32_t handles[NET_CLASSES_MAX],
        struct ct_error *err);
/* Takes away the counters of a port. */
int classes_release(struct net_context *net, const char *host_name, struct ct_error *err);
