/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store through its header, on a database in a directory of the test's own. */

#include "ctd/test-store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/str.h"

static void test_file_is_private(void **state)
{
	struct fixture *f = *state;
	char wal[128];
	struct stat st;

	assert_int_equal(store_meta_set(f->store, "a", "b", NULL), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(wal, sizeof(wal), "%s-wal", f->path);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_meta(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *value = NULL;

	assert_int_equal(store_meta_get(f->store, "instance", &value), -ENOENT);
	assert_int_equal(store_meta_set(f->store, "instance", "one", NULL), 0);
	assert_int_equal(store_meta_set(f->store, "instance", "two", NULL), 0);
	store_reopen(f);
	assert_int_equal(store_meta_get(f->store, "instance", &value), 0);
	assert_string_equal(value, "two");
}

static int see_container(const struct container_row *row, void *userdata)
{
	assert_string_equal(row->ctid, ctid_of(1));
	assert_string_equal(row->name, "web");
	assert_int_equal(row->number, 1);
	assert_string_equal(row->template_digest, DIGEST_A);
	assert_string_equal(row->template_name, "tiny");
	assert_string_equal(row->config, "{}");
	assert_int_equal(row->epoch, 1);
	assert_null(row->broken);
	assert_true(row->created_usec == 1700000000000000);
	assert_false(row->complete);
	return 7;
}

static void test_container(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	uint32_t number;

	assert_int_equal(put_container(f->store, 1, "web", NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no template"));

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "web", &number, &err), 0);
	assert_int_equal(number, 1);
	store_reopen(f);
	assert_int_equal(store_container_each(f->store, see_container, NULL, &err), 7);

	/* the name is taken: which one, and by whom it was asked for */
	assert_int_equal(put_container(f->store, 2, "web", NULL, &err), -EEXIST);
	assert_int_equal(err.kind, CT_ERROR_STATE);
	assert_string_equal(err.field, "name");
	assert_non_null(strstr(err.text, "\"web\""));

	assert_int_equal(put_container(f->store, 2, "db", &number, NULL), 0);
	assert_int_equal(number, 2);

	struct container_row row = { .name = (char *)"web",
		.template_name = (char *)"tiny",
		.config = (char *)"{\"x\":1}",
		.epoch = 2,
		.broken = (char *)"why",
		.complete = true };
	memcpy(row.ctid, ctid_of(2), 33);
	memcpy(row.template_digest, DIGEST_A, 65);
	assert_int_equal(store_container_update(f->store, &row, &err), -EEXIST);
	row.name = (char *)"db2";
	assert_int_equal(store_container_update(f->store, &row, &err), 0);
	memcpy(row.ctid, ctid_of(9), 33);
	assert_int_equal(store_container_update(f->store, &row, &err), -ENOENT);

	assert_int_equal(store_container_delete(f->store, ctid_of(9), &err), -ENOENT);
	assert_int_equal(store_container_delete(f->store, ctid_of(2), &err), 0);
	assert_int_equal(count_all_containers(f->store), 1);
}

static void test_numbers_are_dense(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	uint32_t number;

	put_template(f->store, "tiny", DIGEST_A);
	for (unsigned i = 1; i <= 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		assert_int_equal(put_container(f->store, i, name, &number, NULL), 0);
		assert_int_equal(number, i);
	}

	assert_int_equal(store_container_delete(f->store, ctid_of(7), NULL), 0);
	assert_int_equal(store_container_delete(f->store, ctid_of(3), NULL), 0);
	assert_int_equal(put_container(f->store, 100, "x", &number, NULL), 0);
	assert_int_equal(number, 3);

	/* a number that was taken in a transaction that did not happen is free again */
	assert_int_equal(store_begin(f->store, false, NULL), 0);
	assert_int_equal(put_container(f->store, 101, "y", &number, NULL), 0);
	assert_int_equal(number, 7);
	store_rollback(f->store);
	assert_int_equal(put_container(f->store, 102, "z", &number, NULL), 0);
	assert_int_equal(number, 7);

	/* the bound */
	struct container_row row = {
		.name = (char *)"more", .template_name = (char *)"tiny", .config = (char *)"{}"
	};
	memcpy(row.ctid, ctid_of(200), 33);
	memcpy(row.template_digest, DIGEST_A, 65);
	assert_int_equal(store_container_insert(f->store, &row, 20, &err), -ENOSPC);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
}

static int see_run(const struct run_row *row, void *userdata)
{
	struct run_row *copy = userdata;

	*copy = *row;
	return 0;
}

static void test_run(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	struct run_row row = { .state = "running",
		.boot_id = "boot",
		.slot = 4,
		.pid = 123,
		.start_time = 9,
		.started_usec = 10,
		.exit_code = -1,
		.wanted = true };
	struct run_row seen = { 0 };

	memcpy(row.ctid, ctid_of(1), 33);
	assert_int_equal(store_run_put(f->store, &row, &err), -ENOENT);

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(put_container(f->store, 2, "b", NULL, NULL), 0);
	assert_int_equal(store_run_put(f->store, &row, &err), 0);
	assert_int_equal(store_run_each(f->store, see_run, &seen, NULL), 0);
	assert_string_equal(seen.state, "running");
	assert_string_equal(seen.boot_id, "boot");
	assert_int_equal(seen.slot, 4);
	assert_int_equal(seen.pid, 123);
	assert_int_equal(seen.exit_code, -1);
	assert_true(seen.wanted);

	/* one owner of a slot; no slot is no lease */
	memcpy(row.ctid, ctid_of(2), 33);
	assert_int_equal(store_run_put(f->store, &row, &err), -EEXIST);
	assert_string_equal(err.field, "slot");
	row.slot = 0;
	assert_int_equal(store_run_put(f->store, &row, &err), 0);
	memcpy(row.ctid, ctid_of(1), 33);
	row.state = "stopped";
	row.pid = -1;
	row.exit_code = 137;
	row.exit_usec = 99;
	assert_int_equal(store_run_put(f->store, &row, &err), 0);

	row.state = "dancing";
	assert_int_equal(store_run_put(f->store, &row, &err), -EINVAL);

	assert_int_equal(store_container_delete(f->store, ctid_of(2), NULL), 0);
	assert_int_equal(store_run_each(f->store, see_run, &seen, NULL), 0);
	assert_string_equal(seen.ctid, ctid_of(1));
	assert_string_equal(seen.state, "stopped");
	assert_int_equal(seen.pid, -1);
	assert_int_equal(seen.exit_code, 137);
	assert_true(seen.exit_usec == 99);
}

static int count_addresses(const struct address_row *row, void *userdata)
{
	(*(unsigned *)userdata)++;
	return 0;
}

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	char owner[33];
	unsigned n = 0;
	const struct address_row two[] = { { "10.0.0.1", NULL, "eth0" }, { "10.0.0.2", NULL, "eth1" } };
	const struct address_row clash[] = { { "10.0.0.3", NULL, "eth0" }, { "10.0.0.2", NULL, "eth0" } };

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(put_container(f->store, 2, "b", NULL, NULL), 0);

	assert_int_equal(store_addresses_set(f->store, ctid_of(1), two, 2, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), two, 2, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), clash, 2, &err), -EEXIST);
	assert_string_equal(err.field, "address");
	assert_non_null(strstr(err.text, "10.0.0.2 belongs to the container \"a\""));

	/* nothing of the refused set was kept, inside a transaction neither, and that transaction goes on */
	assert_int_equal(store_address_owner(f->store, "", "10.0.0.3", owner), 0);
	assert_int_equal(store_begin(f->store, true, NULL), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), clash, 2, &err), -EEXIST);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), clash, 1, &err), 0);
	assert_int_equal(store_commit(f->store, &err), 0);
	assert_int_equal(store_address_owner(f->store, "", "10.0.0.3", owner), 1);
	assert_string_equal(owner, ctid_of(2));

	assert_int_equal(store_addresses_set(f->store, ctid_of(9), clash, 1, &err), -EEXIST);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), NULL, 0, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(9), two, 1, &err), -ENOENT);
	assert_int_equal(store_address_each(f->store, count_addresses, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(store_container_delete(f->store, ctid_of(2), NULL), 0);
	assert_int_equal(store_address_owner(f->store, "", "10.0.0.3", owner), 0);
}

static void test_blocks(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	char owner[33];
	const struct address_row block[] = { { "203.0.113.8/29", NULL, "eth0", NULL },
		{ "2001:db8:1::/64", NULL, "eth0", NULL } };
	const struct address_row inside[] = { { "203.0.113.15", NULL, "eth0", "" } };
	const struct address_row around[] = { { "2001:db8::/48", NULL, "eth0", "" } };
	const struct address_row beside[] = { { "203.0.113.7", NULL, "eth0", "" },
		{ "203.0.113.16/28", NULL, "eth0", "" }, { "2001:db8:1:1::/64", NULL, "eth0", "" },
		{ "203.0.113.9", NULL, "eth1", "segment" } };

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(put_container(f->store, 2, "b", NULL, NULL), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), block, 2, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), inside, 1, &err), -EEXIST);
	assert_non_null(strstr(err.text, "overlaps 203.0.113.8/29, which belongs to the container \"a\""));
	assert_int_equal(store_address_owner(f->store, "", "203.0.113.15", owner), 1);
	assert_int_equal(store_address_owner(f->store, "", "203.0.113.16", owner), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), beside, 4, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), NULL, 0, &err), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), around, 1, &err), 0);
}

