/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sampler.
 *
 * Each container is looked at once in meter-sample seconds, a part of them every second, each part written in
 * one transaction; so no second has much to do, whatever asks for the figures. What is read at a moment
 * belongs to the interval that the moment is in: an interval that is over is posted before the next sample is
 * added. Whatever goes takes a last sample first: the cgroup when its last process has gone and before it is
 * removed (teardown.c), the links before they are taken down (ports.c, traffic.c).
 *
 * A ledger that cannot be written (a full disk) stops nothing: totals go on in memory, what is not written is
 * still in the kernel, and the next second tries again.
 *
 * Each part is synced as it is written, so that one sample is lost with the power. A disk on which that takes
 * long would hold up all else that ctd does: it is asked for no more than a fiftieth of the time, and once in
 * meter-sample seconds at least, which makes it two samples at most.
 */
#include "ctd/meter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/traffic.h"

#define REPLACE_USEC (60 * USEC_PER_SEC) /* a disk that damages each new ledger gets few of them */
#define RETRY_USEC   (10 * USEC_PER_SEC) /* one that has no room for it */
#define TRIM_SECONDS 60
#define DUMP_PARTS   8 /* all counters in one read cost as much as an eighth of them one by one */
#define DAY          86400
#define SYNC_SHARE   50 /* of the time no more than a part in so many */

void meter_free(struct meter *meter)
{
	if (!meter)
		return;
	free(meter->posted);
	free(meter);
}

/* Memory follows what came of the transaction. */
static void conclude(struct meter *meter, bool written)
{
	if (!meter)
		return;
	if (meter->posted && !written)
		meter->account.posted = *meter->posted;
	free(meter->posted);
	meter->posted = NULL;
	if (written) {
		meter->id = meter->account.id;
		meter->open = meter->account.open;
		memcpy(meter->name, meter->account.name, sizeof(meter->name));
		return;
	}
	meter->account.id = meter->id;
	/* 0: it never was. What is open stays so until it can be posted. */
	if (meter->open)
		meter->account.open = meter->open;
}

static struct meter *meter_new(void)
{
	struct meter *meter = calloc(1, sizeof(*meter));

	if (meter)
		meter->allowance_slowed = true; /* by a ctd before this one, perhaps */
	return meter;
}

static struct meter *meter_of(struct container *c)
{
	int64_t now = (int64_t)(now_realtime_usec() / USEC_PER_SEC);
	struct account *a;

	if (c->meter)
		return c->meter;
	c->meter = meter_new();
	if (!c->meter)
		return NULL;
	a = &c->meter->account;
	/* It has been on this node before, and has come back: its account goes on, its counters are new. */
	if (c->manager->metering->ledger &&
	        ledger_account_find(c->manager->metering->ledger, c->row.ctid, a, NULL) == 0) {
		a->destroyed = 0;
		a->seen = (struct counts){ 0 };
		a->cgroup = 0;
		a->boot_id[0] = '\0';
		conclude(c->meter, true);
		meter_hits_begin(c->meter);
		return c->meter;
	}
	*a = (struct account){ 0 };
	c->meter->hits_known = true;
	memcpy(a->ctid, c->row.ctid, sizeof(a->ctid));
	a->created = (int64_t)(c->row.created_usec / USEC_PER_SEC);
	a->day = ledger_day_of_month(a->created);
	a->open = now - now % c->manager->conf.meter_interval;
	return c->meter;
}

static uint64_t started_of(const struct container *c, uint64_t clock, uint64_t time)
{
	/* up_since is of the run before while this one starts. */
	if (c->state == CONTAINER_STARTING)
		return 0;
	if (c->up_since_usec)
		return c->up_since_usec;
	if (c->run.started_usec && c->run.started_usec < time && time - c->run.started_usec < clock)
		return clock - (time - c->run.started_usec);
	return 0;
}

/* In a transaction. */
static int post_if_over(struct container *c, struct ct_error *err)
{
	int64_t now = (int64_t)(now_realtime_usec() / USEC_PER_SEC),
	        open = now - now % c->manager->conf.meter_interval;
	struct meter *meter = c->meter;
	struct account *a = &meter->account;
	int r = 0;

	if (a->open == open)
		return 0;
	if (!meter->posted) {
		meter->posted = malloc(sizeof(*meter->posted));
		if (!meter->posted)
			return ct_error_set(err, -ENOMEM, "meter", "out of memory");
		*meter->posted = a->posted;
	}
	if (a->id == 0)
		r = ledger_account_put(c->manager->metering->ledger, a, err);
	if (r >= 0)
		r = ledger_post(c->manager->metering->ledger, a, err);
	if (r >= 0)
		a->open = open;
	return r;
}

