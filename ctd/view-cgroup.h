/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a process to its container's cgroup. */
#pragma once

#include <stdint.h>

struct view_cgroup {
	const char *mount; /* where cgroup v2 is mounted */
	const char *path;  /* of the cgroup that holds those of the containers, below the mount */
};

/* An O_PATH fd of the container's own cgroup, however deep below it the process is; -ENOENT: it is in none.
 */
int view_cgroup_open(const struct view_cgroup *cgroup, uint32_t pid);
