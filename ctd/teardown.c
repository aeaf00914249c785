/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking down what a run of a container left on the host.
 *
 * What there is, is named by the ctid (cgroup) and the slot (links, filters), so it can be taken down by a
 * ctd that did not make it. The one step that may have to wait is the cgroup: it can be removed when its last
 * process has been reaped, which the kernel does soon after cgroup.kill, or late if a process hangs in the
 * disk. Then we look again every 10 ms at first and every second later, and after half a minute the container
 * is marked broken, so that somebody looks; the looking goes on, and the mark goes when the cgroup does
 * (promise P6). The slot is released last: an id range is never given out while a process has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/verbs.h"

#define PATIENCE_USEC (30 * USEC_PER_SEC)

/* The mark that goes by itself. */
static const char stuck[] = "its processes do not end (waiting in the kernel, perhaps for a disk)";

struct teardown {
	struct container *container;
	operation_fn done;
	void *userdata;
	sd_event_source *timer;
	uint64_t since_usec, delay_usec;
};

void container_cgroup_name(const struct container *c, char ret[40])
{
	(void)snprintf(ret, 40, "c-%s", c->row.ctid); /* 34 bytes and the end */
}

static int remove_cgroup(struct container *c, struct ct_error *err)
{
	int populated = 0;
	char name[40];

	container_cgroup_name(c, name);
	if (c->cgroup_fd < 0)
		c->cgroup_fd = openat(c->manager->cgroup.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->cgroup_fd >= 0) {
		(void)ct_cgroup_kill(c->cgroup_fd, NULL); /* what matters is whether it can be removed */
		populated = ct_cgroup_is_populated(c->cgroup_fd);
		meter_settle(c);
	}
	/* What ends behind the last look at its counters would be lost with them. */
	if (populated == 1)
		return ct_error_set(err, -EBUSY, "cgroup",
		        "cannot remove the cgroup \"%s\": processes are left in it", name);
	return ct_cgroup_remove(c->manager->cgroup.fd, name, err);
}

static void release(struct container *c)
{
	resources_free(c->resources);
	c->resources = NULL;
	c->cgroup_fd = fd_close(c->cgroup_fd);
	c->pidfd = fd_close(c->pidfd);
	c->console_fd = fd_close(c->console_fd);
	ports_down(c);
	c->network_held = false; /* also of one that nobody waits for */
	c->network_shut = false;
	if (!c->config.suspended_slot && c->run.slot != c->config.checkpoint.slot) /* then it stays leased */
		pool_release_slot(&c->manager->pool, c->run.slot);
	c->run.slot = 0;
	meter_settle(c); /* what went through its links to the end; and that there is no run */
	c->run.pid = -1;
	container_set_state(c, CONTAINER_STOPPED);
	node_guarantees_apply(c->manager);
}

static void report(struct teardown *t, int result, const struct ct_error *error)
{
	operation_fn done = TAKE_PTR(t->done);

	if (done)
		done(t->container, result, error, t->userdata);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata);

static int look_again(struct teardown *t)
{
	t->delay_usec = t->delay_usec * 2 < USEC_PER_SEC ? t->delay_usec * 2 : USEC_PER_SEC;
	t->timer = sd_event_source_disable_unref(t->timer);
	return sd_event_add_time_relative(
	        t->container->manager->event, &t->timer, CLOCK_MONOTONIC, t->delay_usec, 1000, on_time, t);
}

static void step(struct teardown *t)
{
	struct container *c = t->container;
	struct ct_error error = { 0 };
	int r = remove_cgroup(c, &error);

	if (r == 0) {
		if (str_eq(c->row.broken, stuck))
			container_set_broken(c, NULL);
		c->teardown = NULL;
		release(c);
		if (!c->row.complete && !c->active)
			verb_destroy_quietly(c); /* its create gave up on it: see there */
		else
			report(t, 0, NULL);
		(void)sd_event_source_disable_unref(t->timer); /* always NULL */
		free(t);
		return;
	}

	if (t->done && now_monotonic_usec() - t->since_usec > PATIENCE_USEC) {
		log_error("\"%s\": %s", c->row.name, error.text);
		container_set_broken(c, stuck);
		report(t, r, &error);
	}
	if (look_again(t) < 0)
		log_error("cannot wait for the end of \"%s\"; ctctl fsck --repair will take it down",
		        c->row.name);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	step(userdata);
	return 0;
}

void container_teardown(struct container *c, operation_fn done, void *userdata)
{
	struct teardown *t = c->teardown;
	struct ct_error error = { 0 };

	if (t) { /* under way: who asks now is told when it is over */
		t->done = done;
		t->userdata = userdata;
		t->since_usec = now_monotonic_usec();
		return;
	}

	t = calloc(1, sizeof(*t));
	if (!t) {
		(void)ct_error_set(&error, -ENOMEM, "teardown", "out of memory");
		if (done)
			done(c, -ENOMEM, &error, userdata);
		return;
	}
	*t = (struct teardown){ .container = c, .done = done, .userdata = userdata, .delay_usec = 1000 };
	t->since_usec = now_monotonic_usec();
	c->teardown = t;
	step(t);
}

void container_teardown_cancel(struct container *c)
{
	if (!c->teardown)
		return;
	(void)sd_event_source_disable_unref(c->teardown->timer); /* always NULL */
	free(c->teardown);
	c->teardown = NULL;
}
