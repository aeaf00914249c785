/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inner cgroups across suspend and resume, on directories that look like cgroups; and what is no note of
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/test-place.h"
#include "ctd/worker-suspend-cgroup.h"

static void make_cgroup(const char *path, const char *controllers, const char *memory_max)
{
	static const struct {
		const char *name, *value;
	} files[] = { { "cgroup.events", "populated 0\n" }, { "cgroup.type", "domain\n" },
		{ "memory.current", "77\n" } };
	char name[256];

	(void)mkdirat(place_fd, path, 0755); /* the first is there */
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", path, files[i].name);
		place_put(name, files[i].value);
	}
	(void)snprintf(name, sizeof(name), "%s/cgroup.subtree_control", path);
	place_put(name, controllers);
	(void)snprintf(name, sizeof(name), "%s/memory.max", path);
	place_put(name, memory_max);
}

static void expect(const char *path, const char *value)
{
	_cleanup_free_ char *is = NULL;

	assert_int_equal(read_file_at(place_fd, path, 4096, &is, NULL), 0);
	assert_string_equal(is, value);
}

static int open_in(const char *path)
{
	int fd = openat(place_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void test_there_and_back(void **state)
{
	_cleanup_json_ json_t *list = NULL;
	_cleanup_close_ int from = -1, to = -1;

	make_cgroup("from", "memory pids\n", "max\n");
	make_cgroup("from/.hidden", "\n", "4096\n");
	make_cgroup("from/a.slice", "memory\n", "1048576\n");
	make_cgroup("from/a.slice/b.service", "\n", "max\n");
	make_cgroup("to", "\n", "max\n");
	from = open_in("from");
	assert_int_equal(suspend_cgroups_check(from, geteuid(), NULL), 0);
	assert_int_equal(suspend_cgroups_note(from, geteuid(), place_fd, NULL), 0);
	assert_int_equal(suspend_cgroups_read(place_fd, &list, NULL), 0);
	assert_int_equal(json_array_size(list), 4);

	to = open_in("to");
	assert_int_equal(suspend_cgroups_make(list, to, geteuid(), NULL), 0);
	make_cgroup("to/.hidden", "\n", "max\n"); /* what the kernel has in a new one */
	make_cgroup("to/a.slice", "\n", "max\n");
	make_cgroup("to/a.slice/b.service", "\n", "max\n");
	assert_int_equal(suspend_cgroups_enable(list, to, NULL), 0);
	expect("to/cgroup.subtree_control", "+memory +pids");
	expect("to/a.slice/cgroup.subtree_control", "+memory");
	expect("to/a.slice/b.service/cgroup.subtree_control", "\n");
}

static void test_settings_are_written_and_read_back(void **state)
{
	_cleanup_json_ json_t *list = NULL;
	_cleanup_close_ int fd = -1;

	make_cgroup("from", "\n", "max\n");
	make_cgroup("from/a", "\n", "1048576\n");
	fd = open_in("from");
	assert_int_equal(suspend_cgroups_note(fd, geteuid(), place_fd, NULL), 0);
	assert_int_equal(suspend_cgroups_read(place_fd, &list, NULL), 0);
	place_put("from/a/memory.max", "");
	place_put("from/memory.max", "123\n"); /* ctd's, and left alone */
	assert_int_equal(suspend_cgroups_finish(list, fd, geteuid(), NULL), 0);
	expect("from/a/memory.max", "1048576");
	expect("from/memory.max", "123\n");

	/* one that takes what it is told, and says something else */
	assert_int_equal(unlinkat(place_fd, "from/a/memory.max", 0), 0);
	assert_int_equal(symlinkat("/dev/null", place_fd, "from/a/memory.max"), 0);
	assert_int_equal(suspend_cgroups_finish(list, fd, geteuid(), NULL), -ERANGE);
}

static void test_what_cannot_be_kept(void **state)
{
	static const struct {
		const char *file, *value;
	} each[] = { { "from/a/cgroup.type", "threaded\n" }, { "from/a/io.max", "8:0 rbps=1\n" },
		{ "from/a/io.weight", "default 100\n8:0 50\n" },
		{ "from/a/cpuset.cpus.partition", "root\n" } };

	for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
		_cleanup_close_ int fd = -1;
		struct ct_error error = { 0 };

		make_cgroup("from", "\n", "max\n");
		make_cgroup("from/a", "\n", "max\n");
		place_put(each[i].file, each[i].value);
		fd = open_in("from");
		assert_int_equal(suspend_cgroups_check(fd, geteuid(), &error), -EOPNOTSUPP);
		assert_non_null(strstr(error.text, strrchr(each[i].file, '/') + 1));
		assert_int_equal(error.kind, CT_ERROR_REFUSED);
		assert_int_equal(unlinkat(place_fd, each[i].file, 0), 0);
	}
}

static void test_too_deep(void **state)
{
	_cleanup_close_ int fd = -1;
	struct ct_error error = { 0 };
	char path[256] = "from";
	size_t len = strlen(path);

	make_cgroup(path, "\n", "max\n");
	for (int i = 0; i < 65; i++) {
		len += (size_t)snprintf(path + len, sizeof(path) - len, "/a");
		make_cgroup(path, "\n", "max\n");
	}
	fd = open_in("from");
	assert_int_equal(suspend_cgroups_check(fd, geteuid(), &error), -E2BIG);
}

#define OWN    "\"uid\":0,\"gid\":0,\"files_uid\":-1,\"files_gid\":0,\"mode\":493,\"others\":{\"x\":[0,1]}"
#define OF_ALL "\"controllers\":\"memory pids\",\"attributes\":{\"user.a\":\"00ff\"}"

static void test_notes(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} notes[] = {
		{ "{\"cgroups\":[]}", true },
		{ "{\"cgroups\":[{\"path\":\"\"," OF_ALL "}]}", true },
		{ "{\"cgroups\":[{\"path\":\"a/b\"," OF_ALL "," OWN ",\"values\":{\"memory.max\":\"max\"}}]}",
		        true },
		{ "{\"cgroups\":[{\"path\":\"a/b\"," OF_ALL "}]}", false }, /* whose is it? */
		{ "{\"cgroups\":[{\"path\":\"\"," OF_ALL ",\"values\":{\"memory.max\":\"max\"}}]}",
		        false }, /* the container's own limit */
		{ "{}", false },
		{ "[]", false },
		{ "{\"cgroups\":[{\"path\":\"..\"," OF_ALL "," OWN ",\"values\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"a/../b\"," OF_ALL "," OWN ",\"values\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"/a\"," OF_ALL "," OWN ",\"values\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"a/\"," OF_ALL "," OWN ",\"values\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"a//b\"," OF_ALL "," OWN ",\"values\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"a\"," OF_ALL "," OWN ",\"values\":{\"cgroup.procs\":\"1\"}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"a\"," OF_ALL "," OWN ",\"values\":{\"../memory.max\":\"1\"}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"a\"," OF_ALL "," OWN ",\"values\":{\"memory.max\":\"1\\n2\"}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"\",\"controllers\":\"-memory\",\"attributes\":{}}]}", false },
		{ "{\"cgroups\":[{\"path\":\"\",\"controllers\":\"\",\"attributes\":{\"trusted.a\":\"00\"}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"\",\"controllers\":\"\",\"attributes\":{\"user.a\":\"0\"}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"a\"," OF_ALL
		  ",\"uid\":65536,\"gid\":0,\"files_uid\":0,\"files_gid\":0,\"mode\":0,\"others\":{},\"values\":{}}]}",
		        false },
		{ "{\"cgroups\":[{\"path\":\"a\"," OF_ALL
		  ",\"uid\":0,\"gid\":0,\"files_uid\":0,\"files_gid\":0,\"mode\":2541,\"others\":{},\"values\":{}}]}",
		        false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		_cleanup_json_ json_t *list = NULL;
		struct ct_error error = { 0 };
		int r = suspend_cgroups_parse(notes[i].text, strlen(notes[i].text), &list, &error);

		if ((r >= 0) != notes[i].good)
			fail_msg("note %zu: %d %s", i, r, error.text);
	}
}

/* Images of an older build have none. */
static void test_without(void **state)
{
	_cleanup_json_ json_t *list = NULL;

	assert_int_equal(suspend_cgroups_read(place_fd, &list, NULL), 0);
	assert_int_equal(json_array_size(list), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_there_and_back, place_make, place_remove),
		cmocka_unit_test_setup_teardown(
		        test_settings_are_written_and_read_back, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_kept, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_too_deep, place_make, place_remove),
		cmocka_unit_test(test_notes),
		cmocka_unit_test_setup_teardown(test_without, place_make, place_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