struct meter *meter_sample(struct container *c)
{
	struct meter *meter = meter_of(c);
	struct meter_moment at = {
		.clock_usec = now_monotonic_usec(),
		.time_usec = now_realtime_usec(),
		.boot_id = c->manager->boot_id,
		.disk_sold = c->config.limits.disk.value,
		.late_usec = METER_LATE_USEC(c->manager->conf.meter_sample),
	};
	struct reading now;

	if (!meter || (c->state == CONTAINER_STARTING && !c->teardown))
		return meter; /* half made: its cgroup counts from the first sample */
	at.started_usec = started_of(c, at.clock_usec, at.time_usec);
	at.ended_usec = meter_mark_ended(c->manager->metering, &meter->account);
	meter_read(c, &now);
	if (meter->anew && (now.torn || now.traffic_torn))
		return meter; /* what cannot be read now would be charged at the next look */
	if (meter->anew)
		meter_add_anew(meter, &now, &at, c->manager->metering->lost_usec);
	meter->anew = false;
	meter_add(meter, &now, &at);
	meter->account.day = c->config.billing_day ?: ledger_day_of_month(meter->account.created);
	(void)snprintf(meter->account.name, sizeof(meter->account.name), "%s", c->row.name); /* fits */
	return meter;
}

/* Posts what is over, samples, writes. */
static int write_one(struct container *c, struct ct_error *err)
{
	struct store *ledger = c->manager->metering->ledger;
	struct meter *meter = meter_of(c);
	int r;

	if (!meter)
		return ct_error_set(err, -ENOMEM, "meter", "out of memory");
	if (meter->anew)
		(void)meter_sample(c);
	if (meter->anew) /* once it is in the ledger the next ctd would charge all that the kernel has */
		return 0;
	r = post_if_over(c, err);
	(void)meter_sample(c); /* in memory at least */
	if (r < 0)
		return r;
	return meter->account.id && str_eq(meter->name, meter->account.name)
	               ? ledger_account_update(ledger, &meter->account, err)
	               : ledger_account_put(ledger, &meter->account, err);
}

static int begin(struct manager *m, bool sync, struct ct_error *err)
{
	struct metering *metering = m->metering;
	int r;

	if (!metering->ledger)
		return ct_error_set(err, -ENOENT, "meter", "there is no ledger");
	r = meter_classes_write(m, err);
	return r < 0 ? r : store_begin(metering->ledger, sync, err);
}

static void tell(struct metering *metering, int r, const struct ct_error *error)
{
	if (r == -EUCLEAN)
		metering->damaged = true;
	if (r < 0 && !metering->failing)
		log_error("usage cannot be recorded, and is kept in memory: %s", error->text);
	else if (r >= 0 && metering->failing)
		log_notice("usage is recorded again");
	metering->failing = r < 0;
}

void meter_settle(struct container *c)
{
	struct metering *metering = c->manager->metering;
	struct ct_error error = { 0 };
	int r;

	if (!metering || !c->row.complete)
		return;
	r = begin(c->manager, false, &error);
	if (r >= 0) {
		r = write_one(c, &error);
		if (r < 0)
			store_rollback(metering->ledger);
		else
			r = store_commit(metering->ledger, &error);
		conclude(c->meter, r >= 0);
	} else {
		(void)meter_sample(c);
	}
	tell(metering, r, &error);
}

static int put_synced(struct container *c, struct ct_error *err)
{
	struct store *ledger = c->manager->metering->ledger;
	int r = begin(c->manager, true, err);

	if (r < 0)
		return r;
	r = ledger_account_put(ledger, &c->meter->account, err);
	if (r >= 0)
		return store_commit(ledger, err);
	store_rollback(ledger);
	return r;
}

void meter_carry(struct container *c, const struct counts *totals)
{
	struct meter *meter = c->manager->metering ? meter_sample(c) : NULL;
	struct ct_error error = { 0 };
	struct counts more;
	int r;

	if (!meter)
		return;
	more = counts_minus(totals, &meter->account.total);
	counts_add(&meter->account.total, &more);
	counts_add(&meter->account.posted, &more);
	meter_hits_begin(meter);
	if (!c->manager->metering->ledger)
		return; /* it is written when there is one again */
	r = put_synced(c, &error);
	conclude(meter, r >= 0);
	tell(c->manager->metering, r, &error);
}

