/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making room before a memory limit is lowered.
 *
 * memory.reclaim (Linux 5.19) reclaims what was asked for or says EAGAIN; it works as long as that takes, so
 * it is asked for a little at a time from the event loop, and other containers' requests are served in
 * between. After ten seconds, or when a few rounds in a row gave nothing, what is still used is told and the
 * old limit stays. Swap helps where the container has some left.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/unit.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

#define STEP_BYTES    (16ULL << 20)
#define PATIENCE_USEC (10 * USEC_PER_SEC)
#define FRUITLESS_MAX 8

struct reclaim {
	struct container *container;
	uint64_t target, since_usec;
	unsigned fruitless;
	operation_fn done;
	void *userdata;
	sd_event_source *timer;
};

static void finish(struct reclaim *w, int result, const struct ct_error *error)
{
	(void)sd_event_source_disable_unref(w->timer); /* always NULL */
	w->done(w->container, result, error, w->userdata);
	free(w);
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct reclaim *w = userdata;
	struct container *c = w->container;
	uint64_t before = 0, after = 0, wanted;
	char used[24], target[24];
	struct ct_error error = { 0 };
	int r;

	/* A container that ended meanwhile has room for everything. */
	if (c->cgroup_fd < 0 || read_u64_at(c->cgroup_fd, "memory.current", &before) < 0 ||
	        before <= w->target) {
		finish(w, 0, NULL);
		return 0;
	}

	wanted = before - w->target < STEP_BYTES ? before - w->target : STEP_BYTES;
	r = write_file_printf_at(c->cgroup_fd, "memory.reclaim", "%llu", (unsigned long long)wanted);
	if (read_u64_at(c->cgroup_fd, "memory.current", &after) == 0)
		w->fruitless = after < before ? 0 : w->fruitless + 1;
	if ((r < 0 && r != -EAGAIN) || w->fruitless > FRUITLESS_MAX ||
	        now_monotonic_usec() - w->since_usec > PATIENCE_USEC) {
		r = ct_error_kind_set(&error, CT_ERROR_REFUSED, -ENOSPC,
		        "\"%s\" still uses %s of memory after reclaim, more than %s allows; stop something inside first, or allow it swap",
		        c->row.name, format_size(used, sizeof(used), after ?: before),
		        format_size(target, sizeof(target), w->target));
		(void)snprintf(error.field, sizeof(error.field), "memory");
		finish(w, r, &error);
		return 0;
	}
	/* At once again, but behind what else waits. */
	r = sd_event_source_set_time_relative(w->timer, w->fruitless ? 20 * USEC_PER_MSEC : 0);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
	if (r < 0) {
		(void)ct_error_set(&error, r, "memory", "cannot wait: %s", strerror(-r));
		finish(w, r, &error);
	}
	return 0;
}

int limits_reclaim(
        struct container *c, uint64_t target, operation_fn done, void *userdata, struct ct_error *err)
{
	uint64_t used = 0;
	struct reclaim *w;
	int r;

	if (c->cgroup_fd < 0 || read_u64_at(c->cgroup_fd, "memory.current", &used) < 0 || used <= target)
		return 1;
	w = malloc(sizeof(*w));
	if (!w)
		return ct_error_set(err, -ENOMEM, "memory", "out of memory");
	*w = (struct reclaim){ .container = c,
		.target = target,
		.since_usec = now_monotonic_usec(),
		.done = done,
		.userdata = userdata };
	r = sd_event_add_time_relative(c->manager->event, &w->timer, CLOCK_MONOTONIC, 0, 0, on_step, w);
	if (r < 0) {
		free(w);
		return ct_error_set(err, r, "memory", "cannot wait: %s", strerror(-r));
	}
	return 0;
}
