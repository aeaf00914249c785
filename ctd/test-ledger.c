/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger: packed counters, stretches of time, and that its parts make the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctd/meter.h"

#define CTID "0123456789abcdef0123456789abcdef"
#define T0   1700000000 /* 2023-11-14 22:13:20 */
#define MIB  (1024 * 1024ULL)

struct fixture {
	char dir[64], path[96];
	struct store *ledger;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test-ledger.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/ledger.db", f->dir);
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	store_close(f->ledger);
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct account account_of(const char *ctid, const char *name)
{
	struct account a = { .created = T0, .day = 14, .open = T0 - T0 % 300 };

	snprintf(a.ctid, sizeof(a.ctid), "%s", ctid);
	snprintf(a.name, sizeof(a.name), "%s", name);
	return a;
}

static void test_packing(void **state)
{
	struct counts all, back;
	uint8_t buf[COUNTS_PACKED_MAX];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < _COUNT_MAX; i++)
		all.of[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? UINT64_MAX - i : i;
	len = counts_pack(&all, buf);
	assert_true(len <= sizeof(buf));
	assert_int_equal(counts_unpack(buf, len, &back), 0);
	assert_memory_equal(&all, &back, sizeof(all));

	/* Cut short, too long, of counters that are not known, numbers that are none. */
	for (size_t i = 0; i < len; i++)
		assert_int_equal(counts_unpack(buf, i, &back), -EBADMSG);
	buf[len] = 0;
	assert_int_equal(counts_unpack(buf, len + 1, &back), -EBADMSG);
	assert_int_equal(counts_unpack((const uint8_t *)"\xff\xff\xff\xff\x7f", 5, &back), -EBADMSG);
	/* Those of a later ctd are whole: bits 0 and 31, and a number for each. */
	assert_int_equal(
	        counts_unpack((const uint8_t *)"\x81\x80\x80\x80\x08\x05\x06", 7, &back), -EPROTONOSUPPORT);
	assert_int_equal(counts_unpack((const uint8_t *)"\x81\x80\x80\x80\x08\x05", 6, &back), -EBADMSG);
	assert_int_equal(
	        counts_unpack((const uint8_t *)"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, &back),
	        -EBADMSG);

	memset(&all, 0, sizeof(all));
	assert_int_equal(counts_pack(&all, buf), 1);
	assert_true(counts_is_zero(&all));
	all.of[3] = INT64_MAX;
	counts_add(&all, &all);
	assert_true(all.of[3] == INT64_MAX);
}

static void test_time(void **state)
{
	const int64_t jan31 = 1706659200, feb29 = 1709164800, mar31 = 1711843200; /* 2024 */

	(void)state;
	assert_int_equal(ledger_hour(T0), T0 - 800);
	assert_int_equal(ledger_day(T0), 1699920000);
	assert_int_equal(ledger_day_of_month(T0), 14);
	assert_int_equal(ledger_period(jan31 + 86399, 31), jan31);
	assert_int_equal(ledger_period(feb29 - 1, 31), jan31);
	assert_int_equal(ledger_period(feb29, 31), feb29);
	assert_int_equal(ledger_period(mar31 - 1, 31), feb29);
	assert_int_equal(ledger_period_end(jan31, 31), feb29);
	assert_int_equal(ledger_period_end(feb29, 31), mar31);
	/* Over a new year, and of another day than the present one. */
	assert_int_equal(ledger_period(1704067200, 2), 1701475200);
	assert_int_equal(ledger_period_end(1701475200, 2), 1704153600);
	assert_int_equal(ledger_period_end(jan31, 5), 1707091200);
	/* Periods follow each other without a hole, whatever the day. */
	for (unsigned day = 1; day <= 31; day++)
		for (int64_t t = ledger_period(T0, day), i = 0; i < 60; i++) {
			int64_t end = ledger_period_end(t, day);

			assert_true(end > t && end - t <= 31 * 86400);
			assert_int_equal(ledger_period(end - 1, day), t);
			assert_int_equal(ledger_period(end, day), end);
			t = end;
		}
}

struct found {
	unsigned n;
	char last[64];
};

static int find(const char *name, void *userdata)
{
	struct found *found = userdata;

	found->n++;
	snprintf(found->last, sizeof(found->last), "%s", name);
	return 0;
}

static void test_aside(void **state)
{
	struct fixture *f = *state;
	struct found found = { 0 };
	struct ct_error error = { 0 };
	char *first = NULL, *second = NULL, path[128];
	struct stat st;
	FILE *file;

	store_close(f->ledger);
	f->ledger = NULL;
	file = fopen(f->path, "r+e");
	assert_non_null(file);
	assert_int_equal(fwrite("this is no database, whatever it was", 1, 36, file), 36);
	assert_int_equal(fclose(file), 0);
	snprintf(path, sizeof(path), "%s-wal", f->path);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);

	assert_true(ledger_is_damage(ledger_open(f->path, &f->ledger, &error)));
	assert_null(strstr(error.text, "backup")); /* nobody has to do anything */
	assert_int_equal(ledger_set_aside(f->path, (uint64_t)T0 * USEC_PER_SEC, &first, NULL), 0);
	assert_true(str_has_suffix(first, "/ledger.db.damaged-20231114T221320Z"));
	assert_int_equal(stat(f->path, &st), -1);
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	store_close(f->ledger);
	f->ledger = NULL;

	/* Another in the same second takes no name away. */
	assert_int_equal(ledger_set_aside(f->path, (uint64_t)T0 * USEC_PER_SEC, &second, NULL), 0);
	assert_string_not_equal(first, second);
	assert_int_equal(ledger_aside_each(f->dir, find, &found), 0);
	assert_int_equal(found.n, 2);
	assert_int_equal(ledger_set_aside(f->path, T0, &second, NULL), -ENOENT);
	assert_int_equal(ledger_is_damage(-ENOSPC) || ledger_is_damage(-ENOMEM) || ledger_is_damage(0), 0);

	assert_int_equal(unlink(first), 0);
	assert_int_equal(unlink(second), 0);
	snprintf(path, sizeof(path), "%s-wal", first);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	free(first);
	free(second);
}

static void change(struct fixture *f, const char *sql)
{
	sqlite3 *db = NULL;

	store_close(f->ledger);
	f->ledger = NULL;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int take_class(unsigned slot, const char *name, void *userdata)
{
	char *names = userdata;

	snprintf(names + strlen(names), 64 - strlen(names), "%u=%s ", slot, name);
	return 0;
}

/* That of an earlier ctd gets its slots for classes of traffic, and keeps all else. */
static void test_older(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web"), back;
	char names[64] = "";

	a.total.of[COUNT_WAIT_IO] = 7;
	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	change(f, "PRAGMA user_version = 1; DROP TABLE class");
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	assert_int_equal(ledger_account_find(f->ledger, CTID, &back, NULL), 0);
	assert_memory_equal(&back.total, &a.total, sizeof(a.total));

	assert_int_equal(ledger_class_put(f->ledger, 3, "near", NULL), 0);
	assert_int_equal(ledger_class_put(f->ledger, 0, "far", NULL), 0);
	assert_true(ledger_class_put(f->ledger, CLASS_SLOTS, "more", NULL) < 0);
	assert_int_equal(ledger_class_each(f->ledger, take_class, names, NULL), 0);
	assert_string_equal(names, "0=far 3=near ");
}

/* A later ctd has written it: nothing is wrong with it, and it stays where it is. */
static void test_newer(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web");
	struct ct_error error = { 0 };
	int r;

	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	change(f, "PRAGMA user_version = 3");
	r = ledger_open(f->path, &f->ledger, &error);
	assert_true(r < 0 && !ledger_is_damage(r));
	assert_non_null(strstr(error.text, "or a newer one"));
	change(f, "PRAGMA user_version = 2; UPDATE account SET total = x'81808080080506'");
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	r = ledger_account_find(f->ledger, CTID, &a, &error);
	assert_true(r < 0 && !ledger_is_damage(r));
	assert_non_null(strstr(error.text, "or a newer one"));
	change(f, "UPDATE account SET total = x'818080800805'");
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	assert_true(ledger_is_damage(ledger_account_find(f->ledger, CTID, &a, NULL)));
}

/* One that cannot be begun leaves nothing that looks like one; one that was there stays. */
static void test_no_room(void **state)
{
	struct fixture *f = *state;
	const struct rlimit none = { .rlim_cur = 0, .rlim_max = RLIM_INFINITY };
	struct rlimit before;
	struct stat st;
	char path[128];
	int r;

	store_close(f->ledger);
	f->ledger = NULL;
	assert_int_equal(unlink(f->path), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	r = ledger_open(f->path, &f->ledger, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(r < 0 && !ledger_is_damage(r));
	assert_int_equal(lstat(f->path, &st), -1);
	snprintf(path, sizeof(path), "%s-wal", f->path);
	assert_int_equal(lstat(path, &st), -1);

	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	store_close(f->ledger);
	f->ledger = NULL;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	r = ledger_open(f->path, &f->ledger, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	store_close(f->ledger);
	f->ledger = NULL;
	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
}

static void test_account(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web"), back;
	struct account other = account_of("fffffffffffffffffffffffffffffff0", "web");

	a.total.of[COUNT_MEMORY] = 1ULL << 62;
	a.seen.of[COUNT_CPU_USER] = 77;
	a.cgroup = 1ULL << 40;
	a.clock_usec = 5;
	a.time_usec = 6;
	snprintf(a.boot_id, sizeof(a.boot_id), "boot");
	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	assert_true(a.id > 0);
	assert_int_equal(ledger_account_find(f->ledger, "web", &back, NULL), 0);
	assert_memory_equal(&a.total, &back.total, sizeof(a.total));
	assert_memory_equal(&a.seen, &back.seen, sizeof(a.seen));
	assert_string_equal(back.boot_id, "boot");
	assert_true(back.cgroup == a.cgroup && back.clock_usec == 5 && back.time_usec == 6 && !back.final);

	/* As a sample does it: all but whose it is. */
	a.total.of[COUNT_CPU_USER] = 78;
	a.time_usec = 7;
	assert_int_equal(ledger_account_update(f->ledger, &a, NULL), 0);
	assert_int_equal(ledger_account_find(f->ledger, CTID, &back, NULL), 0);
	assert_memory_equal(&a.total, &back.total, sizeof(a.total));
	assert_memory_equal(&a.seen, &back.seen, sizeof(a.seen));
	assert_true(back.cgroup == a.cgroup && back.time_usec == 7 && back.created == T0 && back.day == 14);
	assert_string_equal(back.name, "web");

	/* Destroyed, and its name is another's: both are there. */
	a.destroyed = T0 + 5;
	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	assert_int_equal(ledger_account_find(f->ledger, "web", &back, NULL), 0);
	assert_int_equal(back.destroyed, T0 + 5);
	assert_int_equal(ledger_account_put(f->ledger, &other, NULL), 0);
	assert_int_equal(ledger_account_find(f->ledger, "web", &back, NULL), 0);
	assert_string_equal(back.ctid, other.ctid);
	assert_int_equal(ledger_account_find(f->ledger, CTID, &back, NULL), 0);
	assert_int_equal(back.id, a.id);
	assert_int_equal(ledger_account_find(f->ledger, "nobody", &back, NULL), -ENOENT);
}

struct sum {
	struct counts counts;
	unsigned n;
	int64_t first, last;
};

static int add_posting(int64_t start, const struct counts *counts, void *userdata)
{
	struct sum *s = userdata;

	counts_add(&s->counts, counts);
	if (s->n++ == 0)
		s->first = start;
	s->last = start;
	return 0;
}

static struct sum sum_of(struct fixture *f, const struct account *a, enum posting_kind kind)
{
	struct sum s = { 0 };

	assert_int_equal(ledger_each(f->ledger, a->id, kind, 0, INT64_MAX, add_posting, &s, NULL), 0);
	return s;
}

static void test_sums(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web");
	unsigned seed = 1;

	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	assert_int_equal(store_begin(f->ledger, false, NULL), 0);
	/* Two months and more, in intervals of 5 minutes of which some are idle; the clock goes back once. */
	for (unsigned i = 0; i < 20000; i++) {
		for (unsigned k = 0; i % 3 && k < _COUNT_MAX; k++)
			a.total.of[k] += (unsigned)rand_r(&seed) % (k == COUNT_MEMORY ? 1 << 30 : 1000);
		assert_int_equal(ledger_post(f->ledger, &a, NULL), 0);
		a.open += i == 10000 ? -3000 : 300;
	}
	assert_int_equal(store_commit(f->ledger, NULL), 0);

	const struct sum intervals = sum_of(f, &a, POSTING_INTERVAL), hours = sum_of(f, &a, POSTING_HOUR),
	                 periods = sum_of(f, &a, POSTING_PERIOD);
	assert_memory_equal(&intervals.counts, &a.total, sizeof(a.total));
	assert_memory_equal(&hours.counts, &a.total, sizeof(a.total));
	assert_memory_equal(&periods.counts, &a.total, sizeof(a.total));
	assert_true(intervals.n > 13000 && hours.n < 20000 / 12 + 3);
	assert_int_equal(periods.n, 3);
	assert_int_equal(periods.first, ledger_period(T0, 14));

	/* A part by its bounds. */
	struct sum day = { 0 };
	assert_int_equal(ledger_each(f->ledger, a.id, POSTING_HOUR, ledger_day(T0) + 86400,
	                         ledger_day(T0) + 2 * 86400, add_posting, &day, NULL),
	        0);
	assert_int_equal(day.n, 24);
}

static void test_trim(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web"), back;
	int64_t cursor = 0;

	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	for (unsigned i = 0; i < 100; i++) {
		a.total.of[0]++;
		assert_int_equal(ledger_post(f->ledger, &a, NULL), 0);
		a.open += 3600;
	}
	a.destroyed = a.open;
	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);

	const int64_t some[_POSTING_MAX] = { T0 + 50 * 3600, T0 + 10 * 3600, T0 };
	assert_int_equal(ledger_trim(f->ledger, some, &cursor, NULL), 0);
	assert_int_equal(cursor, 0);
	assert_int_equal(sum_of(f, &a, POSTING_INTERVAL).n, 50 - 1);
	assert_int_equal(sum_of(f, &a, POSTING_HOUR).n, 90 - 1);
	assert_int_equal(sum_of(f, &a, POSTING_PERIOD).n, 0); /* it began before T0 */
	assert_int_equal(ledger_account_find(f->ledger, CTID, &back, NULL), 0);
	const int64_t all[_POSTING_MAX] = { a.destroyed + 1, a.destroyed + 1, a.destroyed + 1 };
	assert_int_equal(ledger_trim(f->ledger, all, &cursor, NULL), 0);
	assert_int_equal(ledger_account_find(f->ledger, CTID, &back, NULL), -ENOENT);
	assert_int_equal(sum_of(f, &a, POSTING_HOUR).n, 0);
}

/* What ct-metrics(7) and ctctl-usage(1) say of the size: at most 96 bytes an interval or hour of a busy
 * container. */
static void test_size(void **state)
{
	struct fixture *f = *state;
	struct account a = account_of(CTID, "web");
	struct stat st;
	unsigned seed = 1;

	assert_int_equal(ledger_account_put(f->ledger, &a, NULL), 0);
	assert_int_equal(store_begin(f->ledger, false, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		a.total.of[COUNT_CPU_USER] += (unsigned)rand_r(&seed) % 300000000;
		a.total.of[COUNT_CPU_SYSTEM] += (unsigned)rand_r(&seed) % 300000000;
		a.total.of[COUNT_MEMORY] += 300 * (uint64_t)MIB;
		a.total.of[COUNT_DISK_SOLD] += 300 * 20 * (uint64_t)MIB;
		a.total.of[COUNT_DISK_USED] += 300 * 5 * (uint64_t)MIB;
		for (unsigned k = COUNT_READ_BYTES; k <= COUNT_NET_OUT_PACKETS; k++)
			a.total.of[k] += (unsigned)rand_r(&seed);
		a.total.of[COUNT_RUNNING] += 300 * USEC_PER_SEC;
		a.total.of[COUNT_WAIT_CPU] += (unsigned)rand_r(&seed) % 3000000;
		assert_int_equal(ledger_post(f->ledger, &a, NULL), 0);
		a.open += 3600;
	}
	assert_int_equal(store_commit(f->ledger, NULL), 0);
	store_close(f->ledger);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(ledger_open(f->path, &f->ledger, NULL), 0);
	if (st.st_size > 2 * 20000 * 96)
		fail_msg("%lld bytes for 40000 postings", (long long)st.st_size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packing),
		cmocka_unit_test(test_time),
		cmocka_unit_test_setup_teardown(test_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_older, setup, teardown),
		cmocka_unit_test_setup_teardown(test_newer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_account, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trim, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
