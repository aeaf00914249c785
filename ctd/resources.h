/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a running container has of the host: its limits as the kernel holds them, and what it uses.
 *
 * Made with the container's cgroup, gone with it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/str.h"
#include "ctd/limits.h"
#include "ctd/operate.h"
#include "libct/ct.h"

struct container;
struct manager;
struct config;

/* Files of the cgroup that are read again and again; opened when first asked for, kept. */
enum resource_file {
	FILE_CPU_STAT,
	FILE_CPU_PRESSURE,
	FILE_MEMORY_CURRENT,
	FILE_MEMORY_EVENTS,
	FILE_MEMORY_EVENTS_LOCAL,
	FILE_MEMORY_PRESSURE,
	FILE_SWAP_CURRENT,
	FILE_IO_STAT,
	FILE_IO_PRESSURE,
	FILE_PIDS_CURRENT,
	FILE_PIDS_EVENTS,
	FILE_PIDS_EVENTS_LOCAL,
	FILE_MEMORY_STAT,
	FILE_MEMORY_PEAK,
	_FILE_MAX,
};

struct resources {
	struct container *container;
	struct placement placement;
	int files[_FILE_MAX]; /* -1: not open, -2: this kernel has none */
	sd_event_source *oom;
	uint64_t oom_kills; /* as last told */
	uint64_t cgroup_id; /* 0: not asked for yet */
	/* ctd/idle.c: what was given back, pressure when it was seen last, when to look again. */
	uint64_t idle_bytes, idle_pressure, idle_seen_usec, idle_next_usec, idle_pause_usec;
};

/* ---- asking ---- */

/* P7: every limit that was asked for can be enforced by this host; and the keys agree with it. The sentence
 * names the key, what is missing and the remedy. */
int limits_check(struct manager *m, const struct config *config, struct ct_error *err);
/* The same for disk, inodes and storage; probes the file system, so not at each start, where quota/ refuses.
 */
int limits_check_disk(struct manager *m, const struct config *config, struct ct_error *err);
/* True if the patch has a key that limits_check judges. */
bool limits_in_patch(const json_t *patch);
bool limits_touch_disk(const json_t *patch);

/* ---- holding ---- */

/* For a cgroup without tasks: places, writes all that is not neutral, begins to watch. */
int limits_apply_new(struct container *c, struct ct_error *err);
/* Those of memory alone, into a new cgroup of one that does not run yet: what is charged to it ahead. */
int limits_apply_memory(struct container *c, int cgroup_fd, struct ct_error *err);
/* Whether something in it was killed for want of memory. */
bool limits_has_kills(int cgroup_fd);
/* Brings a running container to its present configuration: only what differs is written, and read back. */
int limits_apply_live(struct container *c, struct ct_error *err);
/* After a restart of ctd: takes the placement from the kernel, mends what differs and tells (limit.restored),
 * begins to watch. */
void limits_take_over(struct container *c);
/* Budgets of the user namespace; userns_fd -1: that of the running init. A new namespace has the defaults
 * already (limits_user_defaults); limits_want_user: something else is asked for. */
int limits_user_defaults(int userns_fd, struct ct_error *err);
bool limits_want_user(const struct limits *l);
int limits_apply_user(struct container *c, int userns_fd, struct ct_error *err);

/* Limits of each process, of the init and of what is run beside it alike: open files, cores, locked memory.
 */
#define LIMITS_OF_PROCESS 3
void limits_of_process(const struct limits *l, struct ct_rlimit ret[LIMITS_OF_PROCESS]);

/* For set: whether the container may become what config (its configuration with the patch) says, and doing it
 * once the record says so. */
int limits_check_change(
        struct container *c, const struct config *config, const json_t *patch, struct ct_error *err);
int limits_apply_change(struct container *c, const json_t *patch, bool running, struct ct_error *err);

/* Before memory is lowered below what is used: asks the kernel to reclaim, in small steps of the event loop.
 * 1: nothing to do; 0: done is called, with an error that says what is still used if it did not come down. */
int limits_reclaim(
        struct container *c, uint64_t target, operation_fn done, void *userdata, struct ct_error *err);

void resources_free(struct resources *r);

/* ---- seeing ---- */

/* A file of its cgroup, into buf of RESOURCE_TEXT bytes; how long it is, or why there is none, buf is ""
 * then: -ENOENT: this kernel has no such file, -ENODEV: the cgroup has gone. c->resources is there. */
#define RESOURCE_TEXT 8192
int resources_read(struct container *c, enum resource_file file, char *buf);
const char *resources_file_name(enum resource_file file);
/* The number behind KEY at the start of a line or after a space. */
bool resources_number(const char *text, const char *key, uint64_t *ret);

/* The members of "resources": limit, use, peak, hits, waiting time of each, as far as the kernel counts them;
 * no braces. full: what takes more than a read (peaks, disk) as well. */
void resources_print(struct container *c, struct strbuf *b, bool full);
