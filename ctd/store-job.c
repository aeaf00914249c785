/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs, the recorded intents of verbs; and requests, the answers given under a client's request id.
 *
 * The id of a job is never used again (AUTOINCREMENT), so that a client that asks late cannot get another's.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/str.h"

#define SELECT_JOB "SELECT id, verb, ctid, object, params, step, result, error, created, finished FROM job"

void job_row_done(struct job_row *row)
{
	free(row->verb);
	free(row->ctid);
	free(row->object);
	free(row->params);
	free(row->step);
	free(row->result);
	free(row->error);
	*row = (struct job_row){ 0 };
}

int store_job_insert(struct store *store, struct job_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO job (verb, ctid, object, params, step, created, finished, result, error)"
	        " VALUES (?, ?, ?, ?, coalesce(?, ''), ?, nullif(?, 0), ?, ?)");
	query_bind_text(&q, row->verb);
	query_bind_text(&q, row->ctid);
	query_bind_text(&q, row->object);
	query_bind_text(&q, row->params);
	query_bind_text(&q, row->step);
	query_bind_int(&q, (int64_t)row->created_usec);
	query_bind_int(&q, (int64_t)row->finished_usec);
	query_bind_text(&q, row->result);
	query_bind_text(&q, row->error);

	int r = query_run(&q, err);
	if (r < 0)
		return r;

	row->id = sqlite3_last_insert_rowid(store->db);
	return 0;
}

static int job_changed(int r, int64_t id, struct ct_error *err)
{
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no job %lld", (long long)id);
	return r < 0 ? r : 0;
}

int store_job_step(struct store *store, int64_t id, const char *step, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "UPDATE job SET step = ? WHERE id = ?");
	query_bind_text(&q, step);
	query_bind_int(&q, id);

	return job_changed(query_run(&q, err), id, err);
}

int store_job_finish(struct store *store, int64_t id, const char *result_json, const char *error_json,
        struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "UPDATE job SET finished = ?, result = ?, error = ? WHERE id = ?");
	query_bind_int(&q, (int64_t)now_realtime_usec());
	query_bind_text(&q, result_json);
	query_bind_text(&q, error_json);
	query_bind_int(&q, id);

	return job_changed(query_run(&q, err), id, err);
}

int store_job_has(struct store *store, const char *verb, const char *ctid)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT 1 FROM job WHERE ctid = ? AND verb = ? AND error IS NULL LIMIT 1");
	query_bind_text(&q, ctid);
	query_bind_text(&q, verb);

	return query_next(&q, NULL);
}

/* The row with strings borrowed from the query. */
static int job_read(struct query *q, struct job_row *row, struct ct_error *err)
{
	*row = (struct job_row){
		.id = query_int(q, 0),
		.verb = (char *)query_text(q, 1),
		.ctid = (char *)query_text(q, 2),
		.object = (char *)query_text(q, 3),
		.params = (char *)query_text(q, 4),
		.step = (char *)query_text(q, 5),
		.result = (char *)query_text(q, 6),
		.error = (char *)query_text(q, 7),
		.created_usec = (uint64_t)query_int(q, 8),
		.finished_usec = (uint64_t)query_int(q, 9),
	};

	return query_check(q, err);
}

/* On failure the copy has what was copied so far: the caller frees it. */
static int job_copy(const struct job_row *row, struct job_row *copy)
{
	copy->id = row->id;
	copy->created_usec = row->created_usec;
	copy->finished_usec = row->finished_usec;

	if (store_strdup(&copy->verb, row->verb) < 0 || store_strdup(&copy->ctid, row->ctid) < 0 ||
	        store_strdup(&copy->object, row->object) < 0 ||
	        store_strdup(&copy->params, row->params) < 0 || store_strdup(&copy->step, row->step) < 0 ||
	        store_strdup(&copy->result, row->result) < 0 || store_strdup(&copy->error, row->error) < 0)
		return -ENOMEM;

	return 0;
}

int store_job_get(struct store *store, int64_t id, struct job_row *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, SELECT_JOB " WHERE id = ?");
	struct job_row row, copy = { 0 };

	query_bind_int(&q, id);
	int r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no job %lld", (long long)id);

	r = job_read(&q, &row, err);
	if (r < 0)
		return r;

	if (job_copy(&row, &copy) < 0) {
		job_row_done(&copy);
		return ct_error_set(err, -ENOMEM, "store", "out of memory");
	}

	*ret = copy;
	return 0;
}

int store_job_each(struct store *store, bool open_only, uint32_t limit,
        int (*each)(const struct job_row *row, void *userdata), void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, open_only ? SELECT_JOB " WHERE finished IS NULL ORDER BY id LIMIT ?"
	                                     : SELECT_JOB " ORDER BY id DESC LIMIT ?");
	int r;

	query_bind_int(&q, limit);
	while ((r = query_next(&q, err)) > 0) {
		struct job_row row;

		r = job_read(&q, &row, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

static int request_insert(
        struct store *store, const char *id, uid_t uid, const char *digest, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO request (id, uid, digest, created) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING");
	query_bind_text(&q, id);
	query_bind_int(&q, uid);
	query_bind_text(&q, digest);
	query_bind_int(&q, (int64_t)now_realtime_usec());

	return query_run(&q, err);
}

int store_request_begin(struct store *store, const char *id, uid_t uid, const char *digest,
        unsigned *ret_status, char **ret_answer, struct ct_error *err)
{
	int r = request_insert(store, id, uid, digest, err);
	if (r != 0)
		return r < 0 ? r : 0;

	_cleanup_query_ struct query q =
	        query_start(store, "SELECT uid, digest, status, answer FROM request WHERE id = ?");
	query_bind_text(&q, id);

	r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0 || query_int(&q, 0) != (int64_t)uid || !str_eq(query_text(&q, 1), digest))
		return ct_error_set(err, -EEXIST, "store",
		        "the request id \"%s\" was used for another request: choose a new one", id);
	if (query_is_null(&q, 2))
		return ct_error_set(err, -EBUSY, "store", "the request \"%s\" is still at work", id);

	_cleanup_free_ char *answer = NULL;
	r = store_strdup(&answer, query_text(&q, 3));
	if (r >= 0)
		r = query_check(&q, NULL);
	if (r < 0)
		return ct_error_set(err, r, "store", "cannot read the answer to the request \"%s\"", id);

	*ret_status = (unsigned)query_int(&q, 2);
	*ret_answer = TAKE_PTR(answer);
	return 1;
}

int store_request_finish(
        struct store *store, const char *id, unsigned status, const char *answer, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(
	        store, "UPDATE request SET status = ?, answer = ? WHERE id = ? AND status IS NULL");
	query_bind_int(&q, status);
	query_bind_text(&q, answer);
	query_bind_text(&q, id);

	int r = query_run(&q, err);
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "no request \"%s\" is at work", id);
	return r < 0 ? r : 0;
}

int store_request_reset(struct store *store, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM request WHERE status IS NULL");

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}
