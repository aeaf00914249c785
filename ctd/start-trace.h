/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the time of a start goes. Always kept, for it costs a dozen readings of a clock. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "libct/ct.h"

/* In the order in which they come. */
enum start_phase {
	START_JOB, /* of the verb: start_trace_to_json */
	START_CHECK,
	START_NAMESPACES,
	START_DISK,
	START_FILES,
	START_CGROUP,
	START_NETWORK,
	START_CLONE, /* this and what follows is the keeper's */
	START_MOUNTS,
	START_SECCOMP,
	START_EXEC,
	START_KEEPER, /* what it takes to speak to it */
	START_STATE,
	START_PHASES
};

struct start_trace {
	uint64_t begin_usec, last_usec; /* CLOCK_REALTIME: the clock that all who take part agree on */
	uint32_t spent_usec[START_PHASES];
};

void start_trace_begin(struct start_trace *t);

/* The time since the last mark belongs to phase; a phase may come more than once. */
void start_trace_mark(struct start_trace *t, enum start_phase phase);

/* Divides the time since the last mark among the keeper's phases. A keeper too old to tell gets it whole. */
void start_trace_keeper(struct start_trace *t, const struct ct_stamps *stamps);

/* {"total_us": ..., "phases": [{"name": ..., "us": ..., "what": ...}, ...]}; NULL without memory. job_usec:
 * CLOCK_REALTIME when the job was made; what passed since then is phase "job". */
json_t *start_trace_to_json(const struct start_trace *t, uint64_t job_usec);