static bool is_of(const struct container *c, unsigned part, unsigned parts)
{
	return c->row.complete && c->row.number % parts == part;
}

static bool sync_is_due(const struct metering *metering, unsigned parts)
{
	const uint64_t since = now_monotonic_usec() - metering->synced_usec;

	return since >= parts * USEC_PER_SEC || since / SYNC_SHARE >= metering->sync_usec;
}

/* A commit without a word in it would sync nothing, and the time be that of one that did. */
static int commit_part(struct metering *metering, bool synced, bool any, struct ct_error *err)
{
	const uint64_t start = now_monotonic_usec();
	int r = store_commit(metering->ledger, err);

	if (synced && any && r >= 0) {
		metering->synced_usec = now_monotonic_usec();
		metering->sync_usec = metering->synced_usec - start;
	}
	return r;
}

/* Those of one part in one transaction. */
static void settle_part(struct manager *m, unsigned part, unsigned parts)
{
	struct metering *metering = m->metering;
	const bool sync = sync_is_due(metering, parts);
	struct container *c, *next;
	struct ct_error error = { 0 };
	bool begun, any = false;
	int r;

	if (parts <= DUMP_PARTS)
		traffic_dump_begin(m);
	r = begin(m, sync, &error);
	begun = r >= 0;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (!is_of(c, part, parts))
			continue;
		any = true;
		if (r >= 0)
			r = write_one(c, &error);
		else
			(void)meter_sample(c);
	}
	traffic_dump_end(m);
	if (begun && r < 0)
		store_rollback(metering->ledger);
	else if (begun)
		r = commit_part(metering, sync, any, &error);
	tell(metering, r, &error);
	/* Not before each was looked at: the newest sample would be of a ctd before this one. */
	if (parts == 1 || metering->tick + 1 >= parts)
		meter_mark_set(m, r >= 0 && !m->closing);
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (!is_of(c, part, parts))
			continue;
		conclude(c->meter, r >= 0);
		if (m->closing)
			continue;
		allowance_evaluate(c);
		meter_hits_tell(c);
	}
}

/* Posts the rest and writes that it has gone. */
static int close_account(struct manager *m, struct account *a, struct ct_error *err)
{
	struct store *ledger = m->metering->ledger;
	int r = begin(m, false, err);

	if (r < 0)
		return r;
	a->destroyed = (int64_t)(now_realtime_usec() / USEC_PER_SEC);
	r = a->id ? 0 : ledger_account_put(ledger, a, err);
	if (r >= 0)
		r = ledger_post(ledger, a, err);
	if (r >= 0)
		r = ledger_account_put(ledger, a, err);
	if (r < 0) {
		store_rollback(ledger);
		return r;
	}
	return store_commit(ledger, err);
}

/* What no ledger will ever have is in the log at least. */
static void tell_lost(const struct container *c)
{
	const struct account *a = &c->meter->account;
	const struct counts rest = counts_minus(&a->total, &a->posted);
	_cleanup_json_ json_t *object = meter_totals(c->manager->metering, &rest);
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	log_error("there is no ledger for what container \"%s\" (%s) used and was not posted yet: %s",
	        c->row.name, c->row.ctid, text ? text : "out of memory");
}

void meter_forget(struct container *c)
{
	struct ct_error error = { 0 };
	int r;

	if (!c->meter || !c->manager->metering)
		return;
	/* If it cannot be written the next ctd finds that its container has gone: in the ledger, if there is
	 * one. */
	r = close_account(c->manager, &c->meter->account, &error);
	tell(c->manager->metering, r, &error);
	if (r < 0 && (!c->manager->metering->ledger || c->manager->metering->damaged))
		tell_lost(c);
}

static void trim(struct manager *m)
{
	struct metering *metering = m->metering;
	const int64_t now = (int64_t)(now_realtime_usec() / USEC_PER_SEC);
	const int64_t before[_POSTING_MAX] = {
		[POSTING_INTERVAL] = now - (int64_t)m->conf.ledger_interval_days * DAY,
		[POSTING_HOUR] = now - (int64_t)m->conf.ledger_hour_days * DAY,
		[POSTING_PERIOD] = now - (int64_t)m->conf.ledger_period_days * DAY,
	};
	struct ct_error error = { 0 };
	int r = metering->ledger ? ledger_trim(metering->ledger, before, &metering->cursor, &error) : 0;

	if (r < 0)
		tell(metering, r, &error);
}

