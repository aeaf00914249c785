/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the two parts of the audit. Not installed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "libct/restore.h"

/* In the order in which namespaces are looked at. */
#define AUDIT_USER_NS 0
#define AUDIT_PID_NS  1
#define AUDIT_MNT_NS  2
#define AUDIT_KINDS   8

struct audit {
	const struct restore_want *want;
	ino_t own[AUDIT_KINDS]; /* of init */
	pid_t init;
	bool seen_init;
	ino_t *seen; /* mount namespaces that were looked at */
	size_t n_seen;
	struct ct_error *err;
};

/* -EPERM, with what is wrong with the process. */
int audit_refuse(struct audit *a, pid_t pid, const char *what);
/* Looks at the mounts of the process's mount namespace, whose number is id; at each namespace once. */
int audit_mounts(struct audit *a, pid_t pid, ino_t id);
/* The path has the name as one of its parts. */
bool audit_is_below(const char *path, const char *name);
