/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of the view: what a container sees in place of some files of its /proc and /sys. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum view_source {
	VIEW_LXCFS,  /* lxcfs writes it */
	VIEW_MEMORY, /* lxcfs, but the lines about swap: view-swap.c */
	VIEW_STAT,   /* view-stat.c */
	VIEW_SWAPS,  /* view-swap.c */
};

struct view_file {
	const char *name;   /* in the file system of the view, which has no directories */
	const char *target; /* what it covers inside; lxcfs has it under the same path */
	enum view_source source;
};

/* Not among them: uptime, which the time namespace of a container sets right; slabinfo, which lxcfs has only
 * of cgroup v1 and would pass on from the host. */
static const struct view_file view_files[] = {
	{ "cpuinfo", "/proc/cpuinfo", VIEW_LXCFS },
	{ "diskstats", "/proc/diskstats", VIEW_LXCFS },
	{ "loadavg", "/proc/loadavg", VIEW_LXCFS },
	{ "meminfo", "/proc/meminfo", VIEW_MEMORY },
	{ "stat", "/proc/stat", VIEW_STAT },
	{ "swaps", "/proc/swaps", VIEW_SWAPS },
	{ "online", "/sys/devices/system/cpu/online", VIEW_LXCFS },
};

static inline bool view_from_lxcfs(unsigned file)
{
	return view_files[file].source == VIEW_LXCFS || view_files[file].source == VIEW_MEMORY;
}

#define VIEW_FILES (sizeof(view_files) / sizeof(view_files[0]))

/* Descriptors that ct-view is started with, and under which a later ctd finds them again. */
enum {
	VIEW_FUSE_FD = 3,
	VIEW_PENDING_FD = 4, /* memory: struct view_pending */
};

#define VIEW_PENDING 16384

/* Below that of the containers: of ct-view and its lxcfs. */
#define VIEW_CGROUP "view"

/* What the next ct-view must know of the requests that the last one has taken. */
struct view_pending {
	uint64_t under_way[VIEW_PENDING]; /* numbers of reads that are not answered; 0: none */
	uint64_t last;                    /* the number of the request taken last, whatever it asks */
};
