/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of a dump on their way to another node: what is written into them there, whether that node will do,
 * and the row that they go in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/criu-host.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"

#define WAS 1000000u
#define NOW 7000000u

/* Nobody interrupts. */
int worker_check(struct ct_error *err)
{
	return 0;
}

/* ---- messages */

static void put_text(struct strbuf *b, unsigned int field, const char *text)
{
	criu_put_bytes(b, field, text, strlen(text));
}

/* Empties the part. */
static void put_part(struct strbuf *b, unsigned int field, struct strbuf *part)
{
	criu_put_bytes(b, field, part->data ?: "", part->len);
	strbuf_reset(part);
}

static void put_image(struct strbuf *image, const struct strbuf *record)
{
	const uint32_t size = (uint32_t)record->len;

	(void)strbuf_puts(image, "MAGICABC"); /* failures are seen by what is compared */
	(void)strbuf_add(image, &size, sizeof(size));
	(void)strbuf_add(image, record->data ?: "", record->len);
	assert_int_equal(image->error, 0);
}

static void put_extent(struct strbuf *b, unsigned int field, uint32_t first, uint32_t lower, uint32_t count)
{
	_cleanup_strbuf_ struct strbuf extent = STRBUF_INIT;

	criu_put_number(&extent, 1, first);
	criu_put_number(&extent, 2, lower);
	criu_put_number(&extent, 3, count);
	put_part(b, field, &extent);
}

static void make_map(struct strbuf *image, uint32_t base)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;

	put_extent(&record, 1, 0, base, 65536);
	put_extent(&record, 2, 0, base, 65536);
	put_image(image, &record);
}

static void assert_same(const struct strbuf *a, const struct strbuf *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, b->len);
}

static void test_map(void **state)
{
	_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, after = STRBUF_INIT, out = STRBUF_INIT;
	uint32_t was = 0;

	make_map(&before, WAS);
	make_map(&after, NOW);
	assert_int_equal(criu_place_map(before.data, before.len, NOW, &out, &was), 0);
	assert_int_equal(was, WAS);
	assert_same(&out, &after);
	for (size_t len = 0; len < before.len; len++) {
		_cleanup_strbuf_ struct strbuf none = STRBUF_INIT;

		assert_int_equal(criu_place_map(before.data, len, NOW, &none, &was), -EBADMSG);
	}
}

/* Root's ids, two ranges, others for groups, an id more. */
static void test_map_of_no_container(void **state)
{
	static const struct {
		uint32_t first, lower, count, group;
	} cases[] = { { 0, 0, 65536, 0 }, { 1, WAS, 65536, WAS }, { 0, WAS, 65537, WAS },
		{ 0, WAS, 65536, NOW } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_strbuf_ struct strbuf record = STRBUF_INIT, image = STRBUF_INIT, out = STRBUF_INIT;
		uint32_t was = 0;

		put_extent(&record, 1, cases[i].first, cases[i].lower, cases[i].count);
		put_extent(&record, 2, cases[i].first, cases[i].group, cases[i].count);
		put_image(&image, &record);
		assert_int_equal(criu_place_map(image.data, image.len, NOW, &out, &was), -EBADMSG);
	}
}

static void put_perms(struct strbuf *b, unsigned int field, uint32_t uid, uint32_t gid)
{
	_cleanup_strbuf_ struct strbuf perms = STRBUF_INIT;

	criu_put_number(&perms, 1, 0755);
	criu_put_number(&perms, 2, uid);
	criu_put_number(&perms, 3, gid);
	put_part(b, field, &perms);
}

static void put_dir(
        struct strbuf *b, unsigned int field, const char *name, const struct strbuf *child, uint32_t base)
{
	_cleanup_strbuf_ struct strbuf dir = STRBUF_INIT, property = STRBUF_INIT;

	put_text(&dir, 1, name);
	if (child)
		criu_put_bytes(&dir, 2, child->data, child->len);
	put_text(&property, 1, "cgroup.procs");
	put_text(&property, 2, "");
	put_perms(&property, 3, base, 0);
	put_part(&dir, 3, &property);
	put_perms(&dir, 4, base + 5, base + 65535);
	put_part(b, field, &dir);
}

static void put_set(struct strbuf *b, const char *path, const char *inner, uint32_t prefix)
{
	_cleanup_strbuf_ struct strbuf set = STRBUF_INIT, member = STRBUF_INIT;
	_cleanup_free_ char *whole = str_printf("%s%s", path, inner);

	criu_put_number(&set, 1, 1);
	put_text(&member, 1, "name=systemd"); /* of another hierarchy */
	put_text(&member, 2, "/elsewhere");
	put_part(&set, 2, &member);
	put_text(&member, 1, "");
	put_text(&member, 2, whole);
	criu_put_number(&member, 3, prefix);
	put_part(&set, 2, &member);
	put_part(b, 1, &set);
}

