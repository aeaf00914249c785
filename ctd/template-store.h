/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Templates in the daemon's store: records and directories together. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ctd/store.h"

struct job;
struct manager;

/* "build-N": where job N builds below the store's tmp/. */
#define TEMPLATE_TMP_SIZE 32
void template_tmp_name(int64_t job_id, char ret[static TEMPLATE_TMP_SIZE]);
/* Whether it builds or imports one, or takes another node's. */
bool template_is_made_by(const struct job *job);
/* Whether a name in tmp/ is that of an open job. */
bool template_tmp_is_open(const struct manager *m, const char *name);

/* The life of such a job (verbs-template.c): run with the verb of the worker, free. */
int template_make(struct job *job, const char *worker_verb);
void template_make_free(struct job *job);
/* One at a time for one name. */
int template_check_not_made(const struct manager *m, const char *name, struct ct_error *err);

/* A build has ended: its directory tmp/TMP becomes templates/DIGEST (or is left to the sweeper if that is
 * there already), and the name points to it. */
int template_store_add(
        struct manager *m, const char *tmp, const struct template_row *row, struct ct_error *err);
/* One without a name came ahead of its container: it is not let go of for half an hour, or until ctd ends. */
void template_store_hold(struct manager *m, const char *digest);
/* Takes a name away, and the image with it if it was the last. */
int template_store_remove(struct manager *m, const char *name, struct ct_error *err);
/* Lets images go that have neither a name nor a container, and moves directories that have no record to the
 * trash. */
int template_store_tidy(struct manager *m, struct ct_error *err);

/* The API's TEMPLATE; NULL: out of memory. A template whose metadata is damaged is shown without what could
 * not be read. */
json_t *template_to_json(const struct template_row *row);
