/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metrics of the node: what there is, what is sold and used of it, and how ctd does.
 *
 * Sold is what the limits of all containers say, whether they run or not: what would be missing if all
 * were started. A container without a limit adds nothing. Jobs are counted since this ctd was started, their
 * time with that in the queue: what a client waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/manager.h"
#include "ctd/metrics.h"

#define EACH METRICS_EACH

static void put_node(
        struct metrics *w, const char *name, const char *help, uint64_t value, enum metrics_scale scale)
{
	metrics_gauge(w, name, help);
	metrics_sample(w, name);
	metrics_value(w, value, scale);
}

static void write_states(struct metrics *w, struct manager *m)
{
	static const enum container_state states[] = { CONTAINER_STOPPED, CONTAINER_STARTING,
		CONTAINER_RUNNING, CONTAINER_STOPPING, CONTAINER_FROZEN };
	uint64_t n[ARRAY_SIZE(states)] = { 0 };
	struct container *c, *next;

	EACH(m, c, next)
	n[c->state]++;
	metrics_gauge(w, "ctd_containers", "Containers of the node by state.");
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		metrics_sample(w, "ctd_containers");
		metrics_label(w, "state", container_state_name(states[i]));
		metrics_value(w, n[states[i]], SCALE_ONE);
	}
}

static uint64_t resident_bytes(void)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long pages = 0;

	if (read_file_at(AT_FDCWD, "/proc/self/statm", 256, &text, NULL) < 0 ||
	        sscanf(text, "%*u %llu", &pages) != 1)
		return 0;
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A number of kilobytes in /proc/meminfo, in bytes. */
static uint64_t memory_available(void)
{
	_cleanup_free_ char *text = NULL;
	const char *line;

	if (read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL) < 0)
		return 0;
	line = strstr(text, "MemAvailable:");
	return line ? strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : 0;
}

/* CPU time of the host that was not idle: proc_stat(5), in ticks. */
static uint64_t busy_usec(void)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;

	if (read_file_at(AT_FDCWD, "/proc/stat", 16 << 20, &text, NULL) < 0 ||
	        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
	                &iowait, &irq, &softirq, &steal) != 8)
		return 0;
	return (user + nice + system + irq + softirq) * (USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void write_capacity(struct metrics *w, struct manager *m)
{
	struct disk_probe disk = { 0 };

	disk_probe_limits(m->disks, &disk);
	put_node(w, "ctd_node_cpus", "CPUs of the node.", m->node.n_cpus, SCALE_ONE);
	put_node(w, "ctd_node_memory_bytes", "Memory of the node.", m->node.memory, SCALE_ONE);
	put_node(w, "ctd_node_memory_available_bytes", "Memory of the node that could be used.",
	        memory_available(), SCALE_ONE);
	put_node(w, "ctd_node_disk_bytes", "Size of the file system of the store.", disk.bytes_total,
	        SCALE_ONE);
	put_node(w, "ctd_node_disk_free_bytes", "What is free on it.", disk.bytes_free, SCALE_ONE);
	metrics_counter(w, "ctd_node_cpu_busy_seconds_total", "CPU time of the node that was not idle.");
	metrics_sample(w, "ctd_node_cpu_busy_seconds_total");
	metrics_value(w, busy_usec(), SCALE_USEC);
}

static void write_sold(struct metrics *w, struct manager *m)
{
	uint64_t cpus_milli = 0, memory = 0, disk = 0;
	struct container *c, *next;

	EACH(m, c, next)
	{
		cpus_milli += c->config.limits.cpus_milli.value; /* zero if it is not given */
		memory += c->config.limits.memory.value;
		disk += c->config.limits.disk.value;
	}
	put_node(w, "ctd_sold_cpus", "CPUs that all containers together may use.", cpus_milli, SCALE_MILLI);
	put_node(w, "ctd_sold_memory_bytes", "Memory that all together may hold.", memory, SCALE_ONE);
	put_node(w, "ctd_sold_disk_bytes", "Disk that all together may fill.", disk, SCALE_ONE);
}

static void put_job(struct metrics *w, const struct job_count *n, const char *result, uint64_t value)
{
	metrics_sample(w, "ctd_jobs_total");
	metrics_label(w, "verb", n->verb);
	metrics_label(w, "result", result);
	metrics_value(w, value, SCALE_ONE);
}

#define JOB_TIME "ctd_job_duration_seconds"

static void write_job_time(struct metrics *w, const struct job_count *n)
{
	uint64_t sum = 0;
	char le[32];

	for (unsigned i = 0; i <= JOB_TIMES; i++) {
		sum = i < JOB_TIMES ? sum + n->took[i] : n->done + n->failed;
		if (i < JOB_TIMES)
			(void)snprintf(
			        le, sizeof(le), "%g", (double)job_times_usec[i] / (double)USEC_PER_SEC);
		metrics_sample(w, JOB_TIME "_bucket");
		metrics_label(w, "verb", n->verb);
		metrics_label(w, "le", i < JOB_TIMES ? le : "+Inf");
		metrics_value(w, sum, SCALE_ONE);
	}
	metrics_sample(w, JOB_TIME "_sum");
	metrics_label(w, "verb", n->verb);
	metrics_value(w, n->usec, SCALE_USEC);
	metrics_sample(w, JOB_TIME "_count");
	metrics_label(w, "verb", n->verb);
	metrics_value(w, n->done + n->failed, SCALE_ONE);
}

static void write_jobs(struct metrics *w, struct manager *m)
{
	const struct job_count *n = m->jobs.counts;
	const struct job *job;
	uint64_t open = 0;

	LIST_FOREACH(job, &m->jobs.open, open_entry)
	open++;
	put_node(w, "ctd_jobs_open", "Jobs at work or in a queue.", open, SCALE_ONE);
	metrics_counter(w, "ctd_jobs_total", "Jobs that have ended, by verb and result.");
	for (size_t i = 0; i < JOB_COUNTS && n[i].verb; i++) {
		put_job(w, &n[i], "done", n[i].done);
		put_job(w, &n[i], "failed", n[i].failed);
	}
	metrics_counter(w, "ctd_job_seconds_total", "How long they took, with their time in a queue.");
	for (size_t i = 0; i < JOB_COUNTS && n[i].verb; i++) {
		metrics_sample(w, "ctd_job_seconds_total");
		metrics_label(w, "verb", n[i].verb);
		metrics_value(w, n[i].usec, SCALE_USEC);
	}
	metrics_histogram(w, JOB_TIME, "How long jobs took, with their time in a queue.");
	for (size_t i = 0; i < JOB_COUNTS && n[i].verb; i++)
		write_job_time(w, &n[i]);
}

static uint64_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir); /* was only read */
	return n > 3 ? n - 3 : 0;    /* . and .. and the directory */
}

