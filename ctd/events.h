/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happened, for those who follow: written to the database, and told to calls that wait (manager_event is
 * in manager.h). */
#pragma once

struct manager;

/* At shutdown: waiting calls are answered. */
void events_free(struct manager *m);
