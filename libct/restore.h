/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finishing from outside what CRIU has restored, and looking at it, before any of it runs. Not installed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libct/ct.h"

/* To be called when CRIU has made all mounts, and before it opens the first file in them
 * (post-setup-namespaces): gives /proc and /sys of these mount namespaces the masks and the binds (those with
 * a target below /proc/ or /sys/; source_fd is attached in the caller's mount namespace, and copied) that a
 * start gives them, locked as there. One may have neither of the two, as services with a root of their own.
 * The caller's mount namespace has the host's device nodes. */
int restore_mounts(const int *mntns_fds, size_t n_mntns, int userns_fd, const struct ct_bind *binds,
        size_t n_binds, struct ct_error *err);

/* A mount of the host's file system that they may have, or of what is below it: as mountinfo says it. At its
 * point init has nothing else, and others parts of what they may have at most. */
struct restore_native {
	const char *device, *root, *point;
};

/* A thread that was looked at. */
struct restore_thread {
	pid_t tid, leader;
	pid_t inside;      /* its number in the container's pid namespace */
	bool no_new_privs; /* prctl(2) */
};
struct restore_threads {
	struct restore_thread *list; /* the caller's to free */
	size_t n, max;
};

/* What the tasks must be that are restored, or are to be. */
struct restore_want {
	uint32_t base_id;
	uint64_t capabilities; /* at most these */
	const struct ct_rlimit *rlimits;
	size_t n_rlimits;        /* none wider */
	const char *cgroup_name; /* the last part of its path; on this host no other has it */
	dev_t root_dev;          /* of the root filesystem */
	const struct restore_native *natives;
	size_t n_natives;
	struct restore_threads *threads; /* or NULL: the audit adds each that it looks at */
};
/* Looks at every thread of the cgroup and all below it, of which pid is init: ids, capabilities, limits,
 * seccomp, namespaces; at who owns the user namespace, at the mounts of each mount namespace, and that nobody
 * of the pid namespace is elsewhere. -EPERM with the first that is otherwise. Nothing of it may run
 * meanwhile. */
int restore_audit(int cgroup_fd, pid_t pid, const struct restore_want *want, struct ct_error *err);
