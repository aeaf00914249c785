/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger: what each container used, and when. STATE/ledger.db, see ledger.sql.
 *
 * An account is one container, also a destroyed one. What is posted can be added up: the intervals of an hour
 * are the hour, the hours of a billing period are the period, all periods and what is not posted yet are the
 * account's total.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ctd/meter-counts.h"
#include "ctd/store.h"

enum posting_kind {
	POSTING_INTERVAL,
	POSTING_HOUR,
	POSTING_PERIOD,
	_POSTING_MAX,
};

struct account {
	int64_t id; /* 0: not in the ledger yet */
	char ctid[33];
	char name[65];
	int64_t created, destroyed; /* seconds; destroyed 0: it exists */
	unsigned day;               /* of the month, on which its periods begin: 1 to 31 */
	int64_t open;               /* start of the interval that is not posted */
	struct counts total, posted, seen;
	char boot_id[40];
	uint64_t cgroup;
	bool final;
	uint64_t clock_usec, time_usec;
};

/* The database in the directory of the state; an ordinary store of another schema. One that is not there is
 * begun; if that fails, nothing is left of it. */
int ledger_open(const char *path, struct store **ret, struct ct_error *err);

/* Whether opening or reading failed because the ledger is damaged: it shall be put aside. */
bool ledger_is_damage(int r);
/* Renames a damaged ledger that is not open, with its log, to PATH.damaged-DATE; *ret is that name. -ENOENT:
 * there is none. */
int ledger_set_aside(const char *path, uint64_t now_usec, char **ret, struct ct_error *err);
/* The names of those that were, in the directory of the state. What each returns but 0 ends it. */
int ledger_aside_each(const char *dir, int (*each)(const char *name, void *userdata), void *userdata);

/* Names of classes of traffic by their slots. */
int ledger_class_each(struct store *ledger, int (*each)(unsigned slot, const char *name, void *userdata),
        void *userdata, struct ct_error *err);
int ledger_class_put(struct store *ledger, unsigned slot, const char *name, struct ct_error *err);

/* Inserts (and sets id) or writes the whole account. */
int ledger_account_put(struct store *ledger, struct account *a, struct ct_error *err);
/* The same of one that is there and has the name that it was written with: without a change of the indices,
 * which take longer than the row. */
int ledger_account_update(struct store *ledger, const struct account *a, struct ct_error *err);
int ledger_account_each(struct store *ledger, int (*each)(const struct account *a, void *userdata),
        void *userdata, struct ct_error *err);
/* By ctid, or by name: one that exists before destroyed ones, of those the last. -ENOENT. */
int ledger_account_find(struct store *ledger, const char *name, struct account *ret, struct ct_error *err);

/* Posts what a's total has beyond posted, to the interval open and the hour and period it is in; a.posted is
 * then total. In a transaction with the ledger_account_put that follows. */
int ledger_post(struct store *ledger, struct account *a, struct ct_error *err);
/* Postings of an account with first <= start < end, oldest first. */
int ledger_each(struct store *ledger, int64_t account, enum posting_kind kind, int64_t first, int64_t end,
        int (*each)(int64_t start, const struct counts *counts, void *userdata), void *userdata,
        struct ct_error *err);
/* Forgets intervals and hours that began before the given times, periods and destroyed accounts that began or
 * ended before the third. Of one account after another: *cursor is where to go on, 0 at the start and the
 * end. */
int ledger_trim(
        struct store *ledger, const int64_t before[_POSTING_MAX], int64_t *cursor, struct ct_error *err);

/* Start of the hour, the day (UTC) and the billing period that time is in. */
int64_t ledger_hour(int64_t time);
int64_t ledger_day(int64_t time);
int64_t ledger_period(int64_t time, unsigned day);
/* Where the period that begins at start ends. */
int64_t ledger_period_end(int64_t start, unsigned day);
/* Day of the month. */
unsigned ledger_day_of_month(int64_t time);
