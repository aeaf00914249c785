/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GET /v1/usage: the ledger as a list of rows for each container.
 *
 * Rows are hours, days (sums of hours), billing periods or intervals; the part of the open interval that is
 * not posted yet is added to the row it will be in, so that the rows of all time are the total at every
 * moment. Written straight to the buffer; an answer has a bound, because the event loop stands still for it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/meter.h"

#define ROWS_MAX 10000
#define HOUR     3600
#define DAY      86400

enum by {
	BY_INTERVAL,
	BY_HOUR,
	BY_DAY,
	BY_PERIOD,
	_BY_MAX,
};

static const char *const by_names[] = {
	[BY_INTERVAL] = "interval",
	[BY_HOUR] = "hour",
	[BY_DAY] = "day",
	[BY_PERIOD] = "period",
};

struct usage {
	struct manager *manager;
	struct strbuf b;
	enum by by;
	uint64_t from, to;
	size_t n_rows;

	/* Of the account at work. */
	const struct account *account;
	struct counts row, sum;
	int64_t row_start;
	bool in_row, any_row, any_account;
};

/* Each class of traffic that ever was, so that all rows have the same. */
static void print_classes(struct usage *u, const struct counts *c)
{
	const struct metering *metering = u->manager->metering;
	bool any = false;

	for (unsigned slot = 0; slot < CLASS_SLOTS; slot++) {
		if (!*metering->classes[slot])
			continue;
		(void)strbuf_printf(
		        &u->b, "%s\"%s\":{", any ? "," : ",\"classes\":{", metering->classes[slot]);
		for (unsigned i = 0; i < CLASS_COUNTS; i++)
			(void)strbuf_printf(&u->b, "%s\"%s\":%llu", i ? "," : "", class_count_names[i],
			        (unsigned long long)c->of[count_of_class(slot, i)]);
		(void)strbuf_putc(&u->b, '}');
		any = true;
	}
	if (any)
		(void)strbuf_putc(&u->b, '}');
}

static void print_counts(struct usage *u, const struct counts *c)
{
	for (unsigned i = 0; i < COUNT_CLASSES; i++)
		(void)strbuf_printf(&u->b, "%s\"%s\":%llu", i ? "," : "", counter_kinds[i].name,
		        (unsigned long long)c->of[i]); /* its error stays in it */
	print_classes(u, c);
}

static void print_time(struct strbuf *b, const char *name, int64_t time)
{
	char text[32];

	(void)strbuf_printf(b, "\"%s\":\"%s\",", name,
	        format_time_utc(text, sizeof(text), (uint64_t)time * USEC_PER_SEC));
}

static int64_t end_of_row(const struct usage *u)
{
	switch (u->by) {
	case BY_INTERVAL: return u->row_start + u->manager->conf.meter_interval;
	case BY_HOUR: return u->row_start + HOUR;
	case BY_DAY: return u->row_start + DAY;
	case BY_PERIOD: return ledger_period_end(u->row_start, u->account->day);
	case _BY_MAX: break;
	}
	return u->row_start;
}

static void print_row(struct usage *u)
{
	if (!u->in_row)
		return;
	(void)strbuf_puts(&u->b, u->any_row ? ",{" : "{");
	print_time(&u->b, "start", u->row_start);
	print_time(&u->b, "end", end_of_row(u));
	print_counts(u, &u->row);
	(void)strbuf_putc(&u->b, '}');
	counts_add(&u->sum, &u->row);
	u->any_row = true;
	u->in_row = false;
}

static int add_posting(int64_t start, const struct counts *counts, void *userdata)
{
	struct usage *u = userdata;
	int64_t row = u->by == BY_DAY ? ledger_day(start) : start;

	if (u->in_row && u->row_start == row) {
		counts_add(&u->row, counts);
		return 0;
	}
	print_row(u);
	if (++u->n_rows > ROWS_MAX)
		return -E2BIG;
	u->row = *counts;
	u->row_start = row;
	u->in_row = true;
	return u->b.error;
}

/* Where the interval that is not posted will be posted. */
static int64_t open_start(const struct usage *u)
{
	switch (u->by) {
	case BY_INTERVAL: return u->account->open;
	case BY_HOUR:
	case BY_DAY: return ledger_hour(u->account->open);
	case BY_PERIOD: return ledger_period(u->account->open, u->account->day);
	case _BY_MAX: break;
	}
	return u->account->open;
}

