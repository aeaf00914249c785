/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the benchmarks share: samples, percentiles, a table and JSON of them, and running commands with a
 * clock around. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SAMPLES_MAX 2000

struct samples {
	const char *who, *what; /* "ctctl", "start" */
	uint32_t usec[SAMPLES_MAX];
	size_t n;
};

void samples_add(struct samples *s, uint64_t usec);
/* p in percent; sorts. 0 without samples. */
uint32_t samples_percentile(struct samples *s, unsigned p);

/* Runs argv to its end with stdout and stderr thrown away; the time it took, or a negative errno; a non-zero
 * exit is -EIO. */
int64_t measure_run(const char *const argv[]);
/* The same, told on stderr with its words when it fails; exits. */
uint64_t measure_must(const char *const argv[]);

/* "who what p50 p99 n", and the ratio of p50 to the base's where base is not NULL. */
void samples_print(struct samples *s, struct samples *base);
/* One JSON object; first: no comma before it. */
void samples_json(FILE *file, struct samples *s, int first);
