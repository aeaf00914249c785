/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Audit and events, which only grow at one end; and what bounds all that grows.
 *
 * Ids rise by one, so "the newest N" is a range of ids and needs no count. What is cut off at once is
 * bounded, too: after a long time without store_trim the event loop must not stand still for a million rows.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define KEEP_JOBS         10000
#define KEEP_AUDIT        100000
#define KEEP_EVENTS       100000
#define KEEP_REQUESTS     20000
#define KEEP_REQUEST_USEC (24ULL * 3600 * USEC_PER_SEC)
#define TRIM_AT_ONCE      5000

int store_audit_add(struct store *store, const struct audit_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO audit (time, uid, gid, pid, operation, object, status, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_int(&q, (int64_t)row->time_usec);
	query_bind_int(&q, row->uid);
	query_bind_int(&q, row->gid);
	query_bind_int(&q, row->pid);
	query_bind_text(&q, row->operation);
	query_bind_text(&q, row->object ? row->object : "");
	query_bind_int(&q, row->status);
	query_bind_text(&q, row->message ? row->message : "");

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

/* The parameters of a query by this WHERE; both tables are walked from the id on. */
#define WHERE_KIND(kind)                                                                                     \
	" WHERE id > ?1 AND time >= ?2 AND time < ?3 AND (?5 IS NULL OR " kind                               \
	" = ?5 OR (substr(?5, -1) = '.' AND substr(" kind ", 1, length(?5)) = ?5)) AND "
#define AND_LIMIT " ORDER BY id LIMIT ?6"

static void bind_query(struct query *q, const struct log_query *which)
{
	query_bind_int(q, which->after);
	query_bind_int(q, (int64_t)which->from_usec);
	query_bind_int(q, (int64_t)which->to_usec);
	query_bind_text(q, which->of);
	query_bind_text(q, which->type);
	query_bind_int(q, which->limit);
}

int store_audit_each(struct store *store, const struct log_query *which,
        int (*each)(const struct audit_row *row, void *userdata), void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT id, time, uid, gid, pid, operation, object, status, message FROM audit" WHERE_KIND(
	                "operation") "(?4 IS NULL OR object = ?4)" AND_LIMIT);
	int r;

	bind_query(&q, which);
	while ((r = query_next(&q, err)) > 0) {
		struct audit_row row = {
			.id = query_int(&q, 0),
			.time_usec = (uint64_t)query_int(&q, 1),
			.uid = (uid_t)query_int(&q, 2),
			.gid = (gid_t)query_int(&q, 3),
			.pid = (pid_t)query_int(&q, 4),
			.operation = query_text(&q, 5),
			.object = query_text(&q, 6),
			.status = (unsigned)query_int(&q, 7),
			.message = query_text(&q, 8),
		};

		r = query_check(&q, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

int store_event_add(struct store *store, struct event_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(
	        store, "INSERT INTO event (time, type, ctid, name, detail) VALUES (?, ?, ?, ?, ?)");
	query_bind_int(&q, (int64_t)row->time_usec);
	query_bind_text(&q, row->type);
	query_bind_text(&q, row->ctid);
	query_bind_text(&q, row->name ? row->name : "");
	query_bind_text(&q, row->detail ? row->detail : "{}");

	int r = query_run(&q, err);
	if (r < 0)
		return r;

	row->id = sqlite3_last_insert_rowid(store->db);
	return 0;
}

bool log_query_has(const struct log_query *which, const struct event_row *row)
{
	const size_t len = which->type ? strlen(which->type) : 0;

	return row->id > which->after && row->time_usec >= which->from_usec &&
	       row->time_usec < which->to_usec &&
	       (!which->of || str_eq(which->of, row->name) || str_eq(which->of, row->ctid)) &&
	       (!which->type || str_eq(which->type, row->type) ||
	               (len > 0 && which->type[len - 1] == '.' && str_has_prefix(row->type, which->type)));
}

int store_event_newest(struct store *store, int64_t *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT coalesce(max(id), 0) FROM event");
	int r = query_next(&q, err);

	*ret = r > 0 ? query_int(&q, 0) : 0;
	return r < 0 ? r : query_check(&q, err);
}

int store_event_each(struct store *store, const struct log_query *which,
        int (*each)(const struct event_row *row, void *userdata), void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT id, time, type, ctid, name, detail FROM event" WHERE_KIND(
	                                   "type") "(?4 IS NULL OR name = ?4 OR ctid = ?4)" AND_LIMIT);
	int r;

	bind_query(&q, which);
	while ((r = query_next(&q, err)) > 0) {
		struct event_row row = {
			.id = query_int(&q, 0),
			.time_usec = (uint64_t)query_int(&q, 1),
			.type = query_text(&q, 2),
			.ctid = query_text(&q, 3),
			.name = query_text(&q, 4),
			.detail = query_text(&q, 5),
		};

		r = query_check(&q, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

int store_event_last(struct store *store, const char *ctid, const char *type, uint64_t since_usec, char **ret,
        struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT detail FROM event WHERE ctid = ? AND type = ? AND time >= ? ORDER BY id DESC LIMIT 1");
	int r;

	query_bind_text(&q, ctid);
	query_bind_text(&q, type);
	query_bind_int(&q, (int64_t)since_usec);
	*ret = NULL;
	r = query_next(&q, err);
	if (r <= 0)
		return r;
	*ret = strdup(query_text(&q, 0));
	return *ret ? query_check(&q, err) : ct_error_set(err, -ENOMEM, "store", "out of memory");
}

static int trim(struct store *store, const char *sql, int64_t bound, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, sql);
	query_bind_int(&q, bound);
	query_bind_int(&q, TRIM_AT_ONCE);

	return query_run(&q, err);
}

static int trim_all(struct store *store, struct ct_error *err)
{
	const struct {
		const char *sql;
		int64_t bound;
	} rules[] = {
		{ "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE id <= (SELECT max(id) FROM job) - ?"
		  " AND finished IS NOT NULL ORDER BY id LIMIT ?)",
		        KEEP_JOBS },
		{ "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id <= (SELECT max(id) FROM audit) - ? ORDER BY id LIMIT ?)",
		        KEEP_AUDIT },
		{ "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= (SELECT max(id) FROM event) - ? ORDER BY id LIMIT ?)",
		        KEEP_EVENTS },
		{ "DELETE FROM request WHERE id IN (SELECT id FROM request WHERE created < ? AND status IS NOT NULL"
		  " ORDER BY created LIMIT ?)",
		        (int64_t)(now_realtime_usec() - KEEP_REQUEST_USEC) },
		{ "DELETE FROM request WHERE id IN (SELECT id FROM request WHERE created <="
		  " (SELECT created FROM request ORDER BY created DESC LIMIT 1 OFFSET ?) AND status IS NOT NULL ORDER BY created LIMIT ?)",
		        KEEP_REQUESTS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		int r = trim(store, rules[i].sql, rules[i].bound, err);
		if (r < 0)
			return r;
	}

	return 0;
}

int store_trim(struct store *store, struct ct_error *err)
{
	int r = store_begin(store, false, err);
	if (r < 0)
		return r;

	r = trim_all(store, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}

	return store_commit(store, err);
}
