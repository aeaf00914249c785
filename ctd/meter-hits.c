/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits that stood in the way, as events: limit.hit.
 *
 * How often memory and processes met their limits the kernel counts, and the totals of the meter have it, so
 * what comes while no ctd looks is told by the next. That a disk is full it does not count: it is seen at a
 * sample, and told when it has become so.
 *
 * A tenant may live at a limit for good, or beat against it to push other events out of their table. So what
 * is met again waits: a minute at first, twice as long each time, an hour at most, and then all of it is one
 * event. It is a minute again once an hour has gone by after such a pause without any. What waits is in the
 * totals, but not told any more, when ctd ends: the next begins with what it finds in the ledger.
 */
#include "base/clock.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/meter.h"

#define PAUSE_MIN_USEC (60 * USEC_PER_SEC)
#define PAUSE_MAX_USEC (3600 * USEC_PER_SEC)

static const struct kind {
	const char *limit;
	bool level;      /* not counted: what is used is compared with the limit */
	unsigned what;   /* an enum counter, or the enum gauge of what is used */
	enum gauge size; /* of a level */
	uint64_t least;  /* at most so much is left then, or a 64th: what the file system needs by itself */
} kinds[METER_HITS] = {
	{ "memory", false, COUNT_MEMORY_HITS, 0, 0 },
	{ "processes", false, COUNT_PROCESSES_HITS, 0, 0 },
	{ "disk", true, GAUGE_DISK, GAUGE_DISK_LIMIT, 512 * 1024 },
	{ "inodes", true, GAUGE_INODES, GAUGE_INODES_LIMIT, 0 },
};

/* An image has free blocks that its file has not: what is used of it says nothing. */
static bool is_full(const struct container *c, const struct kind *k)
{
	const struct gauges *g = &c->meter->gauges;
	const uint64_t part = g->of[k->size] / 64, left = part < k->least ? part : k->least;

	return container_disk_driver(c) == DISK_DRIVER_DIR && (g->has >> k->what & 1) &&
	       (g->has >> k->size & 1) && g->of[k->what] + left >= g->of[k->size];
}

void meter_hits_begin(struct meter *meter)
{
	for (unsigned i = 0; i < METER_HITS; i++)
		if (!kinds[i].level)
			meter->hits[i].told = meter->account.total.of[kinds[i].what];
}

/* Whether it is told now; if so the next one waits. */
static bool may_tell(struct meter_hit *hit, uint64_t now)
{
	if (now < hit->next_usec)
		return false;
	if (hit->pause_usec == 0 || now - hit->next_usec > PAUSE_MAX_USEC)
		hit->pause_usec = PAUSE_MIN_USEC; /* it had stopped */
	else if (hit->pause_usec < PAUSE_MAX_USEC)
		hit->pause_usec *= 2;
	hit->next_usec = now + hit->pause_usec;
	return true;
}

static void tell_count(struct container *c, const struct kind *k, struct meter_hit *hit, uint64_t now)
{
	const uint64_t total = c->meter->account.total.of[k->what];

	if (total <= hit->told || !may_tell(hit, now))
		return;
	manager_event(c->manager, c, "limit.hit",
	        json_pack("{s:s, s:I, s:I}", "limit", k->limit, "hits", (json_int_t)(total - hit->told),
	                "total", (json_int_t)total));
	hit->told = total;
}

static void tell_level(struct container *c, const struct kind *k, struct meter_hit *hit, uint64_t now)
{
	const struct gauges *g = &c->meter->gauges;
	const bool full = is_full(c, k);

	if (!full || hit->full || !c->meter->hits_known) {
		hit->full = full;
		return;
	}
	if (!may_tell(hit, now))
		return;
	hit->full = true;
	manager_event(c->manager, c, "limit.hit",
	        json_pack("{s:s, s:I, s:I}", "limit", k->limit, "used", (json_int_t)g->of[k->what], "size",
	                (json_int_t)g->of[k->size]));
}

void meter_hits_tell(struct container *c)
{
	const uint64_t now = now_monotonic_usec();

	if (!c->meter || !c->meter->sampled)
		return;
	for (unsigned i = 0; i < METER_HITS; i++)
		if (kinds[i].level)
			tell_level(c, &kinds[i], &c->meter->hits[i], now);
		else
			tell_count(c, &kinds[i], &c->meter->hits[i], now);
	c->meter->hits_known = true; /* what was full when this ctd came is no news */
}
