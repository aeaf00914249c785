/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of CPUs, as a set of bits.
 *
 * The form that is printed is the one that cpuset.cpus shows (bitmap_print_to_pagebuf in the kernel), so that
 * what was written and what is read back can be compared as text.
 */
#include "ctd/cpu-list.h"

#include <errno.h>

bool cpu_list_has(const struct cpu_list *list, unsigned n)
{
	return n < CPU_LIST_MAX && (list->bits[n / 64] & (1ULL << (n % 64)));
}

void cpu_list_add(struct cpu_list *list, unsigned n)
{
	if (n < CPU_LIST_MAX)
		list->bits[n / 64] |= 1ULL << (n % 64);
}

unsigned cpu_list_count(const struct cpu_list *list)
{
	unsigned n = 0;

	for (size_t i = 0; i < CPU_LIST_MAX / 64; i++)
		n += (unsigned)__builtin_popcountll(list->bits[i]);
	return n;
}

bool cpu_list_within(const struct cpu_list *list, const struct cpu_list *all)
{
	for (size_t i = 0; i < CPU_LIST_MAX / 64; i++)
		if (list->bits[i] & ~all->bits[i])
			return false;
	return true;
}

/* Digits at *s; moves behind them. */
static int read_number(const char **s, unsigned *ret)
{
	unsigned n = 0;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		n = n * 10 + (unsigned)(**s - '0');
		if (n >= CPU_LIST_MAX)
			return -ERANGE;
	}
	*ret = n;
	return 0;
}

static int read_range(const char **s, struct cpu_list *list)
{
	unsigned first = 0, last;
	int r;

	r = read_number(s, &first);
	if (r < 0)
		return r;
	last = first;
	if (**s == '-') {
		(*s)++;
		r = read_number(s, &last);
		if (r < 0)
			return r;
	}
	if (last < first)
		return -EINVAL;
	for (unsigned n = first; n <= last; n++)
		cpu_list_add(list, n);
	return 0;
}

int cpu_list_parse(const char *s, struct cpu_list *ret)
{
	struct cpu_list list = { 0 };

	while (*s && *s != '\n') {
		int r = read_range(&s, &list);

		if (r < 0)
			return r;
		if (*s == ',' && s[1] >= '0' && s[1] <= '9')
			s++;
		else if (*s && *s != '\n')
			return -EINVAL;
	}
	if (*s == '\n' && s[1])
		return -EINVAL;
	*ret = list;
	return 0;
}

void cpu_list_print(const struct cpu_list *list, struct strbuf *b)
{
	bool first = true;

	for (unsigned n = 0; n < CPU_LIST_MAX; n++) {
		unsigned last = n;

		if (!cpu_list_has(list, n))
			continue;
		while (cpu_list_has(list, last + 1))
			last++;
		(void)strbuf_printf(b, last > n ? "%s%u-%u" : "%s%u", first ? "" : ",", n,
		        last); /* its error stays in it */
		first = false;
		n = last;
	}
}
