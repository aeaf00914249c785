/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has gone through a container's interfaces since it was created. Totals that never go down. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "ctd/store.h"

struct container;
struct manager;
struct traffic;

/* Reads the host's counters and adds what is new. Memory only. */
void traffic_sample(struct container *c);
/* The same, and writes it; at the end of a run, before the counters go. */
void traffic_settle(struct container *c);
/* After the port of an interface was taken away within a run: the next one counts from zero. */
void traffic_port_gone(struct container *c, const char *device);
/* The sums over all interfaces, also those that are gone, as last sampled. */
struct traffic_counts traffic_totals(const struct container *c);
/* ,"traffic":{...} of CONTAINER. */
void traffic_print(const struct container *c, struct strbuf *b);
void traffic_free(struct traffic *traffic);

/* Reads the records, once all containers and runs are known, and begins to sample every minute. */
int traffic_init(struct manager *m, struct ct_error *err);
/* Samples and writes all, for a clean end. */
void traffic_done(struct manager *m);
