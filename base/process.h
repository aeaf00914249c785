/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* External programs: an argument vector, never a shell; found in a fixed search path; three fds and no more.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process_options {
	const char *const *env; /* NULL: PATH and LANG=C.UTF-8 only */
	int stdin_fd;           /* -1: /dev/null */
	int stdout_fd;          /* -1: /dev/null */
	int stderr_fd;          /* -1: /dev/null */
	int cwd_fd;             /* -1: / */
	const int *keep_fds;    /* inherited under their own number, n_keep of them */
	size_t n_keep;
	int death_signal; /* 0: none; else PR_SET_PDEATHSIG */
};

#define PROCESS_OPTIONS_INIT                                                                                 \
	((struct process_options){ .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .cwd_fd = -1 })

/* Starts argv[0] (a name is looked up in /usr/local/sbin:...:/bin, a path with a slash is taken as it is).
 * Returns a pidfd; *ret_pid may be NULL. A failed exec is reported here (-ENOENT, ...), not as an exit
 * status. The caller waits with process_wait. */
int process_spawn(const char *const argv[], const struct process_options *options, pid_t *ret_pid);

/* waitid(P_PIDFD): 0..255 exit status, or 128 + signal. timeout_usec UINT64_MAX: for ever; -ETIMEDOUT leaves
 * it running. */
int process_wait(int pidfd, uint64_t timeout_usec);

/* Spawn, collect at most max bytes of stdout (new memory, NUL-terminated), wait. The exit status, or a
 * negative errno. */
int process_run(const char *const argv[], uint64_t timeout_usec, size_t max, char **ret_stdout);

#define PROCESS_SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* What process_spawn executes for the name, as new memory; -ENOENT. */
int process_path(const char *name, char **ret);
/* 0 if a program of that name is in the search path, else -ENOENT. */
int process_find(const char *name);

/* Field 22 of /proc/PID/stat: start time in clock ticks since boot; with the pid it names a process for good.
 */
int process_start_time(pid_t pid, uint64_t *ret_ticks);
