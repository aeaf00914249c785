/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The status socket between a starting process and its parent; process.c has the protocol. Not installed. */
#pragma once

#include <stdint.h>

#include "libct/ct.h"

enum status_type {
	STATUS_READY = 1,
	STATUS_CONSOLE, /* fd: master of the terminal */
	STATUS_TREE,    /* fd: the mounts of a container, to be locked (lock.c) */
	STATUS_FAILED,
};

struct status_message {
	uint32_t type; /* enum status_type */
	struct ct_error error;
	struct ct_stamps stamps; /* READY: the child's. New members go at the end: a child of another version
	                            may be starting while a keeper executes itself anew */
};

/* parent: non-blocking; child: blocking. Both close-on-exec. */
int status_pair(int *ret_parent, int *ret_child, struct ct_error *err);
int status_send_go(int parent_fd, int fd); /* fd -1: none */
int status_await_go(
        int child_fd, int *ret_fd); /* -EPIPE: the parent is gone. ret_fd NULL: none is expected */
int status_send(int child_fd, enum status_type type, int fd);
int status_send_ready(int child_fd, const struct ct_stamps *stamps); /* NULL: none */
void status_send_failed(int child_fd, const struct ct_error *error);

/* What ct_start and ct_exec do once the child is there: its OOM score, its start time, GO if with_go. If that
 * fails the child is killed and reaped. Consumes *status_parent and *pidfd on success. */
int process_adopt(pid_t pid, int *pidfd, int *status_parent, bool with_go, struct ct_process *ret,
        struct ct_error *err);