static int note_taken(const char *first, const char *last, void *userdata)
{
	char *seen = userdata;

	(void)snprintf(seen + strlen(seen), 200 - strlen(seen), "%s-%s ", first, last);
	return 0;
}

static int stop_at_once(const char *first, const char *last, void *userdata)
{
	return 7;
}

static void test_taken(void **state)
{
	struct fixture *f = *state;
	char seen[200] = "";
	const struct address_row one[] = { { "10.0.0.0/29", NULL, "eth0", "" },
		{ "10.0.0.12", NULL, "eth0", "" }, { "10.0.0.9", NULL, "eth0", "" },
		{ "10.0.0.40", NULL, "eth0", "" }, { "10.0.0.11", NULL, "eth0", "segment" },
		{ "2001:db8::/64", NULL, "eth0", "" } };
	const struct address_row two[] = { { "10.0.0.16/28", NULL, "eth0", "" } };
	const struct address_row from = { "10.0.0.4", "nobody", NULL, "" };
	struct address_row own = from;
	const struct address_row six = { "2001:db8::1", "nobody", NULL, "" };

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(put_container(f->store, 2, "b", NULL, NULL), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(1), one, 6, NULL), 0);
	assert_int_equal(store_addresses_set(f->store, ctid_of(2), two, 1, NULL), 0);

	assert_int_equal(store_address_taken(f->store, &from, "10.0.0.20", note_taken, seen), 0);
	assert_string_equal(
	        seen, "40a000004-40a000007 40a000009-40a000009 40a00000c-40a00000c 40a000010-40a000014 ");
	seen[0] = '\0';
	own.ctid = ctid_of(1);
	assert_int_equal(store_address_taken(f->store, &own, "10.0.0.20", note_taken, seen), 0);
	assert_string_equal(seen, "40a000010-40a000014 ");
	seen[0] = '\0';
	assert_int_equal(store_address_taken(f->store, &six, "2001:db8::2", note_taken, seen), 0);
	assert_string_equal(seen, "620010db8000000000000000000000001-620010db8000000000000000000000002 ");
	assert_int_equal(store_address_taken(f->store, &from, "10.0.0.20", stop_at_once, NULL), 7);
}

