/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Suspending and resuming as a part of a job: the verbs of that name, and a migration, which does both.
 *
 * The job's data begins with a struct transfer. A function that returns 0 is at work, and finished is called
 * when that is over, with job->error where it failed; a negative errno: nothing was changed, job->error says
 * why. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctd/job.h"
#include "ctd/worker.h"

struct container;

struct transfer {
	struct worker *worker;     /* at work, else NULL */
	struct worker_spare spare; /* for what is done while it stands still */
	void (*answered)(struct job *job, const json_t *result);
	/* A failure: CRIU may still be at work, if the worker was killed. */
	void (*next)(struct job *job);
	void (*finished)(struct job *job, int result);
	sd_event_source *criu_source, *pause;
	int criu_pidfd;
	unsigned int n_pauses; /* in which it ran on for a moment */
	bool suspending;
	bool preparing;  /* restored, it is held: transfer_prepare */
	bool has_cgroup; /* of what was read ahead (staging.h): wished for, as spare */
	/* Wished for: memory is written in rounds while it runs, and the dump has the rest. */
	bool rounds;
	/* Round n is on the disk, and it waits for transfer_go_on; with a first one after others those are
	 * void. first_usec: what writing the first took. May be NULL. */
	void (*round)(struct job *job, unsigned int n, uint64_t first_usec);
	/* There will be no further one, or there was none; as above. */
	void (*rounds_over)(struct job *job);
	/* It shall run on: it is frozen, and its images are written, but neither synced nor looked at. NULL:
	 * it is suspended. */
	void (*dumped)(struct job *job);
	const char *images;               /* where they are in the store, the caller's; NULL: as ever */
	bool settled;                     /* they are over, and it waits */
	bool given_up;                    /* job->error says why */
	unsigned int n_rounds;            /* that there are */
	uint64_t rounds_bytes;            /* of pages in them */
	uint64_t frozen_usec, saved_usec; /* monotonic: when it was frozen, and its images were on the disk */
};

void transfer_init(struct transfer *x, void (*finished)(struct job *job, int result));
void transfer_done(struct transfer *x);

/* What comes next will not wait for a worker to start: for who knows that it comes. */
void transfer_expect(struct job *job);
/* A container that runs: it does so again after a failure. */
int transfer_suspend(struct job *job);
/* Between round or rounds_over and the freeze: it goes on, unless it is given up. */
void transfer_go_on(struct job *job);
/* At any time before rounds_over is answered: finished will be called with job->error when CRIU has ended, or
 * is called at once. Again it does nothing. */
void transfer_give_up(struct job *job);
/* After dumped: it runs on, and finished is not called. */
void transfer_let_go(struct job *job);
/* The same where something failed, which job->error says: finished is called. */
void transfer_stay(struct job *job);
/* Whether it can be, as far as that is known before. */
int transfer_may_suspend(const struct container *c, struct ct_error *err);
/* One that is suspended: it is so again after a failure. */
int transfer_resume(struct job *job);
/* One that is suspended, and the other node's still: restored, and held frozen with its network closed. It
 * stays marked as suspended, so whatever ends ctd ends what was restored; so does a minute without
 * transfer_go. After a failure it is suspended as before. */
int transfer_prepare(struct job *job);
bool transfer_is_prepared(const struct container *c);
/* Counts the minute. */
void transfer_hold(const struct container *c);
/* It is this node's, and runs from here on: both marks go at once. On failure nothing was changed. */
int transfer_go(struct container *c, struct ct_error *err);
/* What another ctd was suspending or resuming, or had resumed: it runs on, or is resumed. */
int transfer_recover(struct container *c, struct ct_error *err);
/* One that was being suspended, and is not: at once, or when CRIU, which may have outlived ctd, has ended. */
void transfer_run_on(struct container *c);
void transfer_run_on_after_criu(struct container *c);
