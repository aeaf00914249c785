/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: options of sockets that CRIU does not save, and the multicast groups that they are
 * members of. */
#pragma once

#include "base/error.h"
#include "libct/restore.h"

/* Of a container that stands still, whose init is pid: what its sockets have that new ones have not, to the
 * images of a dump. CT_ERROR_REFUSED: one cannot be kept. */
int suspend_sockets_save(
        int images_fd, pid_t pid, const struct restore_threads *threads, struct ct_error *err);
/* Gives restored ones what these images say, as far as the kernel allows. threads: in order
 * (suspend_threads_sort). -EBADMSG: the images do not say it of sockets. */
int suspend_sockets_set(int images_fd, const struct restore_threads *threads, struct ct_error *err);
