/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling a root from packages. */
#include <errno.h>

#include "ctd/worker-build.h"

int bootstrap_run(const struct bootstrap *b, struct ct_error *err)
{
	return ct_error_set(err, -EOPNOTSUPP, "bootstrap",
	        "recipe \"%s\" needs an archive of packages, from which this build of ctd cannot build",
	        b->recipe->name);
}
