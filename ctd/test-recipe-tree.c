/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps of recipes on trees that others have made, programs of the host with their libraries, and what
 * mmdebstrap says. */
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
#include "base/path.h"
#include "base/process.h"
#include "base/clock.h"
#include "base/str.h"
#include "ctd/recipe-tree.h"
#include "ctd/worker-listener.h"
#include "ctd/worker-main.h"

#define HEAD "description = d\ninit = /i\nstop-signal = SIGTERM\n"

struct world {
	char path[64];
	int top, root, files; /* the root is top/root; beside it is what must not be touched */
};

static int put(int dirfd, const char *name, const char *text)
{
	return replace_file_at(dirfd, name, text, strlen(text), 0644, false);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	(void)snprintf(w->path, sizeof(w->path), "/tmp/test-recipe.XXXXXX");
	assert_non_null(mkdtemp(w->path));
	w->top = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->root = open_or_mkdir(w->top, "root", 0755);
	w->files = open_or_mkdir(w->top, "files", 0755);
	assert_true(w->top >= 0 && w->root >= 0 && w->files >= 0);
	assert_int_equal(put(w->top, "secret", "secret"), 0);
	assert_int_equal(put(w->files, "one", "text"), 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	(void)close(w->top);
	(void)close(w->root);
	(void)close(w->files);
	assert_int_equal(remove_tree_at(AT_FDCWD, w->path), 0);
	free(w);
	return 0;
}

static int apply(struct world *w, const char *steps, struct ct_error *err)
{
	_cleanup_free_ char *text = str_printf(HEAD "%s", steps);
	struct recipe recipe = { 0 };
	int r;

	assert_non_null(text);
	assert_int_equal(recipe_parse("r", text, &recipe, err), 0);
	r = recipe_apply(&recipe, w->files, w->root, err);
	recipe_done(&recipe);
	return r;
}

static void assert_mode(int dirfd, const char *path, mode_t mode)
{
	struct stat st;

	assert_int_equal(fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode, mode);
}

static void assert_text(int dirfd, const char *path, const char *text)
{
	_cleanup_free_ char *data = NULL;

	assert_int_equal(read_file_at(dirfd, path, 4096, &data, NULL), 0);
	assert_string_equal(data, text);
}

static void test_steps(void **state)
{
	struct world *w = *state;
	char target[64] = "";

	(void)umask(077); /* modes are as written all the same */
	assert_int_equal(
	        apply(w,
	                "directory = /a/b 1777\nfile = one /a/c/d 4755\nlink = ../x /a/l\nempty = /a/e\n"
	                "file = one /a/z1 0644\nfile = one /a/z2 0644\ndirectory = /a/zd/deep 0755\nremove = /a/z*\nremove = /none/x\n",
	                NULL),
	        0);
	(void)umask(022);
	assert_mode(w->root, "a/b", S_IFDIR | 01777);
	assert_mode(w->root, "a/c/d", S_IFREG | 04755);
	assert_mode(w->root, "a/e", S_IFREG | 0644);
	assert_text(w->root, "a/c/d", "text");
	assert_int_equal(readlinkat(w->root, "a/l", target, sizeof(target) - 1), 4);
	assert_string_equal(target, "../x");
	assert_int_equal(faccessat(w->root, "a/z1", F_OK, 0), -1);
	assert_int_equal(faccessat(w->root, "a/zd", F_OK, 0), -1);
}

/* A tree whose links point out of it. */
static void test_links_stay_inside(void **state)
{
	struct world *w = *state;

	assert_int_equal(symlinkat("../..", w->root, "up"), 0);
	assert_int_equal(symlinkat(w->path, w->root, "abs"), 0);
	assert_int_equal(symlinkat("../secret", w->root, "last"), 0);

	/* In the root, "/up" is the root itself, and the absolute link is a path that is not there yet. */
	assert_int_equal(
	        apply(w,
	                "file = one /up/secret 0644\nfile = one /last 0644\nempty = /up/secret2\nremove = /up/secret2\n",
	                NULL),
	        0);
	(void)apply(w, "file = one /abs/secret 0644\n", NULL); /* either way: not outside */
	(void)apply(w, "remove = /abs/*\n", NULL);
	assert_text(w->top, "secret", "secret");
	assert_text(w->root, "secret", "text");
	assert_mode(w->root, "last", S_IFREG | 0644);
	assert_mode(w->top, "files/one", S_IFREG | 0644);
}

static void test_missing(void **state)
{
	struct world *w = *state;
	struct ct_error error = { 0 };

	assert_int_equal(apply(w, "file = two /x 0644\n", &error), -ENOENT);
	assert_non_null(strstr(error.text, "two"));
	assert_int_equal(apply(w, "host-file = /nowhere/program /x 0755\n", &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/program"));
	assert_int_equal(apply(w, "applets = /bin/busybox\n", &error), -EINVAL);
	assert_non_null(strstr(error.text, "line 4"));
}

/* What came along is enough to run the program with nothing but the new root's libraries. */
static void test_host_file(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *program = str_printf("%s/root/bin/ls", w->path),
	                    *library = str_printf("%s/root/lib/x86_64-linux-gnu", w->path);
	_cleanup_free_ char *loader = str_printf("%s/root/lib64/ld-linux-x86-64.so.2", w->path), *out = NULL;
	const char *argv[] = { loader, "--inhibit-cache", "--library-path", library, program, "/proc/self/fd",
		NULL };

	if (access("/lib64/ld-linux-x86-64.so.2", X_OK) < 0)
		skip(); /* another architecture has other places */
	assert_int_equal(apply(w, "host-file = /bin/ls /bin/ls 0755\n", NULL), 0);
	assert_mode(w->root, "bin/ls", S_IFREG | 0755);
	assert_int_equal(faccessat(w->root, "lib/x86_64-linux-gnu/libc.so.6", F_OK, 0), 0);
	assert_int_equal(process_run(argv, 10 * USEC_PER_SEC, 4096, &out), 0);
	assert_non_null(strchr(out, '0'));
}

static void test_not_elf(void **state)
{
	struct world *w = *state;

	assert_int_equal(apply(w, "host-file = /etc/os-release /etc/os-release 0644\n", NULL), 0);
	assert_mode(w->root, "etc/os-release", S_IFREG | 0644);
	assert_int_equal(faccessat(w->root, "lib", F_OK, 0), -1);
}

/* ---- mmdebstrap's words ---- */

static int last_percent;

void worker_progress(int percent, const char *format, ...)
{
	last_percent = percent;
}

static void hear(struct listener *l, const char *text)
{
	for (; *text; text++) /* in the smallest pieces */
		listener_hear(l, text, 1);
}

static void test_listener(void **state)
{
	struct listener l = { 0 };
	struct ct_error error = { 0 };

	last_percent = -1;
	hear(&l, "I: automatically chosen mode: root\nI: extracting archives...\n");
	assert_int_equal(last_percent, 25);
	assert_true(listener_explain(&l, 7, "/k.gpg", &error) < 0);
	assert_non_null(strstr(error.text, "status 7"));

	hear(&l, "E: first \033[0m\nW: noise\nE: last\n");
	assert_true(listener_explain(&l, 1, "/k.gpg", &error) < 0);
	assert_non_null(strstr(error.text, "first"));
	assert_non_null(strstr(error.text, "last"));
	assert_null(strchr(error.text, '\033'));

	hear(&l, "W: GPG error: x: NO_PUBKEY 77\n");
	assert_true(listener_explain(&l, 1, "/k.gpg", &error) < 0);
	assert_int_equal(error.kind, CT_ERROR_REFUSED);
	assert_non_null(strstr(error.text, "/k.gpg"));
	assert_non_null(strstr(error.text, "NO_PUBKEY 77"));
}

static void test_listener_is_bounded(void **state)
{
	struct listener l = { 0 };

	hear(&l, "E: ");
	for (int i = 0; i < 100000; i++)
		listener_hear(&l, "x", 1);
	hear(&l, "\n");
	assert_true(strlen(l.first_error) < sizeof(l.first_error));
	assert_true(strlen(l.first_error) > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_steps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links_stay_inside, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_host_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_elf, set_up, tear_down),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_listener_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
