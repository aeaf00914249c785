/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Totals without a kernel: over runs, restarts and boots, and what could not be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ctd/meter.h"

#define T0  1700000000
#define MIB (1024 * 1024ULL)

struct world {
	struct meter meter;
	struct reading now;
	struct meter_moment at;
};

static struct world world_new(void)
{
	struct world w = {
		.at = { .boot_id = "one", .clock_usec = 100 * USEC_PER_SEC, .late_usec = 30 * USEC_PER_SEC }
	};

	w.at.time_usec = T0 * USEC_PER_SEC;
	w.meter.account = (struct account){ .created = T0, .day = 14, .open = T0 - T0 % 300 };
	meter_add(&w.meter, &w.now, &w.at);
	return w;
}

static void later(struct world *w, uint64_t seconds)
{
	w->at.clock_usec += seconds * USEC_PER_SEC;
	w->at.time_usec += seconds * USEC_PER_SEC;
	meter_add(&w->meter, &w->now, &w->at);
}

static void kernel_says(struct world *w, uint64_t cgroup, uint64_t cpu)
{
	w->now.cgroup = cgroup;
	w->now.empty = false;
	w->now.raw.of[COUNT_CPU_USER] = cpu;
	w->now.has = cgroup ? 1u << COUNT_CPU_USER : 0;
}

static uint64_t total(const struct world *w, enum counter i)
{
	return w->meter.account.total.of[i];
}

/* The next ctd knows what was written, and nothing else. */
static void restart(struct world *w)
{
	const struct account kept = w->meter.account;

	w->meter = (struct meter){ .account = kept };
}

static void test_runs(void **state)
{
	struct world w = world_new();

	(void)state;
	/* Begun 4 s before it is seen first. */
	w.at.started_usec = w.at.clock_usec + 6 * USEC_PER_SEC;
	kernel_says(&w, 7, 500);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 500);
	assert_int_equal(total(&w, COUNT_RUNNING), 4 * USEC_PER_SEC);
	kernel_says(&w, 7, 800);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 800);
	assert_int_equal(total(&w, COUNT_RUNNING), 14 * USEC_PER_SEC);

	/* Read to the end, gone, and another that began below what the first one had. */
	kernel_says(&w, 7, 900);
	w.now.empty = true;
	later(&w, 1);
	kernel_says(&w, 0, 0);
	later(&w, 100);
	assert_int_equal(total(&w, COUNT_CPU_USER), 900);
	assert_int_equal(total(&w, COUNT_RUNNING), 15 * USEC_PER_SEC);
	w.at.started_usec = w.at.clock_usec;
	kernel_says(&w, 8, 850);
	later(&w, 1);
	assert_int_equal(total(&w, COUNT_CPU_USER), 1750);
	assert_int_equal(total(&w, COUNT_RUNNING), 16 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_GAP), 0);

	/* A counter that goes down within a run takes nothing away and adds nothing. */
	kernel_says(&w, 8, 100);
	later(&w, 1);
	assert_int_equal(total(&w, COUNT_CPU_USER), 1750);
	kernel_says(&w, 8, 130);
	later(&w, 1);
	assert_int_equal(total(&w, COUNT_CPU_USER), 1780);
}

static void test_kill(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.started_usec = w.at.clock_usec;
	w.now.gauges = (struct gauges){ .of = { [GAUGE_MEMORY] = 10 * MIB }, .has = 1u << GAUGE_MEMORY };
	kernel_says(&w, 7, 500);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_MEMORY), 10 * 10 * 1024);

	/* Away for a moment: caught up, and what is held is taken to have been held. */
	restart(&w);
	kernel_says(&w, 7, 600);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 600);
	assert_int_equal(total(&w, COUNT_MEMORY), 20 * 10 * 1024);
	assert_int_equal(total(&w, COUNT_GAP), 0);

	/* Away for long: what the kernel counted is caught up, what nobody saw is a gap. */
	restart(&w);
	kernel_says(&w, 7, 5000);
	later(&w, 3600);
	assert_int_equal(total(&w, COUNT_CPU_USER), 5000);
	assert_int_equal(total(&w, COUNT_RUNNING), 3620 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_MEMORY), 20 * 10 * 1024);
	assert_int_equal(total(&w, COUNT_GAP), 3600 * USEC_PER_SEC);

	/* It ended meanwhile, and nobody looked at its counters before they went. */
	restart(&w);
	kernel_says(&w, 9, 40);
	w.at.started_usec = w.at.clock_usec + USEC_PER_SEC;
	later(&w, 2);
	assert_int_equal(total(&w, COUNT_CPU_USER), 5040);
	assert_int_equal(total(&w, COUNT_GAP), 3602 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_RUNNING), 3621 * USEC_PER_SEC);
}

