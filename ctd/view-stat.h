/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/stat of a container. */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "ctd/view-cgroup.h"

/* Writes what /proc/stat shows to the container that has the process; to others, the host's. */
int view_stat(const struct view_cgroup *cgroup, uint32_t pid, struct strbuf *ret);

/* For the test: host is the text of the host's file. */
struct view_cpu {
	unsigned cpus;
	uint64_t user_usec, system_usec; /* used so far */
	uint64_t uptime_usec;            /* of the container */
	int64_t boot_offset_sec;         /* of its clock */
};
int view_stat_print(const char *host, const struct view_cpu *cpu, uint64_t ticks, struct strbuf *ret);
