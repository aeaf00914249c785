/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts that nobody waits for: after a reboot from inside, and autostart.
 *
 * They are jobs like others, recorded and queued. A container that reboots again within seconds of its start
 * is started after a pause that grows to a minute, so that one with a broken init cannot keep the host busy.
 * The pause is a timer of the container, no job: a stop ends it at once, and after a death of ctd the run
 * row's wanted says that a start is due.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/verbs.h"

#define QUICK_USEC     (10 * USEC_PER_SEC)
#define PAUSE_MAX_USEC (60 * USEC_PER_SEC)

struct quiet {
	void (*done)(int result, void *userdata);
	void *userdata;
};

static void quiet_free(struct job *job)
{
	free(job->data);
}

static void quiet_done(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct quiet *q = job->data;

	if (q->done)
		q->done(result, q->userdata);
	verb_done(c, result, error, job);
}

/* It was destroyed before its turn came. */
static void quiet_dropped(struct job *job, int result)
{
	struct quiet *q = job->data;

	if (q->done)
		q->done(result, q->userdata);
}

static int quiet_run(struct job *job)
{
	int r = container_start(job->container, quiet_done, job, &job->error);

	if (r != 0)
		quiet_done(job->container, r < 0 ? r : 0, NULL, job);
	return 0;
}

/* A container that should run and does not: autostart or the tenant's reboot is taken up again. */
static int quiet_replay(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	return c && c->state == CONTAINER_STOPPED ? verb_start_quietly(c, NULL, NULL, err) : 0;
}

const struct job_type verb_autostart = { .verb = "autostart",
	.run = quiet_run,
	.dropped = quiet_dropped,
	.free = quiet_free,
	.replay = quiet_replay };

int verb_start_quietly(
        struct container *c, void (*done)(int result, void *userdata), void *userdata, struct ct_error *err)
{
	struct quiet *q = malloc(sizeof(*q));

	if (!q)
		return ct_error_set(err, -ENOMEM, "start", "out of memory");
	*q = (struct quiet){ .done = done, .userdata = userdata };
	return job_submit(c->manager,
	        &(struct job_request){
	                .type = &verb_autostart, .container = c, .object = c->row.name, .data = q },
	        err);
}

static void start_again(struct container *c)
{
	struct ct_error error = { 0 };

	if (verb_start_quietly(c, NULL, NULL, &error) < 0)
		log_error("cannot start \"%s\" again: %s", c->row.name, error.text);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct container *c = userdata;

	c->restart_timer = sd_event_source_disable_unref(c->restart_timer);
	start_again(c);
	return 0;
}

void verb_reboot(struct container *c)
{
	uint64_t pause_usec;

	if (now_monotonic_usec() - c->up_since_usec >= QUICK_USEC) {
		c->run.restarts = 0;
		start_again(c);
		return;
	}
	pause_usec = USEC_PER_SEC << (c->run.restarts < 6 ? c->run.restarts : 6);
	if (pause_usec > PAUSE_MAX_USEC)
		pause_usec = PAUSE_MAX_USEC;
	if (c->run.restarts++ == 0) {
		start_again(c);
		return;
	}
	c->restart_timer = sd_event_source_disable_unref(c->restart_timer);
	if (sd_event_add_time_relative(c->manager->event, &c->restart_timer, CLOCK_MONOTONIC, pause_usec,
	            10000, on_pause_over, c) < 0)
		log_error("cannot start \"%s\" again: out of memory", c->row.name);
}

void verb_destroy_quietly(struct container *c)
{
	struct ct_error error = { 0 };

	if (job_submit(c->manager,
	            &(struct job_request){
	                    .type = &verb_destroy,
	                    .container = c,
	                    .object = c->row.name,
	                    .params = json_pack("{s:b}", "force", 1),
	            },
	            &error) < 0)
		log_error("the unfinished container \"%s\" cannot be removed: %s", c->row.name, error.text);
}
