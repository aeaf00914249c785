/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where CRIU's images say that the memory of a task is, and by whom it will be made. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CRIU_PAGE 4096UL

struct criu_extent {
	uint64_t address, size; /* bytes, whole pages */
	uint64_t offset;        /* in the file of pages, if it is here */
	bool here;              /* of this dump; else an earlier one has it */
};

/* pagemap-PID.img: extents by address, none over another; those that are here by offset as well. */
struct criu_pages {
	struct criu_extent *items;
	size_t n;
	uint32_t id; /* of pages-ID.img */
};

/* -EBADMSG: it is no such image; -ENOMEM. */
int criu_pages_read(const char *data, size_t len, struct criu_pages *ret);
void criu_pages_done(struct criu_pages *pages);
/* The extent that has this place of the file; NULL: none. */
const struct criu_extent *criu_pages_at_offset(const struct criu_pages *pages, uint64_t offset);
/* The first that ends behind this address; NULL: none. */
const struct criu_extent *criu_pages_from(const struct criu_pages *pages, uint64_t address);

/* pstree.img */
struct criu_task {
	pid_t pid, parent, session; /* inside; 0: none */
};
/* *ret is new memory. As above. */
int criu_tasks_read(const char *data, size_t len, struct criu_task **ret, size_t *ret_n);
/* Whether CRIU makes the task by way of this step: the task "by" (0: CRIU itself) forks "made". What was left
 * to init by its parent, in a session that is not its own, CRIU makes by a helper of that session: under the
 * session's leader, or where that has ended, under init with the leader's number. */
bool criu_task_is_made_by(const struct criu_task *tasks, size_t n, pid_t task, pid_t by, pid_t made);