static uint64_t cpu_usec(void)
{
	struct rusage use = { 0 };

	(void)getrusage(RUSAGE_SELF, &use); /* cannot fail with a valid pointer */
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * USEC_PER_SEC +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void write_health(struct metrics *w, struct manager *m)
{
	const struct metering *metering = m->metering;

	metrics_counter(w, "ctd_cpu_seconds_total", "CPU time that ctd itself used.");
	metrics_sample(w, "ctd_cpu_seconds_total");
	metrics_value(w, cpu_usec(), SCALE_USEC);
	put_node(w, "ctd_open_files", "Files that ctd has open.", open_files(), SCALE_ONE);
	put_node(w, "ctd_keeper_connected", "1 if ctd has its keeper, else 0.", m->keeper != NULL, SCALE_ONE);
	put_node(w, "ctd_ledger_failing", "1 if usage cannot be written, else 0.",
	        metering && (metering->failing || !metering->ledger), SCALE_ONE);
}

void metrics_node(struct metrics *w, struct manager *m)
{
	const struct metering *metering = m->metering;
	uint64_t now = now_monotonic_usec();

	metrics_gauge(w, "ctd_info", "This ctd; always 1.");
	metrics_sample(w, "ctd_info");
	metrics_label(w, "version", CTD_VERSION);
	metrics_value(w, 1, SCALE_ONE);
	write_states(w, m);
	write_capacity(w, m);
	write_sold(w, m);
	write_jobs(w, m);
	write_health(w, m);
	put_node(
	        w, "ctd_resident_memory_bytes", "Memory that ctd itself holds.", resident_bytes(), SCALE_ONE);
	if (!metering || !metering->sampled_usec)
		return;
	put_node(w, "ctd_sample_age_seconds", "How long ago the meter looked at containers last.",
	        now - metering->sampled_usec, SCALE_USEC);
	put_node(w, "ctd_sample_duration_seconds", "How long it took, of those whose turn it was.",
	        metering->took_usec, SCALE_USEC);
}
