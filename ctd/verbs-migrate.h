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
	struct worker *worker;    /* at work, else NULL */
	void (*answered)(struct job *job, const json_t *result);
	uint64_t bytes;
	bool template_sent;
	char fell_back[300]; /* why it does not go live, though it was to; else "" */
	bool repeated;       /* commit may have been said, and heard, before */
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
/* It is the other node's for sure: ends the job and the copy here. */
void migrate_let_go(struct job *job);
