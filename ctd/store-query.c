/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Statements of the store: prepared once, run one at a time, and what SQLite says turned into sentences.
 *
 * A statement is found again by the address of its SQL, which is always a literal. There are about sixty of
 * them and the list is walked: that is cheaper than the statement. If one is needed while it is being stepped
 * further up the stack (a callback of store_container_each that reads containers), a second one is prepared
 * for that use only.
 *
 * The values bound are borrowed (SQLITE_STATIC): they live in the caller's frame until query_done, which also
 * drops the bindings.
 *
 * Failures are told apart by the extended result code: which constraint was broken decides whether a request
 * was wrong (the name is taken) or we are. ENOSPC arrives as SQLITE_FULL, but a quota on the file system
 * (EDQUOT) only as an I/O error with the errno beside.
 */

#include "ctd/store-private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/str.h"

static struct statement *statement_find(struct store *store, const char *sql)
{
	for (size_t i = 0; i < store->n_statements; i++)
		if (store->statements[i].sql == sql)
			return &store->statements[i];

	if (store->n_statements == STORE_STATEMENTS)
		return NULL;

	store->statements[store->n_statements] = (struct statement){ .sql = sql };
	return &store->statements[store->n_statements++];
}

static int prepare(struct store *store, const char *sql, unsigned flags, sqlite3_stmt **ret)
{
	return sqlite3_prepare_v3(store->db, sql, -1, flags, ret, NULL);
}

struct query query_start(struct store *store, const char *sql)
{
	struct query q = { .store = store };

	/* Outside of a transaction each statement would be one of its own, and the rest of the unit be kept
	 * without its start. */
	if (store->aborted) {
		q.result = SQLITE_ABORT;
		return q;
	}

	struct statement *cached = statement_find(store, sql);
	if (!cached || cached->used) {
		q.result = prepare(store, sql, 0, &q.stmt);
		return q;
	}

	if (!cached->stmt)
		q.result = prepare(store, sql, SQLITE_PREPARE_PERSISTENT, &cached->stmt);
	if (!cached->stmt)
		return q;

	cached->used = true;
	q.stmt = cached->stmt;
	q.cached = cached;
	return q;
}

void query_done(struct query *q)
{
	if (!q->cached) {
		(void)sqlite3_finalize(q->stmt); /* repeats the error of the last step */
		q->stmt = NULL;
		return;
	}

	(void)sqlite3_reset(q->stmt); /* likewise */
	(void)sqlite3_clear_bindings(q->stmt);
	q->cached->used = false;
	q->cached = NULL;
	q->stmt = NULL;
}

static void query_remember(struct query *q, int result)
{
	if (q->result == SQLITE_OK)
		q->result = result;
}

void query_bind_text(struct query *q, const char *value)
{
	if (q->result == SQLITE_OK)
		query_remember(q, value ? sqlite3_bind_text(q->stmt, ++q->n_bound, value, -1, SQLITE_STATIC)
		                        : sqlite3_bind_null(q->stmt, ++q->n_bound));
}

void query_bind_blob(struct query *q, const void *data, size_t len)
{
	if (q->result == SQLITE_OK)
		query_remember(q, sqlite3_bind_blob64(q->stmt, ++q->n_bound, data, len, SQLITE_STATIC));
}

void query_bind_int(struct query *q, int64_t value)
{
	if (q->result == SQLITE_OK)
		query_remember(q, sqlite3_bind_int64(q->stmt, ++q->n_bound, value));
}

void query_bind_null(struct query *q)
{
	if (q->result == SQLITE_OK)
		query_remember(q, sqlite3_bind_null(q->stmt, ++q->n_bound));
}

static void note_abort(struct store *store)
{
	if (store->depth > 0 && sqlite3_get_autocommit(store->db))
		store->aborted = true;
}

int query_next(struct query *q, struct ct_error *err)
{
	if (q->result != SQLITE_OK)
		return store_error(q->store, q->result, err);

	int r = sqlite3_step(q->stmt);
	if (r == SQLITE_ROW)
		return 1;
	if (r == SQLITE_DONE)
		return 0;

	q->result = r;
	note_abort(q->store);
	return store_error(q->store, r, err);
}

int query_run(struct query *q, struct ct_error *err)
{
	int r = query_next(q, err);
	assert(r <= 0);
	if (r < 0)
		return r;

	return sqlite3_changes(q->store->db);
}

const char *query_text(struct query *q, int column)
{
	const char *text = (const char *)sqlite3_column_text(q->stmt, column);

	/* NULL for a value that is not NULL is an allocation that failed. */
	if (!text && sqlite3_column_type(q->stmt, column) != SQLITE_NULL)
		query_remember(q, SQLITE_NOMEM);
	return text;
}

const void *query_blob(struct query *q, int column, size_t *ret_len)
{
	const void *data = sqlite3_column_blob(q->stmt, column);

	*ret_len = data ? (size_t)sqlite3_column_bytes(q->stmt, column) : 0;
	return data;
}

