/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What test-store.h declares. */

#include "ctd/test-store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int store_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ct_error err = { 0 };

	snprintf(f->dir, sizeof(f->dir), "/tmp/ctd-test-store.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/ctd.db", f->dir);

	if (store_open(f->path, &f->store, &err) < 0)
		fail_msg("%s", err.text);
	*state = f;
	return 0;
}

int store_teardown(void **state)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct fixture *f = *state;

	store_close(f->store);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
		(void)unlink(path); /* may not be there */
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

void store_reopen(struct fixture *f)
{
	struct ct_error err = { 0 };

	store_close(f->store);
	f->store = NULL;
	if (store_open(f->path, &f->store, &err) < 0)
		fail_msg("%s", err.text);
}

void put_template(struct store *store, const char *name, const char *digest)
{
	struct template_row row = {
		.name = (char *)name, .metadata = (char *)"{\"a\":1}", .bytes = 77, .created_usec = 5
	};

	memcpy(row.digest, digest, 65);
	assert_int_equal(store_template_put(store, &row, NULL), 0);
}

const char *ctid_of(unsigned n)
{
	static char buf[33];

	snprintf(buf, sizeof(buf), "%032x", n);
	return buf;
}

int put_container(
        struct store *store, unsigned n, const char *name, uint32_t *ret_number, struct ct_error *err)
{
	struct container_row row = { .name = (char *)name,
		.template_name = (char *)"tiny",
		.config = (char *)"{}",
		.epoch = 1,
		.created_usec = 1700000000000000 };

	memcpy(row.ctid, ctid_of(n), 33);
	memcpy(row.template_digest, DIGEST_A, 65);
	int r = store_container_insert(store, &row, 1000, err);
	if (ret_number)
		*ret_number = row.number;
	return r;
}

static int count_containers(const struct container_row *row, void *userdata)
{
	(*(unsigned *)userdata)++;
	return 0;
}

unsigned count_all_containers(struct store *store)
{
	unsigned n = 0;

	assert_int_equal(store_container_each(store, count_containers, &n, NULL), 0);
	return n;
}
