/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: what a verb gets and gives. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct worker_verb {
	const char *name;
	/* The result of the verb, a new reference in *ret (may stay NULL: {}). */
	int (*run)(const json_t *params, json_t **ret, struct ct_error *err);
};

/* A line for who waits; percent -1: not known. It is left out if the last was the same. */
void worker_progress(int percent, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A file descriptor that is readable once the worker shall end (SIGTERM, SIGINT); verbs that wait for others
 * poll it, those that compute ask worker_check. */
int worker_stop_fd(void);
/* 0, or -ECANCELED with *err once the worker shall end. */
int worker_check(struct ct_error *err);

/* A container stands still until we are done: from here on like anybody else for processor and disk. */
void worker_hurry(void);

/* Asks ctd, and waits until it has done what is asked for: -ECANCELED if it does not. question is consumed.
 */
int worker_ask(json_t *question, struct ct_error *err);
/* The same in two parts: what is done between them is done while ctd is at it. An answer that has come is not
 * told from an end by worker_check, which must not be called there. */
void worker_ask_begin(json_t *question);
int worker_ask_end(struct ct_error *err);
/* The same, with what it is told. */
int worker_ask_for(json_t *question, json_t **ret, struct ct_error *err);

int worker_checkpoint(const json_t *params, json_t **ret, struct ct_error *err);
int worker_disk_create(const json_t *params, json_t **ret, struct ct_error *err);
int worker_disk_resize(const json_t *params, json_t **ret, struct ct_error *err);
int worker_migrate_apply(const json_t *params, json_t **ret, struct ct_error *err);
int worker_migrate_send(const json_t *params, json_t **ret, struct ct_error *err);
int worker_predump(const json_t *params, json_t **ret, struct ct_error *err);
int worker_resume(const json_t *params, json_t **ret, struct ct_error *err);
int worker_suspend(const json_t *params, json_t **ret, struct ct_error *err);
int worker_store_sweep(const json_t *params, json_t **ret, struct ct_error *err);
int worker_template_export(const json_t *params, json_t **ret, struct ct_error *err);
int worker_template_import(const json_t *params, json_t **ret, struct ct_error *err);
int worker_template_build(const json_t *params, json_t **ret, struct ct_error *err);
