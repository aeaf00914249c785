/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans in the database: rows, and nothing about what they mean (plan.c). */
#include "ctd/store-private.h"

#include <errno.h>
#include <stdlib.h>

void plan_row_done(struct plan_row *row)
{
	free(row->name);
	free(row->config);
	*row = (struct plan_row){ 0 };
}

int store_plan_insert(struct store *store, const struct plan_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "INSERT INTO plan (name, config, created) VALUES (?, ?, ?)");
	query_bind_text(&q, row->name);
	query_bind_text(&q, row->config);
	query_bind_int(&q, (int64_t)row->created_usec);

	int r = query_run(&q, err);
	if (r == -EEXIST)
		return ct_error_kind_set(err, CT_ERROR_STATE, r, "there is a plan \"%s\" already", row->name);
	return r < 0 ? r : 0;
}

static int fail_missing(const char *name, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT,
	        "there is no plan \"%.80s\" (ctctl plan list shows all)", name);
}

int store_plan_update(struct store *store, const struct plan_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "UPDATE plan SET config = ? WHERE name = ?");
	query_bind_text(&q, row->config);
	query_bind_text(&q, row->name);

	int r = query_run(&q, err);
	return r < 0 ? r : r == 0 ? fail_missing(row->name, err) : 0;
}

int store_plan_delete(struct store *store, const char *name, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM plan WHERE name = ?");
	query_bind_text(&q, name);

	int r = query_run(&q, err);
	return r < 0 ? r : r == 0 ? fail_missing(name, err) : 0;
}

static void plan_read(struct query *q, struct plan_row *row)
{
	*row = (struct plan_row){
		.name = (char *)query_text(q, 0),
		.config = (char *)query_text(q, 1),
		.created_usec = (uint64_t)query_int(q, 2),
	};
}

int store_plan_get(struct store *store, const char *name, struct plan_row *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT name, config, created FROM plan WHERE name = ?");
	_cleanup_free_ char *copy_name = NULL, *copy_config = NULL;
	struct plan_row row;

	query_bind_text(&q, name);
	int r = query_next(&q, err);
	if (r <= 0)
		return r < 0 ? r : fail_missing(name, err);

	plan_read(&q, &row);
	r = query_check(&q, err);
	if (r < 0)
		return r;
	if (store_strdup(&copy_name, row.name) < 0 || store_strdup(&copy_config, row.config) < 0)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	*ret = (struct plan_row){ TAKE_PTR(copy_name), TAKE_PTR(copy_config), row.created_usec };
	return 0;
}

int store_plan_each(struct store *store, int (*each)(const struct plan_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT name, config, created FROM plan ORDER BY name");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct plan_row row;

		plan_read(&q, &row);
		r = query_check(&q, err);
		if (r >= 0)
			r = each(&row, userdata);
		if (r < 0)
			return r;
	}
	return r;
}
