/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files that suspend and resume share: verbs-suspend.c, transfer-rounds.c, transfer-params.c. */
#pragma once

#include <jansson.h>

#include "ctd/transfer.h"

/* Has a worker do it; params is consumed. answered is told the result, or NULL and job->error. */
int transfer_ask(struct job *job, const char *verb, json_t *params,
        void (*answered)(struct job *job, const json_t *result));
/* Calls next, at once or when CRIU, which ct-keeper may have, has ended: it would freeze again what it found
 * frozen, and lets go of what it restores. */
void transfer_after_criu(struct job *job, void (*next)(struct job *job));
json_t *transfer_cgroup_path(const struct container *c);
/* Of its images: a new string. NULL: out of memory. */
json_t *transfer_images_path(const struct job *job);
void transfer_forget_images(const struct job *job);
/* The end of what was begun. */
void transfer_finish(struct job *job, int result);

/* transfer-params.c: what their workers are told, a new value. NULL: out of memory, or job->error says why.
 */
json_t *transfer_suspend_params(struct job *job);
json_t *transfer_resume_params(struct job *job);

/* verbs-suspend.c: it is frozen, and all of it saved. As transfer_suspend. */
int transfer_freeze(struct job *job);
/* transfer-rounds.c: its memory is written in rounds, then it is frozen. As transfer_suspend. */
int transfer_begin_rounds(struct job *job);
/* What the worker asks meanwhile. */
void transfer_on_round(struct job *job, const json_t *question);
