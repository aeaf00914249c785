/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Columns for people. Cells are escaped: what a tenant wrote cannot reach the terminal as a control sequence.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct table {
	const char *const *headings; /* borrowed, ends with NULL; NULL: no heading line */
	size_t n_columns;
	char **cells;
	size_t n_cells;
	int error;
};

#define _cleanup_table_ CLEANUP(table_done)
void table_init(struct table *t, const char *const *headings);
void table_done(struct table *t);

/* The next cell, left to right. NULL or empty is shown as "-". A failure is kept and told by table_print. */
void table_add(struct table *t, const char *text);
void table_add_format(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A scalar as it reads, an array of scalars with commas between, an object as JSON. */
void table_add_json(struct table *t, const json_t *value);
/* To stdout, flushed. */
int table_print(const struct table *t, struct ct_error *err);

/* New memory: the text of a JSON value as table_add_json shows it; NULL: out of memory. */
char *json_to_text(const json_t *value);
/* "2026-01-31T12:00:00Z" as how long ago it was ("3h05m"); buf of at least 24 bytes; "-" if it is no time.
 * Returns buf. */
char *age_of(char *buf, size_t size, const char *time, uint64_t now_realtime_usec);
/* Flushes stdout; -EIO with a sentence when it could not take all. */
int finish_output(struct ct_error *err);