/* With a cgroup that the tenant has given the name of his own. */
static void make_cgroups(struct strbuf *image, const char *path, uint32_t base)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT, controller = STRBUF_INIT, child = STRBUF_INIT,
	                               inner = STRBUF_INIT;
	struct criu_reader bytes;
	struct criu_field field;

	put_set(&record, path, "", (uint32_t)strlen(path));
	put_set(&record, path, "/c-0a/x", (uint32_t)strlen(path));
	put_text(&controller, 1, "");
	put_dir(&inner, 2, "c-0a", NULL, base);
	bytes = (struct criu_reader){ (unsigned char *)inner.data, (unsigned char *)inner.data + inner.len };
	assert_int_equal(criu_get_field(&bytes, &field), 1);
	(void)strbuf_add(&child, field.bytes.at, (size_t)(field.bytes.end - field.bytes.at)); /* as above */
	put_dir(&controller, 2, path + 1, &child, base);
	criu_put_number(&controller, 3, 0);
	put_part(&record, 2, &controller);
	put_image(image, &record);
}

static const struct criu_place place = {
	.base_id = NOW, .root = "/ctd.slice/ctd-there.scope", .name = "c-0a"
};

static void test_cgroups(void **state)
{
	_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, after = STRBUF_INIT, out = STRBUF_INIT;

	make_cgroups(&before, "/ctd-here/c-0a", WAS);
	make_cgroups(&after, "/ctd.slice/ctd-there.scope/c-0a", NOW);
	assert_int_equal(criu_place_cgroups(before.data, before.len, &place, WAS, &out), 0);
	assert_same(&out, &after);
	for (size_t len = 0; len < before.len; len++) {
		_cleanup_strbuf_ struct strbuf none = STRBUF_INIT;

		assert_int_equal(criu_place_cgroups(before.data, len, &place, WAS, &none), -EBADMSG);
	}
}

/* The root of the cgroup namespace is the container's cgroup. */
static void test_cgroups_of_another_root(void **state)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT, image = STRBUF_INIT, out = STRBUF_INIT;

	put_set(&record, "/ctd-here/c-0a", "/x", 9);
	put_image(&image, &record);
	assert_int_equal(criu_place_cgroups(image.data, image.len, &place, WAS, &out), -EBADMSG);
}

/* ---- hosts */

static json_t *host(
        const char *machine, const char *kernel, const char *criu, const char *cpu, const char *lock)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "machine", machine, "kernel", kernel, "criu", criu,
	        "cpu", cpu, "lock", lock);
}

static void test_hosts(void **state)
{
	static const struct {
		const char *machine, *kernel, *criu, *cpu, *lock, *why;
	} cases[] = {
		{ "x86_64", "6.1.0-9-amd64", "3.17.1", "sse avx", "nftables", NULL },
		{ "x86_64", "6.12.1", "4.1", "avx sse2 sse avx2", "nftables", NULL },
		{ "x86_64", "10.0", "3.18", "sse avx", "nftables", NULL },
		{ "aarch64", "6.1.0", "3.17.1", "sse avx", "nftables", "that node is a aarch64" },
		{ "x86_64", "5.10.0", "3.17.1", "sse avx", "nftables", "boot the same or a newer one" },
		{ "x86_64", "6.1.0", "3.17", "sse avx", "nftables", "install the same or a newer one" },
		{ "x86_64", "6.1.0", "", "sse avx", "nftables", "one of an unknown version" },
		{ "x86_64", "6.1.0", "3.17.1", "sse avx2", "nftables", "lacks: avx (" },
		{ "x86_64", "6.1.0", "3.17.1", "", "nftables", "lacks: sse avx (" },
		{ "x86_64", "6.1.0", "3.17.1", "sse avx", "iptables", "held by nf_tables" },
		{ "x86_64", "6.1.0", "3.17.1", "sse avx", NULL, "held by nf_tables" },
	};
	_cleanup_json_ json_t *from = host("x86_64", "6.1.0-9-amd64", "3.17.1", "sse avx", "nftables"),
	                      *other = host("x86_64", "6.1.0-9-amd64", "3.17.1", "sse avx", "iptables");

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *to =
		        host(cases[i].machine, cases[i].kernel, cases[i].criu, cases[i].cpu, cases[i].lock);
		struct ct_error error = { 0 };

		assert_int_equal(criu_host_fits(from, to, &error), cases[i].why ? -EOPNOTSUPP : 0);
		assert_true(!cases[i].why || strstr(error.text, cases[i].why));
	}
	assert_int_equal(criu_host_fits(other, from, NULL), 0);
}

/* ---- the row */

