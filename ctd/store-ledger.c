/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger's tables.
 *
 * It is a store of its own: its writes come every few seconds and are not synced one by one (what a power
 * cut takes is at most a sampling interval and is seen as a gap), and it grows where the state does not. A
 * posting is added to what is there already, so that a clock that was set back, or an interval that another
 * ctd had begun, costs nothing of the sum.
 */
#include "ctd/ledger.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "ctd/store-private.h"

#define COLUMNS                                                                                              \
	"id, ctid, name, created, destroyed, day, open, total, posted, seen, boot_id, cgroup, final, clock_usec, time_usec"
#define TRIM_ACCOUNTS 50

extern const char ledger_schema[];

/* From version 1: see store-versions.c. */
static const char classes[] =
        "CREATE TABLE class (slot INTEGER PRIMARY KEY CHECK (slot BETWEEN 0 AND 7), name TEXT NOT NULL UNIQUE) STRICT";
static const char *const steps[] = { classes };

/* What was begun for want of one, and got no further: nothing is in it. */
static void undo(const char *path)
{
	static const char *const suffixes[] = { "-wal", "-shm", "" };

	for (unsigned i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_free_ char *name = str_printf("%s%s", path, suffixes[i]);

		if (name)
			(void)unlink(name); /* else it is an empty one for the next that opens it */
	}
}

int ledger_open(const char *path, struct store **ret, struct ct_error *err)
{
	struct stat st;
	const bool none = lstat(path, &st) < 0 && errno == ENOENT;
	int r = store_open_schema(path, ledger_schema, steps, ARRAY_SIZE(steps), ret, err);

	if (r < 0 && none)
		undo(path);
	return r;
}

int ledger_class_each(struct store *ledger, int (*each)(unsigned slot, const char *name, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(ledger, "SELECT slot, name FROM class ORDER BY slot");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		const char *name = query_text(&q, 1);

		r = each((unsigned)query_int(&q, 0), name ? name : "", userdata);
		if (r != 0)
			return r;
	}
	return r;
}

int ledger_class_put(struct store *ledger, unsigned slot, const char *name, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(ledger, "INSERT OR REPLACE INTO class (slot, name) VALUES (?, ?)");
	int r;

	query_bind_int(&q, slot);
	query_bind_text(&q, name);
	r = query_run(&q, err);
	return r < 0 ? r : 0;
}

/* A packed set of counters that lives as long as its query. */
struct packed {
	uint8_t data[COUNTS_PACKED_MAX];
};

static void bind_counts(struct query *q, const struct counts *c, struct packed *p)
{
	query_bind_blob(q, p->data, counts_pack(c, p->data));
}

static int read_counts(struct query *q, int column, struct counts *ret, struct ct_error *err)
{
	size_t len = 0;
	const void *data = query_blob(q, column, &len);
	int r = counts_unpack(data, len, ret);

	if (r == -EPROTONOSUPPORT)
		return ct_error_set(err, r, "store",
		        "the ledger \"%s\" has counters that this ctd does not know: run the ctd that wrote it, or a newer one",
		        q->store->path);
	return r < 0 ? store_error(q->store, SQLITE_CORRUPT, err) : 0;
}

static void bind_whose(struct query *q, const struct account *a)
{
	query_bind_text(q, a->ctid);
	query_bind_text(q, a->name);
	query_bind_int(q, a->created);
}

static void bind_account(struct query *q, const struct account *a, struct packed packed[3])
{
	if (a->destroyed)
		query_bind_int(q, a->destroyed);
	else
		query_bind_null(q);
	query_bind_int(q, a->day);
	query_bind_int(q, a->open);
	bind_counts(q, &a->total, &packed[0]);
	bind_counts(q, &a->posted, &packed[1]);
	bind_counts(q, &a->seen, &packed[2]);
	query_bind_text(q, a->boot_id);
	query_bind_int(q, (int64_t)a->cgroup);
	query_bind_int(q, a->final);
	query_bind_int(q, (int64_t)a->clock_usec);
	query_bind_int(q, (int64_t)a->time_usec);
}

