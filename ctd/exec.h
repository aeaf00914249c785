/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands and consoles between the keeper, the attach socket and the API. */
#pragma once

#include "ctd/attach.h"
#include "ctd/keeper-proto.h"

struct keeper_reply;
struct manager;

extern const struct attach_ops exec_attach_ops; /* userdata: the manager */

/* Key of a command at the keeper: "x/ID". */
void exec_key(const char *id, char ret[40]);
/* The keeper says that a command ended; key is "x/ID". */
void exec_exited(struct manager *m, const struct keeper_process *process);
/* A command that a former ctd started: its exit is to come, or to be told. */
void exec_found(struct manager *m, const struct keeper_process *process);
/* All that the keeper has is known: who waits for a command that it does not know (it died, and a new one
 * came) would wait for ever, and is told. */
void exec_settle(struct manager *m, const struct keeper_reply *list);
/* At shutdown of ctd. */
void exec_consoles_free(struct manager *m);
