/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What saving and restoring processes have in common. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "ctd/keeper-proto.h"
#include "libct/restore.h"

#define SUSPEND_LIMITS_MAX 8

struct criu_request;
struct keeper_client;

/* What both verbs are told. */
struct suspend_common {
	uint64_t base_id;
	const char *cgroup, *images, *runtime, *key;
	json_t *rlimits;
	/* Made of it. */
	char run_key[KEEPER_KEY_MAX];
	struct ct_rlimit limits[SUSPEND_LIMITS_MAX];
	struct restore_want want;
};

#define SUSPEND_COMMON_FIELDS(type, member)                                                                  \
	{ "base_id", JSON_KIND_U64, offsetof(type, member.base_id), JSON_NO_HAS, true },                     \
	        { "cgroup", JSON_KIND_STRING, offsetof(type, member.cgroup), JSON_NO_HAS, true },            \
	        { "images", JSON_KIND_STRING, offsetof(type, member.images), JSON_NO_HAS, true },            \
	        { "runtime", JSON_KIND_STRING, offsetof(type, member.runtime), JSON_NO_HAS, true },          \
	        { "key", JSON_KIND_STRING, offsetof(type, member.key), JSON_NO_HAS, true },                  \
	{                                                                                                    \
		"rlimits", JSON_KIND_ARRAY, offsetof(type, member.rlimits), JSON_NO_HAS, true                \
	}
/* Makes the rest of what was read. */
int suspend_complete(struct suspend_common *in, struct ct_error *err);

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
