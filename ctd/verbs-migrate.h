/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the jobs of a move have in common, on the side that the container leaves: verbs-migrate.c. */
#pragma once

#include "base/json.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

/* Of the record: it runs, and is being stopped, or suspended. */
#define STEP_STOPPING   "stopping"
#define STEP_SUSPENDING "suspending"

struct migrate {
	struct transfer transfer; /* first: transfer.h */
	struct ct_error failure;  /* why it is resumed here */
	uint64_t sent_usec;       /* monotonic: when it was there */
	uint64_t restore_usec;    /* before that, as the other node says */
	struct worker *worker;    /* at work, else NULL */
	void (*answered)(struct job *job, const json_t *result);
	struct worker *ahead; /* that has reached the other node, or will, for commit; else NULL */
	bool ahead_ready;     /* and waits */
	uint64_t bytes, last_bytes;
	bool template_sent;
	char fell_back[300]; /* why it does not go live, though it was to; else "" */
	bool repeated;       /* commit may have been said, and heard, before */
	/* verbs-migrate-copy.c */
	void (*ready)(struct job *job);
	int root_fd;         /* of the container that is copied, else -1 */
	uint64_t since_usec; /* monotonic: when it was asked for */
	json_t *rounds, *memory_rounds;
	json_t *reread;   /* how many objects of its disk the other node had to read once more; NULL: all */
	bool copied;      /* the other node may have a part of it */
	bool memory;      /* rounds of its memory are sent, by the worker */
	bool waiting;     /* that waits for one, */
	bool memory_over; /* or for none */
	bool freezing;    /* the worker waits until it does not run any more */
	bool given_up;    /* job->error says why: the worker is ended */
};

/* The job's data. NULL: job->error says why. */
struct migrate *migrate_new(struct job *job);
void migrate_free(struct job *job);
/* job->cancel while a word is said. */
void migrate_cancel(struct job *job);

/* The node that it goes to. */
const char *migrate_peer(const struct job *job);
/* Says a word to that node; answered is called with what it says, or with NULL and job->error. request is
 * consumed. offer: disk and images go with it. */
int migrate_ask(struct job *job, json_t *request, bool offer,
        void (*answered)(struct job *job, const json_t *result));
/* The same with what goes along, an object of parameters of the worker's, which is consumed. */
int migrate_ask_with(struct job *job, json_t *request, json_t *more,
        void (*answered)(struct job *job, const json_t *result));
/* verbs-migrate-template.c: whether an answer to check asks for it; what it holds, for the offer (NULL: not
 * known); the word template, once in a move. */
bool migrate_template_is_wanted(const json_t *result);
json_t *migrate_template_bytes(const struct container *c);
int migrate_send_template(struct job *job, void (*answered)(struct job *job, const json_t *result));
/* For the word commit: once in a move, before it stands still or later. */
void migrate_reach_ahead(struct job *job);
/* It is the other node's for sure: ends the job and the copy here. */
void migrate_let_go(struct job *job);

/* What the words check, copy and offer say. NULL: job->error says why, or there is no memory. */
json_t *migrate_offer(struct job *job, const char *word);
/* Of one that runs on, or is to be stopped: its node's own part. */
bool migrate_is_live(const struct job *job);

/* Copies the disk while it runs; then ready is called, and is to stop or suspend it, and to say
 * migrate_copy_offer. 0: it is at work; a negative errno: it cannot be. A failure ends the job. */
int migrate_copy(struct job *job, void (*ready)(struct job *job));
/* Before transfer_suspend: rounds of its memory are sent too, if a worker waits for them. */
void migrate_copy_memory(struct job *job);
/* It is being stopped: a worker that waits with the rest need not be there in the end, and there is no way
 * back. */
void migrate_copy_waits(struct job *job);
/* The word offer, if a worker waits with it. 1: none does. */
int migrate_copy_offer(struct job *job, void (*answered)(struct job *job, const json_t *result));
/* Ends the job with job->error, after what was copied is given up there. */
void migrate_fail(struct job *job);
/* An end of the job's worker. */
void migrate_worker_done(const json_t *result, const struct ct_error *error, void *userdata);
void migrate_worker_progress(int percent, const char *text, void *userdata);
json_t *migrate_command(const struct job *job);
