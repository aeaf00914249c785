/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of limits: which file of the cgroup says what.
 *
 * A row prints the text that the kernel shall show, in the kernel's own form, so that one comparison serves
 * for applying, for finding out what changes, and for verifying after a restart. A row that prints nothing
 * wants the neutral value. The order is the order of writing: memory.high before memory.max, so that a
 * lowered limit slows down before it kills (cgroup-v2.rst, "Memory Interface Files").
 *
 * cpu.max: a period of 100 ms. Shorter ones cost more and cut small shares into pieces below the scheduler's
 * tick, longer ones make pauses that people feel. The kernel saves at most one period's time
 * (sched-bwc.rst): cpu_burst can be at most cpus times the period.
 *
 * memory.high lies below memory.max by a 64th, at most 16 MiB. Between the two the kernel reclaims and slows
 * the allocating task down, by a pause that grows with the square of the excess and is some milliseconds
 * here: long enough for the page cache to give way, too short for a program that really needs the memory to
 * crawl instead of being told.
 *
 * memory.swap.max: without "swap", as much as "memory" is; a sold size must not become the host's whole
 * swap.
 */
#include "ctd/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/unit.h"

#define PERIOD_USEC   100000ULL
#define HIGH_FRACTION 64
#define HIGH_GAP_MAX  (16ULL << 20)

/* Failures of printing stay in the buffer: whoever prints looks there at the end. */
static void put_number(struct strbuf *b, uint64_t n)
{
	(void)strbuf_printf(b, "%" PRIu64, n);
}

static void put_amount(struct strbuf *b, const struct amount *a)
{
	if (a->given)
		put_number(b, a->value);
}

uint64_t limits_whole_pages(uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return bytes / page * page;
}

uint64_t limits_memory_high(uint64_t max)
{
	uint64_t gap = max / HIGH_FRACTION;

	return limits_whole_pages(max - (gap < HIGH_GAP_MAX ? gap : HIGH_GAP_MAX));
}

static void put_bytes(struct strbuf *b, const struct amount *a)
{
	if (a->given)
		put_number(b, limits_whole_pages(a->value));
}

static uint64_t quota_usec(const struct limits *l)
{
	return l->cpus_milli.value * PERIOD_USEC / 1000;
}

static void print_cpu_max(const struct limits_context *x, struct strbuf *b)
{
	if (x->limits->cpus_milli.given)
		(void)strbuf_printf(b, "%" PRIu64 " %" PRIu64, quota_usec(x->limits), (uint64_t)PERIOD_USEC);
}

static void print_cpu_burst(const struct limits_context *x, struct strbuf *b)
{
	put_amount(b, &x->limits->cpu_burst_usec);
}

static void print_cpu_weight(const struct limits_context *x, struct strbuf *b)
{
	put_amount(b, &x->limits->cpu_weight);
}

static void print_cpus(const struct limits_context *x, struct strbuf *b)
{
	cpu_list_print(&x->placement->cpus, b);
}

static void print_nodes(const struct limits_context *x, struct strbuf *b)
{
	cpu_list_print(&x->placement->nodes, b);
}

static void print_memory_min(const struct limits_context *x, struct strbuf *b)
{
	put_bytes(b, &x->limits->memory_guarantee);
}

static void print_memory_high(const struct limits_context *x, struct strbuf *b)
{
	if (x->limits->memory.given)
		put_number(b, limits_memory_high(x->limits->memory.value));
}

static void print_memory_max(const struct limits_context *x, struct strbuf *b)
{
	put_bytes(b, &x->limits->memory);
}

static void print_swap(const struct limits_context *x, struct strbuf *b)
{
	put_bytes(b, x->limits->swap.given ? &x->limits->swap : &x->limits->memory);
}

static void print_oom_group(const struct limits_context *x, struct strbuf *b)
{
	if (x->limits->oom_group)
		(void)strbuf_putc(b, '1');
}

static void print_io_weight(const struct limits_context *x, struct strbuf *b)
{
	if (x->limits->io_weight.given)
		(void)strbuf_printf(b, "default %" PRIu64, x->limits->io_weight.value);
}

static bool any_rate(const struct amount *rates)
{
	for (size_t i = 0; i < _RATE_MAX; i++)
		if (rates[i].given)
			return true;
	return false;
}

static void put_device(struct strbuf *b, const char *device, const struct amount *rates)
{
	static const char *const names[] = {
		[RATE_READ_BPS] = "rbps",
		[RATE_WRITE_BPS] = "wbps",
		[RATE_READ_IOPS] = "riops",
		[RATE_WRITE_IOPS] = "wiops",
	};

	(void)strbuf_printf(b, "%s%s", b->len ? "\n" : "", device);
	for (size_t i = 0; i < _RATE_MAX; i++)
		if (rates[i].given)
			(void)strbuf_printf(b, " %s=%" PRIu64, names[i], rates[i].value);
		else
			(void)strbuf_printf(b, " %s=max", names[i]);
}

/* The store's disk may be named among the devices as well: the device's own line counts. */
static bool is_named(const struct limits_context *x, const char *device)
{
	for (unsigned i = 0; i < x->limits->n_devices; i++)
		if (str_eq(x->devices[i], device))
			return true;
	return false;
}

