/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Containers and their runs.
 *
 * The number of a new container is the smallest that is free. To find it in constant time the store remembers
 * below which number all are taken; a delete lowers that mark, a rollback forgets it. The UNIQUE constraint
 * stays the judge: the mark only says where to look.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"

void container_row_done(struct container_row *row)
{
	free(row->name);
	free(row->template_name);
	free(row->config);
	free(row->broken);
	*row = (struct container_row){ 0 };
}

/* 1: taken, 0: free. */
static int number_taken(struct store *store, uint32_t number, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT 1 FROM container WHERE number = ?");
	query_bind_int(&q, number);

	return query_next(&q, err);
}

static int number_find(struct store *store, uint32_t max_number, uint32_t *ret, struct ct_error *err)
{
	for (uint32_t number = store->number_hint; number <= max_number; number++) {
		int r = number_taken(store, number, err);
		if (r < 0)
			return r;
		if (r == 0) {
			*ret = number;
			store->number_hint = number;
			return 0;
		}
	}

	return ct_error_set(err, -ENOSPC, "store",
	        "there are %u containers already, and that is the most this instance is made for",
	        max_number);
}

/* Says which value is taken, as the caller knows it. */
static int name_taken(int r, const char *name, struct ct_error *err)
{
	if (r != -EEXIST || !err || !str_eq(err->field, "name"))
		return r;

	(void)ct_error_set(
	        err, -EEXIST, "store", "there is a container \"%s\" already: choose another name", name);
	(void)str_escape_to(err->field, sizeof(err->field), "name", 4);
	return r;
}

int store_container_insert(
        struct store *store, struct container_row *row, uint32_t max_number, struct ct_error *err)
{
	uint32_t number = 0;

	int r = number_find(store, max_number, &number, err);
	if (r < 0)
		return r;

	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO container (ctid, name, number, template, template_name, config, epoch, broken, created, complete)"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, row->ctid);
	query_bind_text(&q, row->name);
	query_bind_int(&q, number);
	query_bind_text(&q, row->template_digest);
	query_bind_text(&q, row->template_name);
	query_bind_text(&q, row->config);
	query_bind_int(&q, (int64_t)row->epoch);
	query_bind_text(&q, row->broken);
	query_bind_int(&q, (int64_t)row->created_usec);
	query_bind_int(&q, row->complete);

	r = query_run(&q, err);
	if (r == -ENOENT)
		return ct_error_set(
		        err, r, "store", "there is no template with the digest %s", row->template_digest);
	if (r < 0)
		return name_taken(r, row->name, err);

	row->number = number;
	store->number_hint = number + 1;
	return 0;
}

int store_container_update(struct store *store, const struct container_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "UPDATE container SET name = ?, config = ?, template = ?, template_name = ?, epoch = ?, broken = ?, complete = ?"
	        " WHERE ctid = ?");
	query_bind_text(&q, row->name);
	query_bind_text(&q, row->config);
	query_bind_text(&q, row->template_digest);
	query_bind_text(&q, row->template_name);
	query_bind_int(&q, (int64_t)row->epoch);
	query_bind_text(&q, row->broken);
	query_bind_int(&q, row->complete);
	query_bind_text(&q, row->ctid);

	int r = query_run(&q, err);
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no container %s", row->ctid);
	if (r == -ENOENT)
		return ct_error_set(
		        err, r, "store", "there is no template with the digest %s", row->template_digest);
	if (r < 0)
		return name_taken(r, row->name, err);

	return 0;
}

/* The number and the project id that become free. */
static int numbers_of(struct store *store, const char *ctid, uint32_t *ret_number, uint32_t *ret_project,
        struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT c.number, p.id FROM container c LEFT JOIN project p ON p.ctid = c.ctid WHERE c.ctid = ?");
	query_bind_text(&q, ctid);

	int r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no container %s", ctid);

	*ret_number = (uint32_t)query_int(&q, 0);
	*ret_project = (uint32_t)query_int(&q, 1);
	return 0;
}

