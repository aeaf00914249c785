/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Archives as what differs from others: what comes out is what went in, whatever the base, and is short where
 * they are alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-archive.h"

#define BLOCK  512
#define HEADER BLOCK

static int file_of(const struct strbuf *b)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, b->data ?: "", b->len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* As much of a header of tar's as is looked at, and a time. */
static void add_member(struct strbuf *b, const char *name, unsigned int time, const char *data, size_t len)
{
	static const char zero[BLOCK];
	char header[HEADER] = { 0 };

	(void)snprintf(header, 100, "%s", name); /* cut, as tar does not */
	(void)snprintf(header + 136, 12, "%011o", time);
	header[156] = '0';
	memcpy(header + 257, "ustar", 6);
	assert_int_equal(strbuf_add(b, header, sizeof(header)), 0);
	assert_int_equal(strbuf_add(b, data, len), 0);
	assert_int_equal(strbuf_add(b, zero, (BLOCK - len % BLOCK) % BLOCK), 0);
}

static char *noise(size_t len, unsigned int seed)
{
	char *data = malloc(len);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		data[i] = (char)(seed >> 16);
	}
	return data;
}

/* There and back. Returns the size of what was written for it. */
static size_t round_trip(const struct strbuf *before, const struct strbuf *now)
{
	_cleanup_close_ int base_fd = file_of(before), in = file_of(now), out = -1, again = -1;
	_cleanup_free_ char *result = malloc(now->len + 1);
	struct criu_archive_base base;
	size_t size;

	out = memfd_create("short", MFD_CLOEXEC);
	again = memfd_create("again", MFD_CLOEXEC);
	assert_true(out >= 0 && again >= 0 && result);
	assert_int_equal(criu_archive_open(base_fd, &base), 0);
	assert_int_equal(criu_archive_shorten(in, &base, out), 0);
	size = (size_t)lseek(out, 0, SEEK_CUR);
	assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	assert_true(criu_archive_is_short(out));
	assert_false(criu_archive_is_short(in));
	assert_int_equal(criu_archive_restore(out, &base, again), 0);
	assert_int_equal(lseek(again, 0, SEEK_CUR), now->len);
	assert_int_equal(pread(again, result, now->len, 0), now->len);
	assert_memory_equal(result, now->data ?: "", now->len);
	criu_archive_done(&base);
	return size;
}

#define LARGE (1000 * 1000)

static void test_same_is_short(void **state)
{
	_cleanup_free_ char *data = noise(LARGE, 1);
	_cleanup_strbuf_ struct strbuf one = STRBUF_INIT;

	add_member(&one, "./a", 1, data, LARGE);
	add_member(&one, "./b", 1, data, 100);
	assert_true(round_trip(&one, &one) < 100);
}

/* In the middle of one, of which the header is another too, as tar's own process is; before and behind it. */
static void test_changes(void **state)
{
	_cleanup_free_ char *data = noise(LARGE, 1), *other = noise(LARGE, 2);
	_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, now = STRBUF_INIT;

	add_member(&before, "./GNUSparseFile.12/a", 1, data, LARGE);
	add_member(&before, "./gone", 1, other, LARGE);
	add_member(&before, "./b", 1, data + 1, LARGE / 2);
	add_member(&now, "./new", 1, other + 7, 70000);
	data[LARGE / 2] ^= 1;
	add_member(&now, "./GNUSparseFile.9345/a", 2, data, LARGE);
	add_member(&now, "./b", 1, data + 1, LARGE / 3);
	add_member(&now, "./c", 1, other, 1);
	assert_in_range(round_trip(&before, &now), 70000, 70000 + 8 * BLOCK);
	/* Other files in another order. */
	assert_in_range(round_trip(&now, &before), LARGE, LARGE + LARGE / 6 + 20 * BLOCK);
}

static void test_nothing_in_common(void **state)
{
	_cleanup_free_ char *data = noise(LARGE, 3);
	_cleanup_strbuf_ struct strbuf none = STRBUF_INIT, some = STRBUF_INIT;

	assert_int_equal(strbuf_puts(&none, ""), 0);
	add_member(&some, "./a", 1, data, LARGE);
	assert_int_equal(strbuf_add(&some, "rest", 4), 0); /* no whole block */
	assert_in_range(round_trip(&none, &some), LARGE, LARGE + 4 * BLOCK);
	assert_in_range(round_trip(&some, &none), 1, 100);
	assert_in_range(round_trip(&some, &some), 1, 100);
}

/* Whatever is in the base, and whatever looks like a header. */
static void test_random(void **state)
{
	for (unsigned int seed = 0; seed < 200; seed++) {
		_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, now = STRBUF_INIT;
		_cleanup_free_ char *data = noise(9 * BLOCK, seed);

		for (int i = 0; i < 30; i++) {
			const unsigned char *random = (const unsigned char *)data + i;
			char name[2] = { (char)('a' + random[0] % 5), '\0' };

			add_member(&before, name, random[1] % 2, data + random[2], random[3] * 4u);
			name[0] = (char)('a' + random[4] % 5);
			add_member(&now, name, random[1] % 2, data + random[5] % 3 * BLOCK, random[3] * 4u);
			if (random[6] % 3 == 0) { /* what is no header may be in the place of one */
				char copy[2 * BLOCK];

				memcpy(copy, now.data + random[7], sizeof(copy) - random[7]);
				memset(copy + sizeof(copy) - random[7], 0, random[7]);
				assert_int_equal(strbuf_add(&now, copy, sizeof(copy)), 0);
			}
		}
		(void)round_trip(&before, &now);
	}
}

/* As many headers of one name as there may be take time in proportion. */
static void test_one_name(void **state)
{
	_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, now = STRBUF_INIT;

	for (unsigned int i = 0; i < 20000; i++) {
		add_member(&before, "./a", 2 * i, "", 0);
		add_member(&now, "./a", 2 * i + 1, "", 0);
	}
	assert_in_range(round_trip(&before, &now), 1, now.len + 10000);
}

static void assert_refused(const void *data, size_t len)
{
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT, before = STRBUF_INIT;
	_cleanup_close_ int base_fd = -1, fd = -1, out = memfd_create("out", MFD_CLOEXEC);
	struct criu_archive_base base;

	add_member(&before, "./a", 1, "1", 1);
	assert_int_equal(strbuf_add(&image, data, len), 0);
	base_fd = file_of(&before);
	fd = file_of(&image);
	assert_int_equal(criu_archive_open(base_fd, &base), 0);
	assert_int_equal(criu_archive_restore(fd, &base, out), -EBADMSG);
	criu_archive_done(&base);
}

static void test_damage_is_refused(void **state)
{
	static const struct {
		uint64_t from, length;
	} records[] = { { 0, 2 * BLOCK + 1 }, { 2 * BLOCK + 1, 0 }, { UINT64_MAX - 2, 4 }, { UINT64_MAX, 1 },
		{ UINT64_MAX - 1, 1 }, { 0, BLOCK } };
	char image[8 + 16] = "CTDTMPF1";

	assert_refused("", 0);
	assert_refused("CTDTMPF", 7);
	assert_refused("CTDTMPF2", 8);
	assert_refused("CTDTMPF1", 8); /* it has no end */
	for (size_t i = 0; i < ARRAY_SIZE(records); i++) {
		const uint64_t from = htole64(records[i].from), length = htole64(records[i].length);

		memcpy(image + 8, &from, 8);
		memcpy(image + 16, &length, 8);
		assert_refused(image, sizeof(image));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_is_short),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_one_name),
		cmocka_unit_test(test_damage_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
