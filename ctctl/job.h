/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a job of the daemon. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "ctctl/client.h"

/* Shows the progress on stderr until the job is finished; SIGINT or SIGTERM cancels it. 0 and the finished
 * job in *ret, or its failure in *err (then *ret may be set as well). *ret is owned by the caller. */
int job_wait(struct client *c, const char *id, json_t **ret, struct ct_error *err);