static void test_publish(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	const struct publish_row web[] = { { 6, "", 80 }, { 6, "", 443 } };
	const struct publish_row beside[] = { { 17, "", 443 }, { 6, "192.0.2.1", 443 } };
	const struct publish_row clash[] = { { 6, "", 81 }, { 6, "", 443 } };

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(put_container(f->store, 2, "b", NULL, NULL), 0);
	assert_int_equal(store_publish_set(f->store, ctid_of(1), web, 2, &err), 0);
	assert_int_equal(store_publish_set(f->store, ctid_of(1), web, 2, &err), 0);
	assert_int_equal(store_publish_set(f->store, ctid_of(2), beside, 2, &err), 0);
	assert_int_equal(store_publish_set(f->store, ctid_of(2), clash, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "port 443/tcp is published by the container \"a\""));
	assert_int_equal(store_container_delete(f->store, ctid_of(1), NULL), 0);
	assert_int_equal(store_publish_set(f->store, ctid_of(2), clash, 2, &err), 0);
}

static int count_networks(const struct network_row *row, void *userdata)
{
	*(uint32_t *)userdata += row->number;
	return 0;
}

static void test_networks(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	struct network_row a = { "a", "{}", 0, 1 }, b = { "b", "{}", 0, 1 }, c = { "c", "{}", 0, 1 };
	uint32_t sum = 0;

	assert_int_equal(store_network_insert(f->store, &a, &err), 0);
	assert_int_equal(store_network_insert(f->store, &b, &err), 0);
	assert_int_equal(b.number, 2);
	assert_int_equal(store_network_insert(f->store, &a, &err), -EEXIST);
	assert_int_equal(store_network_delete(f->store, "a", &err), 0);
	assert_int_equal(store_network_insert(f->store, &c, &err), 0);
	assert_int_equal(c.number, 1);
	assert_int_equal(store_network_each(f->store, count_networks, &sum, NULL), 0);
	assert_int_equal(sum, 3);
}

