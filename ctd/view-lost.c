/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who still has a view that has ended.
 *
 * Nothing is kept about it: what is bound in a container is in its mount table, with the number of the file
 * system. A tenant can fill that table, but take nothing from it that was locked there; where it is too large
 * to be read the container counts as one that sees.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/view.h"

#define TABLE_MAX (1U << 20)

/* proc_pid_mountinfo(5): number, parent, major:minor, ..., "-", type, source, options. */
static bool line_is_other(const char *line, dev_t dev)
{
	const char *rest = strstr(line, " - fuse ct-view ");
	unsigned major = 0, minor = 0;

	return rest && sscanf(line, "%*u %*u %u:%u", &major, &minor) == 2 && makedev(major, minor) != dev;
}

bool view_is_other(pid_t pid, dev_t dev)
{
	_cleanup_free_ char *table = NULL;
	char path[40], *line, *next;

	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	if (read_file_at(AT_FDCWD, path, TABLE_MAX, &table, NULL) < 0)
		return false;
	next = table;
	while ((line = strsep(&next, "\n")))
		if (line_is_other(line, dev))
			return true;
	return false;
}
