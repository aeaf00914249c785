/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing and unpacking: every field arrives, and what is malformed is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctd/keeper-pack.h"
#include "ctd/keeper-packed.h"
#include "ctd/keeper-proto.h"

/* Whoever adds a field to a specification: pack it, unpack it, compare it below, then mend the number. */
#if __SIZEOF_POINTER__ == 8
_Static_assert(sizeof(struct ct_spec) == 168, "a field of struct ct_spec that is not packed?");
_Static_assert(sizeof(struct ct_exec_spec) == 128, "a field of struct ct_exec_spec that is not packed?");
_Static_assert(sizeof(struct ct_bind) == 24, "a field of struct ct_bind that is not packed?");
_Static_assert(sizeof(struct ct_rlimit) == 24, "a field of struct ct_rlimit that is not packed?");
#endif

static const char *const argv[] = { "/sbin/init", "--log-level=debug", "", NULL };
static const char *const env[] = { "container=ctd", "PATH=/bin", NULL };
static const char *const masks[] = { "sys-kernel-tracing.mount", NULL };
static const char *const empty[] = { NULL };
static struct sock_filter filter[] = { { 0x20, 1, 2, 3 }, { 0x06, 4, 5, 0x7fff0000 } };
static const struct ct_rlimit rlimits[] = { { 7, 1024, UINT64_MAX }, { 3, 1, 2 } };
static const struct ct_bind binds[] = {
	{ .source_fd = 105, .target = "/etc/resolv.conf", .readonly = true },
	{ .source_fd = 106, .target = "/proc/meminfo", .create = true },
};
static const uint32_t groups[] = { 4, 24, 65534 };

static struct ct_spec full_spec(void)
{
	return (struct ct_spec){
		.argv = argv,
		.env = env,
		.hostname = "vps17",
		.root_fd = 101,
		.userns_fd = 102,
		.netns_fd = 103,
		.cgroup_fd = 104,
		.base_id = 0xfffe0000,
		.capabilities = 0x8000000000000001,
		.seccomp = { filter, 2 },
		.unconfined = true,
		.nesting = true,
		.rlimits = rlimits,
		.n_rlimits = 2,
		.binds = binds,
		.n_binds = 2,
		.run_masks = masks,
		.shm_bytes = 1ull << 40,
		.run_bytes = 12345,
		.max_ptys = 77,
		.boottime_offset_sec = -5,
		.monotonic_offset_sec = INT64_MIN,
		.set_clocks = true,
		.console = true,
	};
}

static struct ct_exec_spec full_exec_spec(void)
{
	return (struct ct_exec_spec){
		.argv = argv,
		.env = env,
		.cwd = "/root",
		.uid = 1000,
		.gid = 100,
		.groups = groups,
		.n_groups = 3,
		.init_pidfd = 201,
		.cgroup_fd = 202,
		.base_id = 131072,
		.capabilities = 42,
		.seccomp = { filter, 2 },
		.unconfined = true,
		.tty = true,
		.rows = 50,
		.columns = 65535,
		.stdio = { 203, -1, 204 },
		.rlimits = rlimits,
		.n_rlimits = 2,
	};
}

static void assert_strings(const char *const *a, const char *const *b)
{
	for (;; a++, b++) {
		if (!*a || !*b) {
			assert_ptr_equal(*a, *b);
			return;
		}
		assert_string_equal(*a, *b);
	}
}

static void assert_rlimits(const struct ct_rlimit *got, size_t n)
{
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got[i].resource, rlimits[i].resource);
		assert_int_equal(got[i].soft, rlimits[i].soft);
		assert_int_equal(got[i].hard, rlimits[i].hard);
	}
}

static void test_spec(void **state)
{
	const struct ct_spec spec = full_spec();
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_free_ void *memory = NULL;
	struct keeper_fds fds = { .n = 0 };
	struct ct_spec got;

	/* Something stands before it, as in a message. */
	assert_int_equal(strbuf_puts(&b, "abc"), 0);
	assert_int_equal(keeper_pack_spec(&b, &fds, &spec, NULL), 0);
	assert_int_equal(fds.n, 6);
	assert_int_equal(keeper_unpack_spec(b.data + 3, b.len - 3, fds.fds, fds.n, &got, &memory, NULL), 0);

	assert_strings(got.argv, argv);
	assert_strings(got.env, env);
	assert_strings(got.run_masks, masks);
	assert_string_equal(got.hostname, "vps17");
	assert_int_equal(got.root_fd, 101);
	assert_int_equal(got.userns_fd, 102);
	assert_int_equal(got.netns_fd, 103);
	assert_int_equal(got.cgroup_fd, 104);
	assert_int_equal(got.base_id, 0xfffe0000);
	assert_int_equal(got.capabilities, 0x8000000000000001);
	assert_int_equal(got.seccomp.count, 2);
	assert_memory_equal(got.seccomp.filter, filter, sizeof(filter));
	assert_true(got.unconfined && got.nesting && got.set_clocks && got.console);
	assert_rlimits(got.rlimits, got.n_rlimits);
	assert_int_equal(got.n_binds, 2);
	assert_string_equal(got.binds[0].target, "/etc/resolv.conf");
	assert_string_equal(got.binds[1].target, "/proc/meminfo");
	assert_int_equal(got.binds[0].source_fd, 105);
	assert_int_equal(got.binds[1].source_fd, 106);
	assert_true(got.binds[0].readonly && !got.binds[0].create && !got.binds[1].readonly &&
	            got.binds[1].create);
	assert_int_equal(got.shm_bytes, 1ull << 40);
	assert_int_equal(got.run_bytes, 12345);
	assert_int_equal(got.max_ptys, 77);
	assert_int_equal(got.boottime_offset_sec, -5);
	assert_int_equal(got.monotonic_offset_sec, INT64_MIN);
}

