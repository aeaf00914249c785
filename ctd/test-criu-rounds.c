/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rounds of memory beside images: what vouches for them notices each change, and what does not read is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/criu-rounds.h"

#define NOTE "rounds.json"

struct images {
	char dir[64];
	int fd;
};

static void put(int dir_fd, const char *name, const char *text)
{
	assert_int_equal(replace_file_at(dir_fd, name, text, strlen(text), 0600, false), 0);
}

static void note(int dir_fd, unsigned int n)
{
	_cleanup_json_ json_t *digests = json_array();

	for (unsigned int i = 1; i <= n; i++) {
		char digest[65];

		assert_int_equal(criu_rounds_digest_one(dir_fd, i, digest, NULL), 0);
		assert_int_equal(json_array_append_new(digests, json_string(digest)), 0);
	}
	assert_int_equal(criu_rounds_note(dir_fd, digests, NULL), 0);
}

/* Two rounds, of 5 and 3 bytes of pages. */
static int setup(void **state)
{
	static const char *const pages[] = { "first", "two" };
	struct images *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	(void)snprintf(x->dir, sizeof(x->dir), "/var/tmp/test-rounds-XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	x->fd = open(x->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(x->fd >= 0);
	put(x->fd, "core-1.img", "core");
	for (unsigned int i = 1; i <= 2; i++) {
		_cleanup_close_ int round = criu_rounds_new(x->fd, i, NULL);

		assert_true(round >= 0);
		put(round, "pages-1.img", pages[i - 1]);
		put(round, "pagemap-1.img", "map");
		assert_int_equal(criu_rounds_pages(round), strlen(pages[i - 1]));
	}
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct images *x = *state;

	(void)fd_close(x->fd);
	assert_int_equal(remove_tree_at(AT_FDCWD, x->dir), 0);
	free(x);
	return 0;
}

static void test_names(void **state)
{
	char name[16];

	criu_rounds_parent(3, false, name);
	assert_string_equal(name, "../3");
	criu_rounds_parent(3, true, name);
	assert_string_equal(name, "rounds/3");
}

static void test_verified(void **state)
{
	const struct images *x = *state;
	struct ct_error err = { 0 };

	assert_int_equal(criu_rounds_read(x->fd, true, &err), 0); /* nothing says that there are any */
	note(x->fd, 2);
	assert_int_equal(criu_rounds_read(x->fd, true, &err), 2);

	put(x->fd, "rounds/1/pages-1.img", "firsT");
	assert_int_equal(criu_rounds_read(x->fd, false, &err), 2);
	assert_int_equal(criu_rounds_read(x->fd, true, &err), -EBADMSG);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
	put(x->fd, "rounds/1/pages-1.img", "first");
	assert_int_equal(criu_rounds_read(x->fd, true, &err), 2);

	put(x->fd, "rounds/2/more", "");
	assert_int_equal(criu_rounds_read(x->fd, true, &err), -EBADMSG);
	assert_int_equal(criu_rounds_remove(x->fd, 2), 0);
	assert_true(criu_rounds_read(x->fd, true, &err) < 0);
	note(x->fd, 1);
	assert_int_equal(criu_rounds_read(x->fd, true, &err), 1);
}

/* Those that came are what is noted of them, not what there is. */
static void test_matched(void **state)
{
	const struct images *x = *state;
	_cleanup_json_ json_t *known = json_array(), *other = NULL;
	struct ct_error err = { 0 };
	char digest[65];

	assert_int_equal(criu_rounds_match(x->fd, known, &err), 0); /* none, and none came */
	for (unsigned int i = 1; i <= 2; i++) {
		assert_int_equal(criu_rounds_digest_one(x->fd, i, digest, &err), 0);
		assert_int_equal(json_array_append_new(known, json_string(digest)), 0);
	}
	assert_int_equal(
	        criu_rounds_match(x->fd, known, &err), -EBADMSG); /* they came, and nothing says so */
	note(x->fd, 2);
	assert_int_equal(criu_rounds_match(x->fd, known, &err), 2);
	put(x->fd, "rounds/1/pages-1.img", "other");
	assert_int_equal(criu_rounds_match(x->fd, known, &err), 2);
	assert_int_equal(criu_rounds_match(x->fd, NULL, &err), -EBADMSG);

	other = json_deep_copy(known);
	assert_int_equal(json_array_set(other, 1, json_array_get(known, 0)), 0);
	assert_int_equal(criu_rounds_match(x->fd, other, &err), -EBADMSG);
	assert_int_equal(json_array_set_new(other, 1, json_null()), 0);
	assert_int_equal(criu_rounds_match(x->fd, other, &err), -EBADMSG);
	assert_int_equal(json_array_remove(other, 1), 0);
	assert_int_equal(criu_rounds_match(x->fd, other, &err), -EBADMSG);
	note(x->fd, 2); /* of the other */
	assert_int_equal(criu_rounds_match(x->fd, known, &err), -EBADMSG);
	assert_int_equal(err.kind, CT_ERROR_REFUSED);
}

/* The rounds count by what is noted of them. */
static void test_digest(void **state)
{
	const struct images *x = *state;
	char without[65], with[65], again[65];

	assert_int_equal(criu_rounds_digest(x->fd, without, NULL), 0);
	put(x->fd, "rounds/1/pages-1.img", "other");
	assert_int_equal(criu_rounds_digest(x->fd, again, NULL), 0);
	assert_string_equal(again, without);
	note(x->fd, 2);
	assert_int_equal(criu_rounds_digest(x->fd, with, NULL), 0);
	assert_string_not_equal(with, without);
	put(x->fd, "rounds/1/pages-1.img", "first");
	note(x->fd, 2);
	assert_int_equal(criu_rounds_digest(x->fd, again, NULL), 0);
	assert_string_not_equal(with, again);
	put(x->fd, "rounds-more", ""); /* a name that only begins so */
	assert_int_equal(criu_rounds_digest(x->fd, with, NULL), 0);
	assert_string_not_equal(with, again);
}

static void test_forget(void **state)
{
	const struct images *x = *state;
	char before[65], after[65];

	assert_int_equal(criu_rounds_digest(x->fd, before, NULL), 0);
	note(x->fd, 2);
	assert_int_equal(criu_rounds_link(x->fd, 2, true, NULL), 0);
	assert_int_equal(criu_rounds_forget(x->fd), 0);
	assert_int_equal(criu_rounds_open(x->fd, 1), -ENOENT);
	assert_int_equal(criu_rounds_read(x->fd, true, NULL), 0);
	assert_int_equal(criu_rounds_digest(x->fd, after, NULL), 0);
	assert_string_equal(after, before);
	assert_int_equal(criu_rounds_forget(x->fd), 0);
}

static void test_no_note(void **state)
{
	static const char *const notes[] = { "", "{", "[]", "{}", "{\"digests\":[]}", "{\"digests\":7}",
		"{\"digests\":[1]}", "{\"digests\":[\"x\"]}", "{\"digests\":[1,2,3,4,5,6,7,8,9]}" };
	const struct images *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		struct ct_error err = { 0 };

		put(x->fd, NOTE, notes[i]);
		assert_int_equal(criu_rounds_read(x->fd, true, &err), -EBADMSG);
		assert_true(*err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_verified, setup, teardown),
		cmocka_unit_test_setup_teardown(test_matched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_digest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_note, setup, teardown),
	};

	return cmocka_run_group_tests_name("criu-rounds", tests, NULL, NULL);
}
