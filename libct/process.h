/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The status socket between a starting process and its parent; process.c has the protocol. Not installed. */
#pragma once

#include <stdint.h>

#include "libct/ct.h"

enum status_type {
	STATUS_READY = 1,
	STATUS_CONSOLE,
	STATUS_FAILED,
};

struct status_message {
	uint32_t type; /* enum status_type */
	struct ct_error error;
};

/* parent: non-blocking; child: blocking. Both close-on-exec. */
int status_pair(int *ret_parent, int *ret_child, struct ct_error *err);
int status_send_go(int parent_fd);
int status_await_go(int child_fd);                       /* -EPIPE: the parent is gone */
int status_send_ready(int child_fd);
int status_send_console(int child_fd, int master_fd);
void status_send_failed(int child_fd, const struct ct_error *error);

/* What ct_start and ct_exec do once the child is there: its OOM score, its start time, GO. If that fails the child is killed and
 * reaped. Consumes *status_parent and *pidfd on success. */
int process_release(pid_t pid, int *pidfd, int *status_parent, struct ct_process *ret, struct ct_error *err);
