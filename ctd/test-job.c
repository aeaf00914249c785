/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs on a database of the test's own: recorded, one after the other, finished once, whatever ends at once.
 */

#include "ctd/test-store.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "ctd/http.h"
#include "ctd/job.h"
#include "ctd/manager.h"

/* What job.c asks of the rest of ctd. */
static struct container *known;

json_t *container_to_json(const struct container *c)
{
	return json_object();
}

struct container *container_by_ctid(struct manager *m, const char *ctid)
{
	return known && str_eq(known->row.ctid, ctid) ? known : NULL;
}

static unsigned n_freed_containers;

static char told[64]; /* reasons of job.failed */

void manager_event(struct manager *m, const struct container *c, const char *type, json_t *detail)
{
	assert_string_equal(type, "job.failed");
	strncat(told, json_string_value(json_object_get(detail, "reason")), sizeof(told) - strlen(told) - 1);
	json_decref(detail);
}

static unsigned n_answered;

void call_reply(struct call *call, unsigned status, json_t *body)
{
	n_answered++;
	json_decref(body);
}

void call_reply_error(struct call *call, const struct ct_error *err)
{
	n_answered++;
}

void container_free(struct container *c)
{
	n_freed_containers++;
	free(c);
}

static char trace[64];
static unsigned n_run, n_dropped, n_freed;
static uintptr_t lowest;
static struct job *kept;

static void reset(void)
{
	*trace = *told = '\0';
	n_run = n_dropped = n_freed = n_freed_containers = n_answered = 0;
	lowest = UINTPTR_MAX;
	kept = NULL;
	known = NULL;
}

static void note(const char *word)
{
	strncat(trace, word, sizeof(trace) - strlen(trace) - 1);
}

static int run_at_once(struct job *job)
{
	n_run++;
	if ((uintptr_t)__builtin_frame_address(0) < lowest)
		lowest = (uintptr_t)__builtin_frame_address(0);
	if (n_run < 10)
		note(job->row.object);
	return 1;
}

/* As operations do: ends inside of run, which then says that it is at work. */
static int run_finish_inside(struct job *job)
{
	(void)run_at_once(job);
	job_finish(job, 0);
	return 0;
}

static int run_keep(struct job *job)
{
	note(job->row.object);
	kept = job;
	return 0;
}

static int run_fail(struct job *job)
{
	return ct_error_set(&job->error, -EIO, "test", "it did not work");
}

/* A check refuses, or a limit does. */
static int run_refuse(struct job *job)
{
	return ct_error_set(
	        &job->error, *job->row.object == 'l' ? -ENOSPC : -EEXIST, "test", "%s ", job->row.object);
}

static void dropped(struct job *job, int result)
{
	assert_int_equal(result, -ENOENT);
	n_dropped++;
}

static void free_data(struct job *job)
{
	if (job->data)
		n_freed++;
	free(job->data);
}

static int replay_known(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	note(row->object);
	return c ? 0 : ct_error_set(err, -ECANCELED, "test", "undone");
}

static const struct job_type at_once = { .verb = "at-once", .run = run_at_once, .free = free_data };
static const struct job_type inside = { .verb = "inside", .run = run_finish_inside, .free = free_data };
static const struct job_type keeps = {
	.verb = "keeps", .run = run_keep, .dropped = dropped, .free = free_data, .replay = replay_known
};
static const struct job_type fails = { .verb = "fails", .run = run_fail, .free = free_data };
static const struct job_type refuses = { .verb = "refuses", .run = run_refuse, .free = free_data };

const struct job_type *const job_types[] = { &at_once, &inside, &keeps, &fails, &refuses, NULL };

static void open_manager(struct manager *m, const struct fixture *f)
{
	memset(m, 0, sizeof(*m));
	m->store = f->store;
	jobs_init(&m->jobs);
	reset();
}

