/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cgroups that a container's init has made below the container's own, across suspend and resume. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Writes what is below the cgroup into the images, ct-cgroups.json; -EOPNOTSUPP, refused, with the name of a
 * setting that cannot be kept. Nothing in it may run, or what it changes meanwhile may be missing. */
int suspend_cgroups_note(int cgroup_fd, uint32_t base_id, int images_fd, struct ct_error *err);
/* The same, thrown away: would it be refused? */
int suspend_cgroups_check(int cgroup_fd, uint32_t base_id, struct ct_error *err);

/* What was noted, checked; without it (images of an older build) there is nothing: an empty list. The
 * caller's reference. */
int suspend_cgroups_read(int images_fd, json_t **ret, struct ct_error *err);
/* The same of what is in memory. */
int suspend_cgroups_parse(const char *text, size_t len, json_t **ret, struct ct_error *err);

/* In this order, at a resume, in a new cgroup. Before anything is in it: all directories, with their owners.
 */
int suspend_cgroups_make(const json_t *list, int cgroup_fd, uint32_t base_id, struct ct_error *err);
/* When init is in its place, and before the others watch their files: controllers, those above first. With
 * them a cgroup takes no process. */
int suspend_cgroups_enable(const json_t *list, int cgroup_fd, struct ct_error *err);
/* When all is there and frozen: settings, read back, owners, user attributes. */
int suspend_cgroups_finish(const json_t *list, int cgroup_fd, uint32_t base_id, struct ct_error *err);
