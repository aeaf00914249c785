/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is in the tmpfs of a container that runs, written ahead of its dump (criu-archive.h). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Into the directory of the first round of memory, tools being that of criu_tools_open. Without it, or with
 * a part of it, as when something there keeps changing, a dump has more to write, so nothing is a failure. It
 * becomes no longer than max_bytes: nobody's quota bounds what is written there. */
void predump_tmpfs(pid_t pid, const char *tools, int round_fd, uint64_t max_bytes);
