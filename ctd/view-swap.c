/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The swap that a container has.
 *
 * lxcfs 5 looks for memory.swap.max in the root of cgroup v2, where it never is, and then says that there is
 * no swap. What there is: as much as memory.swap.max allows and the host has, less memory.swap.current.
 */
#include "ctd/view-swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"

static int host_swap(uint64_t *ret_kib)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL);
	if (r < 0)
		return r;
	p = strstr(text, "\nSwapTotal:");
	*ret_kib = p ? strtoull(p + strlen("\nSwapTotal:"), NULL, 10) : 0;
	return 0;
}

/* -ENOENT: not of a container, or nothing limits its swap. */
static int measure(const struct view_cgroup *cgroup, uint32_t pid, uint64_t *ret_total, uint64_t *ret_used)
{
	_cleanup_close_ int dir = view_cgroup_open(cgroup, pid);
	uint64_t max, used, host;
	int r;

	r = dir < 0 ? dir : read_u64_at(dir, "memory.swap.max", &max);
	if (r >= 0)
		r = read_u64_at(dir, "memory.swap.current", &used);
	if (r >= 0)
		r = host_swap(&host);
	if (r < 0)
		return r;
	*ret_total = max / 1024 < host ? max / 1024 : host;
	*ret_used = used / 1024 < *ret_total ? used / 1024 : *ret_total;
	return 0;
}

int view_swaps(const struct view_cgroup *cgroup, uint32_t pid, struct strbuf *ret)
{
	uint64_t total = 0, used = 0;

	(void)measure(
	        cgroup, pid, &total, &used); /* not limited: whose swap it is, is not for a tenant to see */
	(void)strbuf_puts(ret, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"); /* an error stays */
	if (total > 0)
		(void)strbuf_printf(ret, "none\t\t\t\t\tvirtual\t\t%llu\t\t%llu\t\t0\n",
		        (unsigned long long)total, (unsigned long long)used);
	return ret->error;
}

int view_swap_print(const char *meminfo, uint64_t total_kib, uint64_t used_kib, struct strbuf *ret)
{
	for (const char *line = meminfo; *line;) {
		size_t len = strcspn(line, "\n");

		if (strncmp(line, "SwapTotal:", 10) == 0)
			(void)strbuf_printf(ret, "SwapTotal:      %8llu kB\n", (unsigned long long)total_kib);
		else if (strncmp(line, "SwapFree:", 9) == 0)
			(void)strbuf_printf(ret, "SwapFree:       %8llu kB\n",
			        (unsigned long long)(total_kib - used_kib));
		else
			(void)strbuf_printf(ret, "%.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	return ret->error;
}

int view_swap_meminfo(const struct view_cgroup *cgroup, uint32_t pid, struct strbuf *text)
{
	struct strbuf with = STRBUF_INIT;
	uint64_t total, used;
	int r;

	if (measure(cgroup, pid, &total, &used) < 0)
		return 0;
	r = view_swap_print(text->data, total, used, &with);
	strbuf_done(text);
	*text = with;
	return r;
}
