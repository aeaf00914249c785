/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is mounted over native directories, in images of a dump. */
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
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"
#include "ctd/test-place.h"

#define DISK (8u << 20 | 17)
#define RUN  77u

static const struct restore_native natives[] = {
	{ .device = "8:17", .root = "/c/upper/home", .point = "/home" },
	{ .device = "8:17", .root = "/c/upper/var/tmp", .point = "/var/tmp" },
};

struct mount {
	uint64_t device;
	const char *root, *point, *key;
	uint64_t shared, master, deleted;
};

static void put_text(struct strbuf *b, unsigned int field, const char *text)
{
	criu_put_bytes(b, field, text, strlen(text));
}

static void put_mount(struct strbuf *image, const struct mount *m)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;
	uint32_t size;

	criu_put_number(&record, 1, 16);
	criu_put_number(&record, 3, m->device);
	put_text(&record, 6, m->root);
	put_text(&record, 7, m->point);
	if (m->shared)
		criu_put_number(&record, 10, m->shared);
	if (m->master)
		criu_put_number(&record, 11, m->master);
	if (m->deleted)
		criu_put_number(&record, 16, m->deleted);
	if (m->key)
		put_text(&record, 18, m->key);
	criu_put_number(&record, 99, 5); /* of a newer criu */
	size = (uint32_t)record.len;
	(void)strbuf_add(image, &size, sizeof(size));
	(void)strbuf_add(image, record.data, record.len);
	assert_int_equal(image->error, 0);
}

static void make_image(struct strbuf *image, const struct mount *mounts, size_t n)
{
	(void)strbuf_puts(image, "MAGICABC"); /* failures are seen by what is compared */
	for (size_t i = 0; i < n; i++)
		put_mount(image, &mounts[i]);
}

/* Of a guest as a start makes it. */
static const struct mount plain[] = {
	{ 50, "/", "/", NULL, 1, 0, 0 },
	{ RUN, "/", "/run", NULL, 2, 0, 0 },
	{ 6, "/null", "/dev/null", "/dev/null", 0, 0, 0 },
	{ DISK, "/c/upper/home", "/home", "native/home", 3, 0, 0 },
	{ DISK, "/c/upper/var/tmp", "/var/tmp", "native/var/tmp", 4, 0, 0 },
};

/* Reads the plain ones, then these; the place in both of what would be lost, or -1. */
static int find_lost(const struct mount *more, size_t n)
{
	CLEANUP(criu_mounts_done) struct criu_mounts all = { 0 };
	_cleanup_strbuf_ struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
	const struct criu_mount *lost;

	make_image(&first, plain, ARRAY_SIZE(plain));
	make_image(&second, more, n);
	assert_int_equal(criu_mounts_read(&all, first.data, first.len, natives, ARRAY_SIZE(natives)), 0);
	assert_int_equal(all.n_covers, 0);
	assert_int_equal(criu_mounts_read(&all, second.data, second.len, natives, ARRAY_SIZE(natives)), 0);
	assert_int_equal(all.n, ARRAY_SIZE(plain) + n);
	lost = criu_mounts_find_lost(&all);
	return lost ? (int)(lost - all.items) : -1;
}

static void test_covers_lose_the_name_and_nothing_else(void **state)
{
	static const struct mount before[] = {
		{ DISK, "/c/upper/home", "/home", "native/home", 0, 3, 0 },
		{ RUN, "/systemd/inaccessible/dir", "/home", "native/home", 9, 2, 0 },
		{ DISK, "/c/upper/var/tmp/systemd-private-1/tmp", "/var/tmp", "native/var/tmp", 0, 4, 0 },
		{ 6, "/null", "/dev/null", "/dev/null", 0, 0, 0 },
		{ 50, "/home", "/home", "native/homes", 0, 0, 0 },
	};
	struct mount after[ARRAY_SIZE(before)];
	_cleanup_strbuf_ struct strbuf is = STRBUF_INIT, want = STRBUF_INIT, out = STRBUF_INIT;

	assert_int_equal(find_lost(before, ARRAY_SIZE(before)), -1);
	memcpy(after, before, sizeof(after));
	after[1].key = after[2].key = NULL;
	make_image(&is, before, ARRAY_SIZE(before));
	make_image(&want, after, ARRAY_SIZE(after));
	assert_int_equal(criu_mounts_rewrite(is.data, is.len, natives, ARRAY_SIZE(natives), &out), 0);
	assert_int_equal(out.len, want.len);
	assert_memory_equal(out.data, want.data, want.len);
}

static void test_what_has_no_source_is_lost(void **state)
{
	static const struct mount covers[] = {
		{ RUN, "/", "/home", "native/home", 0, 2, 0 },                        /* all of it */
		{ 99, "/", "/home", "native/home", 0, 0, 0 },                         /* a tmpfs */
		{ 99, "/x", "/home", "native/home", 0, 0, 0 },                        /* of none */
		{ RUN, "/x", "/home", "native/home", 0, 2, 1 },                       /* removed */
		{ DISK, "/c/upper/homes/x", "/home", "native/home", 0, 0, 0 },        /* beside them */
		{ DISK + 1, "/c/upper/home", "/home", "native/home", 0, 0, 0 },       /* of another disk */
		{ RUN, "/systemd/inaccessible/dir", "/home", "native/home", 2, 0, 0 } /* a peer of /run */
	};

	for (size_t i = 0; i < ARRAY_SIZE(covers); i++)
		assert_int_equal(find_lost(&covers[i], 1), ARRAY_SIZE(plain));
}

