/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds metadata of templates and recipes that nobody vouches for to their parsers.
 *
 *   fuzz-template [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs that a generator with a fixed seed makes from them. The
 * first byte of an input chooses the parser: m metadata, r a recipe. What is accepted must keep what
 * template.h and recipe.h promise; LLVMFuzzerTestOneInput is what libFuzzer wants.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/fuzz.h"
#include "ctd/recipe.h"
#include "ctd/template.h"

static void check_words(char *const *words, const char *what)
{
	for (; words && *words; words++)
		must(str_is_printable(*words), what);
}

static void try_meta(const char *text)
{
	struct template_meta meta = { 0 };
	struct ct_error error = { 0 };

	if (template_meta_from_json(text, &meta, &error) < 0) {
		must(error.code < 0 && *error.text && !meta.init, "a refusal without a reason");
		return;
	}
	accepted++;
	must(meta.init[0] && meta.init[0][0] == '/', "an init that is not an absolute path");
	must(meta.stop_signal > 0 && meta.stop_signal <= 64, "a signal that is none");
	check_words(meta.init, "an unprintable argument of init");
	check_words(meta.env, "an unprintable variable");
	for (char **unit = meta.run_masks; *unit; unit++)
		must(!strchr(*unit, '/') && (*unit)[0] != '.', "a unit that is a path");
	template_meta_done(&meta);
}

static void check_step(const struct recipe_step *step)
{
	const char *path = step->words[1] ?: step->words[0];

	must(path && path[0] == '/' && !strstr(path, "/../") && !str_has_suffix(path, "/.."),
	        "a step on a path that leads out");
	must(step->mode <= 07777, "a mode that is none");
}

static void try_recipe(const char *text)
{
	struct recipe recipe = { 0 };
	struct ct_error error = { 0 };

	if (recipe_parse("fuzz", text, &recipe, &error) < 0) {
		must(error.code < 0 && *error.text && !recipe.name, "a refusal without a reason");
		return;
	}
	accepted++;
	for (char **package = recipe.packages; package && *package; package++)
		must((*package)[0] != '-' && !strpbrk(*package, " ,;/"), "a package that is an option");
	must(!recipe.mirror || !strpbrk(recipe.mirror, " []\""), "a mirror with options");
	for (size_t i = 0; i < recipe.n_steps; i++)
		check_step(&recipe.steps[i]);
	recipe_done(&recipe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *copy = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;

	if (!copy)
		return 0;
	if (data[0] == 'm')
		try_meta(copy);
	else
		try_recipe(copy);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct fuzz fuzz = { "fuzz-template", 0x7e3a11,
		"{}[]\":,\\=/.- \t\n#0189+*'xSIGRTMINaz\177\300" };

	return fuzz_main(&fuzz, argc, argv);
}
