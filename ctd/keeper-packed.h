/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layout of packed specifications, for keeper-pack.c and keeper-unpack.c only.
 *
 * A packed specification is a fixed part (struct packed_spec, struct packed_exec_spec) and an area behind it.
 * Whatever is of variable length lies in the area and is named by a struct packed_array in the fixed part: an
 * offset from the start of the packed specification, and a count of elements. Offset 0, which is inside the
 * fixed part, says that there is none (NULL), so that NULL and empty stay two things. Strings are
 * NUL-terminated, an array of strings is so many of them one behind the other. An fd is its position among
 * the fds of the message, or -1.
 *
 * The fixed part begins with its own size. A longer one (of a newer peer) is cut, a shorter one padded with
 * zeros, so fields are only ever added at the end, and zero must mean what it meant before.
 */
#pragma once

#include <stdint.h>

struct packed_array {
	uint32_t offset, count;
};

enum packed_flag {
	PACKED_UNCONFINED = 1u << 0,
	PACKED_NESTING = 1u << 1,
	PACKED_SET_CLOCKS = 1u << 2,
	PACKED_CONSOLE = 1u << 3,
	PACKED_TTY = 1u << 4,
};

struct packed_spec {
	uint32_t size, flags;
	struct packed_array argv, env, hostname, seccomp, rlimits, binds, run_masks;
	int32_t root_fd, userns_fd, netns_fd, cgroup_fd;
	uint32_t base_id, max_ptys;
	uint64_t capabilities, shm_bytes, run_bytes;
	int64_t boottime_offset_sec, monotonic_offset_sec;
};

struct packed_exec_spec {
	uint32_t size, flags;
	struct packed_array argv, env, cwd, groups, seccomp, rlimits;
	int32_t init_pidfd, cgroup_fd, stdio[3];
	uint32_t uid, gid, base_id;
	uint16_t rows, columns;
	uint32_t reserved;
	uint64_t capabilities;
};

struct packed_rlimit {
	int32_t resource;
	uint32_t reserved;
	uint64_t soft, hard;
};

enum packed_bind_flag {
	PACKED_BIND_READONLY = 1u << 0,
	PACKED_BIND_CREATE = 1u << 1,
};

struct packed_bind {
	struct packed_array target;
	int32_t source_fd;
	uint32_t flags;
};
