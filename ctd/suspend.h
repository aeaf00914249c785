/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container whose processes are on disk: a mark in its configuration, under the key "_suspended" that
 * people neither see nor set, so that it is as durable as the record itself.
 *
 * With the mark it does not run: whatever is found of it in a cgroup is a suspend that was not finished or a
 * resume that was not, frozen in either case, and is ended. Its slot stays its own: the images hold the ids.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

/* The field of a worker's error that may be none when the container has run on for a moment. */
#define SUSPEND_FIELD_MOMENT "moment"

struct config;
struct container;
struct manager;
struct strbuf;

/* -EBUSY with the way out while it is suspended. what: "start", "change", ... */
int suspend_check(const struct container *c, const char *what, struct ct_error *err);
/* The mark into a configuration that is about to be stored. -ENOMEM. */
int suspend_mark(json_t *config, uint32_t slot, const char *digest);
/* What another node is told of one that is suspended, a new value: {"digest", "bytes", "host", "addresses"},
 * the last two where it was dumped, and what it has of ranges there. Of one that runs, what is known before:
 * the digest is zeros then. */
int suspend_offer(const struct container *c, json_t **ret, struct ct_error *err);
/* The directory of its images: a new string. NULL: out of memory. */
json_t *suspend_images_path(const struct container *c);
/* ,"suspended":{...} of the API, where it is. */
void suspend_print(const struct container *c, struct strbuf *b);
/* Its images go to the trash; harmless when there are none. */
void suspend_discard(struct container *c);
/* The same of images elsewhere in the store. */
void suspend_discard_at(struct container *c, const char *path);
/* After what a resume restored was killed: ct-keeper reaps it. */
void suspend_forget_restored(struct container *c);
/* Why this host cannot, and what to do; 0: it can. */
int suspend_host_check(struct ct_error *err);
