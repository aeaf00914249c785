/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has gone through a container's interfaces since it was created. Totals that never go down. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "ctd/store.h"

struct container;
struct manager;
struct traffic;

/* Reads the host's counters and adds what is new. Memory only. False: something that is there could not be
 * read or kept this time. */
bool traffic_sample(struct container *c);
/* The same of one port, before it is taken away: the configuration may have it no more. */
bool traffic_sample_port(struct container *c, const char *device, const char *host_name);
/* For samples of many containers at once: between the two the counters of all are read once. */
void traffic_dump_begin(struct manager *m);
void traffic_dump_end(struct manager *m);
/* The same, and writes it; at the end of a run, before the counters go. */
void traffic_settle(struct container *c);
/* After the port of an interface was taken away within a run: the next one counts from zero. */
void traffic_port_gone(struct container *c, const char *device);
/* Packets that the rates of its interfaces had no room for, of those that there are now; false: it has no
 * rates, or they cannot be read. */
bool traffic_rate_drops(struct container *c, uint64_t *ret);
/* The sums over all interfaces, also those that are gone, as last sampled. */
struct traffic_counts traffic_totals(const struct container *c);
/* ,"traffic":{...} of CONTAINER. */
void traffic_print(const struct container *c, struct strbuf *b);
void traffic_free(struct traffic *traffic);

/* What went through in the class of traffic with the number of ctd.conf, over all interfaces, as last
 * sampled. */
struct traffic_counts traffic_class_totals(const struct container *c, unsigned class);
/* Before a run's first packet: its ports count from zero, and what a counter of its slot still has from
 * before does not count. */
void traffic_begin(struct container *c);
/* The counters of all classes begin at zero. */
int traffic_forget_classes(struct manager *m, struct ct_error *err);

/* ---- traffic-classes.c ---- */

/* The classes of ctd.conf, into the host's tables. */
int traffic_classes_apply(struct manager *m, struct ct_error *err);
/* Once all records are read: whether they are still the same. */
int traffic_classes_check(struct manager *m, struct ct_error *err);

/* Reads the records, once all containers and runs are known, and begins to sample every minute. */
int traffic_init(struct manager *m, struct ct_error *err);
/* Samples and writes all, for a clean end. */
void traffic_done(struct manager *m);
