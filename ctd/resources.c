/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a container uses, as the kernel counts it.
 *
 * Read with pread from descriptors that are kept while the container runs (1 to 5 us a file), and written
 * straight into the answer's buffer: a table of all containers is asked for every second. What this kernel
 * does not count is left out, never shown as zero. "hits" is how often the limit stood in the way: that of
 * the container's own cgroup, whose .local files leave out what limits below it refused, which are set inside
 * (pids has one since Linux 6.11, and counts nothing of below before). "waiting" is how long something stood
 * still for lack of the resource: pressure "some" (PSI), in microseconds since the start.
 */
#include "ctd/resources.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "ctd/disks.h"
#include "ctd/manager.h"

#define TEXT_SIZE RESOURCE_TEXT

static const char *const file_names[] = {
	[FILE_CPU_STAT] = "cpu.stat",
	[FILE_CPU_PRESSURE] = "cpu.pressure",
	[FILE_MEMORY_CURRENT] = "memory.current",
	[FILE_MEMORY_EVENTS] = "memory.events",
	[FILE_MEMORY_EVENTS_LOCAL] = "memory.events.local",
	[FILE_MEMORY_PRESSURE] = "memory.pressure",
	[FILE_SWAP_CURRENT] = "memory.swap.current",
	[FILE_IO_STAT] = "io.stat",
	[FILE_IO_PRESSURE] = "io.pressure",
	[FILE_PIDS_CURRENT] = "pids.current",
	[FILE_PIDS_EVENTS] = "pids.events",
	[FILE_PIDS_EVENTS_LOCAL] = "pids.events.local",
	[FILE_MEMORY_STAT] = "memory.stat",
	[FILE_MEMORY_PEAK] = "memory.peak",
};

int resources_read(struct container *c, enum resource_file file, char *buf)
{
	int *fd = &c->resources->files[file];
	ssize_t n;

	buf[0] = '\0';
	if (*fd == -1) {
		*fd = fd_set_aside(openat(c->cgroup_fd, file_names[file], O_RDONLY | O_CLOEXEC));
		if (*fd < 0 && errno != ENOENT) {
			*fd = -1;
			return -errno;
		}
		if (*fd < 0)
			*fd = -2;
	}
	if (*fd < 0)
		return -ENOENT;
	n = pread(*fd, buf, TEXT_SIZE - 1, 0);
	if (n < 0)
		return -errno; /* PSI that is switched off: EOPNOTSUPP */
	buf[n] = '\0';
	return (int)n;
}

/* The file's text in buf; "" if there is none. */
static const char *read_file(struct container *c, enum resource_file file, char *buf)
{
	(void)resources_read(c, file, buf); /* then it is empty */
	return buf;
}

/* The number behind "KEY " or "KEY=" at the start of a line or after a space. */
static bool find_number(const char *text, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	for (const char *p = text; (p = strstr(p, key)); p += len) {
		if (p > text && p[-1] != '\n' && p[-1] != ' ')
			continue;
		if (p[len] != ' ' && p[len] != '=')
			continue;
		*ret = strtoull(p + len + 1, NULL, 10);
		return true;
	}
	return false;
}

/* Members of one object; the comma before all but the first. */
static void put(struct strbuf *b, const char *name, uint64_t value)
{
	(void)strbuf_printf(b, "%s\"%s\":%" PRIu64, b->data[b->len - 1] == '{' ? "" : ",", name,
	        value); /* its error stays in it, and is looked at when the answer is given */
}

static void put_amount(struct strbuf *b, const char *name, const struct amount *a)
{
	if (a->given)
		put(b, name, a->value);
}

static void put_found(struct strbuf *b, const char *name, const char *text, const char *key)
{
	uint64_t n = 0;

	if (find_number(text, key, &n))
		put(b, name, n);
}

static void put_waiting(struct strbuf *b, struct container *c, enum resource_file file)
{
	char text[TEXT_SIZE];

	put_found(b, "waiting_usec", read_file(c, file, text), "total"); /* the first line is "some" */
}

static void put_file(struct strbuf *b, const struct container *c, const char *name, const char *file)
{
	uint64_t n = 0;

	if (read_u64_at(c->cgroup_fd, file, &n) == 0 && n != UINT64_MAX)
		put(b, name, n);
}

static void put_event(struct strbuf *b, const struct container *c, const char *name, const char *file)
{
	_cleanup_free_ char *text = NULL;

	if (read_file_at(c->cgroup_fd, file, TEXT_SIZE, &text, NULL) == 0)
		put_found(b, name, text, "max");
}

static void open_object(struct strbuf *b, const char *name)
{
	(void)strbuf_printf(b, "%s\"%s\":{", b->data[b->len - 1] == '{' ? "" : ",", name);
}

static void close_object(struct strbuf *b)
{
	(void)strbuf_putc(b, '}');
}

