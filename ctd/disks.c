/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a container's record to a disk specification. */
#include "ctd/disks.h"

#include <stdlib.h>

#include "ctd/manager.h"

#define PROJECT_FIRST 1048576 /* above what people give to their own projects */

void container_disk_spec(const struct container *c, struct disk_spec *ret)
{
	const struct limits *l = &c->config.limits;

	*ret = (struct disk_spec){
		.ctid = c->row.ctid,
		.driver = l->storage.given ? (enum disk_driver)l->storage.value : DISK_DRIVER_DIR,
		.template_digest = c->row.template_digest,
		.bytes = l->disk.value, /* zero where none is given: no limit */
		.inodes = l->inodes.value,
	};
	if (store_project_get(c->manager->store, c->row.ctid, &ret->project_id) < 0)
		ret->project_id = 0; /* made where there was no project quota */
}

/* Ids begin at a place that the ctid says: two instances on one file system, and a container that is still
 * being removed, hardly ever meet. */
int disks_lease(struct container *c, struct ct_error *err)
{
	uint32_t id = 0, place;
	char digits[8] = { 0 };

	if (c->config.limits.storage.given && c->config.limits.storage.value != DISK_DRIVER_DIR)
		return 0;
	if (!disk_store_has_project_quota(c->manager->disks))
		return 0;
	memcpy(digits, c->row.ctid, 7);
	place = PROJECT_FIRST + (uint32_t)strtoul(digits, NULL, 16);
	return store_project_lease(c->manager->store, c->row.ctid, place, &id, err);
}
