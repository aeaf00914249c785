/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What verbs are made of: starting and ending a container, asynchronously, apart from the jobs that ask for
 * it.
 *
 * Each function returns 0 when the operation is under way: done is called exactly once, from the event loop
 * or before the function returns; or 1 when there was nothing to do; or a negative errno with *err, and
 * nothing was changed. done gets 0 or a negative errno and the error.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct container;
struct manager;
struct keeper_process;

typedef void (*operation_fn)(struct container *c, int result, const struct ct_error *error, void *userdata);

/* From stopped to running: disk, shell, network, cgroup, keeper; every failure before init's exec undoes all
 * of it. -EALREADY is not an error: 1. */
int container_start(struct container *c, operation_fn done, void *userdata, struct ct_error *err);

/* Whether it may run now at all: marks, keeper, limits, admission. */
int container_may_run(struct container *c, struct ct_error *err);

enum stop_kind {
	STOP_CLEAN, /* the template's stop signal, after the timeout cgroup.kill */
	STOP_KILL,  /* cgroup.kill at once */
};
/* To stopped, with everything of the run taken down. A frozen container is thawed. */
int container_stop(struct container *c, enum stop_kind kind, uint64_t timeout_usec, operation_fn done,
        void *userdata, struct ct_error *err);

/* freeze or thaw by the cgroup; waits for the kernel's word. */
int container_freeze(
        struct container *c, bool freeze, operation_fn done, void *userdata, struct ct_error *err);

/* The keeper says that an init ended. Takes the run down, honours a reboot, wakes who waits. */
void container_exited(struct container *c, const struct keeper_process *process);

/* Takes down what a run left: cgroup (killed), ports, slot. Waits for the last process; harmless when there
 * is nothing. done may be NULL. */
void container_teardown(struct container *c, operation_fn done, void *userdata);
/* For shutdown of ctd. */
void container_teardown_cancel(struct container *c);

/* Name of its cgroup below the manager's root. */
void container_cgroup_name(const struct container *c, char ret[40]);
