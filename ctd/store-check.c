/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The database's own view of its health, for fsck. */
#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctd/store-private.h"

int store_check(struct store *store, char *text, size_t size, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "PRAGMA integrity_check(1)");
	_cleanup_query_ struct query keys = query_start(store, "PRAGMA foreign_key_check");
	int r;

	r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r > 0 && !str_eq(query_text(&q, 0), "ok")) {
		(void)snprintf(text, size, "%s", query_text(&q, 0)); /* cut short is fine */
		return 1;
	}

	r = query_next(&keys, err);
	if (r <= 0)
		return r;
	(void)snprintf(text, size, "a row of %s refers to one that is not there",
	        query_text(&keys, 0)); /* as above */
	return 1;
}
