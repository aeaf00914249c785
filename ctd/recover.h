/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the world as it is: at the start of ctd, and when the keeper was lost. */
#pragma once

#include "base/error.h"

struct manager;

/* Loads all containers, gets a keeper, settles every run that the database knows against what the keeper and
 * the kernel say, replays open jobs. */
int recover(struct manager *m, struct ct_error *err);
