/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The view inside: files of /proc and /sys that tell a container what it was sold instead of what the host
 * has. */
#pragma once

#include "base/error.h"
#include "ctd/view-files.h"
#include "libct/ct.h"

struct manager;
struct view;

/* Takes over the file system that an earlier ctd has made, or makes it. It is a view and no limit: where it
 * cannot be had m->view knows why, and containers start without. */
void view_open(struct manager *m);
/* If no container runs any more it goes, else it is left to the next ctd. */
void view_close(struct manager *m);

/* What a start binds into a container: at most VIEW_FILES, whose fds the caller closes. The number of them.
 */
size_t view_binds(const struct manager *m, struct ct_bind *ret);

/* NULL: there is one; else why not, and what to do. */
const char *view_missing(const struct manager *m);
