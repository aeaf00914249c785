/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that wait for news of a job (GET /v1/jobs/{id}?wait=), and jobs as JSON. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct job;
struct call;

/* Keeps the call until the job's progress is another than seen, the job ends, or the time is over. The call
 * is answered with the job in each case. */
int job_wait_add(
        struct job *job, struct call *call, unsigned seen, uint64_t timeout_usec, struct ct_error *err);
/* The end, from job_finish. */
void job_waits_answer(struct job *job, int result);
/* The progress changed. */
void job_waits_answer_progress(struct job *job);