static int read_traffic(const struct traffic_row *row, void *userdata)
{
	struct traffic_row *seen = userdata;

	seen->slot = row->slot;
	seen->total = row->total;
	seen->seen = row->seen;
	return 0;
}

static void test_traffic(void **state)
{
	struct fixture *f = *state;
	struct traffic_row row = { ctid_of(1), "eth0", "boot", 3, { 1, 2, 3, 4, 5 }, { 6, 7, 8, 9, 10 } },
	                   seen = { 0 };

	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	assert_int_equal(store_traffic_put(f->store, &row, NULL), 0);
	row.total.in_bytes = 1ULL << 62;
	assert_int_equal(store_traffic_put(f->store, &row, NULL), 0);
	assert_int_equal(store_traffic_each(f->store, read_traffic, &seen, NULL), 0);
	assert_memory_equal(&seen.total, &row.total, sizeof(row.total));
	assert_memory_equal(&seen.seen, &row.seen, sizeof(row.seen));
	assert_int_equal(seen.slot, 3);
}

static void test_projects(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	uint32_t id;

	put_template(f->store, "tiny", DIGEST_A);
	for (unsigned i = 1; i <= 3; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		assert_int_equal(put_container(f->store, i, name, NULL, NULL), 0);
		assert_int_equal(store_project_lease(f->store, ctid_of(i), 500, &id, &err), 0);
		assert_int_equal(id, 499 + i);
	}

	assert_int_equal(store_project_lease(f->store, ctid_of(1), 500, &id, &err), -EEXIST);
	assert_int_equal(store_project_lease(f->store, ctid_of(9), 500, &id, &err), -ENOENT);
	assert_int_equal(store_project_get(f->store, ctid_of(2), &id), 0);
	assert_int_equal(id, 501);
	assert_int_equal(store_container_delete(f->store, ctid_of(2), NULL), 0);
	assert_int_equal(store_project_get(f->store, ctid_of(2), &id), -ENOENT);
	assert_int_equal(put_container(f->store, 4, "d", NULL, NULL), 0);
	assert_int_equal(store_project_lease(f->store, ctid_of(4), 500, &id, &err), 0);
	assert_int_equal(id, 501);

	/* Ids from one place on say nothing about those from another. */
	assert_int_equal(put_container(f->store, 5, "e", NULL, NULL), 0);
	assert_int_equal(store_project_lease(f->store, ctid_of(5), 10, &id, &err), 0);
	assert_int_equal(id, 10);
	assert_int_equal(put_container(f->store, 6, "f", NULL, NULL), 0);
	assert_int_equal(store_project_lease(f->store, ctid_of(6), 500, &id, &err), 0);
	assert_int_equal(id, 503);
	assert_int_equal(store_container_delete(f->store, ctid_of(5), NULL), 0);
	assert_int_equal(put_container(f->store, 7, "g", NULL, NULL), 0);
	assert_int_equal(store_project_lease(f->store, ctid_of(7), 600, &id, &err), 0);
	assert_int_equal(id, 600);
}

