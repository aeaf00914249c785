/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page of metrics: ct-metrics(7). */
#pragma once

#include "ctd/metrics-text.h"

struct manager;

/* Writes what the meter saw last to fd; looks at no container. */
int metrics_write(struct manager *m, enum metrics_format format, int fd);
