/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what the kernel says to totals that never go down.
 *
 * The kernel's counters begin at zero with each cgroup and go on while no ctd is there. An account remembers
 * what they said when they were last added (seen) and of which cgroup of which boot; what they say beyond
 * that is new, however much later it is. A counter of the same cgroup that went down (a disk was detached and
 * took its line of io.stat along) adds nothing and is followed from there. Traffic has totals of its own over
 * all runs (traffic.c). Where those are less than what was seen, they were not saved. If a port could not be
 * read this time the kernel may still have it all (a ctd was killed), and what was seen stays. Else it is
 * gone (a power cut, a database from a backup, filters that were flushed), and they are followed from where
 * they are.
 *
 * Memory and disk are held over time, which nobody counts while nobody looks. Between two samples that follow
 * each other the mean of both counts; after a pause in a run nothing is made up, but the pause is counted as
 * a gap. A run that ended without a last look at its counters leaves a gap as well, from the last look that
 * there was. What was sold, and the disk of a container that does not run, are known without looking as long
 * as the host is up; while it is off nothing is counted.
 *
 * A gap over a boot ends where the boot did, at the latest that this can have been: when its last sample of
 * all containers was followed by none (meter-mark.c), or else where the next boot begins. While the host is
 * off nothing is unknown.
 *
 * A file that cannot be read now leaves its counters out of one reading, and the next has all of it; what is
 * held is taken to be what it was.
 */
#include "ctd/meter.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"

enum rest {
	REST_MEMORY,
	REST_DISK_USED,
	REST_DISK_SOLD,
};

#define KIB_SECOND (1024 * USEC_PER_SEC)

static bool is_traffic(unsigned i)
{
	return (i >= COUNT_NET_IN_BYTES && i <= COUNT_NET_DROPPED) || i >= COUNT_CLASSES;
}

static void hold(struct meter *meter, enum counter i, enum rest rest, uint64_t bytes, uint64_t usec)
{
	unsigned __int128 held = (unsigned __int128)bytes * usec + meter->rests[rest];

	counts_add_one(&meter->account.total, i, (uint64_t)(held / KIB_SECOND));
	meter->rests[rest] = (uint64_t)(held % KIB_SECOND);
}

/* Without overflow. */
static uint64_t mean(uint64_t a, uint64_t b)
{
	return a / 2 + b / 2 + (a % 2 + b % 2) / 2;
}

static void add_counters(struct account *a, const struct reading *now, bool same_run)
{
	for (unsigned i = 0; i < _COUNT_MAX; i++) {
		uint64_t seen = is_traffic(i) || same_run ? a->seen.of[i] : 0;

		if (!(now->has >> i & 1) || (!now->cgroup && !is_traffic(i)))
			continue; /* without a cgroup nobody knows of which run it is, and what of it was seen
			           */
		if (is_traffic(i) && now->traffic_torn && now->raw.of[i] < seen)
			continue;
		if (now->raw.of[i] > seen)
			counts_add_one(&a->total, i, now->raw.of[i] - seen);
		a->seen.of[i] = now->raw.of[i];
	}
}

static void forget_run(struct account *a)
{
	for (unsigned i = 0; i < _COUNT_MAX; i++)
		if (!is_traffic(i))
			a->seen.of[i] = 0;
	a->cgroup = 0;
	a->final = false;
}

/* Since when the present run has not been counted as running. */
static uint64_t running_since(
        const struct account *a, const struct meter_moment *at, bool same_run, bool same_boot)
{
	uint64_t since = at->started_usec ? at->started_usec : at->clock_usec;

	if (same_run)
		return a->clock_usec;
	/* It cannot have begun before the container was last seen without it. */
	return same_boot && since < a->clock_usec ? a->clock_usec : since;
}

/* Since it was looked at; over boots, up to the end of the last one or the present one. A wall clock that was
 * set back says nothing, and a second is a mark at least. */
