/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks of the driver image are made by mkfs and changed by resize2fs, which may take minutes for a large
 * one: a worker does it, one at a time for each container, as its jobs come one after the other. If ctd dies
 * the worker dies with it: what it built is swept from tmp/, and a resize works on a copy that is renamed
 * over at its end. The driver dir is some system calls, made here.
 */
#include "ctd/disk-work.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/worker.h"

struct disk_work {
	struct container *container;
	struct worker *worker;
	operation_fn done;
	void *userdata;
};

static void work_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct disk_work *work = userdata;
	struct container *c = work->container;
	int r = result ? 0 : error->code < 0 ? error->code : -EIO;

	c->disk_work = NULL;
	work->done(c, r, error, work->userdata);
	free(work); /* the worker frees itself */
}

static json_t *natives_list(const char *const *natives)
{
	json_t *list = json_array();

	for (; list && *natives; natives++)
		(void)json_array_append_new(list, json_string(*natives)); /* one less is no error */
	return list;
}

static int work_start(struct container *c, const char *verb, const struct disk_spec *spec, operation_fn done,
        void *userdata, struct ct_error *err)
{
	static const struct worker_ops ops = { .done = work_done };
	struct manager *m = c->manager;
	struct disk_work *work = malloc(sizeof(*work));
	json_t *params;
	int r;

	if (!work)
		return ct_error_set(err, -ENOMEM, "disk", "out of memory");
	*work = (struct disk_work){ .container = c, .done = done, .userdata = userdata };
	params = json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "store",
	        json_sprintf("%s/fs", m->conf.state_dir), "ctid", spec->ctid, "driver",
	        disk_driver_name(spec->driver), "template", spec->template_digest, "bytes",
	        (json_int_t)spec->bytes, "inodes", (json_int_t)spec->inodes, "natives",
	        natives_list(spec->natives));
	r = params ? worker_start(m->event, m->conf.worker, verb, params, &ops, work, &work->worker, err)
	           : ct_error_set(err, -ENOMEM, "disk", "out of memory");
	if (r < 0) {
		free(work);
		return r;
	}
	c->disk_work = work;
	return 0;
}

int disk_work_create(struct container *c, operation_fn done, void *userdata, struct ct_error *err)
{
	struct disk_spec spec;
	int r;

	container_disk_spec(c, &spec);
	if (spec.driver == DISK_DRIVER_IMAGE)
		return work_start(c, "disk-create", &spec, done, userdata, err);
	r = disk_create(c->manager->disks, &spec, err);
	return r < 0 ? r : 1;
}

int disk_work_resize(struct container *c, const struct limits *limits, operation_fn done, void *userdata,
        struct ct_error *err)
{
	struct disk_spec spec;
	int r;

	container_disk_spec(c, &spec);
	spec.bytes = limits->disk.value; /* zero where none is given: no limit */
	spec.inodes = limits->inodes.value;
	if (spec.driver == DISK_DRIVER_IMAGE)
		return work_start(c, "disk-resize", &spec, done, userdata, err);
	r = disk_resize(c->manager->disks, &spec, err);
	return r < 0 ? r : 1;
}

bool disk_work_has(struct manager *m, const char *tmp_name)
{
	const struct container *c =
	        str_has_prefix(tmp_name, "disk-") ? container_by_ctid(m, tmp_name + strlen("disk-")) : NULL;

	return c && c->disk_work;
}

void disk_work_free(struct disk_work *work)
{
	if (!work)
		return;
	worker_free(work->worker);
	free(work);
}
