/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which metrics there are, and the page of them.
 *
 * Everything comes from the meter's last sample: however many read, the kernel is asked once. Counters are
 * the totals of the ledger, so they go on over restarts of container, ctd and node. Of a container that does
 * not run, or on a kernel that does not count something, a gauge is absent, not zero.
 *
 * The only label of a container is its ctid, which never changes: a rename begins no new series. What people
 * call it is in ct_info, to be joined. The list is that of ct-metrics(7); a test compares them.
 */
#include "ctd/metrics.h"

#include "ctd/manager.h"

struct family {
	const char *name;
	unsigned index; /* an enum counter or an enum gauge */
	enum metrics_scale scale;
	const char *help;
};

static const struct family counters[] = {
	{ "ct_cpu_user_seconds_total", COUNT_CPU_USER, SCALE_USEC, "CPU time in user mode." },
	{ "ct_cpu_system_seconds_total", COUNT_CPU_SYSTEM, SCALE_USEC, "CPU time in the kernel." },
	{ "ct_cpu_throttled_seconds_total", COUNT_THROTTLED, SCALE_USEC, "Time stopped by the CPU limit." },
	{ "ct_cpu_waiting_seconds_total", COUNT_WAIT_CPU, SCALE_USEC, "Time something waited for CPU." },
	{ "ct_memory_byte_seconds_total", COUNT_MEMORY, SCALE_KIB, "Memory held, times how long." },
	{ "ct_memory_waiting_seconds_total", COUNT_WAIT_MEMORY, SCALE_USEC,
	        "Time something waited for memory." },
	{ "ct_oom_kills_total", COUNT_OOM_KILLS, SCALE_ONE, "Processes killed for lack of memory." },
	{ "ct_disk_sold_byte_seconds_total", COUNT_DISK_SOLD, SCALE_KIB,
	        "Size of the disk, times how long." },
	{ "ct_disk_used_byte_seconds_total", COUNT_DISK_USED, SCALE_KIB,
	        "What is written on the disk, times how long." },
	{ "ct_io_read_bytes_total", COUNT_READ_BYTES, SCALE_ONE, "Read from disks." },
	{ "ct_io_written_bytes_total", COUNT_WRITE_BYTES, SCALE_ONE, "Written to disks." },
	{ "ct_io_reads_total", COUNT_READ_OPS, SCALE_ONE, "Read operations of disks." },
	{ "ct_io_writes_total", COUNT_WRITE_OPS, SCALE_ONE, "Write operations of disks." },
	{ "ct_io_waiting_seconds_total", COUNT_WAIT_IO, SCALE_USEC, "Time something waited for a disk." },
	{ "ct_network_in_bytes_total", COUNT_NET_IN_BYTES, SCALE_ONE, "Sent to the container." },
	{ "ct_network_in_packets_total", COUNT_NET_IN_PACKETS, SCALE_ONE, "Packets sent to the container." },
	{ "ct_network_out_bytes_total", COUNT_NET_OUT_BYTES, SCALE_ONE, "Sent by the container." },
	{ "ct_network_out_packets_total", COUNT_NET_OUT_PACKETS, SCALE_ONE,
	        "Packets sent by the container." },
	{ "ct_network_dropped_packets_total", COUNT_NET_DROPPED, SCALE_ONE,
	        "Packets that the filters of its links dropped." },
	{ "ct_network_rate_dropped_packets_total", COUNT_NET_RATE_DROPPED, SCALE_ONE,
	        "Packets that its rates had no room for." },
	{ "ct_memory_limit_hits_total", COUNT_MEMORY_HITS, SCALE_ONE,
	        "How often it wanted more memory than its limit." },
	{ "ct_processes_limit_hits_total", COUNT_PROCESSES_HITS, SCALE_ONE,
	        "Processes and threads that were refused by the limit." },
	{ "ct_running_seconds_total", COUNT_RUNNING, SCALE_USEC, "Time it ran, frozen or not." },
	{ "ct_gap_seconds_total", COUNT_GAP, SCALE_USEC, "Time it ran unseen by the meter." },
};
_Static_assert(ARRAY_SIZE(counters) == COUNT_CLASSES, "a counter without a metric");

static const struct family gauges[] = {
	{ "ct_cpu_limit_cpus", GAUGE_CPU_LIMIT, SCALE_MILLI, "CPUs it may use." },
	{ "ct_memory_bytes", GAUGE_MEMORY, SCALE_ONE, "Memory held." },
	{ "ct_memory_peak_bytes", GAUGE_MEMORY_PEAK, SCALE_ONE, "Most memory held since its start." },
	{ "ct_memory_working_set_bytes", GAUGE_MEMORY_WORKING_SET, SCALE_ONE,
	        "Memory held without file pages that were not touched lately." },
	{ "ct_memory_limit_bytes", GAUGE_MEMORY_LIMIT, SCALE_ONE, "Memory it may hold." },
	{ "ct_swap_bytes", GAUGE_SWAP, SCALE_ONE, "Swap held." },
	{ "ct_swap_limit_bytes", GAUGE_SWAP_LIMIT, SCALE_ONE, "Swap it may hold." },
	{ "ct_processes", GAUGE_PROCESSES, SCALE_ONE, "Processes and threads." },
	{ "ct_processes_limit", GAUGE_PROCESSES_LIMIT, SCALE_ONE, "Processes and threads it may have." },
	{ "ct_disk_used_bytes", GAUGE_DISK, SCALE_ONE, "Written on the disk." },
	{ "ct_disk_limit_bytes", GAUGE_DISK_LIMIT, SCALE_ONE, "Size of the disk." },
	{ "ct_inodes_used", GAUGE_INODES, SCALE_ONE, "Files on the disk." },
	{ "ct_inodes_limit", GAUGE_INODES_LIMIT, SCALE_ONE, "Files the disk may have." },
};
_Static_assert(ARRAY_SIZE(gauges) == _GAUGE_MAX, "a gauge without a metric");