static int directory(char path[32])
{
	(void)snprintf(path, 32, "/tmp/images.XXXXXX");
	assert_non_null(mkdtemp(path));
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void put_in(int dir, const char *name, const char *content, mode_t mode)
{
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write_all(fd, content, strlen(content)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void remove_all(int dir, const char *path)
{
	(void)close(dir);
	assert_int_equal(remove_tree_at(AT_FDCWD, path), 0);
}

static int count_sent(uint64_t bytes, void *userdata, struct ct_error *err)
{
	*(uint64_t *)userdata += bytes;
	return 0;
}

static void assert_file(int dir, const char *name, const char *content, mode_t mode)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	assert_int_equal(read_file_at(dir, name, 1024, &text, NULL), 0);
	assert_string_equal(text, content);
	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void test_row(void **state)
{
	char from_path[32], to_path[32];
	int from = directory(from_path), to = directory(to_path);
	_cleanup_close_ int row = memfd_create("row", MFD_CLOEXEC);
	uint64_t bytes = 0, sent = 0;

	put_in(from, "a.img", "12345", 0644);
	put_in(from, "b-1.img", "1 2\n3", 0600);
	put_in(from, "empty", "", 0755);
	for (unsigned int i = 1; i <= 2; i++) {
		_cleanup_close_ int round = criu_rounds_new(from, i, NULL);

		assert_true(round >= 0);
		put_in(round, "pages-1.img", i == 1 ? "one" : "two", 0644);
		assert_int_equal(criu_rounds_link(round, 7, false, NULL), 0); /* is not sent */
	}
	assert_int_equal(images_measure(from, &images_all, &bytes, NULL), 0);
	assert_int_equal(write_all(row, "before", 6), 0);
	assert_int_equal(images_send(from, &images_all, row, count_sent, &sent, NULL), 0);
	assert_int_equal(sent, 16);
	assert_int_equal(lseek(row, 0, SEEK_CUR), 6 + (off_t)bytes);
	assert_int_equal(write_all(row, "behind", 6), 0);

	assert_int_equal(lseek(row, 6, SEEK_SET), 6);
	assert_int_equal(images_receive(row, bytes, to, &images_all, NULL), 0);
	assert_int_equal(lseek(row, 0, SEEK_CUR), 6 + (off_t)bytes);
	assert_file(to, "a.img", "12345", 0644);
	assert_file(to, "b-1.img", "1 2\n3", 0600);
	assert_file(to, "empty", "", 0755);
	assert_file(to, "rounds/1/pages-1.img", "one", 0644);
	assert_file(to, "rounds/2/pages-1.img", "two", 0644);
	assert_file(to, "rounds/2/parent/pages-1.img", "one", 0644);
	assert_int_equal(faccessat(to, "rounds/1/parent", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	remove_all(from, from_path);
	remove_all(to, to_path);
}

/* As a copy and the offer behind it have it: a round alone, and then what is no round. */
static void test_parts(void **state)
{
	static const struct images_part second = { .first_round = 2, .last_round = 2 };
	static const struct images_part *const parts[] = { &second, &images_dump };
	char from_path[32], to_path[32];
	int from = directory(from_path), to = directory(to_path);

	put_in(from, "a.img", "12345", 0644);
	for (unsigned int i = 1; i <= 2; i++) {
		_cleanup_close_ int round = criu_rounds_new(from, i, NULL);

		assert_true(round >= 0);
		put_in(round, "pages-1.img", i == 1 ? "one" : "two", 0644);
	}
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		_cleanup_close_ int row = memfd_create("row", MFD_CLOEXEC);
		uint64_t bytes = 0, sent = 0;

		assert_int_equal(images_measure(from, parts[i], &bytes, NULL), 0);
		assert_int_equal(images_send(from, parts[i], row, count_sent, &sent, NULL), 0);
		assert_int_equal(sent, i == 0 ? 3 : 5);
		assert_int_equal(lseek(row, 0, SEEK_CUR), (off_t)bytes);
		assert_int_equal(lseek(row, 0, SEEK_SET), 0);
		assert_int_equal(
		        images_receive(row, bytes, to, parts[!i], NULL), -EBADMSG); /* of the other */
		assert_int_equal(lseek(row, 0, SEEK_SET), 0);
		assert_int_equal(images_receive(row, bytes, to, parts[i], NULL), 0);
	}
	assert_file(to, "rounds/2/pages-1.img", "two", 0644);
	assert_file(to, "a.img", "12345", 0644);
	assert_int_equal(faccessat(to, "rounds/1", F_OK, 0), -1);
	remove_all(from, from_path);
	remove_all(to, to_path);
}

static void test_no_row(void **state)
{
	static const char *const cases[] = { "x 644 2\n1", "x 644 9999999999999999999999\n", "x 4755 0\n",
		"x 888 0\n", "../x 644 0\n", ".x 644 0\n", " 644 0\n", "x 644\n", "x\n", "x 644 -1\n",
		"x 644 1\n", "rounds/1 644 0\n", "rounds/9/x 644 0\n", "rounds/0/x 644 0\n",
		"rounds/1/../x 644 0\n", "rounds/1/rounds/1/x 644 0\n", "x 644 0\nx 644 0\n" };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_close_ int row = memfd_create("row", MFD_CLOEXEC);
		char path[32];
		int dir = directory(path), r;

		assert_int_equal(write_all(row, cases[i], strlen(cases[i])), 0);
		assert_int_equal(lseek(row, 0, SEEK_SET), 0);
		r = images_receive(row, strlen(cases[i]), dir, &images_all, NULL);
		assert_int_equal(r, i == ARRAY_SIZE(cases) - 1 ? -EEXIST : -EBADMSG);
		remove_all(dir, path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_map_of_no_container),
		cmocka_unit_test(test_cgroups),
		cmocka_unit_test(test_cgroups_of_another_root),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_row),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_no_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
