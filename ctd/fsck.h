/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing records with the world; see fsck.c. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctd/keeper-client.h"

struct manager;

struct fsck {
	struct manager *manager;
	bool repair;
	const struct keeper_reply *processes; /* what the keeper has */
	json_t *differences;
};

/* One difference. repaired: it was mended (or will be by what was begun). */
void fsck_report(struct fsck *f, const char *kind, const char *object, bool repaired, const char *format, ...)
        __attribute__((format(printf, 5, 6)));

/* Each compares one kind of thing in both directions. */
struct fsck_check {
	const char *kind;
	int (*check)(struct fsck *f, struct ct_error *err);
};
extern const struct fsck_check fsck_checks[]; /* ends with .kind == NULL */
