/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A place for test containers: a store directory, cgroups of our own, and the verbs start, wait, exec, stop
 * in one line each. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "libct/ct.h"

/* Ids far from those that distributions and other tests use. */
#define FIXTURE_BASE_ID 1879048192u

struct fixture {
	char dir[64]; /* below /var/tmp: lower layers, and one upper and work a container */
	int dir_fd;
	const char *lower; /* the lower layer of the next container, a name in dir; "lower" */
	int cgroup_parent_fd;
	char cgroup_name[48];
	int cgroup_fd; /* below which containers get theirs */
	struct ct_seccomp_program seccomp;
	unsigned int count;
};

struct box {
	struct ct_shell shell;
	struct ct_process init;
	int cgroup_fd, root_fd;
	char name[32];
};
#define BOX_INIT                                                                                             \
	((struct box){ .shell = CT_SHELL_INIT, .init = CT_PROCESS_INIT, .cgroup_fd = -1, .root_fd = -1 })

/* 0, or 77 with a sentence on stdout if this machine or user cannot run containers. lower: a directory to use
 * as lower layer, or a program that becomes /sbin/init and /probe of one that is made. */
int fixture_init(struct fixture *f, const char *lower);
void fixture_done(struct fixture *f);

/* One more lower layer: dir/name with the probe in it, nothing else. Returns an fd of the directory. */
int fixture_add_lower(struct fixture *f, const char *name);

/* A detached overlay over lower with idmapped layers and a new upper directory. Returns an fd, or negative
 * errno. */
int fixture_root(struct fixture *f, uint32_t base_id);

/* Shell, cgroup and root for one more container; spec is filled with them and with /sbin/init to run. */
int box_prepare(struct fixture *f, struct box *box, struct ct_spec *spec, struct ct_error *err);
/* ct_start and its outcome: 0 when init has been executed. */
int box_start(struct box *box, const struct ct_spec *spec, struct ct_error *err);
/* Kills, reaps, removes. */
void box_done(struct fixture *f, struct box *box);

/* A specification for ct_exec of argv as root, stdio null. */
struct ct_exec_spec box_exec_spec(struct fixture *f, struct box *box, const char *const *argv);

/* Waits up to timeout for the outcome of a start or exec: 0, or negative errno. */
int process_result(struct ct_process *p, uint64_t timeout_usec, struct ct_error *err);
/* Exit status, 128 + signal, or -ETIMEDOUT. */
int process_join(int pidfd, uint64_t timeout_usec);
/* Runs a command inside with its output collected; the exit status, or negative errno. output is cut to size.
 */
int box_run(struct fixture *f, struct box *box, const char *const *argv, char *output, size_t size,
        struct ct_error *err);
/* Reads fd to its end (EIO of a terminal included) into output. */
void collect_output(int fd, char *output, size_t size);

/* Whether text has the line "name value". */
bool has_line(const char *text, const char *name, const char *value);

#define FIXTURE_TIMEOUT (60 * 1000000ULL)
