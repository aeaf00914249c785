/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a dump and the rounds before it have in common. */
#pragma once

#include "base/error.h"

struct criu_request;
struct keeper_client;

struct suspend_lists {
	struct criu_request *request;
	char *text; /* what the strings in the request point into; the caller's to free */
	char devices[6][48];
};

/* The device nodes that are mounts of the host's. */
void suspend_add_devices(struct suspend_lists *l);
/* The mounts of request->pid that a resume makes anew; CT_ERROR_REFUSED: one would be lost. */
int suspend_add_mounts(struct suspend_lists *l, struct ct_error *err);
int suspend_reach_keeper(const char *runtime_dir, struct keeper_client **ret, struct ct_error *err);