static void print_io_max(const struct limits_context *x, struct strbuf *b)
{
	if (any_rate(x->limits->rates) && *x->store && !is_named(x, x->store))
		put_device(b, x->store, x->limits->rates);
	for (unsigned i = 0; i < x->limits->n_devices; i++)
		put_device(b, x->devices[i], x->limits->devices[i].rates);
}

static void print_processes(const struct limits_context *x, struct strbuf *b)
{
	put_number(b, x->limits->processes.given ? x->limits->processes.value : LIMITS_PROCESSES);
}

static void print_cgroups(const struct limits_context *x, struct strbuf *b)
{
	put_number(b, x->limits->cgroups.given ? x->limits->cgroups.value : LIMITS_CGROUPS);
}

static void print_depth(const struct limits_context *x, struct strbuf *b)
{
	put_number(b, x->limits->cgroup_depth.given ? x->limits->cgroup_depth.value : LIMITS_CGROUP_DEPTH);
}

#define ASKED(name, expression)                                                                              \
	static bool asked_##name(const struct limits *l)                                                     \
	{                                                                                                    \
		return (expression);                                                                         \
	}

ASKED(cpus, l->cpus_milli.given)
ASKED(cpu_burst, l->cpu_burst_usec.given)
ASKED(cpu_weight, l->cpu_weight.given)
ASKED(cpuset, l->cpuset.given)
ASKED(numa, l->numa.given)
ASKED(guarantee, l->memory_guarantee.given && l->memory_guarantee.value > 0)
ASKED(memory, l->memory.given)
ASKED(swap, l->swap.given)
ASKED(oom_group, l->oom_group)
ASKED(io_weight, l->io_weight.given)
ASKED(io, any_rate(l->rates) || l->n_devices > 0)
ASKED(processes, l->processes.given)
ASKED(cgroups, l->cgroups.given)
ASKED(depth, l->cgroup_depth.given)

const struct limit_file limit_files[] = {
	{ "cpu.max", "cpu", "max 100000", "cpus", LIMIT_TEXT, asked_cpus, print_cpu_max },
	{ "cpu.max.burst", "cpu", "0", "cpu_burst", LIMIT_TEXT, asked_cpu_burst, print_cpu_burst },
	{ "cpu.weight", "cpu", "100", "cpu_weight", LIMIT_TEXT, asked_cpu_weight, print_cpu_weight },
	{ "cpuset.cpus", "cpuset", "", "cpuset", LIMIT_TEXT, asked_cpuset, print_cpus },
	{ "cpuset.mems", "cpuset", "", "numa", LIMIT_TEXT, asked_numa, print_nodes },
	{ "memory.min", "memory", "0", "memory_guarantee", LIMIT_TEXT, asked_guarantee, print_memory_min },
	{ "memory.high", "memory", "max", "memory", LIMIT_TEXT, asked_memory, print_memory_high },
	{ "memory.max", "memory", "max", "memory", LIMIT_TEXT, asked_memory, print_memory_max },
	{ "memory.swap.max", "memory", "max", "swap", LIMIT_TEXT, asked_swap, print_swap },
	{ "memory.oom.group", "memory", "0", "oom_group", LIMIT_TEXT, asked_oom_group, print_oom_group },
	{ "io.weight", "io", "default 100", "io_weight", LIMIT_KEYED, asked_io_weight, print_io_weight },
	{ "io.max", "io", "", "io", LIMIT_KEYED, asked_io, print_io_max },
	{ "pids.max", "pids", "max", "processes", LIMIT_TEXT, asked_processes, print_processes },
	{ "cgroup.max.descendants", NULL, "max", "cgroups", LIMIT_TEXT, asked_cgroups, print_cgroups },
	{ "cgroup.max.depth", NULL, "max", "cgroup_depth", LIMIT_TEXT, asked_depth, print_depth },
	{ NULL },
};

void limits_done(struct limits *l)
{
	free(l->devices);
	l->devices = NULL;
	l->n_devices = 0;
}

bool limits_has_controller(const char *controllers, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = controllers; *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, name, len) == 0 && (p[len] == ' ' || p[len] == '\0'))
			return true;
	}
	return false;
}

int limits_check_together(const struct limits *l, struct ct_error *err)
{
	char most[24], size[24];

	if (l->cpu_burst_usec.given && l->cpu_burst_usec.value > 0 && !l->cpus_milli.given)
		return ct_error_field(
		        err, "cpu_burst", "cpu_burst saves time below the cap of cpus: give cpus as well");
	if (l->cpu_burst_usec.given && l->cpus_milli.given && l->cpu_burst_usec.value > quota_usec(l))
		return ct_error_field(err, "cpu_burst",
		        "cpu_burst must be at most cpus times 100ms, here %s: the kernel saves no more than one period's time",
		        format_duration(most, sizeof(most), quota_usec(l)));
	if (l->memory_guarantee.given && l->memory.given && l->memory_guarantee.value > l->memory.value)
		return ct_error_field(err, "memory_guarantee",
		        "memory_guarantee must be at most memory, which is %s",
		        format_size(size, sizeof(size), l->memory.value));
	if (l->shm.given && l->memory.given && l->shm.value > l->memory.value)
		return ct_error_field(err, "shm", "shm is memory: it must be at most memory, which is %s",
		        format_size(size, sizeof(size), l->memory.value));
	if (l->traffic_action.given && !l->traffic_allowance.given)
		return ct_error_field(err, "traffic_action",
		        "traffic_action says what is done when traffic_allowance is used up: give traffic_allowance as well");
	return 0;
}
