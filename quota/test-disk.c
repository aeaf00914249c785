/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store and driver dir as far as no privilege is needed: names, making, refusing, discarding, sweeping.
 */
#include "quota/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "quota/test-store.h"

static const struct disk_spec plain = {
	.ctid = "c0ffee-1", .driver = DISK_DRIVER_DIR, .template_digest = TEST_DIGEST
};

static bool there(const struct test_store *t, const char *path)
{
	return faccessat(disk_store_fd(t->store), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int count_one(const char *name, void *userdata)
{
	(*(unsigned int *)userdata)++;
	return 0;
}

static unsigned int count(const struct test_store *t, const char *kind)
{
	unsigned int n = 0;

	assert_int_equal(disk_store_each(t->store, kind, count_one, &n, NULL), 0);
	return n;
}

static void test_names(void **state)
{
	enum disk_driver driver = DISK_DRIVER_DIR;

	assert_int_equal(disk_driver_from_name("image", &driver), 0);
	assert_int_equal(driver, DISK_DRIVER_IMAGE);
	assert_string_equal(disk_driver_name(DISK_DRIVER_DIR), "dir");
	assert_int_equal(disk_driver_from_name("zfs", &driver), -EINVAL);
	assert_int_equal(disk_driver_from_name("", &driver), -EINVAL);
}

static void test_store_is_closed_to_others(void **state)
{
	const struct test_store *t = *state;
	struct disk_store *again = NULL;
	struct stat st;

	assert_int_equal(chmod(t->path, 0755), 0);
	assert_int_equal(disk_store_open(t->path, &again, NULL), 0);
	assert_int_equal(stat(t->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	disk_store_close(again);
}

static void test_store_refuses(void **state)
{
	const struct test_store *t = *state;
	struct disk_store *store = NULL;
	struct ct_error err = { 0 };
	char path[128];

	assert_int_equal(disk_store_open("relative", &store, &err), -EINVAL);
	assert_string_equal(err.field, "store");

	(void)snprintf(path, sizeof(path), "%s/link", t->dir);
	assert_int_equal(symlink(t->path, path), 0);
	assert_true(disk_store_open(path, &store, &err) < 0);
	assert_null(store);

	(void)snprintf(path, sizeof(path), "%s/none/store", t->dir);
	assert_int_equal(disk_store_open(path, &store, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
}

static void test_create_and_discard(void **state)
{
	struct test_store *t = *state;
	struct ct_error err = { 0 };
	struct stat st;

	assert_int_equal(fchmodat(disk_store_fd(t->store), "templates/" TEST_DIGEST "/root", 0751, 0), 0);
	if (disk_create(t->store, &plain, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(there(t, "containers/c0ffee-1/work"));
	assert_int_equal(fstatat(disk_store_fd(t->store), "containers/c0ffee-1/upper", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0751); /* as the template's root */

	assert_int_equal(disk_create(t->store, &plain, &err), -EEXIST);
	assert_int_equal(err.kind, CT_ERROR_STATE);

	assert_true(disk_is_new(t->store, plain.ctid));
	assert_int_equal(disk_settle(t->store, plain.ctid), 0);
	assert_false(disk_is_new(t->store, plain.ctid));
	assert_int_equal(disk_settle(t->store, plain.ctid), 0);
	assert_int_equal(disk_unsettle(t->store, plain.ctid), 0);
	assert_int_equal(disk_unsettle(t->store, plain.ctid), 0);
	assert_true(disk_is_new(t->store, plain.ctid));

	assert_int_equal(disk_discard(t->store, &plain, &err), 0);
	assert_false(there(t, "containers/c0ffee-1"));
	assert_false(disk_is_new(t->store, plain.ctid));
	assert_int_equal(disk_settle(t->store, plain.ctid), -ENOENT);
	assert_int_equal(disk_unsettle(t->store, plain.ctid), -ENOENT);
	assert_int_equal(disk_settle(t->store, "../tmp"), -EINVAL);
	assert_int_equal(count(t, "trash"), 1);
	assert_int_equal(disk_discard(t->store, &plain, &err), 0); /* done already */

	/* The same id again, and again into the trash. */
	assert_int_equal(disk_create(t->store, &plain, &err), 0);
	assert_int_equal(disk_discard(t->store, &plain, &err), 0);
	assert_int_equal(count(t, "trash"), 2);
	assert_int_equal(disk_store_sweep(t->store, NULL, NULL, &err), 0);
	assert_int_equal(count(t, "trash"), 0);
}

static void test_create_refuses(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "-a", "A", "x y", "a\nb" };
	struct test_store *t = *state;
	struct disk_spec spec = plain;
	struct ct_error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		spec.ctid = bad[i];
		assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
		assert_string_equal(err.field, "ctid");
		assert_int_equal(disk_discard(t->store, &spec, &err), -EINVAL);
	}

	spec = plain;
	spec.template_digest = "../../etc";
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	assert_string_equal(err.field, "template");

	spec.template_digest = "00ff"; /* well formed, not there */
	assert_int_equal(disk_create(t->store, &spec, &err), -ENOENT);
	assert_int_equal(count(t, "containers"), 0);
	assert_int_equal(count(t, "tmp"), 0);
}

static void test_limit_needs_quota(void **state)
{
	struct test_store *t = *state;
	struct disk_spec spec = plain;
	struct ct_error err = { 0 };
	struct disk_probe probe;

	assert_int_equal(disk_probe(t->store, &probe, &err), 0);
	assert_int_equal(count(t, "tmp"), 0);
	if (probe.project_quota) {
		print_message("/var/tmp enforces project quota: test/lab-disk.bats says more\n");
		skip();
	}
	assert_true(strlen(probe.project_quota_remedy) > 0);

	spec.bytes = 1 << 20;
	assert_int_equal(disk_create(t->store, &spec, &err), -EINVAL);
	assert_string_equal(err.field, "project_id");

	spec.project_id = 7;
	assert_int_equal(disk_create(t->store, &spec, &err), -EOPNOTSUPP);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
	assert_non_null(strstr(err.text, probe.project_quota_remedy));
	assert_int_equal(count(t, "containers"), 0);

	/* Nor later. */
	assert_int_equal(disk_create(t->store, &plain, &err), 0);
	assert_int_equal(disk_resize(t->store, &spec, &err), -EOPNOTSUPP);
}

static void test_usage_without_quota(void **state)
{
	struct test_store *t = *state;
	struct disk_usage usage = { .exact = true };
	struct ct_error err = { 0 };

	assert_int_equal(disk_usage(t->store, &plain, &usage, &err), -ENOENT);
	assert_int_equal(disk_create(t->store, &plain, &err), 0);
	assert_int_equal(disk_usage(t->store, &plain, &usage, &err), 0);
	assert_false(usage.exact);
	assert_int_equal(usage.bytes_used, 0);
}

static bool keep_a(const char *name, void *userdata)
{
	return str_eq(name, "job-a");
}

static void test_sweep_keeps(void **state)
{
	struct test_store *t = *state;
	int fd = disk_store_fd(t->store);

	test_write(fd, "tmp/job-a/x", "x", 0600);
	test_write(fd, "tmp/job-b/deep/er/x", "x", 0000);
	test_write(fd, "trash/job-a/x", "x", 0600);
	assert_int_equal(disk_store_sweep(t->store, keep_a, NULL, NULL), 0);
	assert_true(there(t, "tmp/job-a/x"));
	assert_int_equal(count(t, "tmp"), 1);
	assert_int_equal(count(t, "trash"), 0); /* keep is asked for tmp only */
}

static void test_leftover_of_a_killed_create(void **state)
{
	struct test_store *t = *state;

	test_write(disk_store_fd(t->store), "tmp/disk-c0ffee-1/upper/x", "x", 0600);
	assert_int_equal(disk_create(t->store, &plain, NULL), 0);
	assert_false(there(t, "containers/c0ffee-1/upper/x"));
	assert_int_equal(count(t, "tmp"), 0);

	test_write(disk_store_fd(t->store), "tmp/disk-c0ffee-1/upper/x", "x", 0600);
	assert_int_equal(disk_discard(t->store, &plain, NULL), 0);
	assert_int_equal(count(t, "tmp"), 0);
	assert_int_equal(count(t, "trash"), 2);
}

static int stop_at_first(const char *name, void *userdata)
{
	return 42;
}

static void test_each(void **state)
{
	struct test_store *t = *state;

	assert_int_equal(disk_store_each(t->store, "templates", stop_at_first, NULL, NULL), 42);
	assert_int_equal(disk_store_each(t->store, "containers", stop_at_first, NULL, NULL), 0);
	assert_int_equal(disk_store_each(t->store, "..", stop_at_first, NULL, NULL), -EINVAL);
	assert_int_equal(count(t, "templates"), 1);
	assert_int_equal(count(t, "templates"), 1); /* from the start again */
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_store_setup, test_store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		STORE_TEST(test_store_is_closed_to_others),
		STORE_TEST(test_store_refuses),
		STORE_TEST(test_create_and_discard),
		STORE_TEST(test_create_refuses),
		STORE_TEST(test_limit_needs_quota),
		STORE_TEST(test_usage_without_quota),
		STORE_TEST(test_sweep_keeps),
		STORE_TEST(test_leftover_of_a_killed_create),
		STORE_TEST(test_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