int64_t query_int(struct query *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

bool query_is_null(struct query *q, int column)
{
	return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

void query_copy(struct query *q, int column, char *dst, size_t size)
{
	const char *text = query_text(q, column);
	size_t len = text ? strlen(text) : 0;

	if (len >= size) {
		query_remember(q, SQLITE_MISMATCH);
		len = 0;
	}
	if (len > 0)
		memcpy(dst, text, len);
	dst[len] = '\0';
}

int query_check(struct query *q, struct ct_error *err)
{
	return q->result == SQLITE_OK ? 0 : store_error(q->store, q->result, err);
}

int store_exec(struct store *store, const char *sql, struct ct_error *err)
{
	if (store->aborted)
		return store_error(store, SQLITE_ABORT, err);

	int r = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
	if (r == SQLITE_OK)
		return 0;

	note_abort(store);
	return store_error(store, r, err);
}

/* "UNIQUE constraint failed: container.name" → name. The callers make a better sentence of it. */
static int error_taken(struct store *store, struct ct_error *err)
{
	const char *message = sqlite3_errmsg(store->db);
	const char *dot = strrchr(message, '.');
	const char *column = dot ? dot + 1 : "value";

	(void)ct_error_set(err, -EEXIST, "store", "the %s is taken", column);
	if (err)
		(void)str_escape_to(err->field, sizeof(err->field), column, strlen(column));
	return -EEXIST;
}

/* EIO is a disk that fails, and nothing else: its owner may put a database aside for it. */
static int io_code(int extended, int errnum)
{
	if (errnum == EMFILE || errnum == ENFILE || errnum == ENOMEM)
		return -errnum;
	/* The second: a file that is shorter than it says of itself. */
	if (errnum == EIO || extended == SQLITE_IOERR_SHORT_READ || extended == SQLITE_IOERR_CORRUPTFS)
		return -EIO;
	return -ENOTRECOVERABLE;
}

static int error_io(struct store *store, struct ct_error *err)
{
	int errnum = sqlite3_system_errno(store->db), extended = sqlite3_extended_errcode(store->db);

	if (extended == SQLITE_IOERR_NOMEM)
		return store_error(store, SQLITE_NOMEM, err);
	if (errnum == ENOSPC || errnum == EDQUOT)
		return store_error(store, SQLITE_FULL, err);

	return ct_error_set(err, io_code(extended, errnum), "store",
	        "cannot read or write the database \"%s\": %s (%s)", store->path, sqlite3_errmsg(store->db),
	        errnum > 0 ? strerror(errnum) : "no reason given");
}

int store_error(struct store *store, int result, struct ct_error *err)
{
	int extended = sqlite3_extended_errcode(store->db);

	/* The connection remembers the last failure in detail; it is about another call if the primary codes
	 * differ. */
	if ((extended & 0xff) != (result & 0xff))
		extended = result;

	switch (result & 0xff) {
	case SQLITE_CONSTRAINT:
		if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY)
			return error_taken(store, err);
		if (extended == SQLITE_CONSTRAINT_TRIGGER)
			return ct_error_set(err, -EEXIST, "store", "a part of it belongs to another already");
		if (extended == SQLITE_CONSTRAINT_FOREIGNKEY)
			return ct_error_set(err, -ENOENT, "store",
			        "what this record refers to does not exist, or is still referred to");
		return ct_error_set(err, -EINVAL, "store", "the database does not accept a value: %s",
		        sqlite3_errmsg(store->db));

	case SQLITE_FULL:
		return ct_error_set(err, -ENOSPC, "store",
		        "no space is left for the database \"%s\": free some on its file system and try again",
		        store->path);

	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_MISMATCH:
		if (store->replaceable)
			return ct_error_set(err, -EUCLEAN, "store", "the database \"%s\" is damaged (%s)",
			        store->path, sqlite3_errmsg(store->db));
		return ct_error_set(err, -EUCLEAN, "store",
		        "the database \"%s\" is damaged (%s): stop ctd, put a copy of it aside, and bring back a backup or what sqlite3's "
		        ".recover finds",
		        store->path, sqlite3_errmsg(store->db));

	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ct_error_set(err, -EBUSY, "store", "the database \"%s\" is locked by another process",
		        store->path);

	case SQLITE_ABORT:
		return ct_error_set(
		        err, -ECANCELED, "store", "nothing was recorded: a part of it had failed");
	case SQLITE_NOMEM: return ct_error_set(err, -ENOMEM, "store", "out of memory");

	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return ct_error_set(err, -EROFS, "store", "the database \"%s\" cannot be written: %s",
		        store->path, sqlite3_errmsg(store->db));

	case SQLITE_CANTOPEN:
	case SQLITE_IOERR: return error_io(store, err);

	default:
		return ct_error_set(err, -ENOTRECOVERABLE, "store", "the database \"%s\" fails: %s",
		        store->path, sqlite3_errmsg(store->db));
	}
}
