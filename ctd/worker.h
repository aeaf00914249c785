/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Long or dangerous work in a process of its own: ct-worker VERB, parameters as JSON on its stdin, lines of
 * JSON on its stdout
 * ({"progress": {"text", "percent"?}} and {"ask": {...}} ..., at last {"result": ...} or {"error": {...}}).
 * It dies with ctd (PR_SET_PDEATHSIG); what it leaves in the store's tmp/ is swept at the next start.
 */
#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"

struct worker;

struct worker_ops {
	void (*progress)(int percent, const char *text,
	        void *userdata); /* percent -1: not known; text is printable. May be NULL */
	/* It waits for worker_answer, or worker_cancel. May be NULL: no verb that asks. */
	void (*asked)(const json_t *question, void *userdata);
	/* Once, from the event loop; the worker is gone (reaped) and freed afterwards. result is borrowed,
	 * NULL on failure. */
	void (*done)(const json_t *result, const struct ct_error *error, void *userdata);
};

/* program: path of ct-worker; params is consumed. nice: lower priority for CPU and disk. Not called back
 * before it returns. */
int worker_start(sd_event *event, const char *program, const char *verb, json_t *params,
        const struct worker_ops *ops, void *userdata, struct worker **ret, struct ct_error *err);
/* One that was started before there was anything for it to do, so that nobody waits for that: its address is
 * its own while there is one. */
struct worker_spare {
	struct worker *worker; /* NULL: none, or it has ended */
};

/* Unless there is one. Without it things only take longer. ahead: what it does before it is told more
 * (ct-worker ahead), or NULL; it is consumed. */
void worker_spare_start(struct worker_spare *spare, sd_event *event, const char *program, json_t *ahead);
/* What from (may be NULL) has is to's from here on; to has none. */
void worker_spare_move(struct worker_spare *to, struct worker_spare *from);
/* Ends it, if there is one. */
void worker_spare_done(struct worker_spare *spare);
/* As worker_start, by the spare one if there is one (spare may be NULL). */
int worker_start_spare(struct worker_spare *spare, sd_event *event, const char *program, const char *verb,
        json_t *params, const struct worker_ops *ops, void *userdata, struct worker **ret,
        struct ct_error *err);
/* Lets it go on that has asked. */
void worker_answer(struct worker *worker);
/* The same with something that it asked for (worker_ask_for); answer is consumed. -ENOMEM and such: it waits
 * on, and is to be cancelled. */
int worker_answer_with(struct worker *worker, json_t *answer);
/* SIGTERM to its process group, SIGKILL after 5 s; done comes with -ECANCELED. */
void worker_cancel(struct worker *worker);
/* Kills it at once, no callback: for shutdown. NULL is accepted. */
void worker_free(struct worker *worker);
DEFINE_CLEANUP(struct worker *, worker_free);