int ledger_account_put(struct store *ledger, struct account *a, struct ct_error *err)
{
	static const char insert[] =
	        "INSERT INTO account (ctid, name, created, destroyed, day, open, total, posted, seen, boot_id, cgroup, final, clock_usec,"
	        " time_usec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
	static const char update[] =
	        "UPDATE account SET ctid = ?, name = ?, created = ?, destroyed = ?, day = ?, open = ?, total = ?, posted = ?, seen = ?,"
	        " boot_id = ?, cgroup = ?, final = ?, clock_usec = ?, time_usec = ? WHERE id = ?";
	struct packed packed[3];
	_cleanup_query_ struct query q = query_start(ledger, a->id ? update : insert);
	int r;

	bind_whose(&q, a);
	bind_account(&q, a, packed);
	if (a->id)
		query_bind_int(&q, a->id);
	r = query_run(&q, err);
	if (r >= 0 && a->id == 0)
		a->id = sqlite3_last_insert_rowid(ledger->db);
	return r < 0 ? r : 0;
}

int ledger_account_update(struct store *ledger, const struct account *a, struct ct_error *err)
{
	struct packed packed[3];
	_cleanup_query_ struct query q = query_start(ledger,
	        "UPDATE account SET destroyed = ?, day = ?, open = ?, total = ?, posted = ?, seen = ?, boot_id = ?, cgroup = ?,"
	        " final = ?, clock_usec = ?, time_usec = ? WHERE id = ?");
	int r;

	bind_account(&q, a, packed);
	query_bind_int(&q, a->id);
	r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int read_account(struct query *q, struct account *a, struct ct_error *err)
{
	int r;

	*a = (struct account){
		.id = query_int(q, 0),
		.created = query_int(q, 3),
		.destroyed = query_int(q, 4),
		.day = (unsigned)query_int(q, 5),
		.open = query_int(q, 6),
		.cgroup = (uint64_t)query_int(q, 11),
		.final = query_int(q, 12) != 0,
		.clock_usec = (uint64_t)query_int(q, 13),
		.time_usec = (uint64_t)query_int(q, 14),
	};
	query_copy(q, 1, a->ctid, sizeof(a->ctid));
	query_copy(q, 2, a->name, sizeof(a->name));
	query_copy(q, 10, a->boot_id, sizeof(a->boot_id));
	r = read_counts(q, 7, &a->total, err);
	if (r >= 0)
		r = read_counts(q, 8, &a->posted, err);
	if (r >= 0)
		r = read_counts(q, 9, &a->seen, err);
	return r < 0 ? r : query_check(q, err);
}

int ledger_account_each(struct store *ledger, int (*each)(const struct account *a, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(ledger, "SELECT " COLUMNS " FROM account ORDER BY name, id");
	struct account a;
	int r;

	while ((r = query_next(&q, err)) > 0) {
		r = read_account(&q, &a, err);
		if (r >= 0)
			r = each(&a, userdata);
		if (r != 0)
			return r;
	}
	return r;
}

int ledger_account_find(struct store *ledger, const char *name, struct account *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(ledger,
	        "SELECT " COLUMNS
	        " FROM account WHERE ctid = ?1 OR name = ?1 ORDER BY destroyed IS NOT NULL, id DESC LIMIT 1");
	int r;

	query_bind_text(&q, name);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	return r > 0 ? read_account(&q, ret, err) : -ENOENT;
}

static int post_to(struct store *ledger, const struct account *a, enum posting_kind kind, int64_t start,
        const struct counts *new, struct ct_error *err)
{
	_cleanup_query_ struct query get = query_start(
	        ledger, "SELECT counts FROM posting WHERE account = ? AND kind = ? AND start = ?");
	_cleanup_query_ struct query put = query_start(
	        ledger, "INSERT OR REPLACE INTO posting (account, kind, start, counts) VALUES (?, ?, ?, ?)");
	struct counts sum = { 0 };
	struct packed packed;
	int r;

	query_bind_int(&get, a->id);
	query_bind_int(&get, kind);
	query_bind_int(&get, start);
	r = query_next(&get, err);
	if (r > 0)
		r = read_counts(&get, 0, &sum, err);
	if (r < 0)
		return r;
	counts_add(&sum, new);

	query_bind_int(&put, a->id);
	query_bind_int(&put, kind);
	query_bind_int(&put, start);
	bind_counts(&put, &sum, &packed);
	r = query_run(&put, err);
	return r < 0 ? r : 0;
}

int ledger_post(struct store *ledger, struct account *a, struct ct_error *err)
{
	const struct counts new = counts_minus(&a->total, &a->posted);
	int r;

	if (counts_is_zero(&new))
		return 0;
	r = post_to(ledger, a, POSTING_INTERVAL, a->open, &new, err);
	if (r >= 0)
		r = post_to(ledger, a, POSTING_HOUR, ledger_hour(a->open), &new, err);
	if (r >= 0)
		r = post_to(ledger, a, POSTING_PERIOD, ledger_period(a->open, a->day), &new, err);
	if (r >= 0)
		a->posted = a->total;
	return r;
}

int ledger_each(struct store *ledger, int64_t account, enum posting_kind kind, int64_t first, int64_t end,
        int (*each)(int64_t start, const struct counts *counts, void *userdata), void *userdata,
        struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(ledger,
	        "SELECT start, counts FROM posting WHERE account = ? AND kind = ? AND start >= ? AND start < ? ORDER BY start");
	struct counts counts = { 0 };
	int r;

	query_bind_int(&q, account);
	query_bind_int(&q, kind);
	query_bind_int(&q, first);
	query_bind_int(&q, end);
	while ((r = query_next(&q, err)) > 0) {
		r = read_counts(&q, 1, &counts, err);
		if (r >= 0)
			r = each(query_int(&q, 0), &counts, userdata);
		if (r != 0)
			return r;
	}
	return r;
}

static int trim_postings(
        struct store *ledger, int64_t account, const int64_t before[_POSTING_MAX], struct ct_error *err)
{
	int r = 0;

	for (unsigned kind = 0; r >= 0 && kind < _POSTING_MAX; kind++) {
		_cleanup_query_ struct query q = query_start(
		        ledger, "DELETE FROM posting WHERE account = ? AND kind = ? AND start < ?");

		query_bind_int(&q, account);
		query_bind_int(&q, kind);
		query_bind_int(&q, before[kind]);
		r = query_run(&q, err);
	}
	return r < 0 ? r : 0;
}

static int trim_account(struct store *ledger, int64_t account, int64_t before, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(ledger, "DELETE FROM account WHERE id = ? AND destroyed < ?");
	int r;

	query_bind_int(&q, account);
	query_bind_int(&q, before);
	r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int next_account(struct store *ledger, int64_t after, int64_t *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(ledger, "SELECT id FROM account WHERE id > ? ORDER BY id LIMIT 1");
	int r;

	query_bind_int(&q, after);
	r = query_next(&q, err);
	*ret = r > 0 ? query_int(&q, 0) : 0;
	return r < 0 ? r : 0;
}

int ledger_trim(
        struct store *ledger, const int64_t before[_POSTING_MAX], int64_t *cursor, struct ct_error *err)
{
	int r = store_begin(ledger, false, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r >= 0 && i < TRIM_ACCOUNTS; i++) {
		r = next_account(ledger, *cursor, cursor, err);
		if (r < 0 || *cursor == 0)
			break;
		r = trim_postings(ledger, *cursor, before, err);
		if (r >= 0)
			r = trim_account(ledger, *cursor, before[POSTING_PERIOD], err);
	}
	if (r < 0) {
		store_rollback(ledger);
		return r;
	}
	return store_commit(ledger, err);
}
