/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What init of a container and a command executed in one have in common between fork and exec. In the child:
 * nothing here allocates. Not installed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "libct/ct.h"

/* First thing in the child: dies with its parent, no ties to the parent's session, keyring, handlers.
 * parent_fd is closed. */
int child_begin(int parent_fd, struct ct_error *err);

/* Closes every fd but these (-1: none), at most CHILD_KEEP_MAX. */
#define CHILD_KEEP_MAX 8
int child_keep_fds(const int *fds, size_t n, struct ct_error *err);

/* Makes fds the standard streams (an fd may occur more than once) and *status_fd number 3; closes every other
 * one. */
int child_set_stdio(const int fds[3], int *status_fd, struct ct_error *err);

/* setrlimit of each, lowering only: what had to be raised has been (child_raise_rlimits). */
int child_set_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err);
/* In the helper, with the caller's privilege: lifts hard limits that are lower than asked for. */
int child_raise_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err);

int child_load_seccomp(const struct ct_seccomp_program *program, struct ct_error *err);

/* Opens a terminal pair of the devpts whose ptmx is dir_fd/path; both ends are verified to be what they
 * should be. */
int child_open_pty(int dir_fd, const char *path, int *ret_master, int *ret_slave, struct ct_error *err);
int child_set_window(int master, uint16_t rows, uint16_t columns, struct ct_error *err);

/* Waits until the parent has done its part; -EPIPE if it died. ret_fd: what comes with it, NULL: nothing. */
int child_await_go(int status_fd, int *ret_fd, struct ct_error *err);

/* The last steps: says READY, clears what exec keeps and executes. With search argv[0] is looked up in the
 * PATH of env. Returns only on failure. */
struct child_program {
	const char *const *argv, *const *env;
	bool search;
	int status_fd;
	struct ct_stamps *stamps; /* sent with READY; NULL: none */
};
int child_execute(const struct child_program *program, struct ct_error *err);
