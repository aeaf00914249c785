/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store when something is wrong: no space, a damaged or foreign file, an older or newer schema. */

#include "ctd/test-store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* All of a unit or nothing, also when SQLite gives up in the middle of it. */
static void fill_until_full(struct fixture *f)
{
	struct ct_error err = { 0 };
	_cleanup_free_ char *value = NULL, *big = malloc(200001);

	memset(big, 'x', 200000);
	big[200000] = '\0';

	assert_int_equal(store_meta_set(f->store, "before", "1", &err), 0);
	assert_int_equal(store_begin(f->store, false, &err), 0);
	assert_int_equal(store_meta_set(f->store, "first", "1", &err), 0);

	int r = 0;
	for (unsigned i = 0; r == 0 && i < 100; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%u", i);
		r = store_meta_set(f->store, key, big, &err);
	}
	if (r == 0)
		r = store_commit(f->store, &err);
	else
		store_rollback(f->store);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
	assert_non_null(strstr(err.text, "no space"));

	assert_int_equal(store_meta_get(f->store, "first", &value), -ENOENT);
	assert_int_equal(store_meta_get(f->store, "before", &value), 0);
}

static void test_full_inside(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };

	assert_int_equal(store_exec(f->store, "PRAGMA max_page_count = 100", NULL), 0);
	fill_until_full(f);

	/* a caller that goes on after the failure cannot commit half of it */
	_cleanup_free_ char *big = malloc(1000001), *value = NULL;
	memset(big, 'x', 1000000);
	big[1000000] = '\0';
	assert_int_equal(store_begin(f->store, false, &err), 0);
	assert_int_equal(store_meta_set(f->store, "big", big, &err), -ENOSPC);
	if (f->store->aborted) {
		assert_int_equal(store_meta_set(f->store, "late", "1", &err), -ECANCELED);
		assert_int_equal(store_commit(f->store, &err), -ECANCELED);
		assert_int_equal(store_meta_get(f->store, "late", &value), -ENOENT);
	} else {
		store_rollback(f->store);
	}
	assert_int_equal(store_meta_set(f->store, "small", "1", &err), 0);
}

/* A tmpfs of this size on /tmp, in a mount namespace of the test's own; 77: not permitted. */
static int enter_tmpfs(const char *size)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%s", size);
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return 77;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	        mount("tmpfs", "/tmp", "tmpfs", 0, options) < 0)
		return 77;
	return 0;
}

/* Too small for a reserve. */
static int full_disk_child(void)
{
	struct fixture f = { .dir = "/tmp", .path = "/tmp/ctd.db" };
	struct ct_error err = { 0 };

	int r = enter_tmpfs("1m");
	if (r != 0)
		return r;

	assert_int_equal(store_open(f.path, &f.store, &err), 0);
	fill_until_full(&f);
	store_reopen(&f);
	store_close(f.store);
	return 0;
}

