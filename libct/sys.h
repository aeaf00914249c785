/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small things that all of libct needs: system calls that glibc has no wrapper for, the reason of an errno,
 * and a helper process that shares memory and file descriptors with its caller. Not installed. */
#pragma once

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/error.h"

/* "Operation not permitted" for -EPERM; static memory, good after fork. */
static inline const char *sys_reason(int code)
{
	const char *s = strerrordesc_np(code < 0 ? -code : code);

	return s ? s : "unknown error";
}

/* -errno of a call that has just failed; never 0. */
static inline int sys_error(void)
{
	return errno > 0 ? -errno : -EIO;
}

static inline pid_t sys_clone3(struct clone_args *args)
{
	return (pid_t)syscall(SYS_clone3, args, sizeof(*args));
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return (int)syscall(SYS_pivot_root, new_root, put_old);
}

/* The raw calls change the calling task only; glibc's would, in a process that has threads, interrupt all of
 * them. */
static inline int sys_setresuid(uid_t uid)
{
	return (int)syscall(SYS_setresuid, uid, uid, uid);
}

static inline int sys_setresgid(gid_t gid)
{
	return (int)syscall(SYS_setresgid, gid, gid, gid);
}

static inline int sys_setgroups(size_t n, const uint32_t *groups)
{
	return (int)syscall(SYS_setgroups, n, groups);
}

/* Runs fn(arg) in a child that shares the caller's memory and file descriptor table but has its own
 * credentials, namespaces, root and limits, while the caller waits, all signals blocked. fn may open fds for
 * the caller and write to its memory; it must not allocate or print. Returns what fn returns, or a negative
 * errno. errno of the caller is kept. */
int helper_run(int (*fn)(void *arg), void *arg, struct ct_error *err);
