/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cgroups of containers.
 *
 * A container's own has the name c-CTID in a directory that ctd has told us; what is below it are groups that
 * its systemd has made, with names of the tenant's. Those are cut off here and never used. The process waits
 * for us in a read, so its number is not that of another.
 */
#include "ctd/view-cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

int view_cgroup_open(const struct view_cgroup *cgroup, uint32_t pid)
{
	_cleanup_free_ char *text = NULL, *path = NULL;
	const size_t len = strlen(cgroup->path);
	const char *p;
	char name[40];
	int r;

	(void)snprintf(name, sizeof(name), "/proc/%u/cgroup", pid);
	r = read_file_at(AT_FDCWD, name, 1U << 20, &text, NULL);
	if (r < 0)
		return r;
	p = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!p)
		return -ENOENT;
	p += *p == '\n' ? 4 : 3;
	if (strncmp(p, cgroup->path, len) != 0 || strncmp(p + len, "/c-", 3) != 0)
		return -ENOENT;

	path = str_printf("%s%.*s", cgroup->mount, (int)(len + 1 + strcspn(p + len + 1, "/\n")), p);
	if (!path)
		return -ENOMEM;
	r = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}
