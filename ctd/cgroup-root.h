/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the containers' cgroups are: one directory per instance, below cgroup2's root or, where systemd is
 * PID 1, in a scope that it delegated. */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/error.h"

struct cgroup_root {
	int fd;                /* the directory that holds one directory per container */
	char path[256];        /* of it, absolute, below the cgroup2 mount */
	char controllers[128]; /* that its children have, space separated; "" on hybrid hosts */
};
#define CGROUP_ROOT_KEEPER "keeper" /* the leaf that the keeper is in */
#define CGROUP_ROOT_INIT   ((struct cgroup_root){ .fd = -1 })

/* Finds or makes it and enables every controller it can for the children. keeper_pid is moved into a leaf of
 * it (so that neither a restart of ctd's service nor its limits touch the keeper); 0: not now. */
int cgroup_root_open(
        const char *mount, const char *tag, pid_t keeper_pid, struct cgroup_root *ret, struct ct_error *err);
/* Where systemd is PID 1, tells it the memory.min of the scope and the slice above, which it would take back
 * at its next reload otherwise. Does not wait. */
void cgroup_root_tell_guarantee(const struct cgroup_root *root, sd_event *event, uint64_t bytes);
void cgroup_root_done(struct cgroup_root *root);