static void test_reboot(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.started_usec = w.at.clock_usec;
	w.at.disk_sold = 1024 * MIB;
	w.now.gauges = (struct gauges){ .of = { [GAUGE_DISK] = 100 * MIB }, .has = 1u << GAUGE_DISK };
	kernel_says(&w, 7, 500);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_DISK_SOLD), 10 * 1024 * 1024);

	/* The power went; the new boot gives the same number to a cgroup, its clock begins anew. */
	restart(&w);
	w.at.boot_id = "two";
	w.at.clock_usec = 20 * USEC_PER_SEC;
	w.at.started_usec = 15 * USEC_PER_SEC;
	kernel_says(&w, 7, 600);
	later(&w, 0);
	w.at.time_usec += 60 * USEC_PER_SEC;
	assert_int_equal(total(&w, COUNT_CPU_USER), 1100);
	assert_int_equal(total(&w, COUNT_RUNNING), 15 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_DISK_SOLD), 10 * 1024 * 1024);

	/* Stopped cleanly before the host went down: nothing is missing. */
	w.now.empty = true;
	later(&w, 1);
	kernel_says(&w, 0, 0);
	later(&w, 1);
	uint64_t gap = total(&w, COUNT_GAP), used = total(&w, COUNT_DISK_USED);
	restart(&w);
	w.at.boot_id = "three";
	w.at.clock_usec = USEC_PER_SEC;
	later(&w, 7200);
	assert_int_equal(total(&w, COUNT_GAP), gap);
	assert_int_equal(total(&w, COUNT_DISK_USED), used);
	/* Not running, its disk is what it is, seen or not. */
	restart(&w);
	later(&w, 1000);
	assert_int_equal(total(&w, COUNT_DISK_USED), used + 1000 * 100 * 1024);
	assert_int_equal(total(&w, COUNT_GAP), gap);
}

/* The time without the host is no gap: one that the power took ends where the next boot begins. */
static void test_power_cut(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.started_usec = w.at.clock_usec;
	kernel_says(&w, 7, 500);
	later(&w, 10);
	restart(&w);
	w.at.boot_id = "two";
	w.at.clock_usec = 0;
	w.at.time_usec += 300 * USEC_PER_SEC; /* when it is switched on */
	w.at.started_usec = 15 * USEC_PER_SEC;
	kernel_says(&w, 3, 40);
	later(&w, 600);
	assert_int_equal(total(&w, COUNT_GAP), 300 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_RUNNING), (10 + 585) * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_CPU_USER), 540);

	/* A clock that lost the time cannot say how long: it is marked all the same. */
	restart(&w);
	w.at.boot_id = "three";
	w.at.clock_usec = 20 * USEC_PER_SEC;
	w.at.started_usec = 0;
	w.at.time_usec = 1000 * USEC_PER_SEC;
	kernel_says(&w, 0, 0);
	later(&w, 0);
	assert_int_equal(total(&w, COUNT_GAP), 301 * USEC_PER_SEC);
}

/* Another ctd, or this one, had looked until then: what is unknown ends soon after its last sample, however
 * long the host was off, and whatever the clock says afterwards. */
