/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text format of Prometheus, 0.0.4, and OpenMetrics 1.0. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum metrics_format {
	METRICS_TEXT,
	METRICS_OPEN,
};

/* What a value is multiplied by, exactly, to come to its base unit. */
enum metrics_scale {
	SCALE_ONE,
	SCALE_MILLI,
	SCALE_USEC,
	SCALE_KIB,
};

/* A page on its way to a file: families, each with its samples. */
struct metrics {
	enum metrics_format format;
	int fd; /* borrowed; -1: all stays in text, for tests */
	struct strbuf text;
	int error; /* the first one; then nothing more is written */
	bool labelled;
};

#define METRICS_INIT(_format, _fd) ((struct metrics){ .format = (_format), .fd = (_fd), .text = STRBUF_INIT })

/* A counter's name ends with _total. */
void metrics_counter(struct metrics *m, const char *name, const char *help);
void metrics_gauge(struct metrics *m, const char *name, const char *help);
/* Its samples are NAME_bucket with the label le, last +Inf, then NAME_sum and NAME_count. */
void metrics_histogram(struct metrics *m, const char *name, const char *help);

/* NAME{KEY="VALUE",...} VALUE: begin, labels if any, a value. */
void metrics_sample(struct metrics *m, const char *name);
void metrics_label(struct metrics *m, const char *key, const char *value);
void metrics_value(struct metrics *m, uint64_t value, enum metrics_scale scale);

/* What ends a page; 0 if all of it was written. Frees. */
int metrics_done(struct metrics *m);
