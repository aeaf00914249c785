/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Driver image. */
#include "quota/store.h"

#include <errno.h>

static int refuse(struct ct_error *err)
{
	return ct_error_set(
	        err, -EOPNOTSUPP, "disk", "the image driver is not in this build; use --storage dir");
}

static int image_create(
        struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	return refuse(err);
}

static int image_mount(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct ct_error *err)
{
	return refuse(err);
}

static int image_usage(struct disk_store *store, const struct disk_spec *spec, int dirfd,
        struct disk_usage *ret, struct ct_error *err)
{
	return refuse(err);
}

static int image_release(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	return 0;
}

const struct disk_driver_ops disk_image_ops = {
	.create = image_create,
	.mount = image_mount,
	.resize = image_create,
	.usage = image_usage,
	.release = image_release,
};