static void test_power_cut_seen(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.started_usec = w.at.clock_usec;
	kernel_says(&w, 7, 500);
	later(&w, 10);
	restart(&w);
	w.at.boot_id = "two";
	w.at.clock_usec = 0;
	w.at.ended_usec = w.at.time_usec + 35 * USEC_PER_SEC;
	w.at.time_usec += 8 * 3600 * USEC_PER_SEC;
	w.at.started_usec = 15 * USEC_PER_SEC;
	kernel_says(&w, 3, 40);
	later(&w, 600);
	assert_int_equal(total(&w, COUNT_GAP), 35 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_RUNNING), (10 + 585) * USEC_PER_SEC);

	/* Switched on again before that. */
	restart(&w);
	w.at.boot_id = "three";
	w.at.clock_usec = 0;
	w.at.ended_usec = w.at.time_usec + 35 * USEC_PER_SEC;
	w.at.time_usec += 20 * USEC_PER_SEC;
	kernel_says(&w, 0, 0);
	later(&w, 0);
	assert_int_equal(total(&w, COUNT_GAP), (35 + 20) * USEC_PER_SEC);
}

/* What cannot be read once is neither lost nor charged twice. */
static void test_torn(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.started_usec = w.at.clock_usec;
	kernel_says(&w, 7, 500);
	w.now.gauges = (struct gauges){ .of = { [GAUGE_MEMORY] = 10 * MIB, [GAUGE_DISK] = 3 * MIB },
		.has = 1u << GAUGE_MEMORY | 1u << GAUGE_DISK };
	later(&w, 10);
	w.now.torn = w.now.disk_torn = true;
	w.now.has = 0;
	w.now.gauges = (struct gauges){ 0 };
	w.now.raw.of[COUNT_CPU_USER] = 0;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 500);
	w.now.torn = w.now.disk_torn = false;
	kernel_says(&w, 7, 700);
	w.now.gauges = (struct gauges){ .of = { [GAUGE_MEMORY] = 10 * MIB, [GAUGE_DISK] = 3 * MIB },
		.has = 1u << GAUGE_MEMORY | 1u << GAUGE_DISK };
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 700);
	assert_int_equal(total(&w, COUNT_MEMORY), 30 * 10 * 1024);
	assert_int_equal(total(&w, COUNT_DISK_USED), 25 * 3 * 1024); /* the first mean is with nothing */
	assert_int_equal(total(&w, COUNT_RUNNING), 30 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_GAP), 0);

	/* Nor the first time that a run is looked at. */
	w.now.empty = true;
	later(&w, 1);
	w.at.started_usec = w.at.clock_usec;
	kernel_says(&w, 8, 0);
	w.now.torn = true;
	w.now.has = 0;
	later(&w, 10);
	w.now.torn = false;
	kernel_says(&w, 8, 50);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 750);
	assert_int_equal(total(&w, COUNT_GAP), 0);
}

static void test_traffic(void **state)
{
	struct world w = world_new();

	(void)state;
	w.now.has = 1u << COUNT_NET_IN_BYTES;
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1000;
	later(&w, 10);
	/* Its source has totals of its own, so another run changes nothing. */
	w.now.cgroup = 5;
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1500;
	later(&w, 10);
	w.now.cgroup = 6;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1500);
	/* A killed ctd had saved less, and the next one cannot read the port at once. */
	restart(&w);
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1100;
	w.now.traffic_torn = true;
	later(&w, 10);
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1500;
	w.now.traffic_torn = false;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1500);
	/* What could be read of it is counted at once. */
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1550;
	w.now.traffic_torn = true;
	later(&w, 10);
	w.now.traffic_torn = false;
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1550);
	/* One that was given an older database, in the same boot: what the kernel had is gone. */
	restart(&w);
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1200;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1550);
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1250;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1600);
	/* A power cut that took more from the one database than from the other. */
	restart(&w);
	w.at.boot_id = "two";
	w.at.clock_usec = 50 * USEC_PER_SEC;
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1100;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1600);
	w.now.raw.of[COUNT_NET_IN_BYTES] = 1200;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 1700);
}

