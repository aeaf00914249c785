/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The limits of a container: what was asked for, and one table of how the kernel is told.
 *
 * struct limits is the part of a configuration that sells resources, read by config-limits.c. limits.c turns
 * it into contents of cgroup files; limits-check.c says what this host cannot enforce; limits-apply.c writes,
 * reads back and mends. Absent (given false) and zero are different everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "ctd/cpu-list.h"

#define LIMITS_DEVICES_MAX 8

/* What holds where nothing is asked, so that one tenant cannot spend what is everybody's. */
#define LIMITS_PROCESSES         4096
#define LIMITS_CGROUPS           1024
#define LIMITS_CGROUP_DEPTH      16
#define LIMITS_INOTIFY_INSTANCES 1024
#define LIMITS_INOTIFY_WATCHES   65536
#define LIMITS_NAMESPACES        256

struct amount {
	bool given;
	uint64_t value;
};

enum limits_rate {
	RATE_READ_BPS,
	RATE_WRITE_BPS,
	RATE_READ_IOPS,
	RATE_WRITE_IOPS,
	_RATE_MAX,
};

struct limits_device {
	char path[128]; /* /dev/... */
	struct amount rates[_RATE_MAX];
};

/* A list as in "0-3,8", "auto", or not given. */
struct limits_set {
	bool given, automatic;
	struct cpu_list list;
};

struct limits {
	struct amount cpus_milli, cpu_weight, cpu_burst_usec;
	struct limits_set cpuset, numa;
	struct amount memory, swap, memory_guarantee;
	bool oom_group;
	struct amount io_weight, rates[_RATE_MAX]; /* of the store's device */
	struct limits_device *devices;             /* owned, n_devices of them */
	unsigned n_devices;
	struct amount processes, cgroups, cgroup_depth;
	struct amount ptys, shm, run, open_files;
	struct amount inotify_instances, inotify_watches, namespaces;
	struct amount disk, inodes;
	struct amount storage; /* enum disk_driver */
	struct amount traffic_allowance,
	        traffic_action; /* bytes in a billing period; enum allowance_action */
	uint64_t traffic_rate;  /* of the action slow */
};

void limits_done(struct limits *l);

/* Keys that contradict each other, whatever the host. -EINVAL with the field. */
int limits_check_together(const struct limits *l, struct ct_error *err);

/* Where a container runs: what "auto" was resolved to, and lists given. count 0: anywhere. */
struct placement {
	struct cpu_list cpus, nodes;
};

/* What the texts are made from: what was asked for, and what this host made of it. */
struct limits_context {
	const struct limits *limits;
	const struct placement *placement;
	char store[24];                       /* MAJ:MIN of the disk that carries the store; "": none */
	char devices[LIMITS_DEVICES_MAX][24]; /* of limits->devices */
};

enum limit_form {
	LIMIT_TEXT,  /* the file holds the text that was written */
	LIMIT_KEYED, /* a line for each device: MAJ:MIN and pairs; a line that is not there says max */
};

/* A file of the cgroup that limits something. */
struct limit_file {
	const char *name;
	const char *controller; /* NULL: of every cgroup */
	const char *neutral;    /* what a new cgroup has */
	const char *key;        /* what people call it, for sentences */
	enum limit_form form;
	bool (*asked)(const struct limits *l); /* somebody asked for it: it must hold or be refused */
	/* The text that the kernel shall show, without the last newline; nothing: the neutral one. */
	void (*print)(const struct limits_context *x, struct strbuf *b);
};

extern const struct limit_file limit_files[]; /* ends with .name == NULL; in the order of writing */

/* True if the word is in the list of controllers. */
bool limits_has_controller(const char *controllers, const char *name);

/* What memory.high is for a memory.max: see ct-limits(7). */
uint64_t limits_memory_high(uint64_t max);
/* Bytes as the kernel keeps them: whole pages, rounded down. */
uint64_t limits_whole_pages(uint64_t bytes);

/* CPUs that a container of so many thousandths shall see. */
static inline unsigned limits_visible_cpus(uint64_t milli)
{
	return (unsigned)((milli + 999) / 1000);
}