/* Its content is in no image, or might not be. */
static void test_a_source_that_is_external_is_none(void **state)
{
	static const struct mount slave[] = {
		{ 99, "/", "/mnt", NULL, 0, 20, 0 },
		{ 99, "/x", "/home", "native/home", 0, 0, 0 },
	};
	static const struct mount named[] = {
		{ 99, "/", "/mnt", "/mnt", 0, 0, 0 },
		{ 99, "/x", "/home", "native/home", 0, 0, 0 },
	};
	static const struct mount other_cover_is_peer[] = {
		{ 99, "/", "/mnt", NULL, 20, 0, 0 },
		{ 99, "/x", "/home", "native/home", 0, 0, 0 },
		{ 99, "/y", "/var/tmp", "native/var/tmp", 20, 0, 0 },
	};
	static const struct mount well[] = {
		{ 99, "/", "/mnt", NULL, 20, 0, 0 },
		{ 99, "/x", "/home", "native/home", 21, 20, 0 },
	};

	assert_int_equal(find_lost(slave, ARRAY_SIZE(slave)), ARRAY_SIZE(plain) + 1);
	assert_int_equal(find_lost(named, ARRAY_SIZE(named)), ARRAY_SIZE(plain) + 1);
	assert_int_equal(
	        find_lost(other_cover_is_peer, ARRAY_SIZE(other_cover_is_peer)), ARRAY_SIZE(plain) + 1);
	assert_int_equal(find_lost(well, ARRAY_SIZE(well)), -1);
}

static void test_what_is_no_image_is_told(void **state)
{
	CLEANUP(criu_mounts_done) struct criu_mounts all = { 0 };
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT, out = STRBUF_INIT;
	const size_t head = 8;
	size_t whole = 0;

	make_image(&image, plain, 2);
	for (size_t len = 0; len <= image.len; len++) {
		int r = criu_mounts_read(&all, image.data, len, natives, ARRAY_SIZE(natives));

		assert_true(r == 0 || r == -EBADMSG);
		assert_int_equal(criu_mounts_rewrite(image.data, len, natives, ARRAY_SIZE(natives), &out), r);
		whole += r == 0;
	}
	assert_int_equal(whole, 3); /* with none, one, and two */
	assert_true(head < image.len);
}

/* ---- in a directory */

static void write_image(const char *name, const struct mount *mounts, size_t n)
{
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
	_cleanup_close_ int fd = openat(place_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	make_image(&image, mounts, n);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, image.data, image.len), 0);
}

static void assert_image(const char *name, const struct mount *mounts, size_t n)
{
	_cleanup_strbuf_ struct strbuf want = STRBUF_INIT;
	_cleanup_free_ char *is = NULL;
	size_t len = 0;

	make_image(&want, mounts, n);
	assert_int_equal(read_file_at(place_fd, name, 65536, &is, &len), 0);
	assert_int_equal(len, want.len);
	assert_memory_equal(is, want.data, len);
}

static void test_all_namespaces_count(void **state)
{
	static const struct mount service = { RUN, "/systemd/inaccessible/dir", "/home", "native/home", 0, 2,
		0 };
	static const struct mount tmpfs = { 99, "/", "/home", "native/home", 0, 0, 0 };
	struct mount after = service;
	struct ct_error error = { 0 };

	write_image("mountpoints-12.img", plain, ARRAY_SIZE(plain));
	write_image("mountpoints-13.img", &service, 1);
	write_image("mountpoints-14.img", &tmpfs, 1);
	assert_int_equal(criu_mounts_uncover(place_fd, natives, ARRAY_SIZE(natives), &error), -EBUSY);
	assert_string_equal(
	        error.text, "what a process inside has mounted on \"/home\" for itself would be lost");
	assert_image("mountpoints-13.img", &service, 1);

	assert_int_equal(unlinkat(place_fd, "mountpoints-14.img", 0), 0);
	assert_int_equal(criu_mounts_uncover(place_fd, natives, ARRAY_SIZE(natives), NULL), 0);
	after.key = NULL;
	assert_image("mountpoints-12.img", plain, ARRAY_SIZE(plain));
	assert_image("mountpoints-13.img", &after, 1);
	assert_int_equal(criu_mounts_uncover(place_fd, natives, ARRAY_SIZE(natives), NULL), 0);
	assert_image("mountpoints-13.img", &after, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_covers_lose_the_name_and_nothing_else),
		cmocka_unit_test(test_what_has_no_source_is_lost),
		cmocka_unit_test(test_a_source_that_is_external_is_none),
		cmocka_unit_test(test_what_is_no_image_is_told),
		cmocka_unit_test_setup_teardown(test_all_namespaces_count, place_make, place_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
