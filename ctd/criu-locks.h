/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks of processes on files, in a restore: ct-criu-locks.so (criu-locks.c), which CRIU has loaded then. */
#pragma once

#define CRIU_LOCKS_MODULE "ct-criu-locks.so"
/* The notification pre-resume has this as its message, or else why not. */
#define CRIU_LOCKS_KEPT "the locks are set"
