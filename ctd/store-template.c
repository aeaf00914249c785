/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Templates: images by digest, and the names that point to them.
 *
 * A name moves on when its template is built anew; containers keep the image they were made from. An image
 * that has lost its name and is still used stays without one (name NULL in the row); store_template_remove
 * takes its digest when nobody uses it any more.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define SELECT_TEMPLATE                                                                                                           \
	"SELECT n.name, i.digest, i.metadata, i.bytes, i.created, (SELECT count(*) FROM container c WHERE c.template = i.digest)" \
	" FROM template_image i LEFT JOIN template_name n ON n.digest = i.digest"

void template_row_done(struct template_row *row)
{
	free(row->name);
	free(row->metadata);
	*row = (struct template_row){ 0 };
}

static int image_put(struct store *store, const struct template_row *row, struct ct_error *err)
{
	/* What came from another node under a digest that is here changes nothing of it: the digest is that
	 * of the files, and the metadata says what is executed. */
	_cleanup_query_ struct query q = query_start(store,
	        row->name
	                ? "INSERT INTO template_image (digest, metadata, bytes, created) VALUES (?, ?, ?, ?)"
	                  " ON CONFLICT (digest) DO UPDATE SET metadata = excluded.metadata, bytes = excluded.bytes"
	                : "INSERT INTO template_image (digest, metadata, bytes, created) VALUES (?, ?, ?, ?)"
	                  " ON CONFLICT (digest) DO NOTHING");
	query_bind_text(&q, row->digest);
	query_bind_text(&q, row->metadata);
	query_bind_int(&q, (int64_t)row->bytes);
	query_bind_int(&q, (int64_t)row->created_usec);

	return query_run(&q, err);
}

static int name_put(struct store *store, const char *name, const char *digest, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT INTO template_name (name, digest) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest");
	query_bind_text(&q, name);
	query_bind_text(&q, digest);

	return query_run(&q, err);
}

int store_template_put(struct store *store, const struct template_row *row, struct ct_error *err)
{
	int r = store_begin(store, true, err);
	if (r < 0)
		return r;

	r = image_put(store, row, err);
	if (r >= 0 && row->name)
		r = name_put(store, row->name, row->digest, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}

	return store_commit(store, err);
}

/* The row with strings borrowed from the query. */
static int template_read(struct query *q, struct template_row *row, struct ct_error *err)
{
	*row = (struct template_row){
		.name = (char *)query_text(q, 0),
		.metadata = (char *)query_text(q, 2),
		.bytes = (uint64_t)query_int(q, 3),
		.created_usec = (uint64_t)query_int(q, 4),
		.users = (uint32_t)query_int(q, 5),
	};
	query_copy(q, 1, row->digest, sizeof(row->digest));

	return query_check(q, err);
}

int store_template_get(
        struct store *store, const char *name_or_digest, struct template_row *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, SELECT_TEMPLATE
	        " WHERE n.name = ?1 OR i.digest = ?1 ORDER BY n.name = ?1 DESC, n.name LIMIT 1");
	struct template_row row;

	query_bind_text(&q, name_or_digest);
	int r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no template \"%s\"", name_or_digest);

	r = template_read(&q, &row, err);
	if (r < 0)
		return r;

	_cleanup_free_ char *name = NULL, *metadata = NULL;
	if (store_strdup(&name, row.name) < 0 || store_strdup(&metadata, row.metadata) < 0)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	*ret = row;
	ret->name = TAKE_PTR(name);
	ret->metadata = TAKE_PTR(metadata);
	return 0;
}

int store_template_each(struct store *store, int (*each)(const struct template_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, SELECT_TEMPLATE " ORDER BY n.name, i.created");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct template_row row;

		r = template_read(&q, &row, err);
		if (r < 0)
			return r;

		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

/* The digest behind a name; or the digest itself, of an image that has no name. */
static int digest_of(struct store *store, const char *name, char ret[65], struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT digest FROM template_name WHERE name = ?1 UNION ALL SELECT digest FROM template_image i WHERE digest = ?1"
	        " AND NOT EXISTS (SELECT 1 FROM template_name n WHERE n.digest = i.digest) LIMIT 1");
	query_bind_text(&q, name);

	int r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return ct_error_set(err, -ENOENT, "store", "there is no template \"%s\"", name);

	query_copy(&q, 0, ret, 65);
	return query_check(&q, err);
}

/* How many containers and other names an image has. */
static int holders_of(struct store *store, const char *digest, const char *name, int64_t *ret_users,
        int64_t *ret_names, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT (SELECT count(*) FROM container WHERE template = ?1),"
	                           " (SELECT count(*) FROM template_name WHERE digest = ?1 AND name <> ?2)");
	query_bind_text(&q, digest);
	query_bind_text(&q, name);

	int r = query_next(&q, err);
	if (r < 0)
		return r;

	*ret_users = query_int(&q, 0);
	*ret_names = query_int(&q, 1);
	return 0;
}

static int name_delete(struct store *store, const char *name, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM template_name WHERE name = ?");
	query_bind_text(&q, name);

	return query_run(&q, err);
}

static int image_delete(struct store *store, const char *digest, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM template_image WHERE digest = ?");
	query_bind_text(&q, digest);

	return query_run(&q, err);
}

static int template_remove(struct store *store, const char *name, char ret_gone[65], struct ct_error *err)
{
	char digest[65] = "";
	int64_t users = 0, names = 0;

	int r = digest_of(store, name, digest, err);
	if (r < 0)
		return r;

	r = holders_of(store, digest, name, &users, &names, err);
	if (r < 0)
		return r;
	if (names == 0 && users > 0)
		return ct_error_set(err, -EBUSY, "store", "the template \"%s\" is used by %lld container%s",
		        name, (long long)users, users == 1 ? "" : "s");

	r = name_delete(store, name, err);
	if (r < 0 || names > 0)
		return r;

	r = image_delete(store, digest, err);
	if (r < 0)
		return r;

	memcpy(ret_gone, digest, sizeof(digest));
	return 0;
}

int store_template_remove(
        struct store *store, const char *name, char ret_digest_gone[65], struct ct_error *err)
{
	ret_digest_gone[0] = '\0';

	int r = store_begin(store, true, err);
	if (r < 0)
		return r;

	r = template_remove(store, name, ret_digest_gone, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}

	r = store_commit(store, err);
	if (r < 0)
		ret_digest_gone[0] = '\0';
	return r;
}