static void print_cpu(struct container *c, struct strbuf *b)
{
	const struct limits *l = &c->config.limits;
	char text[TEXT_SIZE];

	open_object(b, "cpu");
	if (l->cpus_milli.given)
		(void)strbuf_printf(b, "\"limit\":%" PRIu64 ".%03" PRIu64, l->cpus_milli.value / 1000,
		        l->cpus_milli.value % 1000);
	put_amount(b, "weight", &l->cpu_weight);
	if (c->resources) {
		(void)read_file(c, FILE_CPU_STAT, text);
		put_found(b, "used_usec", text, "usage_usec");
		put_found(b, "hits", text, "nr_throttled");
		put_found(b, "throttled_usec", text, "throttled_usec");
		put_waiting(b, c, FILE_CPU_PRESSURE);
	}
	if (c->resources && cpu_list_count(&c->resources->placement.cpus) > 0) {
		(void)strbuf_puts(b, ",\"pinned\":\"");
		cpu_list_print(&c->resources->placement.cpus, b);
		(void)strbuf_putc(b, '"');
	}
	close_object(b);
}

static void print_memory(struct container *c, struct strbuf *b, bool full)
{
	const struct limits *l = &c->config.limits;
	char text[TEXT_SIZE];

	open_object(b, "memory");
	put_amount(b, "limit", &l->memory);
	put_amount(b, "guarantee", &l->memory_guarantee);
	if (c->resources) {
		if (*read_file(c, FILE_MEMORY_CURRENT, text))
			put(b, "used", strtoull(text, NULL, 10));
		if (full)
			put_file(b, c, "peak", "memory.peak");
		put_found(b, "hits", read_file(c, FILE_MEMORY_EVENTS_LOCAL, text), "max");
		put_found(b, "oom_kills", read_file(c, FILE_MEMORY_EVENTS, text), "oom_kill");
		put_waiting(b, c, FILE_MEMORY_PRESSURE);
		if (c->resources->idle_bytes)
			put(b, "idle_given_back", c->resources->idle_bytes);
	}
	close_object(b);
}

static void print_swap(struct container *c, struct strbuf *b, bool full)
{
	const struct limits *l = &c->config.limits;
	char text[TEXT_SIZE];

	open_object(b, "swap");
	put_amount(b, "limit", l->swap.given ? &l->swap : &l->memory);
	if (c->resources && read_file(c, FILE_SWAP_CURRENT, text)[0])
		put(b, "used", strtoull(text, NULL, 10));
	if (c->resources && full)
		put_event(b, c, "hits", "memory.swap.events");
	close_object(b);
}

/* io.stat has a line for each device; what a container did on all of them is its sum. */
static void print_io(struct container *c, struct strbuf *b)
{
	static const char *const keys[] = { "rbytes", "wbytes", "rios", "wios" };
	static const char *const names[] = { "read_bytes", "write_bytes", "read_ops", "write_ops" };
	static const char *const limits[] = { "read_bps", "write_bps", "read_iops", "write_iops" };
	const struct limits *l = &c->config.limits;
	char text[TEXT_SIZE];

	open_object(b, "io");
	put_amount(b, "weight", &l->io_weight);
	for (size_t i = 0; i < _RATE_MAX; i++)
		put_amount(b, limits[i], &l->rates[i]);
	if (c->resources && (*read_file(c, FILE_IO_STAT, text) || c->resources->files[FILE_IO_STAT] >= 0))
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			uint64_t sum = 0;

			for (const char *line = text; *line;
			        line += strcspn(line, "\n"), line += *line == '\n') {
				uint64_t n = 0;
				const char *p = strstr(line, keys[i]);

				if (p && p < line + strcspn(line, "\n") && find_number(p, keys[i], &n))
					sum += n;
			}
			put(b, names[i], sum);
		}
	if (c->resources)
		put_waiting(b, c, FILE_IO_PRESSURE);
	close_object(b);
}

static void print_processes(struct container *c, struct strbuf *b, bool full)
{
	const struct limits *l = &c->config.limits;
	bool counted = limits_has_controller(c->manager->cgroup.controllers, "pids");
	char text[TEXT_SIZE];

	open_object(b, "processes");
	if (counted)
		put(b, "limit", l->processes.given ? l->processes.value : LIMITS_PROCESSES);
	if (c->resources && *read_file(c, FILE_PIDS_CURRENT, text))
		put(b, "used", strtoull(text, NULL, 10));
	if (c->resources && full) {
		put_file(b, c, "peak", "pids.peak");
		if (!*read_file(c, FILE_PIDS_EVENTS_LOCAL, text))
			(void)read_file(c, FILE_PIDS_EVENTS, text);
		put_found(b, "hits", text, "max");
	}
	close_object(b);
}

static void print_disk(struct container *c, struct strbuf *b)
{
	const struct limits *l = &c->config.limits;
	struct disk_usage usage = { 0 };
	struct disk_spec spec;

	container_disk_spec(c, &spec);
	if (disk_usage(c->manager->disks, &spec, &usage, NULL) < 0)
		usage.exact = false;
	open_object(b, "disk");
	put_amount(b, "limit", &l->disk);
	if (usage.exact)
		put(b, "used", usage.bytes_used);
	close_object(b);
	open_object(b, "inodes");
	put_amount(b, "limit", &l->inodes);
	if (usage.exact)
		put(b, "used", usage.inodes_used);
	close_object(b);
}

void resources_print(struct container *c, struct strbuf *b, bool full)
{
	print_cpu(c, b);
	print_memory(c, b, full);
	print_swap(c, b, full);
	print_io(c, b);
	print_processes(c, b, full);
	if (full)
		print_disk(c, b);
}

const char *resources_file_name(enum resource_file file)
{
	return file_names[file];
}

bool resources_number(const char *text, const char *key, uint64_t *ret)
{
	return find_number(text, key, ret);
}
