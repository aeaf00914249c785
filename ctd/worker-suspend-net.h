/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The network namespace of a container, for suspend and resume. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"

/* That nothing is in it that a resume would not make: names is an array of those of its interfaces. -EBUSY
 * with what there is. */
int suspend_net_check(pid_t pid, const json_t *names, struct ct_error *err);
/* That no connection of TCP waits there to be accepted, which CRIU cannot save: CT_ERROR_REFUSED. */
int suspend_net_check_waiting(pid_t pid, struct ct_error *err);
/* When CRIU has ended without having saved it: removes its table of nf_tables, which would hold all packets.
 */
int suspend_net_let_go(pid_t pid);
/* A new one: brings lo up. */
int suspend_net_raise(pid_t pid, struct ct_error *err);
