/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ct-worker does before it is told what it is for ("ahead"). */
#pragma once

#include <jansson.h>

struct criu_spare;

/* {"memory": {"runtime", "key", "images", "cgroups", "cgroup", "home"}}: it will be a resume, of images of
 * which the first round of memory is there: CRIU reads that. cgroups: the directory with those of containers,
 * home: the keeper's own. {}: nothing. What fails is told in the log, and done when it is needed. */
void worker_ahead(const json_t *params);
/* That CRIU, this worker's; it may have none. */
struct criu_spare *worker_ahead_criu(void);