static uint64_t pause_of(const struct account *a, const struct meter_moment *at, bool same_boot)
{
	uint64_t until = at->time_usec > at->clock_usec ? at->time_usec - at->clock_usec : 0;

	if (same_boot)
		return at->clock_usec - a->clock_usec;
	if (at->ended_usec && at->ended_usec < until)
		until = at->ended_usec;
	return until > a->time_usec + USEC_PER_SEC ? until - a->time_usec : USEC_PER_SEC;
}

/* What cannot be read now is taken to be what it was. */
static uint64_t held_now(const struct reading *now, enum gauge gauge, bool torn, uint64_t before)
{
	if (now->gauges.has >> gauge & 1)
		return now->gauges.of[gauge];
	return torn ? before : 0;
}

/* What a run has held and how long it went on. */
static void add_run(struct meter *meter, uint64_t memory, uint64_t ran, bool same_run, bool gap)
{
	counts_add_one(&meter->account.total, COUNT_RUNNING, ran);
	if (!gap)
		hold(meter, COUNT_MEMORY, REST_MEMORY,
		        same_run && meter->sampled ? mean(meter->memory_before, memory) : memory, ran);
}

void meter_add(struct meter *meter, const struct reading *now, const struct meter_moment *at)
{
	struct account *a = &meter->account;
	const bool same_boot = str_eq(a->boot_id, at->boot_id) && at->clock_usec >= a->clock_usec;
	const bool same_run = same_boot && a->cgroup != 0 && a->cgroup == now->cgroup;
	const bool lost_run = a->cgroup != 0 && !same_run && !a->final;
	const uint64_t pause = pause_of(a, at, same_boot);
	const uint64_t memory = held_now(now, GAUGE_MEMORY, now->torn && same_run, meter->memory_before),
	               disk = held_now(now, GAUGE_DISK, now->disk_torn, meter->disk_before);
	bool gap;

	gap = a->cgroup && !a->final && (!same_boot || pause > at->late_usec || lost_run);

	if (gap)
		counts_add_one(&a->total, COUNT_GAP, pause);
	if (same_boot)
		hold(meter, COUNT_DISK_SOLD, REST_DISK_SOLD, at->disk_sold, pause);
	if (!gap && same_boot && (now->disk_torn || now->gauges.has >> GAUGE_DISK & 1))
		hold(meter, COUNT_DISK_USED, REST_DISK_USED,
		        meter->sampled ? mean(meter->disk_before, disk) : disk, pause);

	if (a->cgroup && !same_run)
		forget_run(a);
	if (now->cgroup && !a->final) {
		uint64_t since = running_since(a, at, same_run, same_boot);

		add_run(meter, memory, at->clock_usec > since ? at->clock_usec - since : 0, same_run, gap);
	}
	add_counters(a, now, same_run);
	if (now->cgroup) {
		a->cgroup = now->cgroup;
		a->final = now->empty;
	}

	meter->gauges = now->gauges;
	meter->memory_before = memory;
	meter->disk_before = disk;
	meter->sampled = true;
	(void)snprintf(a->boot_id, sizeof(a->boot_id), "%s", at->boot_id); /* as long at most */
	a->clock_usec = at->clock_usec;
	a->time_usec = at->time_usec;
}

void meter_add_anew(
        struct meter *meter, const struct reading *now, const struct meter_moment *at, uint64_t lost_usec)
{
	struct account *a = &meter->account;
	uint64_t ran =
	        at->started_usec && at->started_usec < at->clock_usec ? at->clock_usec - at->started_usec : 0;
	uint64_t lost = lost_usec;

	if (ran && lost > ran)
		lost = ran;
	if (lost <= at->late_usec)
		lost = at->late_usec + 1;
	if (lost > at->clock_usec)
		lost = at->clock_usec;
	a->seen = now->raw;
	a->cgroup = now->cgroup;
	a->final = false;
	(void)snprintf(a->boot_id, sizeof(a->boot_id), "%s", at->boot_id); /* as long at most */
	a->clock_usec = now->cgroup ? at->clock_usec - lost : at->clock_usec;
	a->time_usec = now->cgroup ? at->time_usec - lost : at->time_usec;
}
