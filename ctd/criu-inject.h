/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls in another task. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __x86_64__
#define INJECT_IS_KNOWN true
#else
#define INJECT_IS_KNOWN false /* all fails with -ENOSYS */
#endif

struct inject;
/* In the memory of a process: an instruction that makes a call, and bytes for what is pointed to. Zero: not
 * known yet. */
struct inject_place {
	uint64_t code, room;
	bool is_written; /* the instruction is not the process's */
};

/* Of a task that the caller traces and that stands at the end of a system call, as do all that share its
 * memory. place: of another thread, or is filled in. -ENOEXEC: there is none. */
int inject_begin(pid_t pid, struct inject_place *place, struct inject **ret);
/* Its memory, of so many bytes: what is there for a call until the next. Where that is, is told. -EFAULT. */
#define INJECT_ROOM 32
int inject_put(struct inject *inject, const void *data, size_t size, unsigned long *ret_address);
/* What the call returned, from -4095 on, is in ret; -errno if there was no call. */
#define INJECT_ARGUMENTS 6
int inject_call(
        struct inject *inject, long number, const unsigned long arguments[INJECT_ARGUMENTS], long *ret);
/* All is as it was, down to a SIGSTOP that waits for it: -errno if not. Frees it. */
int inject_end(struct inject *inject);
