/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose turn it is: requests of the view by container, and what each container may spend of us. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/fuse.h>

#include "ctd/view-files.h"

/* Each container has 65,536 user ids of the host's, from a multiple of that. 0: the host's own. */
#define VIEW_TENANTS       65536U
#define VIEW_TENANT_OF(id) ((uint16_t)((id) >> 16))

/* A request that is not answered. */
struct view_request {
	uint64_t unique, node; /* unique 0: free */
	union {
		struct fuse_open_in open;
		struct fuse_read_in read;
	} in;
	uint32_t opcode, pid;
	uint16_t tenant;
	struct view_request *next; /* of those that wait for the same */
	struct view_request *next_job;
};

struct view_tenants;

struct view_tenants *view_tenants_new(void);
void view_tenants_free(struct view_tenants *t);

/* NULL: there are VIEW_PENDING. index: of its place among them. */
struct view_request *view_request_new(struct view_tenants *t);
void view_request_free(struct view_tenants *t, struct view_request *q);
size_t view_request_index(const struct view_tenants *t, const struct view_request *q);
bool view_request_full(const struct view_tenants *t);

/* What was done for it took so long. */
void view_tenant_charge(struct view_tenants *t, uint16_t tenant, uint64_t now, uint64_t usec);
/* Whether it has spent what it has, so that its next request is to be held. */
bool view_tenant_is_over(const struct view_tenants *t, uint16_t tenant, uint64_t now);
void view_hold(struct view_tenants *t, struct view_request *q);
/* One that was held, and whose container may spend again; in turn. NULL: none. */
struct view_request *view_held_next(struct view_tenants *t, uint64_t now);
uint64_t view_held_usec(const struct view_tenants *t); /* when there will be one; UINT64_MAX: none is held */

/* Reads of one file by one container, that have come before its text is made, are answered by one text: they
 * are a job. */
void view_job_add(struct view_tenants *t, struct view_request *read, unsigned file);
/* The first of the reads, with the others behind it; until it is done, later ones wait. NULL: there is none.
 */
struct view_request *view_job_next(struct view_tenants *t, unsigned *ret_file);
void view_job_done(struct view_tenants *t, uint16_t tenant, unsigned file);
