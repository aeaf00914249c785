/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts lxcfs with little of the host in its reach. */
#pragma once

#include <sys/types.h>

/* *ret_sock: our end of what it takes for /dev/fuse; *ret_pid: our child, which dies with us. */
int view_sandbox_start(int *ret_sock, pid_t *ret_pid);
