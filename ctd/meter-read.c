/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One look at what the kernel counts of a container.
 *
 * The files of a running container are kept open by resources.c; one that is only being taken down is read by
 * name. The id of a cgroup is its inode number: the kernel gives a number to one cgroup only between two
 * boots, so it says whether two readings are of the same counters (cgroups(7); kernfs, 64 bits).
 *
 * io.stat has a line for each device. What a container writes to a loop device is written by it to the device
 * below as well, and is counted there; lines of loop devices (major 7) are left out, or it would pay twice.
 *
 * A file that is there and cannot be read this time (no descriptor, no memory) is not one that is gone: the
 * run goes on, and its counters are in the next reading.
 *
 * Limits that were met are those of the container's own cgroup (.local): below it they are set inside, and
 * are nothing that was sold.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/resources.h"
#include "ctd/traffic.h"

#define LOOP_LINE "7:"

static int read_by_name(const struct container *c, enum resource_file file, char *buf)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(c->cgroup_fd, resources_file_name(file), RESOURCE_TEXT - 1, &text, NULL);

	(void)snprintf(buf, RESOURCE_TEXT, "%s", r == 0 ? text : ""); /* as long at most */
	return r;
}

/* The cgroup has gone, or this kernel has no such file. */
static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

/* Negative: there is no text. */
static int look(struct container *c, struct reading *reading, enum resource_file file, char *buf)
{
	int r = c->resources ? resources_read(c, file, buf) : read_by_name(c, file, buf);

	if (r < 0 && !is_absent(r) && r != -EOPNOTSUPP) /* PSI is switched off */
		reading->torn = true;
	return r;
}

static const char *text_of(struct container *c, struct reading *r, enum resource_file file, char *buf)
{
	(void)look(c, r, file, buf); /* then it is empty */
	return buf;
}

static void take(struct reading *r, unsigned counter, uint64_t value)
{
	r->raw.of[counter] = value;
	r->has |= 1ULL << counter;
}

static void gauge(struct reading *r, enum gauge gauge, uint64_t value)
{
	r->gauges.of[gauge] = value;
	r->gauges.has |= 1u << gauge;
}

static void take_found(struct reading *r, enum counter counter, const char *text, const char *key)
{
	uint64_t n = 0;

	if (resources_number(text, key, &n))
		take(r, counter, n);
}

static void read_io(struct reading *r, const char *text)
{
	static const struct {
		const char *key;
		enum counter counter;
	} keys[] = {
		{ "rbytes=", COUNT_READ_BYTES },
		{ "wbytes=", COUNT_WRITE_BYTES },
		{ "rios=", COUNT_READ_OPS },
		{ "wios=", COUNT_WRITE_OPS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		uint64_t sum = 0;

		for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
			const char *p = strstr(line, keys[i].key);

			if (p && p < line + strcspn(line, "\n") && !str_has_prefix(line, LOOP_LINE))
				sum += strtoull(p + strlen(keys[i].key), NULL, 10);
		}
		take(r, keys[i].counter, sum);
	}
}

static void read_memory(struct container *c, struct reading *r, char *text)
{
	uint64_t inactive = 0;

	if (*text_of(c, r, FILE_MEMORY_CURRENT, text))
		gauge(r, GAUGE_MEMORY, strtoull(text, NULL, 10));
	if (*text_of(c, r, FILE_MEMORY_PEAK, text))
		gauge(r, GAUGE_MEMORY_PEAK, strtoull(text, NULL, 10));
	if (*text_of(c, r, FILE_SWAP_CURRENT, text))
		gauge(r, GAUGE_SWAP, strtoull(text, NULL, 10));
	if (resources_number(text_of(c, r, FILE_MEMORY_STAT, text), "inactive_file", &inactive))
		gauge(r, GAUGE_MEMORY_WORKING_SET,
		        r->gauges.of[GAUGE_MEMORY] > inactive ? r->gauges.of[GAUGE_MEMORY] - inactive : 0);
	take_found(r, COUNT_OOM_KILLS, text_of(c, r, FILE_MEMORY_EVENTS, text), "oom_kill");
	take_found(r, COUNT_MEMORY_HITS, text_of(c, r, FILE_MEMORY_EVENTS_LOCAL, text), "max");
}

/* Whether there is one. */
static bool read_cgroup(struct container *c, struct reading *r)
{
	char text[RESOURCE_TEXT];

	if (is_absent(look(c, r, FILE_CPU_STAT, text)))
		return false;
	take_found(r, COUNT_CPU_USER, text, "user_usec");
	take_found(r, COUNT_CPU_SYSTEM, text, "system_usec");
	take_found(r, COUNT_THROTTLED, text, "throttled_usec");
	read_memory(c, r, text);
	if (*text_of(c, r, FILE_IO_STAT, text))
		read_io(r, text);
	if (*text_of(c, r, FILE_PIDS_CURRENT, text))
		gauge(r, GAUGE_PROCESSES, strtoull(text, NULL, 10));
	if (is_absent(look(c, r, FILE_PIDS_EVENTS_LOCAL, text))) /* before Linux 6.11 */
		(void)text_of(c, r, FILE_PIDS_EVENTS, text);
	take_found(r, COUNT_PROCESSES_HITS, text, "max");
	/* The first "total" is that of "some". */
	take_found(r, COUNT_WAIT_CPU, text_of(c, r, FILE_CPU_PRESSURE, text), "total");
	take_found(r, COUNT_WAIT_MEMORY, text_of(c, r, FILE_MEMORY_PRESSURE, text), "total");
	take_found(r, COUNT_WAIT_IO, text_of(c, r, FILE_IO_PRESSURE, text), "total");
	return true;
}

