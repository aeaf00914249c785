/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of the store: the open database and one statement at a time. Only store-*.c and their tests include
 * this.
 *
 *   _cleanup_query_ struct query q = query_start(store, "SELECT name FROM container WHERE ctid = ?");
 *   query_bind_text(&q, ctid);
 *   r = query_next(&q, err);
 *   if (r > 0)
 *           name = query_text(&q, 0);
 *
 * Binding and reading failures are remembered in the query and come out of query_next or query_run, so that
 * the lines in between need no checks.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "ctd/store.h"

#define STORE_STATEMENTS  112
#define STORE_LOG_RESERVE (4 * 1024 * 1024) /* also the journal_size_limit */

struct statement {
	const char *sql; /* a literal: found again by its address */
	sqlite3_stmt *stmt;
	bool used;
};

struct store {
	sqlite3 *db;
	char *path;
	int file; /* the database once more: see store-reserve.c */

	unsigned depth; /* of transactions */
	bool doomed;    /* an inner one was rolled back: the outer one cannot be committed */
	bool aborted; /* SQLite has rolled back by itself (full disk, I/O error): nothing more may be written
	                 in it */
	bool replaceable;    /* if it is damaged its owner puts it aside by itself */
	bool full;           /* PRAGMA synchronous is FULL */
	bool sync_at_commit; /* an inner transaction was durable, the outer one is not */

	/* Where the search for the smallest free number or id begins: everything below is taken. Only hints:
	 * 1 is always right. */
	uint32_t number_hint, project_first, project_hint;

	struct statement statements[STORE_STATEMENTS];
	size_t n_statements;
};

struct query {
	struct store *store;
	sqlite3_stmt *stmt;
	struct statement
	        *cached; /* NULL: stmt is ours alone (the cached one is in use further up the stack) */
	int n_bound;
	int result; /* SQLite's code of the first failure */
};

struct query query_start(struct store *store, const char *sql);
void query_done(struct query *q);
#define _cleanup_query_ CLEANUP(query_done)

void query_bind_text(struct query *q, const char *value); /* NULL: NULL; borrowed until query_done */
void query_bind_blob(struct query *q, const void *data, size_t len); /* borrowed likewise */
void query_bind_int(struct query *q, int64_t value);
void query_bind_null(struct query *q);

/* 1: there is a row, 0: no more. */
int query_next(struct query *q, struct ct_error *err);
/* For statements without rows; the number of rows changed. */
int query_run(struct query *q, struct ct_error *err);

const char *query_text(struct query *q, int column); /* borrowed until the next step; NULL: NULL */
const void *query_blob(struct query *q, int column, size_t *ret_len); /* likewise; NULL: NULL or empty */
int64_t query_int(struct query *q, int column);                       /* NULL is 0 */
bool query_is_null(struct query *q, int column);
/* Copies; a longer text is a damaged row: remembered as a failure. */
void query_copy(struct query *q, int column, char *dst, size_t size);
/* 0, or what went wrong in reading the row. */
int query_check(struct query *q, struct ct_error *err);

/* Runs SQL that has no parameters and no result. */
int store_exec(struct store *store, const char *sql, struct ct_error *err);
/* An errno and a sentence for a SQLite result. */
int store_error(struct store *store, int result, struct ct_error *err);

/* Frees *p and puts a copy there. */
int store_strdup(char **p, const char *value);

/* A database of another schema, with its steps as for store_migrate; not read through at the start, for it
 * may be large. */
int store_open_schema(const char *path, const char *schema, const char *const *steps, size_t n_steps,
        struct store **ret, struct ct_error *err);

/* Makes functions known that statements use: ip_first, ip_last. */
int store_functions(struct store *store, struct ct_error *err);
/* The steps from version 1 to the newest, for store_migrate. */
extern const char *const store_steps[];
extern const size_t store_n_steps;

/* schema.sql, built in. */
extern const char store_schema[];
/* Brings the database to version n_migrations + 1: migrations[i] goes from version i + 1 to i + 2; an empty
 * database gets schema as the newest version. -EPROTONOSUPPORT for a newer one, -EPROTO for one that is not
 * ours. */
int store_migrate(struct store *store, const char *schema, const char *const *migrations, size_t n_migrations,
        struct ct_error *err);
/* Sets space aside for a full disk, now and whenever the log is copied to the database. */
void store_reserve(struct store *store);
