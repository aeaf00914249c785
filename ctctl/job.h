/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a job of the daemon. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "ctctl/client.h"

/* Shows the progress on stderr until the job is finished; SIGINT or SIGTERM cancels it. 0 and the finished
 * job in *ret, or its failure in *err (then *ret may be set as well). *ret is owned by the caller. */
int job_wait(struct client *c, const char *id, json_t **ret, struct ct_error *err);

/* POST /v1/containers/NAME/VERB, which answers with a job. *ret is owned by the caller. */
int job_submit(struct client *c, const char *name, const char *verb, const json_t *body, json_t **ret,
        struct ct_error *err);
/* The job as it is now. */
int job_get(struct client *c, const char *id, json_t **ret, struct ct_error *err);
/* -EINPROGRESS: it is not finished (nothing in *err); 0: it is done; else why it failed. */
int job_outcome(const json_t *job, struct ct_error *err);
