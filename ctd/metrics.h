/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page of metrics: ct-metrics(7). */
#pragma once

#include "ctd/metrics-text.h"

struct manager;

/* Writes what the meter saw last to fd; looks at no container. */
int metrics_write(struct manager *m, enum metrics_format format, int fd);
/* metrics-node.c: the part of it that is about the node. */
void metrics_node(struct metrics *w, struct manager *m);

/* Every container; of those that are being made there is nothing to say. */
#define METRICS_EACH(m, c, next)                                                                             \
	HASH_ITER(hh_ctid, (m)->containers.by_ctid, c, next)                                                 \
	if ((c)->row.complete)
