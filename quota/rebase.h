/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tells an upper layer again which directories of the lower one it was written over. */
#pragma once

#include "base/error.h"

/* Before the mount that makes the kernel write the mark of the root: forgets the old one, and all that work/
 * (in parent_fd) knew. */
int rebase_forget(int upper_fd, int parent_fd, struct ct_error *err);

/* After it: marks all other directories. Long: walks the upper layer. */
int rebase_mark(int upper_fd, int lower_fd, struct ct_error *err);
