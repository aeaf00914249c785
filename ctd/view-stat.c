/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/stat of a container.
 *
 * lxcfs takes the time of each CPU from the cpuacct controller, which cgroup v2 has not; there it shows the
 * host's times, so that `top` inside tells what the neighbours do. And it keeps the host's time of boot, by
 * which `ps` reckons when a process was started, though in a time namespace those count from the container's
 * start. So this file is made here: as many CPUs as the container is shown elsewhere, its own time spread
 * over them evenly (the kernel does not keep it by CPU), the rest of its uptime idle; the time of its boot;
 * what else the host's file has (interrupts, context switches) is left as it is.
 */
#include "ctd/view-stat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define TEXT_MAX  (1U << 20)
#define HOST_USEC (100 * USEC_PER_MSEC)

static int print_cpu(const char *name, uint64_t user, uint64_t system, uint64_t uptime, struct strbuf *ret)
{
	uint64_t busy = user + system;

	return strbuf_printf(ret, "%s %llu 0 %llu %llu 0 0 0 0 0 0\n", name, (unsigned long long)user,
	        (unsigned long long)system, (unsigned long long)(uptime > busy ? uptime - busy : 0));
}

int view_stat_print(const char *host, const struct view_cpu *cpu, uint64_t ticks, struct strbuf *ret)
{
	const uint64_t unit = USEC_PER_SEC / ticks, n = cpu->cpus ? cpu->cpus : 1;
	uint64_t user = cpu->user_usec / unit, system = cpu->system_usec / unit, up = cpu->uptime_usec / unit;
	char name[24];

	(void)print_cpu("cpu ", user, system, up * n, ret); /* an error stays in the buffer */
	for (uint64_t i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "cpu%llu", (unsigned long long)i);
		(void)print_cpu(name, user / n, system / n, up, ret);
	}
	for (const char *line = host; *line;) {
		size_t len = strcspn(line, "\n");

		if (strncmp(line, "btime ", 6) == 0)
			(void)strbuf_printf(ret, "btime %lld\n",
			        strtoll(line + 6, NULL, 10) - (long long)cpu->boot_offset_sec);
		else if (strncmp(line, "cpu", 3) != 0)
			(void)strbuf_printf(ret, "%.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	return ret->error;
}

static uint64_t value_of(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? strtoull(p + strlen(key), NULL, 10) : 0;
}

/* "0-3,8": how many. */
static unsigned count_list(const char *text)
{
	unsigned n = 0;

	while (*text >= '0' && *text <= '9') {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		n += last >= first && last - first < 65536 ? (unsigned)(last - first + 1) : 0;
		text = *end == ',' ? end + 1 : end;
	}
	return n;
}

static unsigned count_cpus(int dir)
{
	_cleanup_free_ char *max = NULL, *set = NULL;
	unsigned long long quota = 0, period = 0;
	unsigned n = 0;

	if (read_file_at(dir, "cpuset.cpus.effective", TEXT_MAX, &set, NULL) == 0)
		n = count_list(set);
	if (n == 0)
		n = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (read_file_at(dir, "cpu.max", 64, &max, NULL) == 0 &&
	        sscanf(max, "%llu %llu", &quota, &period) == 2 && period > 0 &&
	        (quota + period - 1) / period < n)
		n = (unsigned)((quota + period - 1) / period);
	return n;
}

static int64_t boot_offset(uint32_t pid)
{
	_cleanup_free_ char *text = NULL;
	char name[48];
	const char *p;

	(void)snprintf(name, sizeof(name), "/proc/%u/timens_offsets", pid);
	if (read_file_at(AT_FDCWD, name, 4096, &text, NULL) < 0)
		return 0; /* a kernel without time namespaces */
	p = strstr(text, "boottime");
	return p ? strtoll(p + strlen("boottime"), NULL, 10) : 0;
}

static int measure(const struct view_cgroup *cgroup, uint32_t pid, struct view_cpu *ret)
{
	_cleanup_close_ int dir = view_cgroup_open(cgroup, pid);
	_cleanup_free_ char *stat = NULL;
	int64_t uptime;
	int r;

	if (dir < 0)
		return dir;
	r = read_file_at(dir, "cpu.stat", TEXT_MAX, &stat, NULL);
	if (r < 0)
		return r;

	ret->cpus = count_cpus(dir);
	ret->user_usec = value_of(stat, "\nuser_usec ");
	ret->system_usec = value_of(stat, "\nsystem_usec ");
	ret->boot_offset_sec = boot_offset(pid);
	uptime = (int64_t)now_boottime_usec() + ret->boot_offset_sec * (int64_t)USEC_PER_SEC;
	ret->uptime_usec = uptime > 0 ? (uint64_t)uptime : 0;
	return 0;
}

void view_host_done(struct view_host *host)
{
	free(host->stat);
	*host = (struct view_host){ 0 };
}

static int refresh(struct view_host *host)
{
	uint64_t now = now_monotonic_usec();
	int r;

	if (host->stat && now - host->read_usec < HOST_USEC)
		return 0;
	view_host_done(host);
	r = read_file_at(AT_FDCWD, "/proc/stat", 16U << 20, &host->stat, NULL);
	host->read_usec = now;
	return r;
}

int view_stat(const struct view_cgroup *cgroup, struct view_host *host, uint32_t pid, struct strbuf *ret)
{
	struct view_cpu cpu = { 0 };
	int r;

	r = refresh(host);
	if (r < 0)
		return r;
	if (measure(cgroup, pid, &cpu) < 0)
		return strbuf_puts(ret, host->stat);
	return view_stat_print(host->stat, &cpu, (uint64_t)sysconf(_SC_CLK_TCK), ret);
}
