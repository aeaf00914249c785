/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A place for programs of others that want to be root: root of a user namespace, on a read-only view of the
 * host. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct sandbox_bind {
	const char *source; /* path on the host */
	const char *name;   /* directory in /tmp of the sandbox; made there */
};

struct sandbox_spec {
	const char *const *argv, *const *env; /* env NULL-ended */
	uint32_t base_id;                     /* root inside; 65,536 ids from here are the sandbox's */
	int tmp_fd; /* its /tmp, and the only place to write to; belongs to base_id */
	int stdout_fd, stderr_fd;
	const struct sandbox_bind *binds; /* read-only */
	size_t n_binds;
};

struct sandbox {
	int pidfd;   /* of the guardian: readable when all is over; -1: none */
	int life_fd; /* closing it ends the sandbox */
};
#define SANDBOX_INIT ((struct sandbox){ .pidfd = -1, .life_fd = -1 })

int sandbox_start(const struct sandbox_spec *spec, struct sandbox *ret, struct ct_error *err);
/* The exit status of the program, as of process_wait, once nothing is left of the sandbox. 125: it could not
 * be set up, a line on its stderr says why. */
int sandbox_wait(struct sandbox *sandbox);
/* Kills what is left and waits for it. */
void sandbox_done(struct sandbox *sandbox);