/* What rates dropped begins anew with each run; classes of traffic go on, as all traffic does. */
static void test_drops(void **state)
{
	const unsigned far = count_of_class(CLASS_SLOTS - 1, CLASS_OUT_PACKETS);
	struct world w = world_new();

	(void)state;
	kernel_says(&w, 7, 500);
	w.now.raw.of[COUNT_NET_RATE_DROPPED] = 10;
	w.now.raw.of[far] = 100;
	w.now.has |= 1ULL << COUNT_NET_RATE_DROPPED | 1ULL << far;
	later(&w, 10);
	restart(&w);
	kernel_says(&w, 9, 40);
	w.now.raw.of[COUNT_NET_RATE_DROPPED] = 12;
	w.now.raw.of[far] = 103;
	w.now.has |= 1ULL << COUNT_NET_RATE_DROPPED | 1ULL << far;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_RATE_DROPPED), 22);
	assert_int_equal(w.meter.account.total.of[far], 103);

	/* The cgroup has gone, the queues are still there. */
	w.now.cgroup = 0;
	w.now.raw.of[far] = 105;
	later(&w, 10);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_NET_RATE_DROPPED), 22);
	assert_int_equal(w.meter.account.total.of[far], 105);
}

/* A byte that is held for a second a thousand times is about a KiB-second, whatever the steps. */
static void test_rests(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.disk_sold = 1;
	for (unsigned i = 0; i < 10240; i++)
		later(&w, 1);
	assert_int_equal(total(&w, COUNT_DISK_SOLD), 10);
}

/* The ledger was lost while it ran: nothing is charged twice, and what nobody knows is a gap. */
static void test_lost(void **state)
{
	struct world w = world_new();

	(void)state;
	w.at.clock_usec += 2000 * USEC_PER_SEC;
	w.at.started_usec = w.at.clock_usec - 1000 * USEC_PER_SEC;
	kernel_says(&w, 7, 500);
	w.now.has |= 1u << COUNT_NET_IN_BYTES;
	w.now.raw.of[COUNT_NET_IN_BYTES] = 700;
	meter_add_anew(&w.meter, &w.now, &w.at, 100 * USEC_PER_SEC);
	later(&w, 0);
	assert_int_equal(total(&w, COUNT_CPU_USER), 0);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 0);
	assert_int_equal(total(&w, COUNT_GAP), 100 * USEC_PER_SEC);
	assert_int_equal(total(&w, COUNT_RUNNING), 100 * USEC_PER_SEC);
	kernel_says(&w, 7, 600);
	w.now.has |= 1u << COUNT_NET_IN_BYTES;
	w.now.raw.of[COUNT_NET_IN_BYTES] = 750;
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_CPU_USER), 100);
	assert_int_equal(total(&w, COUNT_NET_IN_BYTES), 50);
	assert_int_equal(total(&w, COUNT_GAP), 100 * USEC_PER_SEC);

	/* A loss of a moment is told as well; one is never longer than the run. */
	w = world_new();
	kernel_says(&w, 7, 500);
	meter_add_anew(&w.meter, &w.now, &w.at, 0);
	later(&w, 0);
	assert_true(total(&w, COUNT_GAP) > w.at.late_usec);
	w = world_new();
	w.at.started_usec = w.at.clock_usec - 90 * USEC_PER_SEC;
	kernel_says(&w, 7, 500);
	meter_add_anew(&w.meter, &w.now, &w.at, 3600 * USEC_PER_SEC);
	later(&w, 0);
	assert_int_equal(total(&w, COUNT_GAP), 90 * USEC_PER_SEC);

	/* One that does not run loses no time. */
	w = world_new();
	meter_add_anew(&w.meter, &w.now, &w.at, 100 * USEC_PER_SEC);
	later(&w, 10);
	assert_int_equal(total(&w, COUNT_GAP), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_reboot),
		cmocka_unit_test(test_power_cut),
		cmocka_unit_test(test_power_cut_seen),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_drops),
		cmocka_unit_test(test_rests),
		cmocka_unit_test(test_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
