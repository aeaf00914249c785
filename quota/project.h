/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Project ids and project quotas of ext4 and xfs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct project_limits {
	uint64_t bytes, inodes; /* 0: none */
};

struct project_state {
	uint64_t bytes_used, inodes_used;
	struct project_limits limits;
};

/* Accounted and enforced, right now. */
bool project_quota_enforced(int fd);

/* What is missing on the file system of fd, and what to do about it; "" if nothing is. */
void project_quota_remedy(int fd, const char *store_path, char *buf, size_t size);

/* The directory and all that will be made in it belong to the project. */
int project_assign(int dirfd, uint32_t project_id, struct ct_error *err);

/* Neither the directory nor what will be made in it belongs to one. */
int project_clear(int dirfd, struct ct_error *err);

/* The project that the directory belongs to; 0 where there are none. */
uint32_t project_of(int dirfd);

/* Gives the project to all that is in the directory already, itself last: until then project_of says that it
 * is not done. Symbolic links and fifos stay as they are (no call could change them before Linux 6.17). Long;
 * nothing may be mounted over it. */
int project_adopt(int dirfd, uint32_t project_id, struct ct_error *err);

/* Bytes are rounded up to KiB, which is what the kernel counts limits in. */
int project_set_limits(
        int fd, uint32_t project_id, const struct project_limits *limits, struct ct_error *err);
int project_get(int fd, uint32_t project_id, struct project_state *ret, struct ct_error *err);
