/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the time of a start goes.
 *
 * Marks are set as the start goes along; each gives what passed since the one before to a phase, so the sum
 * is the whole and nothing is counted twice. The keeper and the child send their stamps back with the answer.
 * All read CLOCK_REALTIME, the only clock that a time namespace does not change; if it is set in just these
 * milliseconds a phase shows nothing or too much, and no harm is done.
 */
#include "ctd/start-trace.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

static const struct {
	const char *name, *what;
} phases[START_PHASES] = {
	[START_JOB] = { "job", "recording the job, and waiting for its turn" },
	[START_CHECK] = { "check", "configuration, limits, template" },
	[START_NAMESPACES] = { "namespaces", "user and network namespace from the pool, recording the slot" },
	[START_DISK] = { "disk", "mounting the root" },
	[START_FILES] = { "files", "hostname, resolver, keys in the root" },
	[START_CGROUP] = { "cgroup", "making it, limits, devices, delegation" },
	[START_NETWORK] = { "network", "link, addresses, filters, rates, forwards" },
	[START_CLONE] = { "clone", "entering the namespaces, making the others, the first process" },
	[START_MOUNTS] = { "mounts", "proc, sys, dev, masks, locking them" },
	[START_SECCOMP] = { "seccomp", "loading the filter" },
	[START_EXEC] = { "exec", "terminal, capabilities, execve" },
	[START_KEEPER] = { "keeper", "asking ct-keeper and hearing from it" },
	[START_STATE] = { "state", "state, events" },
};

void start_trace_begin(struct start_trace *t)
{
	*t = (struct start_trace){ .begin_usec = now_realtime_usec() };
	t->last_usec = t->begin_usec;
}

/* 0 if the clock was set back. */
static uint64_t between(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

static void add(struct start_trace *t, enum start_phase phase, uint64_t usec)
{
	t->spent_usec[phase] += usec < UINT32_MAX ? (uint32_t)usec : UINT32_MAX;
}

void start_trace_mark(struct start_trace *t, enum start_phase phase)
{
	uint64_t now = now_realtime_usec();

	add(t, phase, between(t->last_usec, now));
	t->last_usec = now;
}

void start_trace_keeper(struct start_trace *t, const struct ct_stamps *s)
{
	uint64_t now = now_realtime_usec();
	uint64_t whole = between(t->last_usec, now), inside = between(s->asked_usec, s->executed_usec);

	if (inside > 0 && inside <= whole) {
		const uint64_t mounts = between(s->cloned_usec, s->mounted_usec);

		add(t, START_CLONE, between(s->asked_usec, s->cloned_usec));
		add(t, START_MOUNTS, between(s->seccomp_usec, mounts));
		add(t, START_SECCOMP, s->seccomp_usec);
		add(t, START_EXEC, between(s->mounted_usec, s->executed_usec));
		whole -= inside;
	}
	add(t, START_KEEPER, whole);
	t->last_usec = now;
}

json_t *start_trace_to_json(const struct start_trace *t, uint64_t job_usec)
{
	_cleanup_json_ json_t *list = json_array();
	uint64_t total = 0;

	for (unsigned i = 0; i < START_PHASES; i++) {
		uint64_t usec = i == START_JOB ? between(job_usec, t->begin_usec) : t->spent_usec[i];

		total += usec;
		if (json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", phases[i].name, "us",
		                                        (json_int_t)usec, "what", phases[i].what)) < 0)
			return NULL;
	}
	return json_pack("{s:I, s:O}", "total_us", (json_int_t)total, "phases", list);
}