static struct container *new_container(struct fixture *f)
{
	struct container *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	TAILQ_INIT(&c->queue);
	memcpy(c->row.ctid, ctid_of(1), sizeof(c->row.ctid));
	return c;
}

static int submit_for(struct manager *m, const struct job_type *type, struct container *c, const char *object,
        struct call *call)
{
	struct ct_error error = { 0 };

	return job_submit(m,
	        &(struct job_request){
	                .type = type, .container = c, .object = object, .data = malloc(1), .call = call },
	        &error);
}

static int submit(struct manager *m, const struct job_type *type, struct container *c, const char *object)
{
	return submit_for(m, type, c, object, NULL);
}

struct outcome {
	unsigned open, done, failed;
};

static int count_row(const struct job_row *row, void *userdata)
{
	struct outcome *o = userdata;

	*(row->finished_usec == 0 ? &o->open : row->error ? &o->failed : &o->done) += 1;
	return 0;
}

static void expect_rows(struct fixture *f, unsigned open, unsigned done, unsigned failed)
{
	struct outcome o = { 0 };

	assert_int_equal(store_job_each(f->store, false, UINT32_MAX, count_row, &o, NULL), 0);
	assert_int_equal(o.open, open);
	assert_int_equal(o.done, done);
	assert_int_equal(o.failed, failed);
}

static void test_ends(void **state)
{
	struct fixture *f = *state;
	struct manager m;

	open_manager(&m, f);
	assert_int_equal(submit(&m, &at_once, NULL, "a"), 0);
	assert_int_equal(submit(&m, &inside, NULL, "b"), 0);
	assert_int_equal(submit(&m, &fails, NULL, "c"), 0);
	assert_string_equal(trace, "ab");
	assert_int_equal(n_freed, 3);
	assert_true(LIST_EMPTY(&m.jobs.open));
	expect_rows(f, 0, 2, 1);
}

static void test_queue(void **state)
{
	struct fixture *f = *state;
	struct manager m;
	struct container *c = new_container(f);

	open_manager(&m, f);
	assert_int_equal(submit(&m, &keeps, c, "1"), 0);
	assert_int_equal(submit(&m, &at_once, c, "2"), 0);
	assert_int_equal(submit(&m, &keeps, c, "3"), 0);
	assert_int_equal(submit(&m, &at_once, c, "4"), 0);
	assert_int_equal(submit(&m, &at_once, NULL, "x"), 0);
	assert_string_equal(trace, "1x");
	job_finish(kept, 0);
	assert_string_equal(trace, "1x23");
	assert_ptr_equal(c->active, kept);
	job_finish(kept, -EIO);
	assert_string_equal(trace, "1x234");
	assert_null(c->active);
	assert_true(TAILQ_EMPTY(&c->queue));
	assert_int_equal(n_freed, 5);
	expect_rows(f, 0, 4, 1);
	free(c);
}

/* Thousands of requests may wait for one slow stop, and all be at their end at once. */
static void test_long_queue_is_flat(void **state)
{
	struct fixture *f = *state;
	struct manager m;
	struct container *c = new_container(f);
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	open_manager(&m, f);
	assert_int_equal(submit(&m, &keeps, c, "first"), 0);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(submit(&m, i % 2 ? &inside : &at_once, c, "n"), 0);
	job_finish(kept, 0);
	assert_int_equal(n_run, 2000);
	assert_null(c->active);
	assert_true(here - lowest < 65536);
	free(c);
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct manager m;
	struct container *c = new_container(f);

	open_manager(&m, f);
	assert_int_equal(submit(&m, &keeps, c, "1"), 0);
	assert_int_equal(submit(&m, &keeps, c, "2"), 0);
	assert_int_equal(submit(&m, &at_once, c, "3"), 0);
	job_finish_gone(kept, 0);
	assert_string_equal(trace, "1");
	assert_int_equal(n_dropped, 1);
	assert_int_equal(n_freed, 3);
	assert_int_equal(n_freed_containers, 1);
	assert_true(LIST_EMPTY(&m.jobs.open));
	expect_rows(f, 0, 1, 2);
}