int store_container_delete(struct store *store, const char *ctid, struct ct_error *err)
{
	uint32_t number = 0, project = 0;

	int r = numbers_of(store, ctid, &number, &project, err);
	if (r < 0)
		return r;

	_cleanup_query_ struct query q = query_start(store, "DELETE FROM container WHERE ctid = ?");
	query_bind_text(&q, ctid);

	r = query_run(&q, err);
	if (r < 0)
		return r;

	if (number < store->number_hint)
		store->number_hint = number;
	if (project > 0 && project < store->project_hint)
		store->project_hint = project;
	return 0;
}

int store_container_each(struct store *store, int (*each)(const struct container_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT ctid, name, number, template, template_name, config, epoch, broken, created, complete FROM container"
	        " ORDER BY number");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct container_row row = {
			.name = (char *)query_text(&q, 1),
			.number = (uint32_t)query_int(&q, 2),
			.template_name = (char *)query_text(&q, 4),
			.config = (char *)query_text(&q, 5),
			.epoch = (uint64_t)query_int(&q, 6),
			.broken = (char *)query_text(&q, 7),
			.created_usec = (uint64_t)query_int(&q, 8),
			.complete = query_int(&q, 9) != 0,
		};
		query_copy(&q, 0, row.ctid, sizeof(row.ctid));
		query_copy(&q, 3, row.template_digest, sizeof(row.template_digest));

		r = query_check(&q, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

int store_run_put(struct store *store, const struct run_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO run (ctid, state, boot_id, slot, pid, start_time, started, exit_code, exit_time, restarts, wanted)"
	        " VALUES (?, ?, ?, nullif(?, 0), nullif(?, -1), ?, ?, nullif(?, -1), ?, ?, ?)"
	        " ON CONFLICT (ctid) DO UPDATE SET state = excluded.state, boot_id = excluded.boot_id, slot = excluded.slot,"
	        " pid = excluded.pid, start_time = excluded.start_time, started = excluded.started, exit_code = excluded.exit_code,"
	        " exit_time = excluded.exit_time, restarts = excluded.restarts, wanted = excluded.wanted");
	query_bind_text(&q, row->ctid);
	query_bind_text(&q, row->state);
	query_bind_text(&q, row->boot_id);
	query_bind_int(&q, row->slot);
	query_bind_int(&q, row->pid);
	query_bind_int(&q, (int64_t)row->start_time);
	query_bind_int(&q, (int64_t)row->started_usec);
	query_bind_int(&q, row->exit_code);
	query_bind_int(&q, (int64_t)row->exit_usec);
	query_bind_int(&q, row->restarts);
	query_bind_int(&q, row->wanted);

	int r = query_run(&q, err);
	if (r == -ENOENT)
		return ct_error_set(err, r, "store", "there is no container %s", row->ctid);
	return r < 0 ? r : 0;
}

/* The words of the schema's CHECK. */
static const char *state_word(const char *text)
{
	static const char *const words[] = { "starting", "running", "stopping", "stopped", "frozen",
		"suspended", "migrating" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(text, words[i]))
			return words[i];
	return NULL;
}

static int32_t int_or_minus_one(struct query *q, int column)
{
	return query_is_null(q, column) ? -1 : (int32_t)query_int(q, column);
}

int store_run_each(struct store *store, int (*each)(const struct run_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT ctid, state, boot_id, slot, pid, start_time, started, exit_code, exit_time, restarts, wanted FROM run");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct run_row row = {
			.state = state_word(query_text(&q, 1)),
			.slot = (uint32_t)query_int(&q, 3),
			.pid = int_or_minus_one(&q, 4),
			.start_time = (uint64_t)query_int(&q, 5),
			.started_usec = (uint64_t)query_int(&q, 6),
			.exit_code = int_or_minus_one(&q, 7),
			.exit_usec = (uint64_t)query_int(&q, 8),
			.restarts = (uint32_t)query_int(&q, 9),
			.wanted = query_int(&q, 10) != 0,
		};
		query_copy(&q, 0, row.ctid, sizeof(row.ctid));
		query_copy(&q, 2, row.boot_id, sizeof(row.boot_id));

		r = query_check(&q, err);
		if (r < 0)
			return r;
		if (!row.state)
			return store_error(store, SQLITE_MISMATCH, err);

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}
