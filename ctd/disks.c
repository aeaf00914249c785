/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a container's record to a disk specification. */
#include "ctd/disks.h"

#include "ctd/manager.h"

void container_disk_spec(const struct container *c, struct disk_spec *ret)
{
	*ret = (struct disk_spec){
		.ctid = c->row.ctid,
		.driver = c->manager->conf.storage,
		.template_digest = c->row.template_digest,
	};
}