/* As an operation fails: later, and with an errno that a check may have as well. */
static void finish_kept(const char *reason)
{
	job_finish(kept, ct_error_set(&kept->error, -ENOENT, "test", "%s ", reason));
}

static void test_failures_are_told(void **state)
{
	struct fixture *f = *state;
	struct call *call = (struct call *)f; /* who waits; never looked at */
	struct container *c = new_container(f);
	struct manager m;

	open_manager(&m, f);
	assert_int_equal(submit_for(&m, &refuses, NULL, "mistake", call), 0);
	assert_string_equal(told, "");
	assert_int_equal(submit_for(&m, &refuses, NULL, "limit", call), 0);
	assert_string_equal(told, "limit ");
	assert_int_equal(submit(&m, &refuses, NULL, "alone"), 0);
	assert_string_equal(told, "limit alone ");
	assert_int_equal(submit_for(&m, &keeps, c, "1", call), 0);
	assert_int_equal(submit_for(&m, &refuses, c, "in its turn", call), 0);
	finish_kept("work");
	assert_string_equal(told, "limit alone work ");

	assert_int_equal(submit_for(&m, &keeps, c, "2", call), 0);
	assert_int_equal(submit_for(&m, &keeps, c, "never run", call), 0);
	job_finish_gone(kept, 0);
	assert_string_equal(told, "limit alone work ");
	assert_int_equal(n_answered, 6);
}

static void test_not_recorded(void **state)
{
	struct fixture *f = *state;
	struct manager m;
	struct container *c = new_container(f);

	open_manager(&m, f);
	assert_int_equal(store_exec(f->store, "PRAGMA query_only = ON", NULL), 0);
	assert_true(submit(&m, &at_once, c, "a") < 0);
	assert_string_equal(trace, "");
	assert_int_equal(n_freed, 1);
	assert_null(c->active);
	assert_int_equal(store_exec(f->store, "PRAGMA query_only = OFF", NULL), 0);
	expect_rows(f, 0, 0, 0);
	free(c);
}

static void test_abandoned_and_replayed(void **state)
{
	struct fixture *f = *state;
	struct manager m;
	struct container *c = new_container(f);

	open_manager(&m, f);
	assert_int_equal(submit(&m, &keeps, c, "1"), 0);
	assert_int_equal(submit(&m, &at_once, c, "2"), 0);
	assert_int_equal(submit(&m, &keeps, NULL, "3"), 0);
	jobs_abandon(&m);
	assert_true(LIST_EMPTY(&m.jobs.open));
	assert_int_equal(n_freed, 3);
	expect_rows(f, 3, 0, 0);

	open_manager(&m, f);
	known = c;
	assert_int_equal(jobs_replay(&m, NULL), 0);
	assert_string_equal(trace, "13");
	expect_rows(f, 0, 1, 2);
	assert_string_equal(told, "ctd ended while at-once of \"2\" was at workundone");
	free(c);
}

/* On a full disk ctd must come up all the same. */
static void test_replay_without_writing(void **state)
{
	struct fixture *f = *state;
	struct manager m;

	open_manager(&m, f);
	assert_int_equal(submit(&m, &keeps, NULL, "1"), 0);
	jobs_abandon(&m);
	assert_int_equal(store_exec(f->store, "PRAGMA query_only = ON", NULL), 0);
	assert_int_equal(jobs_replay(&m, NULL), 0);
	assert_int_equal(store_exec(f->store, "PRAGMA query_only = OFF", NULL), 0);
	expect_rows(f, 1, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ends, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_queue, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_long_queue_is_flat, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_gone, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_failures_are_told, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_not_recorded, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_abandoned_and_replayed, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_replay_without_writing, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
