/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leases that outlive a run: addresses and project ids. One owner each, by primary key; they go with their
 * container by cascade.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"

static int address_insert(
        struct store *store, const char *ctid, const struct address_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "INSERT INTO address (scope, address, first, last, ctid, device)"
	                           " VALUES (?1, ?2, ip_first(?2), ip_last(?2), ?3, ?4)");
	query_bind_text(&q, row->scope ? row->scope : "");
	query_bind_text(&q, row->address);
	query_bind_text(&q, ctid);
	query_bind_text(&q, row->device);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int address_taken(struct store *store, const struct address_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT c.name, a.address FROM address a JOIN container c ON c.ctid = a.ctid"
	        " WHERE a.scope = ?1 AND a.first <= ip_last(?2) AND a.last >= ip_first(?2) LIMIT 1");
	query_bind_text(&q, row->scope ? row->scope : "");
	query_bind_text(&q, row->address);

	int r = query_next(&q, err);
	if (r < 0)
		return r;

	const char *owner = r > 0 ? query_text(&q, 0) : NULL, *theirs = r > 0 ? query_text(&q, 1) : NULL;
	if (!theirs || str_eq(theirs, row->address))
		(void)ct_error_set(err, -EEXIST, "store", "the address %s belongs to the container \"%s\"",
		        row->address, owner ? owner : "?");
	else
		(void)ct_error_set(err, -EEXIST, "store",
		        "the address %s overlaps %s, which belongs to the container \"%s\"", row->address,
		        theirs, owner);
	if (err)
		(void)snprintf(err->field, sizeof(err->field), "address");
	return -EEXIST;
}

static int addresses_clear(struct store *store, const char *ctid, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM address WHERE ctid = ?");
	query_bind_text(&q, ctid);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int addresses_replace(
        struct store *store, const char *ctid, const struct address_row *rows, size_t n, struct ct_error *err)
{
	int r = addresses_clear(store, ctid, err);
	if (r < 0)
		return r;

	for (size_t i = 0; i < n; i++) {
		r = address_insert(store, ctid, &rows[i], err);
		if (r == -EEXIST)
			return address_taken(store, &rows[i], err);
		if (r == -ENOENT)
			return ct_error_set(err, r, "store", "there is no container %s", ctid);
		if (r < 0)
			return r;
	}

	return 0;
}

int store_addresses_set(
        struct store *store, const char *ctid, const struct address_row *rows, size_t n, struct ct_error *err)
{
	int r = store_begin(store, false, err);
	if (r < 0)
		return r;

	r = store_exec(store, "SAVEPOINT addresses", err);
	if (r >= 0) {
		r = addresses_replace(store, ctid, rows, n, err);
		/* The caller may go on after a taken address: its transaction is as it was before. */
		int s = store_exec(store,
		        r < 0 ? "ROLLBACK TO addresses; RELEASE addresses" : "RELEASE addresses",
		        r < 0 ? NULL : err);
		if (r >= 0)
			r = s;
	}
	if (r < 0 && store->depth == 1) {
		store_rollback(store);
		return r;
	}

	int s = store_commit(store, r < 0 ? NULL : err);
	return r < 0 ? r : s;
}

int store_address_each(struct store *store, int (*each)(const struct address_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT address, ctid, device, scope FROM address");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct address_row row = {
			.address = query_text(&q, 0),
			.ctid = query_text(&q, 1),
			.device = query_text(&q, 2),
			.scope = query_text(&q, 3),
		};

		r = query_check(&q, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

int store_address_taken(struct store *store, const struct address_row *from, const char *to,
        int (*each)(const char *first, const char *last, void *userdata), void *userdata)
{
	/* Nothing overlaps, so of what begins before only the nearest can reach in. */
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT max(first, ip_first(?2)), min(last, ip_last(?3)) FROM address WHERE scope = ?1 AND first >= ifnull("
	        "(SELECT first FROM address WHERE scope = ?1 AND first <= ip_first(?2) ORDER BY first DESC LIMIT 1), '')"
	        " AND first <= ip_last(?3) AND last >= ip_first(?2) AND ctid <> ?4 ORDER BY first");
	int r;

	query_bind_text(&q, from->scope);
	query_bind_text(&q, from->address);
	query_bind_text(&q, to);
	query_bind_text(&q, from->ctid);

	while ((r = query_next(&q, NULL)) > 0) {
		const char *first = query_text(&q, 0), *last = query_text(&q, 1);

		r = query_check(&q, NULL);
		if (r < 0)
			return r;

		r = each(first, last, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

int store_address_owner(struct store *store, const char *scope, const char *address, char ret_ctid[33])
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT ctid, last >= ip_first(?2) FROM address WHERE scope = ?1 AND first <= ip_last(?2)"
	        " ORDER BY first DESC LIMIT 1");
	query_bind_text(&q, scope);
	query_bind_text(&q, address);

	int r = query_next(&q, NULL);
	if (r <= 0)
		return r;
	if (query_int(&q, 1) == 0)
		return 0;

	query_copy(&q, 0, ret_ctid, 33);
	r = query_check(&q, NULL);
	return r < 0 ? r : 1;
}

static int project_insert(struct store *store, const char *ctid, uint32_t id, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "INSERT INTO project (id, ctid) VALUES (?, ?)");
	query_bind_int(&q, id);
	query_bind_text(&q, ctid);

	int r = query_run(&q, err);
	if (r == -ENOENT)
		return ct_error_set(err, r, "store", "there is no container %s", ctid);
	if (r == -EEXIST)
		return ct_error_set(err, r, "store", "the container %s has a project id already", ctid);
	return r < 0 ? r : 0;
}

/* 1: taken, 0: free. */
static int project_taken(struct store *store, uint32_t id, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT 1 FROM project WHERE id = ?");
	query_bind_int(&q, id);

	return query_next(&q, err);
}

/* As with a container's number, all from project_first to project_hint are taken; for another first nothing
 * is known. */
int store_project_lease(
        struct store *store, const char *ctid, uint32_t first, uint32_t *ret_id, struct ct_error *err)
{
	uint32_t id =
	        store->project_first == first && store->project_hint > first ? store->project_hint : first;
	int r;

	while ((r = project_taken(store, id, err)) > 0)
		if (id++ == UINT32_MAX)
			return ct_error_set(err, -ENOSPC, "store", "no project id is left");
	if (r < 0)
		return r;

	r = project_insert(store, ctid, id, err);
	if (r < 0)
		return r;

	store->project_first = first;
	store->project_hint = id + 1;
	*ret_id = id;
	return 0;
}

int store_project_get(struct store *store, const char *ctid, uint32_t *ret_id)
{
	_cleanup_query_ struct query q = query_start(store, "SELECT id FROM project WHERE ctid = ?");
	query_bind_text(&q, ctid);

	int r = query_next(&q, NULL);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;

	*ret_id = (uint32_t)query_int(&q, 0);
	return 0;
}

bool store_project_has(struct store *store, uint32_t id)
{
	return project_taken(store, id, NULL) != 0;
}

int store_project_set(struct store *store, const char *ctid, uint32_t id, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "UPDATE project SET id = ? WHERE ctid = ?");
	query_bind_int(&q, id);
	query_bind_text(&q, ctid);

	int r = query_run(&q, err);
	store->project_hint = 0; /* the one that it had may be free below it */
	return r < 0 ? r : 0;
}
