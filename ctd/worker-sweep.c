/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store-sweep: {"store": PATH, "tmp": [NAME...]}. Removes all of the trash, and of tmp/ what is named. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/worker-main.h"
#include "quota/disk.h"

struct params {
	const char *store;
	json_t *tmp;
};

static const struct json_field fields[] = {
	{ "store", JSON_KIND_STRING, offsetof(struct params, store), JSON_NO_HAS, true },
	{ "tmp", JSON_KIND_ARRAY, offsetof(struct params, tmp), JSON_NO_HAS, true },
	{ NULL },
};

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

static bool keep(const char *tmp_name, void *userdata)
{
	const json_t *names = userdata, *name;
	size_t i;

	json_array_foreach(names, i, name) if (str_eq(json_string_value(name), tmp_name)) return false;
	return true;
}

int worker_store_sweep(const json_t *params, json_t **ret, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	struct params in = { 0 };
	int r;

	r = json_read(params, fields, &in, err);
	if (r >= 0)
		r = disk_store_open(in.store, &store, err);
	if (r < 0)
		return r;

	worker_progress(-1, "removing discarded files");
	return disk_store_sweep(store, keep, in.tmp, err);
}
