/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As whom CRIU makes a user namespace. */
#pragma once

#include <sys/types.h>

/* The user namespace that CRIU makes shall belong to this id of the tenant's, not to root: the kernel charges
 * what is counted for each user to the effective uid of who makes it. So we take the id for good, and keep
 * all capabilities, also over an exec (ambient). Negative errno. */
int criu_owner_take(uid_t uid);