static int see_templates(const struct template_row *row, void *userdata)
{
	struct strbuf *b = userdata;

	strbuf_printf(b, "%s=%.1s:%u ", row->name ? row->name : "-", row->digest, row->users);
	return 0;
}

static void expect_templates(struct store *store, const char *expected)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	assert_int_equal(store_template_each(store, see_templates, &b, NULL), 0);
	assert_string_equal(b.data ? b.data : "", expected);
}

static void test_templates(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	struct template_row row = { 0 };
	char gone[65];

	put_template(f->store, "tiny", DIGEST_A);
	put_template(f->store, "small", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "a", NULL, NULL), 0);
	expect_templates(f->store, "small=a:1 tiny=a:1 ");

	assert_int_equal(store_template_get(f->store, "none", &row, &err), -ENOENT);
	assert_int_equal(store_template_get(f->store, DIGEST_A, &row, &err), 0);
	assert_string_equal(row.name, "small");
	template_row_done(&row);
	assert_int_equal(store_template_get(f->store, "tiny", &row, &err), 0);
	assert_string_equal(row.name, "tiny");
	assert_string_equal(row.metadata, "{\"a\":1}");
	assert_int_equal(row.bytes, 77);
	assert_int_equal(row.users, 1);
	template_row_done(&row);

	/* another name is left, so the image stays; the last one cannot go while it is used */
	assert_int_equal(store_template_remove(f->store, "small", gone, &err), 0);
	assert_string_equal(gone, "");
	assert_int_equal(store_template_remove(f->store, "tiny", gone, &err), -EBUSY);
	assert_non_null(strstr(err.text, "used by 1 container"));
	expect_templates(f->store, "tiny=a:1 ");

	/* the name moves on; the old image waits, nameless, for its last container */
	put_template(f->store, "tiny", DIGEST_B);
	expect_templates(f->store, "-=a:1 tiny=b:0 ");
	assert_int_equal(store_template_remove(f->store, DIGEST_A, gone, &err), -EBUSY);
	assert_int_equal(store_template_remove(f->store, DIGEST_B, gone, &err), -ENOENT);
	assert_int_equal(store_container_delete(f->store, ctid_of(1), NULL), 0);
	assert_int_equal(store_template_remove(f->store, DIGEST_A, gone, &err), 0);
	assert_string_equal(gone, DIGEST_A);
	assert_int_equal(store_template_remove(f->store, "tiny", gone, &err), 0);
	assert_string_equal(gone, DIGEST_B);
	expect_templates(f->store, "");
}

static int see_jobs(const struct job_row *row, void *userdata)
{
	strbuf_printf(userdata, "%s ", row->object);
	return 0;
}

static void expect_jobs(struct store *store, bool open_only, uint32_t limit, const char *expected)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	assert_int_equal(store_job_each(store, open_only, limit, see_jobs, &b, NULL), 0);
	assert_string_equal(b.data ? b.data : "", expected);
}

