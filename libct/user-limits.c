/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Budgets of a user namespace: /proc/sys/user.
 *
 * Which namespace's values the files show and take is decided by the credentials of who opens them, so a
 * helper enters the namespace, where it has all capabilities, and writes them there. A new namespace begins
 * with no limit of its own (INT_MAX each); what its parent gives to the user who made it holds above all of
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "base/fd.h"
#include "libct/ct.h"
#include "libct/sys.h"

struct limits_job {
	int userns_fd;
	const struct ct_user_limit *limits;
	size_t n;
	struct ct_error *err;
};

static int limits_helper(void *arg)
{
	const struct limits_job *job = arg;

	if (setns(job->userns_fd, CLONE_NEWUSER) < 0)
		return ct_error_set(job->err, sys_error(), "userns",
		        "cannot enter the user namespace to set its budgets: %s", sys_reason(errno));

	for (size_t i = 0; i < job->n; i++) {
		char path[80];

		(void)snprintf(path, sizeof(path), "/proc/sys/user/%.48s", job->limits[i].name);
		int r = write_file_printf_at(AT_FDCWD, path, "%" PRId64, job->limits[i].value);
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
