/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unpacking of container specifications; keeper-packed.h has the layout.
 *
 * The reader trusts nothing, though only root can write to it: a message of another version, or of a ctd gone
 * wrong, must end in a sentence and not in the death of the parent of all containers. It copies elements out
 * byte by byte (the area has no alignment), compares every offset and count with the length without overflow,
 * and takes memory in proportion to the length of the message.
 *
 * Arrays of pointers and structs are made in one block: the first pass, without memory, checks everything and
 * counts, the second fills.
 */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>

#include "ctd/keeper-pack.h"
#include "ctd/keeper-packed.h"

struct unpacker {
	const char *data;
	size_t len;
	const int *fds;
	size_t n_fds;
	char *memory;
	size_t used;
	const char *wrong; /* the first thing that was wrong */
};

static void unpack_wrong(struct unpacker *u, const char *what)
{
	if (!u->wrong)
		u->wrong = what;
}

static void *unpack_room(struct unpacker *u, size_t size)
{
	void *room = u->memory ? u->memory + u->used : NULL;

	u->used += (size + 15) / 16 * 16;
	return room;
}

/* The fixed part, cut or padded to size. */
static void unpack_fixed(struct unpacker *u, void *fixed, size_t size)
{
	uint32_t theirs = 0;

	memset(fixed, 0, size);
	if (u->len < sizeof(theirs)) {
		unpack_wrong(u, "size");
		return;
	}

	memcpy(&theirs, u->data, sizeof(theirs));
	if (theirs < sizeof(theirs) || theirs > u->len) {
		unpack_wrong(u, "size");
		return;
	}

	memcpy(fixed, u->data, theirs < size ? theirs : size);
}

/* True if the array is there and lies within the message. */
static bool unpack_array_is_sound(struct unpacker *u, struct packed_array a, size_t element, const char *what)
{
	if (u->wrong || a.offset == 0)
		return false;

	if (a.offset > u->len || a.count > (u->len - a.offset) / element) {
		unpack_wrong(u, what);
		return false;
	}
	return true;
}

static const char *unpack_string(struct unpacker *u, struct packed_array a, const char *what)
{
	const char *s;

	if (!unpack_array_is_sound(u, a, 1, what))
		return NULL;

	s = u->data + a.offset;
	if (a.count != 1 || !memchr(s, 0, u->len - a.offset)) {
		unpack_wrong(u, what);
		return NULL;
	}
	return s;
}

static const char *const *unpack_strings(struct unpacker *u, struct packed_array a, const char *what)
{
	const char **strings;
	size_t at = a.offset;

	if (!unpack_array_is_sound(u, a, 1, what))
		return NULL;

	strings = unpack_room(u, (a.count + 1) * sizeof(strings[0]));
	for (uint32_t i = 0; i < a.count; i++) {
		const char *end = memchr(u->data + at, 0, u->len - at);

		if (!end) {
			unpack_wrong(u, what);
			return NULL;
		}
		if (strings)
			strings[i] = u->data + at;
		at = (size_t)(end - u->data) + 1;
	}

	if (strings)
		strings[a.count] = NULL;
	return strings;
}

/* A copy of count elements that need no translation. */
static void *unpack_bytes(struct unpacker *u, struct packed_array a, size_t element, const char *what)
{
	void *copy;

	if (!unpack_array_is_sound(u, a, element, what))
		return NULL;

	copy = unpack_room(u, a.count * element + 1); /* never of no size: an empty array is not NULL */
	if (copy)
		memcpy(copy, u->data + a.offset, a.count * element);
	return copy;
}

static int unpack_fd(struct unpacker *u, int32_t position, const char *what)
{
	if (position == -1 || u->wrong)
		return -1;

	if (position < 0 || (size_t)position >= u->n_fds) {
		unpack_wrong(u, what);
		return -1;
	}
	return u->fds[position];
}

static void unpack_seccomp(struct unpacker *u, struct packed_array a, struct ct_seccomp_program *ret)
{
	if (a.count > UINT16_MAX) {
		unpack_wrong(u, "seccomp");
		return;
	}

	ret->filter = unpack_bytes(u, a, sizeof(struct sock_filter), "seccomp");
	ret->count = (uint16_t)a.count;
}

static const struct ct_rlimit *unpack_rlimits(struct unpacker *u, struct packed_array a, size_t *ret_n)
{
	struct ct_rlimit *rlimits;

	if (!unpack_array_is_sound(u, a, sizeof(struct packed_rlimit), "rlimits"))
		return NULL;

	*ret_n = a.count;
	rlimits = unpack_room(u, a.count * sizeof(rlimits[0]) + 1);
	for (uint32_t i = 0; rlimits && i < a.count; i++) {
		struct packed_rlimit packed;

		memcpy(&packed, u->data + a.offset + i * sizeof(packed), sizeof(packed));
		rlimits[i] = (struct ct_rlimit){ packed.resource, packed.soft, packed.hard };
	}
	return rlimits;
}

