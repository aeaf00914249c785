/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Budgets of a user namespace: /proc/sys/user.
 *
 * Which namespace's values the files show and take is decided by the credentials of who opens them, so a
 * helper enters the namespace, where it has all capabilities, and writes them there. A new namespace begins
 * with no limit of its own (INT_MAX each); what its parent gives to the user who made it holds above all of
 * it.
 *
 * The kernel remembers each file that was looked up, for each namespace apart but by the same name in the
 * same directory, and looks at all of these when the name is looked up again: in the host's procfs that would
 * cost with a thousand containers more than the rest of a start. So each helper has a procfs of its own (each
 * mount is one since Linux 5.8), which is forgotten with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

#include "base/fd.h"
#include "libct/ct.h"
#include "libct/mounts.h"
#include "libct/sys.h"

struct limits_job {
	int userns_fd;
	const struct ct_user_limit *limits;
	size_t n;
	struct ct_error *err;
};

/* Attached nowhere. Who may not mount has the host's. */
static int open_own_proc(void)
{
	int fd = mount_new("proc", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL);

	return fd >= 0 ? fd : open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int limits_helper(void *arg)
{
	const struct limits_job *job = arg;
	_cleanup_close_ int proc_fd = open_own_proc();

	if (proc_fd < 0)
		return ct_error_set(
		        job->err, sys_error(), "userns", "cannot open /proc: %s", sys_reason(errno));
	if (setns(job->userns_fd, CLONE_NEWUSER) < 0)
		return ct_error_set(job->err, sys_error(), "userns",
		        "cannot enter the user namespace to set its budgets: %s", sys_reason(errno));

	for (size_t i = 0; i < job->n; i++) {
		char path[80];

		(void)snprintf(path, sizeof(path), "sys/user/%.48s", job->limits[i].name);
		int r = write_file_printf_at(proc_fd, path, "%" PRId64, job->limits[i].value);
		if (r < 0 && r != -ENOENT)
			return ct_error_set(job->err, r, "userns",
			        "cannot set user.%s of the user namespace: %s", job->limits[i].name,
			        sys_reason(r));
	}
	return 0;
}

int ct_userns_limit(int userns_fd, const struct ct_user_limit *limits, size_t n_limits, struct ct_error *err)
{
	struct limits_job job = { .userns_fd = userns_fd, .limits = limits, .n = n_limits, .err = err };

	for (size_t i = 0; i < n_limits; i++)
		if (limits[i].value < 0 || !limits[i].name || strchr(limits[i].name, '/'))
			return ct_error_field(err, "limits", "\"%s\" is no budget of a user namespace",
			        limits[i].name ? limits[i].name : "");
	return n_limits == 0 ? 0 : helper_run(limits_helper, &job, err);
}