static void test_jobs(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	struct job_row row = { .verb = (char *)"start", .params = (char *)"{}", .created_usec = 3 };
	int64_t ids[3];

	for (size_t i = 0; i < 3; i++) {
		char object[2] = { (char)('a' + i), 0 };
		row.object = object;
		row.ctid = i == 1 ? (char *)ctid_of(1) : NULL;
		assert_int_equal(store_job_insert(f->store, &row, &err), 0);
		ids[i] = row.id;
	}

	assert_int_equal(store_job_step(f->store, ids[1], "mount", &err), 0);
	assert_int_equal(store_job_finish(f->store, ids[1], "{\"ok\":1}", NULL, &err), 0);
	assert_int_equal(store_job_finish(f->store, 999, NULL, NULL, &err), -ENOENT);
	assert_int_equal(err.kind, CT_ERROR_NOT_FOUND);
	expect_jobs(f->store, false, 10, "c b a ");
	expect_jobs(f->store, false, 2, "c b ");
	expect_jobs(f->store, true, 10, "a c ");

	assert_int_equal(store_job_has(f->store, "start", ctid_of(1)), 1);
	assert_int_equal(store_job_has(f->store, "destroy", ctid_of(1)), 0);
	assert_int_equal(store_job_has(f->store, "start", ctid_of(2)), 0);

	assert_int_equal(store_job_finish(f->store, ids[1], "{\"ok\":1}", "{}", &err), 0);
	assert_int_equal(store_job_has(f->store, "start", ctid_of(1)), 0); /* it failed */
	assert_int_equal(store_job_finish(f->store, ids[1], "{\"ok\":1}", NULL, &err), 0);

	struct job_row seen = { 0 };
	assert_int_equal(store_job_get(f->store, 999, &seen, &err), -ENOENT);
	assert_int_equal(store_job_get(f->store, ids[1], &seen, &err), 0);
	assert_string_equal(seen.verb, "start");
	assert_string_equal(seen.ctid, ctid_of(1));
	assert_string_equal(seen.step, "mount");
	assert_string_equal(seen.result, "{\"ok\":1}");
	assert_null(seen.error);
	assert_true(seen.created_usec == 3);
	assert_true(seen.finished_usec > 1700000000000000);
	job_row_done(&seen);
}

static void test_requests(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	_cleanup_free_ char *answer = NULL;
	unsigned status = 0;

	assert_int_equal(store_request_begin(f->store, "r1", 0, "d", &status, &answer, &err), 0);
	assert_int_equal(store_request_begin(f->store, "r1", 0, "d", &status, &answer, &err), -EBUSY);
	assert_int_equal(store_request_finish(f->store, "r1", 201, "{\"a\":1}", &err), 0);
	assert_int_equal(store_request_finish(f->store, "r1", 500, "{}", &err), -ENOENT);
	assert_int_equal(store_request_begin(f->store, "r1", 0, "d", &status, &answer, &err), 1);
	assert_int_equal(status, 201);
	assert_string_equal(answer, "{\"a\":1}");
	assert_int_equal(store_request_begin(f->store, "r1", 0, "e", &status, &answer, &err), -EEXIST);
	assert_int_equal(store_request_begin(f->store, "r1", 5, "d", &status, &answer, &err), -EEXIST);
	assert_int_equal(err.kind, CT_ERROR_STATE);

	assert_int_equal(store_request_begin(f->store, "r2", 0, "d", &status, &answer, &err), 0);
	assert_int_equal(store_request_reset(f->store, &err), 0);
	assert_int_equal(store_request_begin(f->store, "r2", 0, "d", &status, &answer, &err), 0);
}

static int see_audit(const struct audit_row *row, void *userdata)
{
	strbuf_printf(userdata, "%lld:%u:%s:%s:%u:%s ", (long long)row->id, row->uid, row->operation,
	        row->object, row->status, row->message);
	return 0;
}

static int see_event(const struct event_row *row, void *userdata)
{
	strbuf_printf(userdata, "%lld:%s:%s:%s:%s ", (long long)row->id, row->type,
	        row->ctid ? row->ctid : "-", row->name, row->detail);
	return 0;
}

static void test_audit_and_events(void **state)
{
	struct fixture *f = *state;
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	const struct audit_row a = { .time_usec = 1,
		.uid = 65534,
		.operation = "containerStart",
		.object = "web",
		.status = 409,
		.message = "no" };
	struct event_row e = { .time_usec = 1, .type = "container.started", .name = "web" };

	for (int i = 0; i < 3; i++)
		assert_int_equal(store_audit_add(f->store, &a, NULL), 0);
	assert_int_equal(store_audit_each(f->store,
	                         &(struct log_query){ .after = 1, .to_usec = LOG_QUERY_NO_END, .limit = 1 },
	                         see_audit, &b, NULL),
	        0);
	assert_string_equal(b.data, "2:65534:containerStart:web:409:no ");

	strbuf_reset(&b);
	assert_int_equal(store_event_add(f->store, &e, NULL), 0);
	e.detail = "{\"code\":1}";
	assert_int_equal(store_event_add(f->store, &e, NULL), 0);
	assert_int_equal(e.id, 2);
	assert_int_equal(
	        store_event_each(f->store, &(struct log_query){ .to_usec = LOG_QUERY_NO_END, .limit = 10 },
	                see_event, &b, NULL),
	        0);
	assert_string_equal(b.data, "1:container.started:-:web:{} 2:container.started:-:web:{\"code\":1} ");
}

