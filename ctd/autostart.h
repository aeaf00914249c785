/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bringing containers back: after a boot what is marked autostart, after a death of ctd what was about to be
 * started again. */
#pragma once

#include "base/error.h"

struct autostart;
struct manager;

int autostart_new(struct manager *m, struct autostart **ret, struct ct_error *err);
void autostart_free(struct autostart *autostart);
