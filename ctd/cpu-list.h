/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of CPUs or memory nodes as the kernel writes them: "0-3,8". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define CPU_LIST_MAX 1024

struct cpu_list {
	uint64_t bits[CPU_LIST_MAX / 64];
};

/* Numbers and ranges with commas between; a newline may end it. Nothing is the empty list. -EINVAL, -ERANGE.
 */
int cpu_list_parse(const char *s, struct cpu_list *ret);
/* The kernel's own form: ascending, ranges joined. */
void cpu_list_print(const struct cpu_list *list, struct strbuf *b);

bool cpu_list_has(const struct cpu_list *list, unsigned n);
void cpu_list_add(struct cpu_list *list, unsigned n);
unsigned cpu_list_count(const struct cpu_list *list);
bool cpu_list_within(const struct cpu_list *list, const struct cpu_list *all);
