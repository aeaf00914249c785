/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verbs on containers as jobs, for those who are not a handler of the API. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "ctd/job.h"

struct call;
struct container;
struct manager;

extern const struct job_type verb_create, verb_start, verb_stop, verb_restart, verb_kill, verb_freeze,
        verb_thaw, verb_destroy, verb_rename, verb_set, verb_keep, verb_migrate, verb_migrate_commit,
        verb_migrate_receive, verb_migrate_withdraw, verb_resolve, verb_resume, verb_suspend, verb_plan_set,
        verb_autostart, verb_checkpoint, verb_restore, verb_template_arrive, verb_template_build,
        verb_template_export, verb_template_import;

/* A container whose init asked for it is started again; too quick ones after a pause. */
void verb_reboot(struct container *c);
/* A start that nobody waits for (autostart, reboot). done may be NULL: called when
 * it is over, however, unless this fails. */
int verb_start_quietly(
        struct container *c, void (*done)(int result, void *userdata), void *userdata, struct ct_error *err);

/* Name of the path to a container, or an error. */
int verb_target(struct manager *m, struct call *call, struct container **ret, struct ct_error *err);
/* A job on a container that is answered at its end, within the call. params is consumed; NULL: {}. */
int verb_submit(struct manager *m, struct call *call, const struct job_type *type, struct container *c,
        json_t *params, struct ct_error *err);
/* The end of a job whose operation has ended: takes the error over and finishes. An operation_fn with the job
 * as userdata. */
void verb_done(struct container *c, int result, const struct ct_error *error, void *job);
/* A destroy that nobody waits for: of a container whose create was not completed. */
void verb_destroy_quietly(struct container *c);
/* Record and leases of a new container in one transaction; row is taken over. addresses (NULL: any): those
 * that it must have of ranges (ports_lease_same). On success it is in the tables, incomplete. With ret NULL
 * it is looked whether that would work, were there none of its ctid yet, and nothing stays. */
int verb_record(struct manager *m, struct container_row *row, const json_t *addresses, struct container **ret,
        struct ct_error *err);
/* The mark incomplete goes, synced. */
int verb_complete(struct container *c, struct ct_error *err);
/* Removes an incomplete or unwanted container: record, leases, disk. It must not run. */
int verb_forget(struct container *c, struct ct_error *err);
