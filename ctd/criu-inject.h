/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls in another task. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct inject;

/* Of a task that the caller traces and that stands at the end of a system call, as do all that share its
 * memory. -ENOSYS on a processor that this does not know; -ENOEXEC: the task has no place for it. */
int inject_begin(pid_t pid, struct inject **ret);
/* A call whose third argument is a pointer to what is read, at most INJECT_ROOM bytes. What the call
 * returned, from -4095 on, is in ret; -errno if there was no call. */
#define INJECT_ROOM 32
int inject_call(struct inject *inject, long number, long first, long second, const void *third, size_t size,
        long *ret);
/* All is as it was, down to a SIGSTOP that waits for it: -errno if not. Frees it. */
int inject_end(struct inject *inject);