/* One flag at a time: none stands for another. */
static void test_flags(void **state)
{
	for (int i = 0; i < 4; i++) {
		const struct ct_spec spec = {
			.root_fd = -1,
			.userns_fd = -1,
			.netns_fd = -1,
			.cgroup_fd = -1,
			.unconfined = i == 0,
			.nesting = i == 1,
			.set_clocks = i == 2,
			.console = i == 3,
		};
		_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
		_cleanup_free_ void *memory = NULL;
		struct keeper_fds fds = { .n = 0 };
		struct ct_spec got;

		assert_int_equal(keeper_pack_spec(&b, &fds, &spec, NULL), 0);
		assert_int_equal(keeper_unpack_spec(b.data, b.len, NULL, 0, &got, &memory, NULL), 0);
		assert_int_equal(got.unconfined, i == 0);
		assert_int_equal(got.nesting, i == 1);
		assert_int_equal(got.set_clocks, i == 2);
		assert_int_equal(got.console, i == 3);
	}
}

static void test_missing_is_not_empty(void **state)
{
	struct ct_spec spec = {
		.argv = empty, .root_fd = -1, .userns_fd = 9, .netns_fd = -1, .cgroup_fd = 0, .binds = binds
	};
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_free_ void *memory = NULL;
	struct keeper_fds fds = { .n = 0 };
	struct ct_spec got;

	assert_int_equal(keeper_pack_spec(&b, &fds, &spec, NULL), 0);
	assert_int_equal(keeper_unpack_spec(b.data, b.len, fds.fds, fds.n, &got, &memory, NULL), 0);
	assert_non_null(got.argv);
	assert_null(got.argv[0]);
	assert_null(got.env);
	assert_null(got.hostname);
	assert_null(got.seccomp.filter);
	assert_null(got.run_masks);
	assert_non_null(got.binds);
	assert_int_equal(got.n_binds, 0);
	assert_int_equal(got.root_fd, -1);
	assert_int_equal(got.userns_fd, 9);
	assert_int_equal(got.netns_fd, -1);
	assert_int_equal(got.cgroup_fd, 0);
}

static void test_exec_spec(void **state)
{
	const struct ct_exec_spec spec = full_exec_spec();
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_free_ void *memory = NULL;
	struct keeper_fds fds = { .n = 0 };
	struct ct_exec_spec got;

	assert_int_equal(keeper_pack_exec_spec(&b, &fds, &spec, NULL), 0);
	assert_int_equal(fds.n, 4);
	assert_int_equal(keeper_unpack_exec_spec(b.data, b.len, fds.fds, fds.n, &got, &memory, NULL), 0);

	assert_strings(got.argv, argv);
	assert_strings(got.env, env);
	assert_string_equal(got.cwd, "/root");
	assert_int_equal(got.uid, 1000);
	assert_int_equal(got.gid, 100);
	assert_int_equal(got.n_groups, 3);
	assert_memory_equal(got.groups, groups, sizeof(groups));
	assert_int_equal(got.init_pidfd, 201);
	assert_int_equal(got.cgroup_fd, 202);
	assert_int_equal(got.base_id, 131072);
	assert_int_equal(got.capabilities, 42);
	assert_int_equal(got.seccomp.count, 2);
	assert_memory_equal(got.seccomp.filter, filter, sizeof(filter));
	assert_true(got.unconfined && got.tty);
	assert_int_equal(got.rows, 50);
	assert_int_equal(got.columns, 65535);
	assert_int_equal(got.stdio[0], 203);
	assert_int_equal(got.stdio[1], -1);
	assert_int_equal(got.stdio[2], 204);
	assert_rlimits(got.rlimits, got.n_rlimits);
}

