/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The version of the database: PRAGMA user_version, beside PRAGMA application_id, which says that it is ours
 * at all.
 *
 * schema.sql is always the newest version; an empty file gets it whole. An older database is brought up step
 * by step, all steps and the new version in one durable transaction, with foreign keys deferred until its
 * end. A newer one is refused and not touched: it was written by a later ctd, whose rules we do not know.
 */

#include "ctd/store-private.h"

#include <errno.h>

#include "base/str.h"

#define APPLICATION_ID 0x63746431 /* "ctd1" */

static int pragma_get(struct store *store, const char *sql, int64_t *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, sql);

	int r = query_next(&q, err);
	if (r < 0)
		return r;

	*ret = r > 0 ? query_int(&q, 0) : 0;
	return 0;
}

static int pragma_set(struct store *store, const char *name, int64_t value, struct ct_error *err)
{
	_cleanup_free_ char *sql = str_printf("PRAGMA %s = %lld", name, (long long)value);
	if (!sql)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	return store_exec(store, sql, err);
}

static int make(struct store *store, const char *schema, struct ct_error *err)
{
	int64_t tables = 0;

	int r = pragma_get(store, "SELECT count(*) FROM sqlite_schema", &tables, err);
	if (r < 0)
		return r;
	if (tables > 0)
		return ct_error_set(
		        err, -EPROTO, "store", "\"%s\" is a database, but not one of ctd", store->path);

	r = store_exec(store, schema, err);
	if (r < 0)
		return r;

	return pragma_set(store, "application_id", APPLICATION_ID, err);
}

static int advance(struct store *store, const char *schema, const char *const *migrations, size_t n,
        struct ct_error *err)
{
	int64_t version = 0, id = 0, newest = (int64_t)n + 1;

	int r = pragma_get(store, "PRAGMA user_version", &version, err);
	if (r < 0)
		return r;

	r = pragma_get(store, "PRAGMA application_id", &id, err);
	if (r < 0)
		return r;

	if (version == 0 && id == 0) {
		r = make(store, schema, err);
		if (r < 0)
			return r;
		return pragma_set(store, "user_version", newest, err);
	}

	if (id != APPLICATION_ID || version < 1)
		return ct_error_set(
		        err, -EPROTO, "store", "\"%s\" is a database, but not one of ctd", store->path);
	if (version > newest)
		return ct_error_set(err, -EPROTONOSUPPORT, "store",
		        "the database \"%s\" has version %lld, this ctd knows versions up to %lld: run the ctd that wrote it, or a newer one",
		        store->path, (long long)version, (long long)newest);
	if (version == newest)
		return 0;

	for (; version < newest; version++) {
		r = store_exec(store, migrations[version - 1], err);
		if (r < 0) {
			(void)ct_error_prefix(err, "cannot bring the database from version %lld to %lld",
			        (long long)version, (long long)version + 1);
			return r;
		}
	}

	return pragma_set(store, "user_version", newest, err);
}

int store_migrate(struct store *store, const char *schema, const char *const *migrations, size_t n_migrations,
        struct ct_error *err)
{
	int r = store_begin(store, true, err);
	if (r < 0)
		return r;

	r = store_exec(store, "PRAGMA defer_foreign_keys = ON", err);
	if (r >= 0)
		r = advance(store, schema, migrations, n_migrations, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}

	return store_commit(store, err);
}