static const struct ct_bind *unpack_binds(struct unpacker *u, struct packed_array a, size_t *ret_n)
{
	struct ct_bind *binds;

	if (!unpack_array_is_sound(u, a, sizeof(struct packed_bind), "binds"))
		return NULL;

	*ret_n = a.count;
	binds = unpack_room(u, a.count * sizeof(binds[0]) + 1);
	for (uint32_t i = 0; i < a.count; i++) {
		struct packed_bind packed;

		memcpy(&packed, u->data + a.offset + i * sizeof(packed), sizeof(packed));

		struct ct_bind bind = {
			.source_fd = unpack_fd(u, packed.source_fd, "binds: source"),
			.target = unpack_string(u, packed.target, "binds: target"),
			.readonly = packed.flags & PACKED_BIND_READONLY,
			.create = packed.flags & PACKED_BIND_CREATE,
		};

		if (binds)
			binds[i] = bind;
	}
	return binds;
}

static void unpack_spec_pass(struct unpacker *u, struct ct_spec *ret)
{
	struct packed_spec packed;

	unpack_fixed(u, &packed, sizeof(packed));

	*ret = (struct ct_spec){
		.argv = unpack_strings(u, packed.argv, "argv"),
		.env = unpack_strings(u, packed.env, "env"),
		.hostname = unpack_string(u, packed.hostname, "hostname"),
		.root_fd = unpack_fd(u, packed.root_fd, "root_fd"),
		.userns_fd = unpack_fd(u, packed.userns_fd, "userns_fd"),
		.netns_fd = unpack_fd(u, packed.netns_fd, "netns_fd"),
		.cgroup_fd = unpack_fd(u, packed.cgroup_fd, "cgroup_fd"),
		.base_id = packed.base_id,
		.capabilities = packed.capabilities,
		.unconfined = packed.flags & PACKED_UNCONFINED,
		.nesting = packed.flags & PACKED_NESTING,
		.run_masks = unpack_strings(u, packed.run_masks, "run_masks"),
		.shm_bytes = packed.shm_bytes,
		.run_bytes = packed.run_bytes,
		.max_ptys = packed.max_ptys,
		.boottime_offset_sec = packed.boottime_offset_sec,
		.monotonic_offset_sec = packed.monotonic_offset_sec,
		.set_clocks = packed.flags & PACKED_SET_CLOCKS,
		.console = packed.flags & PACKED_CONSOLE,
	};
	unpack_seccomp(u, packed.seccomp, &ret->seccomp);
	ret->rlimits = unpack_rlimits(u, packed.rlimits, &ret->n_rlimits);
	ret->binds = unpack_binds(u, packed.binds, &ret->n_binds);
}

static void unpack_exec_spec_pass(struct unpacker *u, struct ct_exec_spec *ret)
{
	struct packed_exec_spec packed;

	unpack_fixed(u, &packed, sizeof(packed));

	*ret = (struct ct_exec_spec){
		.argv = unpack_strings(u, packed.argv, "argv"),
		.env = unpack_strings(u, packed.env, "env"),
		.cwd = unpack_string(u, packed.cwd, "cwd"),
		.uid = packed.uid,
		.gid = packed.gid,
		.groups = unpack_bytes(u, packed.groups, sizeof(uint32_t), "groups"),
		.n_groups = packed.groups.offset ? packed.groups.count : 0,
		.init_pidfd = unpack_fd(u, packed.init_pidfd, "init_pidfd"),
		.cgroup_fd = unpack_fd(u, packed.cgroup_fd, "cgroup_fd"),
		.base_id = packed.base_id,
		.capabilities = packed.capabilities,
		.unconfined = packed.flags & PACKED_UNCONFINED,
		.tty = packed.flags & PACKED_TTY,
		.rows = packed.rows,
		.columns = packed.columns,
	};
	for (size_t i = 0; i < 3; i++)
		ret->stdio[i] = unpack_fd(u, packed.stdio[i], "stdio");
	unpack_seccomp(u, packed.seccomp, &ret->seccomp);
	ret->rlimits = unpack_rlimits(u, packed.rlimits, &ret->n_rlimits);
}

/* Between the passes: memory for what the first has counted. */
static int unpack_between(struct unpacker *u, struct ct_error *err)
{
	if (u->wrong)
		return ct_error_set(err, -EBADMSG, "unpack", "malformed specification: %s", u->wrong);

	u->memory = calloc(1, u->used + 1);
	if (!u->memory)
		return ct_error_set(err, -ENOMEM, "unpack", "out of memory");

	u->used = 0;
	return 0;
}

int keeper_unpack_spec(const void *data, size_t len, const int *fds, size_t n_fds, struct ct_spec *ret,
        void **ret_memory, struct ct_error *err)
{
	struct unpacker u = { .data = data, .len = len, .fds = fds, .n_fds = n_fds };
	int r;

	unpack_spec_pass(&u, ret);
	r = unpack_between(&u, err);
	if (r < 0)
		return r;

	unpack_spec_pass(&u, ret);
	*ret_memory = u.memory;
	return 0;
}

int keeper_unpack_exec_spec(const void *data, size_t len, const int *fds, size_t n_fds,
        struct ct_exec_spec *ret, void **ret_memory, struct ct_error *err)
{
	struct unpacker u = { .data = data, .len = len, .fds = fds, .n_fds = n_fds };
	int r;

	unpack_exec_spec_pass(&u, ret);
	r = unpack_between(&u, err);
	if (r < 0)
		return r;

	unpack_exec_spec_pass(&u, ret);
	*ret_memory = u.memory;
	return 0;
}
