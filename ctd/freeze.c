/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing and thawing by the cgroup freezer (cgroup.freeze, Linux 5.2).
 *
 * The kernel confirms in cgroup.events when the last task has stopped; a task in an uninterruptible sleep
 * delays that. We write, then look every few milliseconds for ten seconds; a freeze that is not confirmed is
 * taken back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctd/manager.h"
#include "ctd/operate.h"

#define FREEZE_PATIENCE_USEC (10 * USEC_PER_SEC)
#define LOOK_EVERY_USEC      (2 * USEC_PER_MSEC)

struct freeze {
	struct container *container;
	bool freeze;
	operation_fn done;
	void *userdata;
	sd_event_source *timer;
	uint64_t deadline_usec;
};

static void freeze_end(struct freeze *f, int result, const struct ct_error *error)
{
	(void)sd_event_source_disable_unref(f->timer); /* always NULL */
	f->done(f->container, result, error, f->userdata);
	free(f);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata);

static int freeze_arm(struct freeze *f)
{
	f->timer = sd_event_source_disable_unref(f->timer);
	return sd_event_add_time_relative(
	        f->container->manager->event, &f->timer, CLOCK_MONOTONIC, LOOK_EVERY_USEC, 500, on_time, f);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct freeze *f = userdata;
	struct container *c = f->container;
	struct ct_error error = { 0 };

	if (c->cgroup_fd < 0 || c->state == CONTAINER_STOPPING || c->state == CONTAINER_STOPPED) {
		(void)ct_error_kind_set(
		        &error, CT_ERROR_STATE, -ESRCH, "\"%s\" ended meanwhile", c->row.name);
		freeze_end(f, -ESRCH, &error);
		return 0;
	}
	if (ct_cgroup_is_frozen(c->cgroup_fd) == (f->freeze ? 1 : 0)) {
		container_set_state(c, f->freeze ? CONTAINER_FROZEN : CONTAINER_RUNNING);
		manager_event(c->manager, c, f->freeze ? "container.frozen" : "container.thawed", NULL);
		freeze_end(f, 0, NULL);
		return 0;
	}
	if (now_monotonic_usec() < f->deadline_usec && freeze_arm(f) >= 0)
		return 0;

	(void)ct_cgroup_freeze(c->cgroup_fd, false, 0, NULL); /* as it was: running */
	(void)ct_error_kind_set(&error, CT_ERROR_FAILED, -ETIMEDOUT,
	        "\"%s\" did not %s in 10 seconds: a process waits in the kernel, perhaps for a disk",
	        c->row.name, f->freeze ? "freeze" : "thaw");
	freeze_end(f, -ETIMEDOUT, &error);
	return 0;
}

int container_freeze(
        struct container *c, bool freeze, operation_fn done, void *userdata, struct ct_error *err)
{
	struct ct_error late = { 0 }; /* what is not confirmed at once is no error */
	struct freeze *f;
	int r;

	if (c->state == (freeze ? CONTAINER_FROZEN : CONTAINER_RUNNING))
		return 1;
	if (c->state != CONTAINER_RUNNING && c->state != CONTAINER_FROZEN)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY, "cannot %s \"%s\": it is %s",
		        freeze ? "freeze" : "thaw", c->row.name, container_state_name(c->state));

	f = calloc(1, sizeof(*f));
	if (!f)
		return ct_error_set(err, -ENOMEM, "freeze", "out of memory");
	*f = (struct freeze){ .container = c, .freeze = freeze, .done = done, .userdata = userdata };
	f->deadline_usec = now_monotonic_usec() + FREEZE_PATIENCE_USEC;

	r = ct_cgroup_freeze(c->cgroup_fd, freeze, 0, &late);
	if (r >= 0 || r == -ETIMEDOUT) {
		r = freeze_arm(f);
		if (r < 0)
			(void)ct_error_set(&late, r, "freeze", "cannot wait for it: %s", strerror(-r));
	}
	if (r < 0) {
		if (freeze)
			(void)ct_cgroup_freeze(c->cgroup_fd, false, 0, NULL); /* as it was */
		free(f);
		(void)ct_error_prefix(&late, "cannot %s \"%s\"", freeze ? "freeze" : "thaw", c->row.name);
		if (err)
			*err = late;
		return r;
	}
	return 0;
}