static void fill_disk(void)
{
	char block[4096] = "";
	int fd = open("/tmp/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	while (write(fd, block, sizeof(block)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

/* Somebody else has filled the disk: containers are stopped and destroyed all the same, and what was recorded
 * is there afterwards. */
static int reserve_child(void)
{
	struct fixture f = { .dir = "/tmp", .path = "/tmp/ctd.db" };
	struct ct_error err = { 0 };
	struct job_row job = {
		.verb = (char *)"destroy", .object = (char *)"x", .params = (char *)"{}", .created_usec = 1
	};

	int r = enter_tmpfs("8m");
	if (r != 0)
		return r;

	assert_int_equal(store_open(f.path, &f.store, &err), 0);
	put_template(f.store, "tiny", DIGEST_A);
	for (unsigned i = 1; i <= 100; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		assert_int_equal(put_container(f.store, i, name, NULL, NULL), 0);
	}

	fill_disk();
	for (unsigned i = 1; i <= 100; i++) {
		assert_int_equal(store_begin(f.store, true, &err), 0);
		assert_int_equal(store_job_insert(f.store, &job, &err), 0);
		assert_int_equal(store_commit(f.store, &err), 0);
		assert_int_equal(store_begin(f.store, true, &err), 0);
		assert_int_equal(store_container_delete(f.store, ctid_of(i), &err), 0);
		assert_int_equal(store_job_finish(f.store, job.id, "{}", NULL, &err), 0);
		if (store_commit(f.store, &err) < 0)
			fail_msg("after %u: %s", i, err.text);
	}

	store_reopen(&f);
	assert_int_equal(count_all_containers(f.store), 0);
	assert_int_equal(store_job_get(f.store, 100, &job, &err), 0);
	job_row_done(&job);
	store_close(f.store);
	return 0;
}

static void run_child(int (*child)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int r = child();
		_exit(r);
	}

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("no mount namespace for an unprivileged test: skipped\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_full_disk(void **state)
{
	run_child(full_disk_child);
}

static void test_reserve(void **state)
{
	run_child(reserve_child);
}

static void test_not_ours(void **state)
{
	struct fixture *f = *state;
	struct store *other = NULL;
	struct ct_error err = { 0 };
	sqlite3 *db = NULL;
	char path[128];

	/* newer */
	assert_int_equal(store_exec(f->store, "PRAGMA user_version = 99", NULL), 0);
	assert_int_equal(store_open(f->path, &other, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.text, "version 99"));
	assert_int_equal(store_exec(f->store, "PRAGMA user_version = 1", NULL), 0);

	/* somebody else's */
	snprintf(path, sizeof(path), "%s/other.db", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE x (y)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(store_open(path, &other, &err), -EPROTO);
	assert_non_null(strstr(err.text, "not one of ctd"));
	assert_int_equal(unlink(path), 0);

	/* no database at all, and a directory */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < 400; i++)
		assert_int_equal(write(fd, "this is not a database ", 23), 23);
	close(fd);
	assert_int_equal(store_open(path, &other, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "damaged"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_open(f->dir, &other, &err), -EISDIR);
	assert_null(other);
}

static void test_damaged(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };

	put_template(f->store, "tiny", DIGEST_A);
	for (unsigned i = 1; i <= 300; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		assert_int_equal(put_container(f->store, i, name, NULL, NULL), 0);
	}
	store_close(f->store);
	f->store = NULL;

	struct stat st;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size > 40000);
	for (off_t at = 4096; at + 4096 <= st.st_size; at += 4096)
		assert_int_equal(
		        pwrite(fd, "\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377", 16,
		                at),
		        16);
	close(fd);

	assert_int_equal(store_open(f->path, &f->store, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "damaged"));
	assert_null(f->store);
}

static void test_migrations(void **state)
{
	static const char *const steps[] = { "CREATE TABLE two (a)", "INSERT INTO two VALUES (7)" };
	static const char *const bad[] = { "CREATE TABLE two (a)", "INSERT INTO two VALUES (7)",
		"CREATE TABLE four (a); nonsense" };
	struct fixture *f = *state;
	struct ct_error err = { 0 };

	assert_int_equal(store_exec(f->store, "PRAGMA user_version = 1", &err), 0);
	assert_int_equal(store_migrate(f->store, "nonsense that is not run", steps, 2, &err), 0);
	{
		_cleanup_query_ struct query q = query_start(
		        f->store, "SELECT a, (SELECT user_version FROM pragma_user_version) FROM two");
		assert_int_equal(query_next(&q, &err), 1);
		assert_int_equal(query_int(&q, 0), 7);
		assert_int_equal(query_int(&q, 1), 3);
		assert_int_equal(query_next(&q, &err), 0);
	}

	/* a step that fails leaves everything as it was */
	assert_true(store_migrate(f->store, "", bad, 3, &err) < 0);
	assert_non_null(strstr(err.text, "from version 3 to 4"));
	{
		_cleanup_query_ struct query q =
		        query_start(f->store, "SELECT count(*) FROM sqlite_schema WHERE name = 'four'");
		assert_int_equal(query_next(&q, &err), 1);
		assert_int_equal(query_int(&q, 0), 0);
	}

	assert_int_equal(store_migrate(f->store, "", steps, 1, &err), -EPROTONOSUPPORT);
}

/* All that the schema says, in a form that does not depend on how it is written. */
static void read_schema(struct store *store, char *text, size_t size)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT replace(replace(replace(sql, char(10), ''), char(9), ''), ' ', '') FROM sqlite_schema"
	        " WHERE name IN ('address', 'address_ctid', 'address_overlap', 'publish', 'publish_ctid', 'network', 'traffic')"
	        " ORDER BY name");

	text[0] = '\0';
	while (query_next(&q, NULL) > 0) {
		size_t len = strlen(text);

		assert_true((size_t)snprintf(text + len, size - len, "%s;", query_text(&q, 0)) < size - len);
	}
}

/* The step that networks came with: what the tables become is what schema.sql says, and addresses stay. */
static void test_step_networks(void **state)
{
	static const char old[] =
	        "DROP TABLE address; DROP TABLE publish; DROP TABLE network; DROP TABLE traffic;"
	        "CREATE TABLE address (address TEXT PRIMARY KEY, ctid TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE,"
	        " device TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	        "CREATE INDEX address_ctid ON address (ctid);"
	        "INSERT INTO template_image VALUES (hex(zeroblob(32)), '{}', 1, 1);"
	        "INSERT INTO container (ctid, name, number, template, template_name, config, created)"
	        " VALUES (hex(zeroblob(16)), 'a', 1, hex(zeroblob(32)), 't', '{}', 1);"
	        "INSERT INTO address VALUES ('10.0.0.1', hex(zeroblob(16)), 'eth0');"
	        "INSERT INTO address VALUES ('fd00::1', hex(zeroblob(16)), 'eth0')";
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	char before[8192], after[8192], owner[33];

	read_schema(f->store, before, sizeof(before));
	assert_int_equal(store_exec(f->store, old, &err), 0);
	assert_int_equal(store_exec(f->store, store_steps[0], &err), 0);
	read_schema(f->store, after, sizeof(after));
	assert_true(strlen(before) > 500);
	assert_string_equal(before, after);
	assert_int_equal(store_address_owner(f->store, "", "10.0.0.0/24", owner), 1);
	assert_int_equal(store_address_owner(f->store, "", "fd00::/64", owner), 1);
	assert_int_equal(store_address_owner(f->store, "", "10.0.0.2", owner), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_full_inside),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_reserve),
		TEST(test_not_ours),
		TEST(test_damaged),
		TEST(test_migrations),
		TEST(test_step_networks),
	};

	return cmocka_run_group_tests_name("store-fault", tests, NULL, NULL);
}
