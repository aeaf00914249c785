/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Giving idle memory back.
 *
 * A container keeps its page cache and its forgotten pages as long as nobody needs them, and a host that is
 * full of them has no room for more containers. So each is asked to give back a little (a 200th of what it
 * has) as long as it does not notice; it notices when its pressure (memory.pressure, "some") grows by more
 * than a thousandth of the time. Then it is left alone, for longer each time, up to ten minutes.
 *
 * memory.reclaim works within the call, so a call is small and a turn ends after some milliseconds; the next
 * turn goes on where this one ended. Nothing is taken below a container's guarantee. What the kernel cannot
 * reclaim it says at once.
 */
#include "ctd/idle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

#define TURN_USEC     USEC_PER_SEC
#define BUDGET_USEC   (5 * USEC_PER_MSEC)
#define PAUSE_USEC    (6 * USEC_PER_SEC)
#define PAUSE_MAX     (600 * USEC_PER_SEC)
#define STEP_FRACTION 200
#define STEP_MAX      (4ULL << 20)
#define NOTICED       1000 /* a 1000th of the time */

struct idle {
	struct manager *manager;
	sd_event_source *timer;
	char next[33]; /* ctid where the next turn begins */
};

static int read_pressure(struct container *c, uint64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	char *total;
	int r = read_file_at(c->cgroup_fd, "memory.pressure", 4096, &text, NULL);

	if (r < 0)
		return r;
	total = strstr(text, "total=");
	if (!total)
		return -ENODATA;
	*ret = strtoull(total + strlen("total="), NULL, 10);
	return 0;
}

static void take_some(struct container *c, struct resources *r)
{
	uint64_t before = 0, after = 0, step, floor = c->config.limits.memory_guarantee.value;

	if (read_u64_at(c->cgroup_fd, "memory.current", &before) < 0 || before <= floor)
		return;
	step = before / STEP_FRACTION;
	step = step > STEP_MAX ? STEP_MAX : step;
	if (step > before - floor)
		step = before - floor;
	(void)write_file_printf_at(c->cgroup_fd, "memory.reclaim", "%llu",
	        (unsigned long long)step); /* EAGAIN: less than that could be had */
	if (read_u64_at(c->cgroup_fd, "memory.current", &after) == 0 && after < before)
		r->idle_bytes += before - after;
}

static void visit(struct container *c, uint64_t now)
{
	struct resources *r = c->resources;
	uint64_t pressure = 0, since = now - r->idle_seen_usec;
	bool noticed;

	if (c->state != CONTAINER_RUNNING || now < r->idle_next_usec || read_pressure(c, &pressure) < 0)
		return;
	noticed = r->idle_seen_usec == 0 || pressure - r->idle_pressure > since / NOTICED;
	r->idle_pressure = pressure;
	r->idle_seen_usec = now;
	if (noticed) {
		r->idle_pause_usec = r->idle_pause_usec ? r->idle_pause_usec * 2 : PAUSE_USEC;
		if (r->idle_pause_usec > PAUSE_MAX)
			r->idle_pause_usec = PAUSE_MAX;
	} else {
		r->idle_pause_usec = PAUSE_USEC;
		take_some(c, r);
	}
	r->idle_next_usec = now + r->idle_pause_usec;
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct idle *idle = userdata;
	struct manager *m = idle->manager;
	uint64_t start = now_monotonic_usec(), now = start;
	struct container *c = container_by_ctid(m, idle->next);
	unsigned n = HASH_CNT(hh_ctid, m->containers.by_ctid);
	int r;

	for (; n > 0 && now - start < BUDGET_USEC; n--, now = now_monotonic_usec()) {
		c = c ? c : m->containers.by_ctid;
		if (c->resources)
			visit(c, now);
		c = c->hh_ctid.next;
	}
	(void)snprintf(idle->next, sizeof(idle->next), "%s", c ? c->row.ctid : "");

	r = sd_event_source_set_time_relative(source, TURN_USEC);
	if (r >= 0)
		r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (r < 0)
		log_warning("idle memory is no longer taken back: %s", strerror(-r));
	return 0;
}

int idle_new(struct manager *m, struct idle **ret, struct ct_error *err)
{
	struct idle *idle;
	int r;

	*ret = NULL;
	if (!m->conf.idle_memory)
		return 0;
	if (faccessat(m->cgroup.fd, "memory.reclaim", F_OK, 0) < 0 ||
	        faccessat(m->cgroup.fd, "memory.pressure", F_OK, 0) < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "idle-memory of ctd.conf needs the controller \"memory\" with memory.reclaim (Linux 5.19) and pressure accounting (boot with psi=1); ctctl doctor says more");
	idle = calloc(1, sizeof(*idle));
	if (!idle)
		return ct_error_set(err, -ENOMEM, "idle", "out of memory");
	idle->manager = m;
	r = sd_event_add_time_relative(
	        m->event, &idle->timer, CLOCK_MONOTONIC, TURN_USEC, USEC_PER_SEC / 4, on_turn, idle);
	if (r >= 0)
		r = sd_event_source_set_priority(idle->timer, SD_EVENT_PRIORITY_IDLE);
	if (r < 0) {
		idle_free(idle);
		return ct_error_set(err, r, "idle", "cannot add an event source: %s", strerror(-r));
	}
	*ret = idle;
	return 0;
}

void idle_free(struct idle *idle)
{
	if (!idle)
		return;
	(void)sd_event_source_disable_unref(idle->timer); /* always NULL */
	free(idle);
}
