/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happened, for those who follow: written to the database, and told to calls that wait (manager_event is
 * in manager.h). */
#pragma once

#include "base/error.h"

struct call;
struct event_row;
struct log_query;
struct strbuf;
struct manager;

/* As JSON. A failure is kept in the buffer, too. */
int event_print(const struct event_row *row, struct strbuf *b);
/* events-stream.c: there is a new one; at shutdown. */
void event_streams_wake(struct manager *m, const struct event_row *row);
void event_streams_end(struct manager *m);
/* At shutdown: waiting calls are answered, streams end. */
void events_free(struct manager *m);
/* What a call asks for of events or audit, by its parameters after, limit, from, to and the two named. The
 * texts are the call's. */
int call_log_query(
        struct call *call, const char *of, const char *type, struct log_query *ret, struct ct_error *err);