static void test_too_large(void **state)
{
	struct ct_bind many[KEEPER_FDS_MAX];
	struct ct_spec spec = full_spec();
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_free_ char *text = malloc(KEEPER_MESSAGE_MAX + 1);
	struct keeper_fds fds = { .n = 0 };
	struct ct_error error = { 0 };

	for (size_t i = 0; i < KEEPER_FDS_MAX; i++)
		many[i] = binds[0];
	spec.binds = many;
	spec.n_binds = KEEPER_FDS_MAX - 4;
	assert_int_equal(keeper_pack_spec(&b, &fds, &spec, &error), 0);
	spec.n_binds++;
	fds.n = 0;
	strbuf_reset(&b);
	assert_int_equal(keeper_pack_spec(&b, &fds, &spec, &error), -E2BIG);
	assert_true(error.text[0]);

	memset(text, 'x', KEEPER_MESSAGE_MAX);
	text[KEEPER_MESSAGE_MAX] = '\0';
	spec = full_spec();
	spec.hostname = text;
	fds.n = 0;
	strbuf_reset(&b);
	assert_int_equal(keeper_pack_spec(&b, &fds, &spec, &error), -E2BIG);
}

/* A packed full specification, to be damaged. */
static struct strbuf packed_full(struct keeper_fds *fds)
{
	const struct ct_spec spec = full_spec();
	struct strbuf b = STRBUF_INIT;

	fds->n = 0;
	assert_int_equal(keeper_pack_spec(&b, fds, &spec, NULL), 0);
	return b;
}

/* What unpacking an exact copy (so that a sanitizer sees every step beyond) of data comes to. */
static int unpack_copy(const void *data, size_t len, const struct keeper_fds *fds)
{
	_cleanup_free_ void *memory = NULL;
	_cleanup_free_ char *copy = malloc(len ? len : 1);
	struct ct_error error = { 0 };
	struct ct_spec got;
	int r;

	memcpy(copy, data, len);
	r = keeper_unpack_spec(copy, len, fds->fds, fds->n, &got, &memory, &error);
	assert_true(r == 0 || (r == -EBADMSG && error.text[0] && !memory));
	return r;
}

static void test_cut_short(void **state)
{
	struct keeper_fds fds;
	_cleanup_strbuf_ struct strbuf b = packed_full(&fds);

	for (size_t len = 0; len < b.len; len++)
		assert_int_equal(unpack_copy(b.data, len, &fds), -EBADMSG);
	assert_int_equal(unpack_copy(b.data, b.len, &fds), 0);
}

static void test_bad_arrays(void **state)
{
	static const size_t arrays[] = {
		offsetof(struct packed_spec, argv),
		offsetof(struct packed_spec, env),
		offsetof(struct packed_spec, hostname),
		offsetof(struct packed_spec, seccomp),
		offsetof(struct packed_spec, rlimits),
		offsetof(struct packed_spec, binds),
		offsetof(struct packed_spec, run_masks),
	};
	struct keeper_fds fds;
	_cleanup_strbuf_ struct strbuf b = packed_full(&fds);
	const struct packed_array bad[] = {
		{ UINT32_MAX, 1 },
		{ (uint32_t)b.len + 1, 1 },
		{ (uint32_t)b.len, 1 },
		{ 8, UINT32_MAX },
		{ 8, UINT32_MAX / 24 + 1 },
		{ (uint32_t)b.len - 1, 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
		for (size_t j = 0; j < ARRAY_SIZE(bad); j++) {
			_cleanup_free_ char *copy = malloc(b.len);

			memcpy(copy, b.data, b.len);
			memcpy(copy + arrays[i], &bad[j], sizeof(bad[j]));
			assert_int_equal(unpack_copy(copy, b.len, &fds), -EBADMSG);
		}
}

static void test_bad_fds(void **state)
{
	static const int32_t bad[] = { 6, INT32_MAX, -2, INT32_MIN };
	struct keeper_fds fds;
	_cleanup_strbuf_ struct strbuf b = packed_full(&fds);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memcpy(b.data + offsetof(struct packed_spec, netns_fd), &bad[i], sizeof(bad[i]));
		assert_int_equal(unpack_copy(b.data, b.len, &fds), -EBADMSG);
	}
}

/* A peer that knows fewer fields, and one that knows more. */
static void test_other_versions(void **state)
{
	const struct packed_spec old = {
		.size = offsetof(struct packed_spec, base_id), .flags = PACKED_CONSOLE, .root_fd = -1
	};
	struct {
		struct packed_spec known;
		uint64_t later;
	} new = {
		.known = { .size = sizeof(new), .base_id = 7, .root_fd = -1 },
		.later = UINT64_MAX,
	};
	const int fds[] = { 3 };
	_cleanup_free_ void *first = NULL, *second = NULL;
	struct ct_spec got;

	assert_int_equal(keeper_unpack_spec(&old, old.size, fds, 1, &got, &first, NULL), 0);
	assert_true(got.console);
	assert_int_equal(got.base_id, 0);
	assert_int_equal(got.netns_fd, 3);

	assert_int_equal(keeper_unpack_spec(&new, sizeof(new), fds, 1, &got, &second, NULL), 0);
	assert_int_equal(got.base_id, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_missing_is_not_empty),
		cmocka_unit_test(test_exec_spec),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_bad_arrays),
		cmocka_unit_test(test_bad_fds),
		cmocka_unit_test(test_other_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
