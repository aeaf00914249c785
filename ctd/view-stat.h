/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/stat of a container. */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "ctd/view-cgroup.h"

/* The host's, kept for a moment: on a large machine it takes the kernel milliseconds. */
struct view_host {
	char *stat;
	uint64_t read_usec;
};

void view_host_done(struct view_host *host);

/* Writes what /proc/stat shows to the container that has the process; to others, the host's. */
int view_stat(const struct view_cgroup *cgroup, struct view_host *host, uint32_t pid, struct strbuf *ret);

/* For the test: host is the text of the host's file. */
struct view_cpu {
	unsigned cpus;
	uint64_t user_usec, system_usec; /* used so far */
	uint64_t uptime_usec;            /* of the container */
	int64_t boot_offset_sec;         /* of its clock */
};
int view_stat_print(const char *host, const struct view_cpu *cpu, uint64_t ticks, struct strbuf *ret);
