/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A change of limits: what speaks against it, and how it is carried out.
 *
 * What concerns a stopped container waits for its next start, where the same table is applied. The disk is
 * resized by who calls (verbs-set.c), whether the container runs or not: that may take its time.
 */
#include <errno.h>

#include "ctd/manager.h"
#include "ctd/resources.h"

bool limits_touch_disk(const json_t *patch)
{
	return json_object_get(patch, "disk") || json_object_get(patch, "inodes");
}

static bool touches_user(const json_t *patch)
{
	return json_object_get(patch, "inotify_instances") || json_object_get(patch, "inotify_watches") ||
	       json_object_get(patch, "namespaces");
}

/* What is promised now must fit into the node; taking away from a promise always does. */
static int admit(struct container *c, const struct limits *new, struct ct_error *err)
{
	const struct limits *old = &c->config.limits;
	bool more = new->memory_guarantee.value > old->memory_guarantee.value ||
	            new->memory.value > old->memory.value || (old->memory.given && !new->memory.given) ||
	            new->cpus_milli.value > old->cpus_milli.value ||
	            (old->cpus_milli.given && !new->cpus_milli.given);

	return c->run.slot && more ? node_admit(c->manager, c, new, err) : 0;
}

int limits_check_change(
        struct container *c, const struct config *config, const json_t *patch, struct ct_error *err)
{
	const struct amount *old = &c->config.limits.storage, *new = &config->limits.storage;
	enum disk_driver was = old->given ? (enum disk_driver)old->value : DISK_DRIVER_DIR;
	enum disk_driver is = new->given ? (enum disk_driver) new->value : DISK_DRIVER_DIR;
	int r;

	if (!limits_in_patch(patch))
		return 0;
	if (was != is)
		return ct_error_field(err, "storage",
		        "storage of \"%s\" is %s since it was created and cannot be changed", c->row.name,
		        disk_driver_name(was));
	if (is == DISK_DRIVER_IMAGE && !config->limits.disk.given)
		return ct_error_field(err, "disk", "storage image needs its size: disk");
	r = limits_check(c->manager, config, err);
	if (r >= 0 && limits_touch_disk(patch))
		r = limits_check_disk(c->manager, config, err);
	if (r >= 0)
		r = admit(c, &config->limits, err);
	return r;
}

int limits_apply_change(struct container *c, const json_t *patch, bool running, struct ct_error *err)
{
	int r = 0;

	if (running && limits_in_patch(patch))
		r = limits_apply_live(c, err);
	if (r >= 0 && running && touches_user(patch))
		r = limits_apply_user(c, -1, err);
	return r;
}