static void put(struct metrics *w, const char *name, const struct container *c, uint64_t value,
        enum metrics_scale scale)
{
	metrics_sample(w, name);
	metrics_label(w, "ctid", c->row.ctid);
	metrics_value(w, value, scale);
}

#define EACH METRICS_EACH

static void write_info(struct metrics *w, struct manager *m)
{
	struct container *c, *next;

	metrics_gauge(w, "ct_info", "What the container is called; always 1.");
	EACH(m, c, next)
	{
		metrics_sample(w, "ct_info");
		metrics_label(w, "ctid", c->row.ctid);
		metrics_label(w, "name", c->row.name);
		metrics_label(w, "template", c->row.template_name ?: "");
		metrics_label(w, "plan", c->config.plan);
		metrics_label(w, "owner", c->config.owner);
		metrics_value(w, 1, SCALE_ONE);
	}
}

static void write_state(struct metrics *w, struct manager *m)
{
	struct container *c, *next;

	metrics_gauge(w, "ct_running", "1 if its init runs or is frozen, else 0.");
	EACH(m, c, next)
	put(w, "ct_running", c, c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN, SCALE_ONE);
	metrics_gauge(w, "ct_frozen", "1 if it is frozen, else 0.");
	EACH(m, c, next)
	put(w, "ct_frozen", c, c->state == CONTAINER_FROZEN, SCALE_ONE);
	metrics_gauge(w, "ct_broken", "1 if it needs ctctl fsck, else 0.");
	EACH(m, c, next)
	put(w, "ct_broken", c, c->row.broken != NULL, SCALE_ONE);
	metrics_gauge(w, "ct_start_time_seconds", "When it was started, since 1970.");
	EACH(m, c, next)
	if ((c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN) && c->run.started_usec)
		put(w, "ct_start_time_seconds", c, c->run.started_usec, SCALE_USEC);
}

static void write_counter(struct metrics *w, struct manager *m, const struct family *f)
{
	struct container *c, *next;

	metrics_counter(w, f->name, f->help);
	EACH(m, c, next)
	if (c->meter)
		put(w, f->name, c, c->meter->account.total.of[f->index], f->scale);
}

static void write_gauge(struct metrics *w, struct manager *m, const struct family *f)
{
	struct container *c, *next;

	metrics_gauge(w, f->name, f->help);
	EACH(m, c, next)
	if (c->meter && c->meter->gauges.has >> f->index & 1)
		put(w, f->name, c, c->meter->gauges.of[f->index], f->scale);
}

/* Each that ever was, by its name; they are counted from the day on which they got it. */
static void write_class(struct metrics *w, struct manager *m, const char *name, const char *help, unsigned i)
{
	struct container *c, *next;
	bool begun = false;

	for (unsigned slot = 0; slot < CLASS_SLOTS; slot++) {
		const char *class = m->metering ? m->metering->classes[slot] : "";

		if (!*class)
			continue;
		if (!begun)
			metrics_counter(w, name, help);
		begun = true;
		EACH(m, c, next)
		{
			if (!c->meter)
				continue;
			metrics_sample(w, name);
			metrics_label(w, "ctid", c->row.ctid);
			metrics_label(w, "class", class);
			metrics_value(w, c->meter->account.total.of[count_of_class(slot, i)], SCALE_ONE);
		}
	}
}

/* Of those that have one. */
static void write_allowance(struct metrics *w, struct manager *m)
{
	struct container *c, *next;

	metrics_gauge(w, "ct_traffic_allowance_bytes", "Traffic it may have in a billing period.");
	EACH(m, c, next)
	if (c->config.limits.traffic_allowance.given)
		put(w, "ct_traffic_allowance_bytes", c, c->config.limits.traffic_allowance.value, SCALE_ONE);
	metrics_gauge(w, "ct_traffic_used_bytes", "What it has had of its allowance in this period.");
	EACH(m, c, next)
	if (c->config.limits.traffic_allowance.given && c->meter && c->meter->allowance_known)
		put(w, "ct_traffic_used_bytes", c, c->meter->allowance_used, SCALE_ONE);
	metrics_gauge(w, "ct_traffic_exhausted", "1 if its allowance is used up, else 0.");
	EACH(m, c, next)
	if (c->config.limits.traffic_allowance.given)
		put(w, "ct_traffic_exhausted", c, c->config.allowance.level >= ALLOWANCE_EXHAUSTED,
		        SCALE_ONE);
}

int metrics_write(struct manager *m, enum metrics_format format, int fd)
{
	struct metrics w = METRICS_INIT(format, fd);

	metrics_node(&w, m);
	write_info(&w, m);
	write_state(&w, m);
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		write_counter(&w, m, &counters[i]);
	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++)
		write_gauge(&w, m, &gauges[i]);
	write_class(&w, m, "ct_network_class_in_bytes_total", "Sent to the container in a class of traffic.",
	        CLASS_IN_BYTES);
	write_class(&w, m, "ct_network_class_in_packets_total", "Packets of that.", CLASS_IN_PACKETS);
	write_class(&w, m, "ct_network_class_out_bytes_total", "Sent by the container in a class of traffic.",
	        CLASS_OUT_BYTES);
	write_class(&w, m, "ct_network_class_out_packets_total", "Packets of that.", CLASS_OUT_PACKETS);
	write_allowance(&w, m);
	return metrics_done(&w);
}