/* What memory has goes on in a new ledger, with what was not posted yet. */
static void replace(struct manager *m)
{
	struct ct_error error = { 0 };
	struct container *c, *next;

	m->metering->replace_usec = now_monotonic_usec() + REPLACE_USEC;
	if (meter_ledger_replace(m, "a part of it does not read", &error) < 0) {
		m->metering->replace_usec = now_monotonic_usec() + RETRY_USEC;
		tell(m->metering, -ENOENT, &error);
		return;
	}
	m->metering->cursor = 0;
	m->metering->classes_written = false;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (c->meter)
		c->meter->id = c->meter->account.id = 0;
	settle_part(m, 0, 1); /* the next ctd knows only what is in it */
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	const uint64_t began = now_monotonic_usec();
	struct manager *m = userdata;
	int r;

	if (m->metering->damaged && began >= m->metering->replace_usec)
		replace(m);
	if (m->containers.by_ctid)
		settle_part(m, m->metering->tick % m->conf.meter_sample, m->conf.meter_sample);
	m->metering->sampled_usec = now_monotonic_usec();
	m->metering->took_usec = m->metering->sampled_usec - began;
	if (m->metering->tick++ % TRIM_SECONDS == 0)
		trim(m);
	r = sd_event_source_set_time_relative(source, USEC_PER_SEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

struct loading {
	struct manager *manager;
	struct account *gone;
	size_t n_gone;
};

static int load_account(const struct account *a, void *userdata)
{
	struct loading *l = userdata;
	struct container *c = container_by_ctid(l->manager, a->ctid);
	struct account *grown;

	meter_mark_see(l->manager->metering, a);
	if (a->destroyed)
		return 0;
	if (c) {
		c->meter = meter_new();
		if (!c->meter)
			return -ENOMEM;
		c->meter->account = *a;
		conclude(c->meter, true);
		meter_hits_begin(c->meter);
		return 0;
	}
	grown = reallocarray(l->gone, l->n_gone + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->gone = grown;
	l->gone[l->n_gone++] = *a;
	return 0;
}

static int load(struct manager *m, struct ct_error *err)
{
	struct loading l = { .manager = m };
	int r;

	r = meter_classes_load(m->metering, err);
	if (r >= 0)
		r = ledger_account_each(m->metering->ledger, load_account, &l, err);
	/* Destroyed, when its account could not be closed. */
	for (size_t i = 0; r >= 0 && i < l.n_gone; i++) {
		r = close_account(m, &l.gone[i], err);
		if (r == -ENOSPC || r == -EDQUOT)
			r = 0; /* the next ctd tries again */
	}
	free(l.gone);
	return r;
}

/* What was read of a ledger that turned out to be damaged. */
static void unload(struct manager *m)
{
	struct container *c, *next;

	meter_classes_unload(m->metering);
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		meter_free(c->meter);
		c->meter = NULL;
	}
}

/* Accounts of containers that are older than the ledger: it was damaged, or removed. Each that is complete
 * had one, for it was made with it. */
static int begin_anew(struct manager *m)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (!c->row.complete || c->meter)
			continue;
		if (!meter_of(c))
			return -ENOMEM;
		c->meter->anew = true;
	}
	return 0;
}

int meter_init(struct manager *m, struct ct_error *err)
{
	int r;

	m->metering = calloc(1, sizeof(*m->metering));
	if (!m->metering)
		return ct_error_set(err, -ENOMEM, "meter", "out of memory");
	meter_mark_read(m);
	r = meter_ledger_open(m, load, unload, err);
	if (r < 0)
		return r;
	meter_classes_begin(m);
	r = begin_anew(m);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
	        m->event, &m->metering->timer, CLOCK_MONOTONIC, USEC_PER_SEC, USEC_PER_SEC / 4, on_tick, m);
	return r < 0 ? ct_error_set(err, r, "meter", "cannot begin to meter: %s", strerror(-r)) : 0;
}

void meter_done(struct manager *m)
{
	if (!m->metering)
		return;
	if (m->metering->timer && m->containers.by_ctid)
		settle_part(m, 0, 1);
	if (m->metering->timer) /* all is in the ledger: what was left of an earlier boot goes too */
		m->metering->marked = true;
	meter_mark_set(m, false);
	(void)sd_event_source_disable_unref(m->metering->timer); /* always NULL */
	store_close(m->metering->ledger);
	free(m->metering);
	m->metering = NULL;
}
