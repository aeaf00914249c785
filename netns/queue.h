/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages about queueing disciplines; all append to a batch. */
#pragma once

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "netns/nl.h"

#define QUEUE_RATE_MIN  8000
#define QUEUE_RATE_MAX  1000000000000ULL
#define QUEUE_FRAME     1514
#define QUEUE_TICK_NSEC 64 /* of the packet scheduler */

/* Bytes at once: what was asked for, or 10 ms' worth. */
uint32_t queue_burst(uint64_t rate, uint32_t burst);
/* The time that so much takes at a rate, in the scheduler's ticks; where it has no room for it, the longest
 * (275 seconds). */
uint32_t queue_ticks(uint32_t burst, uint64_t rate);
struct tc_ratespec queue_spec(uint64_t rate);

/* A message about a discipline or class of that kind, up to its options: the caller ends the nest. */
size_t queue_begin(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags,
        const struct tcmsg *header, const char *kind);
void queue_put_u64(struct nl_batch *b, uint16_t type, uint64_t value);

/* Shares of flows inside a rate. */
void queue_put_fair(struct nl_batch *b, int index, uint32_t parent, uint64_t rate);
/* A hierarchy at the root, if it is not there. What is in no class goes to the one with the minor number
 * rest, 0: is not queued. replace: whatever else is there. */
void queue_put_root(struct nl_batch *b, int index, uint32_t handle, uint32_t rest, bool replace);
/* flag: NLM_F_REPLACE or NLM_F_EXCL. */
void queue_put_class(struct nl_batch *b, int index, uint32_t parent, uint32_t handle, uint64_t rate,
        uint64_t ceil, uint32_t burst, uint16_t flag);
void queue_remove_class(struct nl_batch *b, int index, uint32_t handle); /* none there: no error */
