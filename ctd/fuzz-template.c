/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds metadata of templates and recipes that nobody vouches for to their parsers.
 *
 *   fuzz-template [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs that a generator with a fixed seed makes from them. The
 * first byte of an input chooses the parser: m metadata, r a recipe. What is accepted must keep what
 * template.h and recipe.h promise; LLVMFuzzerTestOneInput is what libFuzzer wants.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/recipe.h"
#include "ctd/template.h"

#define INPUT_MAX  8192u
#define INPUTS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t data[INPUT_MAX];
	size_t len;
};

static unsigned long accepted;

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	(void)fprintf(stderr, "fuzz-template: %s\n", what);
	abort();
}

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

/* xorshift64 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mutate(struct input *in, uint64_t *random)
{
	static const char interesting[] = "{}[]\":,\\=/.- \t\n#0189+*'xSIGRTMINaz\177\300";

	for (uint64_t n = next_random(random) % 5 + 1; n > 0 && in->len > 2; n--) {
		size_t at = 1 + next_random(random) % (in->len - 1),
		       len = next_random(random) % (in->len - at);

		switch (next_random(random) % 4) {
		case 0: in->data[at] = (uint8_t)next_random(random); break;
		case 1:
			in->data[at] = (uint8_t)interesting[next_random(random) % (sizeof(interesting) - 1)];
			break;
		case 2: /* a piece less */
			memmove(in->data + at, in->data + at + len, in->len - at - len);
			in->len -= len;
			break;
		case 3: /* a piece twice */
			len = in->len + len <= INPUT_MAX ? len : 0;
			memmove(in->data + at + len, in->data + at, in->len - at);
			in->len += len;
			break;
		}
	}
}

static size_t read_corpus(const char *path, struct input *inputs)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *entry;
	size_t n = 0;

	must(dir, "cannot open the corpus");
	while (n < INPUTS_MAX && (entry = readdir(dir))) {
		_cleanup_free_ char *data = NULL;
		size_t len = 0;

		if (entry->d_name[0] == '.' ||
		        read_file_at(dirfd(dir), entry->d_name, INPUT_MAX, &data, &len) < 0)
			continue;
		memcpy(inputs[n].data, data, len);
		inputs[n++].len = len;
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct input inputs[INPUTS_MAX], one;
	uint64_t random = 0x7e3a11, rounds = 0;
	size_t n;

	if (argc == 4 && str_eq(argv[1], "--mutate"))
		must(parse_u64(argv[2], &rounds) == 0, "--mutate takes a number");
	else
		must(argc == 2, "usage: fuzz-template [--mutate N] DIRECTORY");
	n = read_corpus(argv[argc - 1], inputs);
	must(n > 0, "the corpus is empty");

	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */
	must(accepted > 0, "nothing of the corpus was accepted");
	for (uint64_t i = 0; i < rounds; i++) {
		one = inputs[next_random(&random) % n];
		mutate(&one, &random);
		(void)LLVMFuzzerTestOneInput(one.data, one.len); /* always 0 */
	}
	(void)printf(
	        "%zu inputs, %llu made from them, %lu accepted\n", n, (unsigned long long)rounds, accepted);
	return 0;
}
