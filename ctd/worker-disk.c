/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk-create and disk-resize: {"store", "ctid", "driver", "template", "bytes", "inodes", "natives"}: what
 * quota/ does with such a disk, where it may take long. */
#include "base/cleanup.h"
#include "base/json.h"
#include "ctd/worker-main.h"
#include "quota/disk.h"

struct params {
	const char *store, *ctid, *driver, *template;
	uint64_t bytes, inodes;
	json_t *natives;
};

static const struct json_field fields[] = {
	{ "store", JSON_KIND_STRING, offsetof(struct params, store), JSON_NO_HAS, true },
	{ "ctid", JSON_KIND_STRING, offsetof(struct params, ctid), JSON_NO_HAS, true },
	{ "driver", JSON_KIND_STRING, offsetof(struct params, driver), JSON_NO_HAS, true },
	{ "template", JSON_KIND_STRING, offsetof(struct params, template), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct params, bytes), JSON_NO_HAS, true },
	{ "inodes", JSON_KIND_U64, offsetof(struct params, inodes), JSON_NO_HAS, true },
	{ "natives", JSON_KIND_ARRAY, offsetof(struct params, natives), JSON_NO_HAS, true },
	{ NULL },
};

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

static int with_disk(const json_t *params,
        int (*act)(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err),
        struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	const char *natives[DISK_NATIVES_MAX + 1] = { NULL };
	struct disk_spec spec = { 0 };
	struct params in = { 0 };
	int r;

	r = json_read(params, fields, &in, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < DISK_NATIVES_MAX; i++) /* ctd's own; NULL from their end on */
		natives[i] = json_string_value(json_array_get(in.natives, i));
	spec = (struct disk_spec){
		.ctid = in.ctid,
		.template_digest = in.template,
		.bytes = in.bytes,
		.inodes = in.inodes,
		.natives = natives,
	};
	if (disk_driver_from_name(in.driver, &spec.driver) < 0)
		return ct_error_field(err, "driver", "\"%.20s\" is not a storage driver", in.driver);
	r = disk_store_open(in.store, &store, err);
	return r < 0 ? r : act(store, &spec, err);
}

int worker_disk_create(const json_t *params, json_t **ret, struct ct_error *err)
{
	return with_disk(params, disk_create, err);
}

int worker_disk_resize(const json_t *params, json_t **ret, struct ct_error *err)
{
	return with_disk(params, disk_resize, err);
}
