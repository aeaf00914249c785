/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The swap that a container has. */
#pragma once

#include "base/str.h"
#include "ctd/view-cgroup.h"

/* Writes /proc/swaps: one line if there is swap and the container may have of it. */
int view_swaps(const struct view_cgroup *cgroup, uint32_t pid, struct strbuf *ret);
/* Sets SwapTotal and SwapFree in the text of a /proc/meminfo. */
int view_swap_meminfo(const struct view_cgroup *cgroup, uint32_t pid, struct strbuf *text);

/* For the test. */
int view_swap_print(const char *meminfo, uint64_t total_kib, uint64_t used_kib, struct strbuf *ret);
