/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The database of an instance: opening, transactions, and the few values that belong to nothing else.
 *
 * WAL mode, one connection, no threads. With synchronous=NORMAL a commit is one write to the log and survives
 * our death, but not the power's; with FULL the log is synced before the commit returns
 * (https://sqlite.org/pragma.html#pragma_synchronous). The level cannot be changed within a transaction, so
 * store_begin sets it, and only when it differs.
 *
 * Transactions nest by counting: what a verb does in its own transaction may call what has one as well. An
 * inner rollback dooms the outer transaction, whose commit then fails: half of a unit is never kept. They
 * start IMMEDIATE: a lock that cannot be had is told at the start, not in the middle.
 *
 * The file is made before SQLite sees it, to be 0600 from its first moment; SQLite gives its -wal and -shm
 * the same mode.
 */

#include "ctd/store-private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"

/* How long another process (an operator's sqlite3) may hold the lock before we give up. The event loop stands
 * still meanwhile. */
#define BUSY_TIMEOUT_MSEC 2000

static int sync_parent(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;

	_cleanup_close_ int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;

	return 0;
}

static int make_file(const char *path, int *ret_fd, struct ct_error *err)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return ct_error_set(
		        err, -errno, "store", "cannot open the database \"%s\": %s", path, strerror(errno));

	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ct_error_set(err, -EINVAL, "store", "the database \"%s\" is not a regular file", path);

	if ((st.st_mode & 0077) != 0 && fchmod(fd, 0600) < 0)
		return ct_error_set(err, -errno, "store", "cannot make the database \"%s\" private: %s", path,
		        strerror(errno));

	int r = st.st_size == 0 ? sync_parent(path) : 0;
	if (r < 0)
		return ct_error_set(
		        err, r, "store", "cannot sync the directory of \"%s\": %s", path, strerror(-r));

	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int configure(struct store *store, bool alone, struct ct_error *err)
{
	static const char pragmas[] = "PRAGMA journal_mode = WAL;"
	                              "PRAGMA synchronous = NORMAL;"
	                              "PRAGMA foreign_keys = ON;"
	                              "PRAGMA trusted_schema = OFF;"
	                              "PRAGMA temp_store = MEMORY;"
	                              "PRAGMA cache_size = -512;" /* KiB: the whole daemon has 16 MiB */
	                              "PRAGMA journal_size_limit = 4194304;"; /* STORE_LOG_RESERVE */

	(void)sqlite3_extended_result_codes(store->db, 1);
	(void)sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MSEC);

	int r = alone ? store_exec(store, "PRAGMA locking_mode = EXCLUSIVE", err) : 0;

	return r < 0 ? r : store_exec(store, pragmas, err);
}

/* quick_check reads every page, but does not compare indexes with their tables; one row saying ok, or the
 * first damage. */
static int check(struct store *store, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "PRAGMA quick_check(1)");

	int r = query_next(&q, err);
	if (r < 0)
		return r;

	const char *text = r > 0 ? query_text(&q, 0) : NULL;
	if (str_eq(text, "ok"))
		return 0;

	return ct_error_set(err, -EUCLEAN, "store",
	        "the database \"%s\" is damaged (%s): stop ctd, put a copy of it aside, and bring back a backup or what sqlite3's .recover finds",
	        store->path, text ? text : "it cannot be checked");
}

DEFINE_CLEANUP(struct store *, store_close);

/* The first look at a table needs the index of the log. */
static int touch(struct store *store, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT count(*) FROM sqlite_schema");

	int r = query_next(&q, err);
	return r < 0 ? r : 0;
}

