/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: on which CPUs threads may run, how their I/O is ordered and their timers are rounded, and
 * what a process has in a core dump. */
#pragma once

#include "base/error.h"
#include "libct/restore.h"

/* Those that suspend_threads_sort has put in order. NULL: there is none of that number. */
void suspend_threads_sort(struct restore_threads *threads);
const struct restore_thread *suspend_threads_find(const struct restore_threads *threads, pid_t inside);

/* Writes what they have to the images of a dump, where it is not what threads have anyway. */
int suspend_threads_save(
        int images_fd, int cgroup_fd, const struct restore_threads *threads, struct ct_error *err);
/* Gives restored ones, in order, what these images say, as far as it can be had here: CPUs that there are.
 * Those that are not there are left out. -EBADMSG: they do not say it of threads. */
int suspend_threads_set(int images_fd, const struct restore_threads *threads, struct ct_error *err);
