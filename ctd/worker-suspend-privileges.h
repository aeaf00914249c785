/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: threads that may not gain privileges by executing a program (no_new_privs, prctl(2)). */
#pragma once

#include "base/error.h"
#include "libct/restore.h"

/* Writes those that are so to the images of a dump. -EOPNOTSUPP: they could not be made so again. */
int suspend_privileges_save(int images_fd, const struct restore_threads *threads, struct ct_error *err);
/* Writes them to the work directory of a restore, where ct-criu-finish.so reads them. */
int suspend_privileges_note(int work_fd, const struct restore_threads *threads, struct ct_error *err);
/* Those of images, of older ones none. -EBADMSG: they are no threads. The caller frees ret->list. */
int suspend_privileges_read(int images_fd, struct restore_threads *ret, struct ct_error *err);
/* -EPERM with the first that is not so among those that are, in order. */
int suspend_privileges_check(
        const struct restore_threads *want, const struct restore_threads *are, struct ct_error *err);
