/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose turn it is.
 *
 * The kernel has one queue for all containers. One of them with four thousand processes that read /proc/stat
 * would have four thousand requests in it before the one of a neighbour's `free`, again at each of the steps
 * that this takes. So requests are taken from there as they come, which costs little, and two rules make up
 * for the order. What a container has us do is charged to it, in time of the CPU; SHARE times as long it has
 * to wait once it is BURST_USEC behind, and its requests are held so long: nobody gets more of us than one in
 * SHARE for long, and as each of his processes waits for its answer, there come no more. And all reads of one
 * file by one container that wait at the same time are answered by one text, made after the last of them has
 * come: what one container can have in line before a neighbour is seven texts, whatever number of processes
 * it has.
 *
 * The container is told by the user id of who reads. It comes with the request, and a process of a container
 * has none outside of the range; to look for its cgroup would cost more than most answers.
 *
 * Nothing that is held is given an error. Where so much is held that room becomes short, it is served at once
 * instead: then all get slower, but the host's memory does not pay.
 */
#include "ctd/view-tenant.h"

#include <stdlib.h>

#define SHARE      10U
#define BURST_USEC 200000U /* waiting; what was done for it is one in SHARE of that */

struct tenant {
	uint64_t paid_until_usec;
	struct view_request *held, **held_end;
	struct view_request *waiting[VIEW_FILES]; /* for a job that has not begun */
	uint32_t running;                         /* bits: files of jobs that have */
};

struct view_tenants {
	struct tenant of[VIEW_TENANTS];
	struct view_request requests[VIEW_PENDING];
	struct view_request *free;
	unsigned used;
	struct view_request *jobs, **jobs_end;
	uint16_t holding[VIEW_TENANTS]; /* those that have some held */
	unsigned n_holding, turn;
};

struct view_tenants *view_tenants_new(void)
{
	struct view_tenants *t = calloc(1, sizeof(*t)); /* takes memory only where it is written to */

	if (t)
		t->jobs_end = &t->jobs;
	return t;
}

void view_tenants_free(struct view_tenants *t)
{
	free(t);
}

/* ---- requests */

struct view_request *view_request_new(struct view_tenants *t)
{
	struct view_request *q = t->free;

	if (q)
		t->free = q->next;
	else {
		/* Those that were never used are at the end. */
		if (t->used == VIEW_PENDING)
			return NULL;
		q = &t->requests[t->used];
	}
	*q = (struct view_request){ 0 };
	t->used++;
	return q;
}

void view_request_free(struct view_tenants *t, struct view_request *q)
{
	*q = (struct view_request){ .next = t->free };
	t->free = q;
	t->used--;
}

size_t view_request_index(const struct view_tenants *t, const struct view_request *q)
{
	return (size_t)(q - t->requests);
}

bool view_request_full(const struct view_tenants *t)
{
	return t->used == VIEW_PENDING;
}

/* ---- what each may spend */

void view_tenant_charge(struct view_tenants *t, uint16_t tenant, uint64_t now, uint64_t usec)
{
	struct tenant *who = &t->of[tenant];

	if (who->paid_until_usec < now)
		who->paid_until_usec = now;
	who->paid_until_usec += usec * SHARE;
}

static bool is_behind(const struct tenant *who, uint64_t now)
{
	return who->paid_until_usec > now + BURST_USEC;
}

bool view_tenant_is_over(const struct view_tenants *t, uint16_t tenant, uint64_t now)
{
	return (is_behind(&t->of[tenant], now) || t->of[tenant].held) && t->used < VIEW_PENDING / 4 * 3;
}

void view_hold(struct view_tenants *t, struct view_request *q)
{
	struct tenant *who = &t->of[q->tenant];

	if (!who->held) {
		who->held_end = &who->held;
		t->holding[t->n_holding++] = q->tenant;
	}
	q->next = NULL;
	*who->held_end = q;
	who->held_end = &q->next;
}

struct view_request *view_held_next(struct view_tenants *t, uint64_t now)
{
	for (unsigned n = 0; n < t->n_holding; n++) {
		unsigned at = t->turn++ % t->n_holding;
		struct tenant *who = &t->of[t->holding[at]];
		struct view_request *q = who->held;

		if (is_behind(who, now))
			continue;
		who->held = q->next;
		q->next = NULL;
		if (!who->held)
			t->holding[at] = t->holding[--t->n_holding];
		return q;
	}
	return NULL;
}

uint64_t view_held_usec(const struct view_tenants *t)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < t->n_holding; i++) {
		uint64_t until = t->of[t->holding[i]].paid_until_usec;

		until = until > BURST_USEC ? until - BURST_USEC : 0;
		if (until < first)
			first = until;
	}
	return first;
}

/* ---- reads */

static void queue_job(struct view_tenants *t, struct view_request *first)
{
	first->next_job = NULL;
	*t->jobs_end = first;
	t->jobs_end = &first->next_job;
}

void view_job_add(struct view_tenants *t, struct view_request *read, unsigned file)
{
	struct tenant *who = &t->of[read->tenant];
	struct view_request *first = who->waiting[file];

	if (first) {
		read->next = first->next;
		first->next = read;
		return;
	}
	read->next = NULL;
	who->waiting[file] = read;
	if (!(who->running & 1U << file))
		queue_job(t, read);
}

struct view_request *view_job_next(struct view_tenants *t, unsigned *ret_file)
{
	struct view_request *q = t->jobs;
	struct tenant *who;

	if (!q)
		return NULL;
	t->jobs = q->next_job;
	if (!t->jobs)
		t->jobs_end = &t->jobs;
	who = &t->of[q->tenant];
	for (unsigned file = 0; file < VIEW_FILES; file++)
		if (who->waiting[file] == q) {
			who->waiting[file] = NULL;
			who->running |= 1U << file;
			*ret_file = file;
		}
	return q;
}

void view_job_done(struct view_tenants *t, uint16_t tenant, unsigned file)
{
	struct tenant *who = &t->of[tenant];

	who->running &= ~(1U << file);
	if (who->waiting[file])
		queue_job(t, who->waiting[file]);
}