static struct event_row some_events[] = {
	{ .time_usec = 10, .type = "container.started", .ctid = "c1", .name = "web", .detail = "{}" },
	{ .time_usec = 20, .type = "limit.hit", .ctid = "c1", .name = "web", .detail = "{}" },
	{ .time_usec = 30, .type = "limit.restored", .ctid = "c2", .name = "mail", .detail = "{}" },
	{ .time_usec = 40, .type = "limits", .name = "", .detail = "{}" },
};

static void expect_events(struct store *store, struct log_query which, const char *expected)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	which.limit = 10;
	which.to_usec = which.to_usec ?: LOG_QUERY_NO_END;
	assert_int_equal(store_event_each(store, &which, see_event, &b, NULL), 0);
	assert_string_equal(b.data ?: "", expected);
	for (size_t i = 0; i < ARRAY_SIZE(some_events); i++) {
		_cleanup_strbuf_ struct strbuf row = STRBUF_INIT;

		(void)see_event(&some_events[i], &row);
		assert_int_equal(log_query_has(&which, &some_events[i]), strstr(expected, row.data) != NULL);
	}
}

static void test_some_events(void **state)
{
	struct fixture *f = *state;
	int64_t newest = -1;

	for (size_t i = 0; i < ARRAY_SIZE(some_events); i++)
		assert_int_equal(store_event_add(f->store, &some_events[i], NULL), 0);
	assert_int_equal(store_event_newest(f->store, &newest, NULL), 0);
	assert_int_equal(newest, 4);

	expect_events(f->store, (struct log_query){ .of = "mail" }, "3:limit.restored:c2:mail:{} ");
	expect_events(f->store, (struct log_query){ .of = "c1", .after = 1 }, "2:limit.hit:c1:web:{} ");
	expect_events(f->store, (struct log_query){ .type = "limit.hit" }, "2:limit.hit:c1:web:{} ");
	expect_events(f->store, (struct log_query){ .type = "limit." },
	        "2:limit.hit:c1:web:{} 3:limit.restored:c2:mail:{} ");
	expect_events(f->store, (struct log_query){ .type = "limit" }, "");
	expect_events(
	        f->store, (struct log_query){ .from_usec = 20, .to_usec = 30 }, "2:limit.hit:c1:web:{} ");
	expect_events(f->store, (struct log_query){ .type = "limit.", .of = "mail", .from_usec = 31 }, "");
}

static void test_last_event(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *detail = NULL;
	struct event_row e = { .time_usec = 5, .type = "container.oom", .ctid = "c1", .name = "web" };

	e.detail = "first";
	assert_int_equal(store_event_add(f->store, &e, NULL), 0);
	e.detail = "second";
	assert_int_equal(store_event_add(f->store, &e, NULL), 0);
	e.ctid = "c2";
	e.detail = "another's";
	assert_int_equal(store_event_add(f->store, &e, NULL), 0);

	assert_int_equal(store_event_last(f->store, "c1", "container.oom", 6, &detail, NULL), 0);
	assert_null(detail);
	assert_int_equal(store_event_last(f->store, "c1", "container.exited", 0, &detail, NULL), 0);
	assert_null(detail);
	assert_int_equal(store_event_last(f->store, "c1", "container.oom", 5, &detail, NULL), 0);
	assert_string_equal(detail, "second");
}

static int count_events(const struct event_row *row, void *userdata)
{
	(*(unsigned *)userdata)++;
	return 0;
}

