/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a container used lately, as points on a grid of time. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ctctl/command.h"

#define HISTORY_POINTS_MAX 60 /* an hour of the shortest intervals */

enum history_kind {
	HISTORY_CPU,    /* CPUs */
	HISTORY_MEMORY, /* bytes, mean */
	HISTORY_DISK,
	HISTORY_READ, /* bytes a second */
	HISTORY_WRITTEN,
	HISTORY_IN,
	HISTORY_OUT,
	_HISTORY_KIND_MAX,
};
struct history_kind_info {
	const char *key;   /* in JSON */
	const char *title; /* for people */
	const char *label; /* short */
};
extern const struct history_kind_info history_kinds[_HISTORY_KIND_MAX];

enum history_span {
	HISTORY_HOUR,
	HISTORY_DAY,
	HISTORY_MONTH,
	_HISTORY_SPAN_MAX,
};
extern const char *const history_spans[_HISTORY_SPAN_MAX];

struct history {
	int64_t start, step; /* seconds */
	size_t n;
	double seconds[HISTORY_POINTS_MAX]; /* how long each point is: the last one is shorter */
	double of[_HISTORY_KIND_MAX][HISTORY_POINTS_MAX];
};

/* From the ledger. The grid ends with the point that now is in; as long as that goes on it is of the time up
 * to the answer, which may come later than now. */
int history_fetch(struct client *client, const char *name, enum history_span span, int64_t now,
        struct history *ret, struct ct_error *err);
/* a += b, of the same span and now. */
void history_add(struct history *a, const struct history *b);

/* Of the points that are long enough to be compared; where they have nothing, of all: a point may be more. */
double history_most(const struct history *h, enum history_kind kind);
/* Each point by its length. */
double history_mean(const struct history *h, enum history_kind kind);
/* "0.25", "1.5 GiB", "12 KiB/s"; returns buf. */
char *history_format(char *buf, size_t size, enum history_kind kind, double value);
