/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who owns a container while it moves: a mark in its configuration, under the key "_handover" that people
 * neither see nor set, so that it is as durable as the record itself.
 *
 * No mark: it is this node's. Incoming: all of it is here, but the other node has not let go of it.
 * Relinquished: this node has let go of it; it may run there. With either mark it is not started here. The
 * mark relinquished is on disk before the other node is told to go on, and it is the only order in which both
 * are ever changed, so the two never both have none. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "ctd/config.h"

struct container;
struct strbuf;

/* The node at the other end, a new reference; NULL without a mark. */
json_t *handover_peer(const struct container *c);
/* Whether it ran when it was given away, and so is to run where it will be. */
bool handover_ran(const struct container *c);
/* Into a configuration that is about to be stored. -ENOMEM. */
int handover_add(json_t *config, enum handover handover, const char *peer, bool ran);
/* Sets the mark, synced to the disk. */
int handover_set(
        struct container *c, enum handover handover, const char *peer, bool ran, struct ct_error *err);
/* Takes it away, synced too. */
int handover_end(struct container *c, struct ct_error *err);
/* -EBUSY with the way out while it has a mark, or is suspended. what: "start", "change", ... */
int handover_check(const struct container *c, const char *what, struct ct_error *err);
/* The same of the mark alone. */
int handover_check_owner(const struct container *c, const char *what, struct ct_error *err);
/* ,"handover":{...} of the API, where there is a mark. */
void handover_print(const struct container *c, struct strbuf *b);
