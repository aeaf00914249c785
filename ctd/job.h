/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs: a verb that is recorded before it acts.
 *
 * job_submit writes the intent (promise P1) and queues the job; a container's jobs run one after the other,
 * jobs without a container run at once. run starts it and may finish at once or later by job_finish, which
 * writes the outcome, answers the call that asked, and lets the next one of the queue run. What a job owns
 * meanwhile (cgroup, mount, link) is in values that undo themselves. If ctd dies in between, the row is found
 * open at the next start and given to the type's replay, which undoes or finishes by looking at what is
 * there.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "ctd/store.h"

struct manager;
struct container;
struct call;
struct job;

struct job_type {
	const char *verb;
	/* 0: at work, job_finish will be called; 1: done; negative errno: failed, job->error says why. */
	int (*run)(struct job *job);
	/* It will never be run: its container was destroyed. May be NULL. */
	void (*dropped)(struct job *job, int result);
	/* Frees job->data. May be NULL. */
	void (*free)(struct job *job);
	/* After a death of ctd: brings the world to either end of the verb. The row is closed by the caller
	 * with what is returned (0: done) and *err. */
	int (*replay)(
	        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err);
};

struct job_wait; /* a call that polls the job */

struct job {
	struct manager *manager;
	const struct job_type *type;
	struct job_row row;          /* id, verb, object ... */
	struct container *container; /* NULL: none, or gone by now */
	json_t *params;
	struct call *call;       /* answered at the end; NULL: nobody waits (or a 202 was given) */
	unsigned success_status; /* 200, 201 */
	struct ct_error error;
	json_t *result; /* the answer; NULL: the container's JSON, or {} */
	bool durable;   /* the outcome is committed with full sync */
	void *data;     /* the verb's own */

	uint64_t begun_usec; /* monotonic */
	bool was_run;        /* its turn had come */
	unsigned seen;       /* counts changes of progress */
	char progress[160];
	int percent;                     /* -1: not known */
	void (*cancel)(struct job *job); /* NULL: cannot be cancelled */
	LIST_HEAD(, job_wait) waits;

	TAILQ_ENTRY(job) queue_entry; /* of the container's queue */
	LIST_ENTRY(job) open_entry;   /* of the manager's open jobs */
};

#define JOB_TIMES 9

/* What became of the jobs of a verb, since this ctd was started. */
struct job_count {
	const char *verb;            /* NULL: none yet */
	uint64_t done, failed, usec; /* usec: in all, their time in the queue with it */
	uint64_t took[JOB_TIMES]; /* how many took at most so long, each counted once; longer ones nowhere */
};
extern const uint64_t job_times_usec[JOB_TIMES];
#define JOB_COUNTS 32

struct jobs {
	struct job_count counts[JOB_COUNTS];
	LIST_HEAD(, job) open;
	TAILQ_HEAD(, job) ready; /* their turn has come */
	bool running_ready;
	int64_t beginning; /* number of the job whose run has not returned yet, 0: none */
};

struct job_request {
	const struct job_type *type;
	struct container *container; /* or NULL */
	const char *object;
	json_t *params;          /* consumed; NULL: {} */
	struct call *call;       /* answered at the end unless detached */
	bool detached;           /* answer 202 with the job at once */
	unsigned success_status; /* 0: 200 */
	bool durable;
	void *data; /* consumed by type->free, also when job_submit fails */
};

/* Records and queues. On failure everything given is freed and the caller answers the call with *err. May
 * finish the job before it returns. */
int job_submit(struct manager *m, const struct job_request *request, struct ct_error *err);

/* The end; r: 0 done, negative errno with job->error filled. The job is gone afterwards. */
void job_finish(struct job *job, int r);

/* The same for a job whose container has been forgotten (verb_forget): later jobs of its queue fail as not
 * found, and the container is freed. */
void job_finish_gone(struct job *job, int r);

/* For fsck and people: what the job is at. step is a static string, also written into the record when
 * recorded. */
void job_progress(struct job *job, int percent, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

void jobs_init(struct jobs *jobs);

/* Those that nobody will finish any more: at shutdown of ctd. Calls are answered with an error, records stay
 * open for replay. */
void jobs_abandon(struct manager *m);

/* Replays all open rows; called once at start, when containers and keeper are known. */
int jobs_replay(struct manager *m, struct ct_error *err);

json_t *job_to_json(const struct job *job);
json_t *job_row_to_json(const struct job_row *row);
struct job *job_find(struct manager *m, int64_t id);

/* All types, NULL-ended: replay finds a row's type here. */
extern const struct job_type *const job_types[];