static int print_rows(struct usage *u, struct ct_error *err)
{
	static const enum posting_kind kinds[] = {
		[BY_INTERVAL] = POSTING_INTERVAL,
		[BY_HOUR] = POSTING_HOUR,
		[BY_DAY] = POSTING_HOUR,
		[BY_PERIOD] = POSTING_PERIOD,
	};
	const struct counts rest = counts_minus(&u->account->total, &u->account->posted);
	const int64_t open = open_start(u);
	int r;

	r = ledger_each(u->manager->metering->ledger, u->account->id, kinds[u->by], (int64_t)u->from,
	        (int64_t)u->to, add_posting, u, err);
	if (r >= 0 && !counts_is_zero(&rest) && open >= (int64_t)u->from && open < (int64_t)u->to)
		r = add_posting(open, &rest, u);
	if (r < 0)
		return r;
	print_row(u);
	return 0;
}

static int print_account(const struct account *stored, void *userdata)
{
	struct usage *u = userdata;
	struct container *c = stored->destroyed ? NULL : container_by_ctid(u->manager, stored->ctid);
	size_t before = u->b.len;
	int r;

	u->account = c && c->meter ? &c->meter->account : stored;
	u->sum = (struct counts){ 0 };
	u->in_row = u->any_row = false;
	(void)strbuf_printf(
	        &u->b, "%s{\"ctid\":\"%s\",\"name\":", u->any_account ? "," : "", u->account->ctid);
	(void)strbuf_json_string(&u->b, c ? c->row.name : u->account->name);
	(void)strbuf_putc(&u->b, ',');
	print_time(&u->b, "created", u->account->created);
	if (u->account->destroyed)
		print_time(&u->b, "destroyed", u->account->destroyed);
	(void)strbuf_printf(&u->b, "\"billing_day\":%u,\"rows\":[", u->account->day);
	r = print_rows(u, NULL);
	if (r < 0)
		return r;
	if (!u->any_row && stored->destroyed && before < u->b.len) {
		u->b.len = before; /* long gone */
		return 0;
	}
	(void)strbuf_puts(&u->b, "],\"sum\":{");
	print_counts(u, &u->sum);
	(void)strbuf_puts(&u->b, "},\"total\":{");
	print_counts(u, &u->account->total);
	(void)strbuf_puts(&u->b, "}}");
	u->any_account = true;
	return 0;
}

static int print_one(struct usage *u, const char *name, struct ct_error *err)
{
	struct container *c = NULL;
	struct account a;
	int r;

	/* What it has used to this moment. */
	if (container_find(u->manager, name, &c, NULL) >= 0)
		meter_settle(c);
	r = ledger_account_find(u->manager->metering->ledger, c ? c->row.ctid : name, &a, err);
	if (r == -ENOENT && c && c->meter) /* not written yet: it could not be, or was not looked at */
		return print_account(&c->meter->account, u);
	if (r == -ENOENT)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, r,
		        "there is no container \"%s\", and the ledger knows of none", name);
	return r < 0 ? r : print_account(&a, u);
}

static int parse(struct usage *u, struct call *call, struct ct_error *err)
{
	const char *by = call_query(call, "by");
	int r;

	u->by = BY_PERIOD;
	for (unsigned i = 0; by && i < _BY_MAX; i++)
		if (str_eq(by, by_names[i]))
			u->by = i;
	if (by && !str_eq(by, by_names[u->by]))
		return ct_error_field(err, "by", "by must be interval, hour, day or period");
	r = call_query_u64(call, "from", 0, INT64_MAX / 2, &u->from, err);
	if (r >= 0)
		r = call_query_u64(call, "to", INT64_MAX / 2, INT64_MAX / 2, &u->to, err);
	return r;
}

int api_usage_list(struct manager *m, struct call *call, struct ct_error *err)
{
	struct usage u = { .manager = m, .b = STRBUF_INIT };
	const char *name = call_query(call, "container");
	size_t len;
	int r;

	r = parse(&u, call, err);
	if (r < 0)
		return r;
	if (!m->metering->ledger)
		return ct_error_set(err, -EAGAIN, "usage",
		        "the ledger was damaged and there is no new one yet: see ctctl doctor");
	(void)strbuf_printf(&u.b, "{\"by\":\"%s\",\"containers\":[", by_names[u.by]);
	r = name ? print_one(&u, name, err)
	         : ledger_account_each(m->metering->ledger, print_account, &u, err);
	(void)strbuf_puts(&u.b, "]}");
	if (r >= 0)
		r = u.b.error;
	if (r < 0) {
		strbuf_done(&u.b);
		meter_ledger_failed(m, r);
		if (r == -E2BIG)
			return ct_error_field(err, "by",
			        "that is more than %d rows: ask for one container, a shorter time or longer rows",
			        ROWS_MAX);
		return err->code ? r : ct_error_set(err, r, "usage", "cannot list usage: %s", strerror(-r));
	}
	len = u.b.len;
	call_reply_data(call, 200, "application/json", strbuf_take(&u.b), len);
	return 0;
}