static bool is_empty(const struct container *c)
{
	_cleanup_free_ char *text = NULL;
	uint64_t populated = 1;

	return read_file_at(c->cgroup_fd, "cgroup.events", 4096, &text, NULL) == 0 &&
	       resources_number(text, "populated", &populated) && populated == 0;
}

static void read_traffic(struct container *c, struct reading *r)
{
	struct traffic_counts t;
	uint64_t drops;

	r->traffic_torn = !traffic_sample(c);
	t = traffic_totals(c);
	take(r, COUNT_NET_IN_BYTES, t.in_bytes);
	take(r, COUNT_NET_IN_PACKETS, t.in_packets);
	take(r, COUNT_NET_OUT_BYTES, t.out_bytes);
	take(r, COUNT_NET_OUT_PACKETS, t.out_packets);
	take(r, COUNT_NET_DROPPED, t.out_dropped);
	if (traffic_rate_drops(c, &drops))
		take(r, COUNT_NET_RATE_DROPPED, drops);
	for (unsigned i = 0; i < c->manager->conf.n_classes; i++) {
		const int slot = c->manager->metering->slots[i];

		if (slot < 0)
			continue;
		t = traffic_class_totals(c, i);
		take(r, count_of_class((unsigned)slot, CLASS_IN_BYTES), t.in_bytes);
		take(r, count_of_class((unsigned)slot, CLASS_IN_PACKETS), t.in_packets);
		take(r, count_of_class((unsigned)slot, CLASS_OUT_BYTES), t.out_bytes);
		take(r, count_of_class((unsigned)slot, CLASS_OUT_PACKETS), t.out_packets);
	}
}

/* One system call for all containers of a second. */
static bool has_project_quota(struct manager *m)
{
	struct metering *metering = m->metering;
	const uint64_t now = now_monotonic_usec();

	if (!metering->quota_usec || now - metering->quota_usec >= USEC_PER_SEC) {
		metering->quota = disk_store_has_project_quota(m->disks);
		metering->quota_usec = now;
	}
	return metering->quota;
}

static void read_disk(struct container *c, struct reading *r)
{
	struct disk_usage usage = { 0 };
	struct disk_spec spec;

	if (container_disk_driver(c) == DISK_DRIVER_DIR && !has_project_quota(c->manager))
		return; /* nobody counts it */
	if (c->meter && c->meter->project_id)
		container_disk_spec_known(c, c->meter->project_id, &spec);
	else
		container_disk_spec(c, &spec);
	if (c->meter)
		c->meter->project_id = spec.project_id;
	r->disk_torn = disk_usage(c->manager->disks, &spec, &usage, NULL) < 0;
	if (r->disk_torn || !usage.exact)
		return;
	gauge(r, GAUGE_DISK, usage.bytes_used);
	gauge(r, GAUGE_INODES, usage.inodes_used);
}

static void read_limits(const struct container *c, struct reading *r)
{
	const struct limits *l = &c->config.limits;
	const struct {
		enum gauge gauge;
		const struct amount *amount;
	} limits[] = {
		{ GAUGE_CPU_LIMIT, &l->cpus_milli },
		{ GAUGE_MEMORY_LIMIT, &l->memory },
		{ GAUGE_SWAP_LIMIT, &l->swap },
		{ GAUGE_PROCESSES_LIMIT, &l->processes },
		{ GAUGE_DISK_LIMIT, &l->disk },
		{ GAUGE_INODES_LIMIT, &l->inodes },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (limits[i].amount->given)
			gauge(r, limits[i].gauge, limits[i].amount->value);
}

/* That of a descriptor never changes. 0: there is none. */
static uint64_t cgroup_id(struct container *c)
{
	struct stat st;

	if (c->cgroup_fd < 0)
		return 0;
	if (c->resources && c->resources->cgroup_id)
		return c->resources->cgroup_id;
	if (fstat(c->cgroup_fd, &st) < 0)
		return 0;
	if (c->resources)
		c->resources->cgroup_id = (uint64_t)st.st_ino;
	return (uint64_t)st.st_ino;
}

void meter_read(struct container *c, struct reading *ret)
{
	const uint64_t id = cgroup_id(c);

	*ret = (struct reading){ 0 };
	read_traffic(c, ret);
	read_disk(c, ret);
	read_limits(c, ret);
	if (!id)
		return;
	ret->empty = c->teardown && is_empty(c); /* before what is counted of it */
	/* An unlinked directory still has its inode, but no files. */
	if (!read_cgroup(c, ret))
		return;
	ret->cgroup = id;
	ret->empty &= !ret->torn;
}
