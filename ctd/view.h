/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The view inside: files of /proc and /sys that tell a container what it was sold instead of what the host
 * has. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "ctd/view-files.h"
#include "libct/ct.h"

struct container;
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

/* Whether the files that were bound into it are of one that has ended. */
bool view_is_lost(const struct manager *m, const struct container *c);
/* If an earlier one has ended, tells of the containers that still have it: view.lost. Once it is known which
 * run. */
void view_tell_lost(struct manager *m);

/* NULL: there is one; else why not, and what to do. */
const char *view_missing(const struct manager *m);

/* For view.c: whether a file of some view is in the process's mount namespace, and of another file system. */
bool view_is_other(pid_t pid, dev_t dev);