static int open_once(const char *path, bool replaceable, bool alone, struct store **ret, struct ct_error *err)
{
	CLEANUP(store_closep) struct store *store = calloc(1, sizeof(*store));
	if (!store)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	store->number_hint = 1;
	store->replaceable = replaceable;
	store->file = -1;
	store->path = strdup(path);
	if (!store->path)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	int r = make_file(path, &store->file, err);
	if (r < 0)
		return r;

	r = sqlite3_open_v2(
	        path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
	if (r != SQLITE_OK)
		return store->db ? store_error(store, r, err)
		                 : ct_error_set(err, -ENOMEM, "store", "out of memory");

	r = configure(store, alone, err);
	if (r >= 0)
		r = touch(store, err);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(store);
	return 0;
}

/* On a full disk there may be no room for the index of the log, a file that SQLite removes at a clean end.
 * Then the index is in our memory, and nobody else can read the database as long as we have it
 * (https://sqlite.org/wal.html#use_of_wal_without_shared_memory). */
static int open_file(const char *path, bool replaceable, struct store **ret, struct ct_error *err)
{
	int r = open_once(path, replaceable, false, ret, err);

	return r == -ENOSPC || r == -EDQUOT ? open_once(path, replaceable, true, ret, err) : r;
}

int store_open(const char *path, struct store **ret, struct ct_error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	int r = open_file(path, false, &store, err);
	if (r < 0)
		return r;

	r = check(store, err);
	if (r < 0)
		return r;

	/* A statement for each later version, in order: the first brings version 1 to 2. */
	r = store_functions(store, err);
	if (r >= 0)
		r = store_migrate(store, store_schema, store_steps, store_n_steps, err);
	if (r < 0)
		return r;

	store_reserve(store);
	*ret = TAKE_PTR(store);
	return 0;
}

int store_open_schema(const char *path, const char *schema, const char *const *steps, size_t n_steps,
        struct store **ret, struct ct_error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	int r = open_file(path, true, &store, err);
	if (r < 0)
		return r;

	r = store_migrate(store, schema, steps, n_steps, err);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;

	for (size_t i = 0; i < store->n_statements; i++) {
		assert(!store->statements[i].used);
		(void)sqlite3_finalize(store->statements[i].stmt); /* repeats the error of its last step */
	}

	/* Rolls back what is open. It can only fail if statements are left, and there are none. */
	int r = sqlite3_close(store->db);
	assert(r == SQLITE_OK);
	(void)r; /* unused when assertions are off */

	store->file = fd_close(store->file);
	free(store->path);
	free(store);
}

static int set_level(struct store *store, bool full, struct ct_error *err)
{
	if (store->full == full)
		return 0;

	/* Takes effect when it is prepared, so it cannot be a kept statement. */
	int r = store_exec(store, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
	if (r < 0)
		return r;

	store->full = full;
	return 0;
}

int store_begin(struct store *store, bool durable, struct ct_error *err)
{
	if (store->depth > 0) {
		store->sync_at_commit |= durable && !store->full;
		store->depth++;
		return 0;
	}

	int r = set_level(store, durable, err);
	if (r < 0)
		return r;

	_cleanup_query_ struct query q = query_start(store, "BEGIN IMMEDIATE");
	r = query_run(&q, err);
	if (r < 0)
		return r;

	store->depth = 1;
	store->doomed = false;
	store->sync_at_commit = false;
	return 0;
}

/* What was inserted is gone again, so numbers that were passed over may be free. */
static void forget_hints(struct store *store)
{
	store->number_hint = 1;
	store->project_hint = 0;
}

static void roll_back(struct store *store)
{
	store->aborted = false;
	_cleanup_query_ struct query q = query_start(store, "ROLLBACK");

	/* After some failures (full disk, I/O) SQLite has rolled back by itself, and says that there is no
	 * transaction. */
	(void)query_run(&q, NULL);
	forget_hints(store);
}

/* The log is synced as the first step of a checkpoint. */
static int sync_log(struct store *store, struct ct_error *err)
{
	int r = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : store_error(store, r, err);
}

int store_commit(struct store *store, struct ct_error *err)
{
	assert(store->depth > 0);

	if (--store->depth > 0)
		return 0;

	if (store->doomed || store->aborted) {
		roll_back(store);
		return ct_error_set(
		        err, -ECANCELED, "store", "nothing was recorded: a part of it had failed");
	}

	_cleanup_query_ struct query q = query_start(store, "COMMIT");
	int r = query_run(&q, err);
	if (r < 0) {
		roll_back(store);
		return r;
	}

	/* Single statements outside of transactions are not durable. If this fails they are, and slower. */
	(void)set_level(store, false, NULL);
	return store->sync_at_commit ? sync_log(store, err) : 0;
}

void store_rollback(struct store *store)
{
	assert(store->depth > 0);

	if (--store->depth > 0) {
		store->doomed = true;
		return;
	}

	roll_back(store);
}

int store_strdup(char **p, const char *value)
{
	char *copy = NULL;

	if (value) {
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
	}

	free(*p);
	*p = copy;
	return 0;
}

int store_meta_get(struct store *store, const char *key, char **ret)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT value FROM meta WHERE key = ?");
	query_bind_text(&q, key);

	int r = query_next(&q, NULL);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;

	_cleanup_free_ char *value = NULL;
	r = store_strdup(&value, query_text(&q, 0));
	if (r < 0)
		return r;

	r = query_check(&q, NULL);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(value);
	return 0;
}

int store_meta_set(struct store *store, const char *key, const char *value, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
	query_bind_text(&q, key);
	query_bind_text(&q, value);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}