/* Ids far apart stand for many rows: what is kept is a range of ids. */
static void test_trim(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0, status;
	_cleanup_free_ char *answer = NULL;

	assert_int_equal(
	        store_exec(f->store,
	                "INSERT INTO event (id, time, type) VALUES (1, 1, 'a'), (200000, 1, 'b'), (200001, 1, 'c');"
	                "INSERT INTO job (id, verb, object, params, created, finished) VALUES (1, 'v', 'open', '{}', 1, NULL),"
	                " (2, 'v', 'old', '{}', 1, 1), (90000, 'v', 'new', '{}', 1, 1);"
	                "INSERT INTO request (id, uid, digest, status, answer, created) VALUES ('old', 0, 'd', 200, '{}', 5)",
	                NULL),
	        0);
	assert_int_equal(store_request_begin(f->store, "new", 0, "d", &status, &answer, NULL), 0);
	assert_int_equal(store_request_finish(f->store, "new", 200, "{}", NULL), 0);

	assert_int_equal(store_trim(f->store, NULL), 0);
	assert_int_equal(
	        store_event_each(f->store, &(struct log_query){ .to_usec = LOG_QUERY_NO_END, .limit = 100 },
	                count_events, &n, NULL),
	        0);
	assert_int_equal(n, 2);
	expect_jobs(f->store, false, 10, "new open ");
	assert_int_equal(store_request_begin(f->store, "old", 0, "d", &status, &answer, NULL), 0);
	assert_int_equal(store_request_begin(f->store, "new", 0, "d", &status, &answer, NULL), 1);
}

struct nested {
	struct store *store;
	unsigned calls;
};

static int each_in_each(const struct container_row *row, void *userdata)
{
	struct nested *n = userdata;

	n->calls += count_all_containers(n->store);
	return 0;
}

static void test_callbacks_may_read(void **state)
{
	struct fixture *f = *state;
	struct nested n = { .store = f->store };

	put_template(f->store, "tiny", DIGEST_A);
	for (unsigned i = 1; i <= 3; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		assert_int_equal(put_container(f->store, i, name, NULL, NULL), 0);
	}
	assert_int_equal(store_container_each(f->store, each_in_each, &n, NULL), 0);
	assert_int_equal(n.calls, 9);
}

static void test_transactions(void **state)
{
	struct fixture *f = *state;
	struct ct_error err = { 0 };
	_cleanup_free_ char *value = NULL;

	/* an inner rollback takes the outer with it */
	assert_int_equal(store_begin(f->store, false, &err), 0);
	assert_int_equal(store_meta_set(f->store, "k", "outer", &err), 0);
	assert_int_equal(store_begin(f->store, false, &err), 0);
	store_rollback(f->store);
	assert_int_equal(store_commit(f->store, &err), -ECANCELED);
	assert_int_equal(store_meta_get(f->store, "k", &value), -ENOENT);

	/* a durable one within one that is not */
	assert_int_equal(store_begin(f->store, false, &err), 0);
	assert_int_equal(store_begin(f->store, true, &err), 0);
	assert_int_equal(store_meta_set(f->store, "k", "inner", &err), 0);
	assert_int_equal(store_commit(f->store, &err), 0);
	assert_int_equal(store_commit(f->store, &err), 0);

	/* after a durable one single statements are not synced */
	assert_int_equal(store_begin(f->store, true, &err), 0);
	assert_true(f->store->full);
	assert_int_equal(store_commit(f->store, &err), 0);
	assert_false(f->store->full);

	/* what is not committed when the store is closed has not happened */
	assert_int_equal(store_begin(f->store, true, &err), 0);
	assert_int_equal(store_meta_set(f->store, "k", "lost", &err), 0);
	store_reopen(f);
	assert_int_equal(store_meta_get(f->store, "k", &value), 0);
	assert_string_equal(value, "inner");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_is_private, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_meta, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_container, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_numbers_are_dense, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_run, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_addresses, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_taken, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_blocks, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_publish, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_networks, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_traffic, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_projects, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_templates, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_jobs, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_requests, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_audit_and_events, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_some_events, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_last_event, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_trim, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_callbacks_may_read, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_transactions, store_setup, store_teardown),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
