/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The traffic that a container may have in a billing period, and what is done when it has had it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct container;
struct config_key;
struct net_limits;
struct net_rates;

enum allowance_action {
	ALLOWANCE_EVENT,
	ALLOWANCE_SLOW,
	ALLOWANCE_CUT,
	ALLOWANCE_STOP,
};

#define ALLOWANCE_WARNED    80
#define ALLOWANCE_EXHAUSTED 100

/* Where a container stands: the key "_allowance" of its configuration. */
struct allowance {
	int64_t period;         /* start of the billing period that the rest is about */
	uint32_t level;         /* 0, ALLOWANCE_WARNED or ALLOWANCE_EXHAUSTED */
	uint64_t seen, carried; /* bytes: in the ledger when this was written; of the period, in another */
	bool stopped;           /* it ran, and is started again when there is traffic left */
};

/* ---- allowance-level.c: pure */

/* What becomes of *a when the ledger has so many bytes of the period; limit 0: there is no allowance. Returns
 * what was used of the period in all. */
uint64_t allowance_count(struct allowance *a, uint64_t limit, int64_t period, uint64_t used);
/* It goes to another node: all is carried. */
void allowance_leave(struct allowance *a);
/* It has come to this one, whose ledger has so many bytes of the period already. */
void allowance_arrive(struct allowance *a, int64_t period, uint64_t used);
/* "event", "cut", "stop", "slow:RATE". -EINVAL. */
int allowance_action_parse(const char *text, enum allowance_action *ret, uint64_t *ret_rate);
int allowance_from_json(const json_t *object, struct allowance *ret, struct ct_error *err);
/* New reference; NULL: out of memory. */
json_t *allowance_to_json(const struct allowance *a);

/* ---- allowance.c */

/* After a sample, and a change of the configuration: tells, and acts. Failures are logged; tried again at the
 * next sample. */
void allowance_evaluate(struct container *c);
/* The configuration has changed: at once. */
void allowance_changed(struct container *c);
/* What it means for an interface, on a segment or not, into what that is to have. */
void allowance_limit(
        const struct container *c, bool segment, struct net_limits *limits, struct net_rates *rates);
/* Interfaces of a new run are about to be made. */
void allowance_begin(struct container *c);
/* What is to have a rate cannot, for the reason given: true if that is because the container is to be slowed,
 * which is cut from now on; the caller does so. */
bool allowance_cut_instead(struct container *c, const struct ct_error *error);
/* In the parameters of a stop: not an administrator's. */
#define ALLOWANCE_STOPS "allowance"
/* One that was stopped for its allowance is not started again. */
int allowance_forget_wish(struct container *c, struct ct_error *err);
/* Whether it may start. */
int allowance_check_start(const struct container *c, struct ct_error *err);
/* Into the configuration that goes to another node: what was used up to now. */
int allowance_offer(const struct container *c, json_t *config);
/* It has come from another node; its account is carried. Synced. */
int allowance_take(struct container *c, struct ct_error *err);
/* ,"allowance":{...} of CONTAINER, if it has one. */
void allowance_print(const struct container *c, struct strbuf *b);
