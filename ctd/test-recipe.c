/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recipes: the ones of this tree, each key, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "ctd/recipe.h"
#include "ctd/template-signal.h"

static const char *recipe_dir; /* of the tree, from the command line */

#define BASE "description = d\ninit = /sbin/init\nstop-signal = SIGTERM\n"

static void test_tree(void **state)
{
	char **names = NULL;
	size_t n = 0;

	assert_int_equal(recipe_names(recipe_dir, &names, NULL), 0);
	for (; names[n]; n++) {
		struct recipe recipe = { 0 };
		struct ct_error error = { 0 };

		if (recipe_load(recipe_dir, names[n], &recipe, &error) < 0)
			fail_msg("%s", error.text);
		assert_string_equal(recipe.name, names[n]);
		assert_true(signal_from_name(recipe.stop_signal) > 0);
		if (recipe.builder == RECIPE_BUILDER_MMDEBSTRAP)
			assert_non_null(recipe.keyring);
		recipe_done(&recipe);
	}
	assert_true(n >= 3);
	assert_string_equal(names[0], "debian");
	recipe_names_free(names);
}

static void test_keys(void **state)
{
	static const char text[] = BASE
	        "# a comment\n"
	        "builder = mmdebstrap\n"
	        "distribution=ubuntu\nrelease = 24.04\nsuite = noble\nmirror = file:/srv/x\ncomponents = main universe\n"
	        "keyring = /usr/share/keyrings/x.gpg\nvariant = extract\n"
	        "packages = a b\n  packages\t=  c++  \n"
	        "environment = A=b\nrun-mask = x.service\n"
	        "directory = /a 1777\nfile = x /b 0644\nhost-file = /bin/x /c 4755\nlink = ../x /d\napplets = /c\nempty = /e\nremove = /f/*\n";
	struct recipe recipe = { 0 };
	struct ct_error error = { 0 };

	if (recipe_parse("r", text, &recipe, &error) < 0)
		fail_msg("%s", error.text);
	assert_string_equal(recipe.description, "d");
	assert_int_equal(recipe.builder, RECIPE_BUILDER_MMDEBSTRAP);
	assert_string_equal(recipe.suite, "noble");
	assert_string_equal(recipe.components, "main universe");
	assert_string_equal(recipe.variant, "extract");
	assert_string_equal(recipe.packages[2], "c++");
	assert_null(recipe.packages[3]);
	assert_string_equal(recipe.run_masks[0], "x.service");
	assert_int_equal(recipe.n_steps, 7);
	assert_int_equal(recipe.steps[0].kind, RECIPE_STEP_DIRECTORY);
	assert_int_equal(recipe.steps[0].mode, 01777);
	assert_string_equal(recipe.steps[1].words[0], "x");
	assert_string_equal(recipe.steps[1].words[1], "/b");
	assert_int_equal(recipe.steps[2].mode, 04755);
	assert_string_equal(recipe.steps[3].words[0], "../x");
	assert_int_equal(recipe.steps[6].kind, RECIPE_STEP_REMOVE);
	recipe_done(&recipe);
}

static void test_refused(void **state)
{
	static const char *const lines[] = {
		"what = ever",
		"no equals sign",
		"description = twice",
		"builder = shell",
		"packages = --option",
		"packages = UPPER",
		"packages = a;b",
		"keyring = relative.gpg",
		"keyring = /dev/null",
		"keyring = /a/../b.gpg",
		"mirror = ftp://x",
		"mirror = -x",
		"mirror = http://x [trusted=yes]",
		"suite = -x",
		"suite = a b",
		"components = main -x",
		"variant = custom",
		"environment = x",
		"directory = relative 0755",
		"directory = / 0755",
		"directory = /a/../b 0755",
		"directory = /a//b 0755",
		"directory = /a/ 0755",
		"directory = /a 755",
		"directory = /a 0788",
		"directory = /a",
		"directory = /a 0755 more",
		"file = a/b /c 0644",
		"file = .. /c 0644",
		"file = -a /c 0644",
		"host-file = bin/x /c 0755",
		"link = /x",
		"link = -x /y",
		"applets =",
		"remove = x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		_cleanup_free_ char *text = str_printf(BASE "%s\n", lines[i]);
		struct ct_error error = { 0 };
		struct recipe recipe = { 0 };

		assert_non_null(text);
		if (recipe_parse("r", text, &recipe, &error) >= 0)
			fail_msg("accepted: %s", lines[i]);
		if (!strstr(error.text, "line 4"))
			fail_msg("\"%s\" does not name the line of: %s", error.text, lines[i]);
		assert_null(recipe.name);
	}
}

static void test_incomplete(void **state)
{
	struct recipe recipe = { 0 };

	assert_int_equal(recipe_parse("r", "init = /i\nstop-signal = SIGTERM\n", &recipe, NULL), -EINVAL);
	assert_int_equal(
	        recipe_parse("r", "description = d\nstop-signal = SIGTERM\n", &recipe, NULL), -EINVAL);
	assert_int_equal(recipe_parse("r", "description = d\ninit = /i\n", &recipe, NULL), -EINVAL);
	assert_int_equal(recipe_parse("r", "", &recipe, NULL), -EINVAL);
}

static void test_names(void **state)
{
	struct recipe recipe = { 0 };
	struct ct_error error = { 0 };

	assert_int_equal(recipe_check_name("a.b_c-1", NULL), 0);
	assert_int_equal(recipe_check_name("", NULL), -EINVAL);
	assert_int_equal(recipe_check_name("../x", NULL), -EINVAL);
	assert_int_equal(recipe_check_name(".x", NULL), -EINVAL);
	assert_int_equal(recipe_check_name("A", NULL), -EINVAL);
	assert_int_equal(recipe_load(recipe_dir, "nothing", &recipe, &error), -ENOENT);
	assert_int_equal(error.kind, CT_ERROR_NOT_FOUND);
	assert_non_null(strstr(error.text, "debian"));
}

static void test_source(void **state)
{
	static const struct {
		struct recipe_source source;
		const char *field;
	} bad[] = {
		{ { .suite = "a b" }, "suite" },
		{ { .suite = "--x" }, "suite" },
		{ { .suite = "" }, "suite" },
		{ { .mirror = "x" }, "mirror" },
		{ { .mirror = "http://h/ main" }, "mirror" },
		{ { .keyring = "x.gpg" }, "keyring" },
		{ { .keyring = "/dev/null" }, "keyring" },
		{ { .keyring = "/nowhere/x.gpg" }, "keyring" },
	};
	struct recipe_source good = { .suite = "noble-updates", .mirror = "https://h:80/x~y" };

	assert_int_equal(recipe_source_check(&good, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ct_error error = { 0 };

		assert_int_equal(recipe_source_check(&bad[i].source, &error), -EINVAL);
		assert_string_equal(error.field, bad[i].field);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_source),
	};

	if (argc != 2)
		return 2;
	recipe_dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
