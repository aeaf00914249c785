/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Autostart with real jobs and a real event loop: in order, so many at a time, and on to the next one
 * whatever becomes of one: started, failed, destroyed before its turn, destroyed while its job waits.
 */

#include "ctd/test-store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "ctd/autostart.h"
#include "ctd/job.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/verbs.h"

#define N 5

/* What is asked of the rest of ctd. */
static char trace[64];
static operation_fn started; /* of the start that is under way */
static void *started_data;
static struct container *starting;
static struct container *containers[N];

json_t *container_to_json(const struct container *c)
{
	return json_object();
}

struct container *container_by_ctid(struct manager *m, const char *ctid)
{
	struct container *c = NULL;

	HASH_FIND(hh_ctid, m->containers.by_ctid, ctid, strlen(ctid), c);
	return c;
}

/* Failures are told to who follows events: not the subject here. */
void manager_event(struct manager *m, const struct container *c, const char *type, json_t *detail)
{
	json_decref(detail);
}

void container_free(struct container *c)
{
	free(c);
}

int container_start(struct container *c, operation_fn done, void *userdata, struct ct_error *err)
{
	strncat(trace, c->row.name, sizeof(trace) - strlen(trace) - 1);
	if (c->config.autostart_order == 9)
		return ct_error_set(err, -EIO, "test", "it does not start");
	c->state = CONTAINER_STARTING;
	starting = c;
	started = done;
	started_data = userdata;
	return 0;
}

void verb_done(struct container *c, int result, const struct ct_error *error, void *job)
{
	job_finish(job, result);
}

static int keep(struct job *job)
{
	return 0;
}

static const struct job_type other = { .verb = "other", .run = keep };
const struct job_type verb_destroy = { .verb = "destroy", .run = keep };
const struct job_type *const job_types[] = { &other, &verb_autostart, NULL };

static void add(struct manager *m, size_t i, const char *name, unsigned order)
{
	struct container *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	TAILQ_INIT(&c->queue);
	c->manager = m;
	c->row.name = (char *)name;
	c->row.complete = true;
	memcpy(c->row.ctid, ctid_of((unsigned)i + 1), sizeof(c->row.ctid));
	c->config.autostart = true;
	c->config.autostart_order = order;
	HASH_ADD_KEYPTR(hh_ctid, m->containers.by_ctid, c->row.ctid, strlen(c->row.ctid), c);
	containers[i] = c;
}

static void drop(struct manager *m, size_t i)
{
	HASH_DELETE(hh_ctid, m->containers.by_ctid, containers[i]);
}

static void run_loop(struct manager *m)
{
	while (sd_event_run(m->event, 0) > 0)
		;
}

static void end_start(struct manager *m, int result)
{
	starting->state = result < 0 ? CONTAINER_STOPPED : CONTAINER_RUNNING;
	started(starting, result, NULL, started_data);
	run_loop(m);
}

static void open_manager(struct manager *m, struct fixture *f)
{
	memset(m, 0, sizeof(*m));
	m->store = f->store;
	m->conf.autostart_parallel = 1;
	(void)snprintf(m->boot_id, sizeof(m->boot_id), "this-boot");
	jobs_init(&m->jobs);
	assert_int_equal(sd_event_new(&m->event), 0);
	*trace = '\0';
}

static void close_manager(struct manager *m)
{
	autostart_free(m->autostart);
	HASH_CLEAR(hh_ctid, m->containers.by_ctid);
	sd_event_unref(m->event);
}

static void test_goes_on(void **state)
{
	struct ct_error error = { 0 };
	struct job *blocking;
	struct manager m;

	open_manager(&m, *state);
	add(&m, 0, "e", 30);
	add(&m, 1, "b", 3);
	add(&m, 2, "a", 1);
	add(&m, 3, "d", 9); /* fails */
	add(&m, 4, "c", 5);
	assert_int_equal(autostart_new(&m, &m.autostart, &error), 0);
	run_loop(&m);
	assert_string_equal(trace, "a");

	/* b is being worked on when its turn comes, so that its autostart waits; and then it is destroyed. */
	assert_int_equal(
	        job_submit(&m,
	                &(struct job_request){ .type = &other, .container = containers[1], .object = "b" },
	                &error),
	        0);
	blocking = containers[1]->active;
	end_start(&m, 0);
	assert_string_equal(trace, "a");
	drop(&m, 1);
	drop(&m, 4); /* c has not had its turn */
	free(containers[4]);
	job_finish_gone(blocking, 0);
	run_loop(&m);

	assert_string_equal(trace, "ade");
	end_start(&m, -EIO);
	assert_true(LIST_EMPTY(&m.jobs.open));
	close_manager(&m);
	free(containers[0]);
	free(containers[2]);
	free(containers[3]);
}

static void test_parallel_and_once(void **state)
{
	struct ct_error error = { 0 };
	struct manager m;

	open_manager(&m, *state);
	m.conf.autostart_parallel = 2;
	for (size_t i = 0; i < N; i++)
		add(&m, i, (const char *[N]){ "a", "b", "c", "d", "e" }[i], 1);
	containers[3]->config.disabled = true;
	assert_int_equal(autostart_new(&m, &m.autostart, &error), 0);
	run_loop(&m);
	assert_string_equal(trace, "ab");
	end_start(&m, 0);
	assert_string_equal(trace, "abc");
	end_start(&m, 0);
	assert_string_equal(trace, "abce");
	end_start(&m, 0);

	/* A second ctd in the same boot of the host starts none of them. */
	autostart_free(m.autostart);
	*trace = '\0';
	assert_int_equal(autostart_new(&m, &m.autostart, &error), 0);
	run_loop(&m);
	assert_string_equal(trace, "");
	jobs_abandon(&m); /* a's start, which this test has not ended */
	close_manager(&m);
	for (size_t i = 0; i < N; i++)
		free(containers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_goes_on, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_parallel_and_once, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
