/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recipes: lines of "key = value", read by one table.
 *
 * A recipe is data: it names packages, files and links; it cannot run anything. Recipes are the
 * administrator's, but what they say is checked as if they were not, since their words end up in argument
 * vectors and below a new root: nothing starts with "-", paths are absolute, without "..", and the tree is
 * only touched through open_in_root. Keys that hold lists may be repeated; what they add is appended in
 * order.
 */
#include "ctd/recipe.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define RECIPE_MAX_BYTES 65536
#define LIST_MAX         512
#define STEPS_MAX        256

struct parse {
	struct recipe *recipe;
	unsigned line;
	const char *key;
	struct ct_error *err;
};

static void list_free(char **list)
{
	for (char **word = list; word && *word; word++)
		free(*word);
	free(list);
}

void recipe_done(struct recipe *recipe)
{
	char *words[] = { recipe->name, recipe->description, recipe->distribution, recipe->release,
		recipe->suite, recipe->mirror, recipe->components, recipe->keyring, recipe->stop_signal,
		recipe->variant };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		free(words[i]);
	list_free(recipe->packages);
	list_free(recipe->init);
	list_free(recipe->env);
	list_free(recipe->run_masks);
	for (size_t i = 0; i < recipe->n_steps; i++)
		for (size_t k = 0; k < RECIPE_STEP_WORDS; k++)
			free(recipe->steps[i].words[k]);
	free(recipe->steps);
	*recipe = (struct recipe){ 0 };
}

static int parse_error(struct parse *p, const char *accepts)
{
	return ct_error_set(p->err, -EINVAL, "recipe", "recipe \"%s\", line %u: %s must be %s",
	        p->recipe->name, p->line, p->key, accepts);
}

static int no_memory(struct parse *p)
{
	return ct_error_set(p->err, -ENOMEM, "recipe", "out of memory");
}

/* ---- words ---- */

static bool is_option_like(const char *word)
{
	return word[0] == '-';
}

static bool is_word(const char *word)
{
	return *word && !is_option_like(word) && str_is_printable(word) && strlen(word) <= 255 &&
	       !strpbrk(word, " \t\"'\\[]");
}

static bool is_package(const char *word)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";

	return *word && strchr(first, *word) &&
	       strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789+-.:") == strlen(word) &&
	       strlen(word) <= 128;
}

/* Absolute, normal: no empty, "." or ".." component. "/" itself is not meant. */
static bool is_path(const char *path)
{
	if (path[0] != '/' || !path[1] || strlen(path) > 512 || !str_is_printable(path))
		return false;
	for (const char *p = path; *p;) {
		size_t len = strcspn(++p, "/");

		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
	}
	return true;
}

static bool is_file_name(const char *word)
{
	return is_word(word) && !strchr(word, '/') && word[0] != '.';
}

static int parse_mode(const char *word, mode_t *ret)
{
	mode_t mode = 0;

	if (strlen(word) != 4 || strspn(word, "01234567") != 4)
		return -EINVAL;
	for (const char *p = word; *p; p++)
		mode = mode << 3 | (mode_t)(*p - '0');
	*ret = mode;
	return 0;
}

static int list_append(char ***list, const char *word)
{
	size_t n = 0;
	char **longer;

	while (*list && (*list)[n])
		n++;
	if (n >= LIST_MAX)
		return -E2BIG;
	longer = reallocarray(*list, n + 2, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	*list = longer;
	longer[n] = strdup(word);
	longer[n + 1] = NULL;
	return longer[n] ? 0 : -ENOMEM;
}

/* ---- keys ---- */

struct key {
	const char *name;
	int (*read)(struct parse *p, const struct key *key, char *value);
	size_t offset; /* of the member, where it is one */
	bool (*check)(const char *word);
	const char *accepts;
	enum recipe_step_kind step;
};

static int read_text(struct parse *p, const struct key *key, char *value)
{
	char **target = (char **)((char *)p->recipe + key->offset);

	if (*target)
		return parse_error(p, "given once");
	if (!key->check(value))
		return parse_error(p, key->accepts);
	*target = strdup(value);
	return *target ? 0 : no_memory(p);
}

static int read_list(struct parse *p, const struct key *key, char *value)
{
	char ***target = (char ***)((char *)p->recipe + key->offset);
	char *word;
	int r;

	while ((word = strsep(&value, " \t"))) {
		if (!*word)
			continue;
		if (!key->check(word))
			return parse_error(p, key->accepts);
		r = list_append(target, word);
		if (r < 0)
			return r == -E2BIG ? parse_error(p, "a list of at most 512 words") : no_memory(p);
	}
	return 0;
}

static int read_builder(struct parse *p, const struct key *key, char *value)
{
	if (str_eq(value, "mmdebstrap"))
		p->recipe->builder = RECIPE_BUILDER_MMDEBSTRAP;
	else if (str_eq(value, "host"))
		p->recipe->builder = RECIPE_BUILDER_HOST;
	else
		return parse_error(p, key->accepts);
	return 0;
}

static const struct step_form {
	unsigned words;
	bool mode;
	bool first_is_file; /* the first word is the name of a file of the recipe, else a path */
	bool first_is_any;  /* or any text: the target of a link */
} step_forms[RECIPE_N_STEP_KINDS] = {
	[RECIPE_STEP_DIRECTORY] = { 1, true, false, false },
	[RECIPE_STEP_FILE] = { 2, true, true, false },
	[RECIPE_STEP_HOST_FILE] = { 2, true, false, false },
	[RECIPE_STEP_LINK] = { 2, false, false, true },
	[RECIPE_STEP_APPLETS] = { 1, false, false, false },
	[RECIPE_STEP_EMPTY] = { 1, false, false, false },
	[RECIPE_STEP_REMOVE] = { 1, false, false, false },
};

static bool is_step_word(const struct step_form *form, unsigned index, const char *word)
{
	if (index == 0 && form->first_is_file)
		return is_file_name(word);
	if (index == 0 && form->first_is_any)
		return is_word(word);
	return is_path(word);
}

static int add_step(struct parse *p, struct recipe_step **ret)
{
	struct recipe *recipe = p->recipe;
	struct recipe_step *steps;

	if (recipe->n_steps >= STEPS_MAX)
		return parse_error(p, "one of at most 256 steps");
	steps = reallocarray(recipe->steps, recipe->n_steps + 1, sizeof(*steps));
	if (!steps)
		return no_memory(p);
	recipe->steps = steps;
	*ret = &steps[recipe->n_steps++];
	**ret = (struct recipe_step){ .line = p->line };
	return 0;
}

static int read_step(struct parse *p, const struct key *key, char *value)
{
	const struct step_form *form = &step_forms[key->step];
	struct recipe_step *step = NULL;
	unsigned n = 0;
	char *word;
	int r;

	r = add_step(p, &step);
	if (r < 0)
		return r;
	step->kind = key->step;
	while ((word = strsep(&value, " \t"))) {
		if (!*word)
			continue;
		if (n < form->words && is_step_word(form, n, word))
			step->words[n] = strdup(word);
		else if (n != form->words || !form->mode || parse_mode(word, &step->mode) < 0)
			return parse_error(p, key->accepts);
		if (n < form->words && !step->words[n])
			return no_memory(p);
		n++;
	}
	return n == form->words + form->mode ? 0 : parse_error(p, key->accepts);
}

static bool is_text(const char *text)
{
	return *text && strlen(text) <= 200 && str_is_printable(text);
}

static bool is_suite(const char *word)
{
	return is_word(word) && strlen(word) <= 64 &&
	       strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_/") ==
	               strlen(word);
}

static bool is_mirror(const char *word)
{
	return is_word(word) && (str_has_prefix(word, "http://") || str_has_prefix(word, "https://") ||
	                                str_has_prefix(word, "file:/"));
}

static bool is_keyring(const char *word)
{
	return is_path(word) && is_word(word) &&
	       (str_has_suffix(word, ".gpg") || str_has_suffix(word, ".asc") || str_has_suffix(word, ".pgp"));
}

static bool is_component_list(const char *text)
{
	return *text && strlen(text) <= 200 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789- ") == strlen(text) && text[0] != '-' &&
	       !strstr(text, " -");
}

static bool is_variant(const char *word)
{
	static const char *const variants[] = { "minbase", "apt", "essential", "extract" };

	for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
		if (str_eq(variants[i], word))
			return true;
	return false;
}

static bool is_env(const char *word)
{
	return is_word(word) && strchr(word, '=');
}

#define AT(member)          offsetof(struct recipe, member)
#define STEP(kind, accepts) read_step, 0, NULL, accepts, kind

static const struct key keys[] = {
	{ "description", read_text, AT(description), is_text, "a line of at most 200 bytes" },
	{ "builder", read_builder, 0, NULL, "mmdebstrap or host" },
	{ "distribution", read_text, AT(distribution), is_word, "a word" },
	{ "release", read_text, AT(release), is_word, "a word" },
	{ "variant", read_text, AT(variant), is_variant, "minbase, apt, essential or extract" },
	{ "suite", read_text, AT(suite), is_suite, "the name of a suite" },
	{ "mirror", read_text, AT(mirror), is_mirror, "a URL with http://, https:// or file:/" },
	{ "components", read_text, AT(components), is_component_list, "names of components" },
	{ "keyring", read_text, AT(keyring), is_keyring, "the absolute path of a .gpg, .pgp or .asc file" },
	{ "packages", read_list, AT(packages), is_package, "names of packages" },
	{ "init", read_list, AT(init), is_word, "a program and its arguments" },
	{ "environment", read_list, AT(env), is_env, "NAME=VALUE" },
	{ "run-mask", read_list, AT(run_masks), is_word, "names of systemd units" },
	{ "stop-signal", read_text, AT(stop_signal), is_word, "the name of a signal" },
	{ "directory", STEP(RECIPE_STEP_DIRECTORY, "PATH MODE") },
	{ "file", STEP(RECIPE_STEP_FILE, "FILE PATH MODE") },
	{ "host-file", STEP(RECIPE_STEP_HOST_FILE, "HOST-PATH PATH MODE") },
	{ "link", STEP(RECIPE_STEP_LINK, "TARGET PATH") },
	{ "applets", STEP(RECIPE_STEP_APPLETS, "PATH") },
	{ "empty", STEP(RECIPE_STEP_EMPTY, "PATH") },
	{ "remove", STEP(RECIPE_STEP_REMOVE, "PATH") },
};

static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

static int parse_line(struct parse *p, char *line)
{
	char *equals, *value;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return ct_error_set(p->err, -EINVAL, "recipe",
		        "recipe \"%s\", line %u: \"key = value\" is expected", p->recipe->name, p->line);
	*equals = '\0';
	value = trim(equals + 1);
	p->key = trim(line);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (str_eq(keys[i].name, p->key))
			return keys[i].read(p, &keys[i], value);
	return ct_error_set(p->err, -EINVAL, "recipe",
	        "recipe \"%s\", line %u: there is no such key (ct-template(5) lists them)", p->recipe->name,
	        p->line);
}

static int check_whole(const struct recipe *recipe, struct ct_error *err)
{
	const char *missing = !recipe->description   ? "description"
	                      : !recipe->init        ? "init"
	                      : !recipe->stop_signal ? "stop-signal"
	                                             : NULL;

	if (missing)
		return ct_error_set(err, -EINVAL, "recipe", "recipe \"%s\" has no %s", recipe->name, missing);
	return 0;
}

int recipe_parse(const char *name, const char *text, struct recipe *ret, struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	struct recipe recipe = { .name = strdup(name) };
	struct parse p = { .recipe = &recipe, .err = err };
	char *next = copy, *line;
	int r = copy && recipe.name ? 0 : ct_error_set(err, -ENOMEM, "recipe", "out of memory");

	while (r >= 0 && (line = strsep(&next, "\n"))) {
		p.line++;
		r = parse_line(&p, line);
	}
	if (r >= 0)
		r = check_whole(&recipe, err);
	if (r < 0) {
		recipe_done(&recipe);
		return r;
	}

	*ret = recipe;
	return 0;
}

int recipe_check_name(const char *name, struct ct_error *err)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";

	if (!*name || strlen(name) > 63 || !strchr(first, *name) ||
	        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != strlen(name))
		return ct_error_field(err, "recipe",
		        "the name of a recipe has 1 to 63 characters of a-z, 0-9, \".\", \"_\" and \"-\"");
	return 0;
}

/* "a, b, c" of what can be built, for the sentence. */
static int not_found(const char *dir, const char *name, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf all = STRBUF_INIT;
	char **names = NULL;

	if (recipe_names(dir, &names, NULL) >= 0)
		for (size_t i = 0; names[i]; i++)
			(void)strbuf_printf(&all, "%s%s", i > 0 ? ", " : "",
			        names[i]); /* a shorter sentence without memory */
	recipe_names_free(names);
	return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT, "there is no recipe \"%s\"; there are: %s",
	        name, all.len > 0 ? all.data : "none");
}

int recipe_load(const char *dir, const char *name, struct recipe *ret, struct ct_error *err)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	size_t len = 0;
	int r;

	r = recipe_check_name(name, err);
	if (r < 0)
		return r;
	path = str_printf("%s/%s/recipe", dir, name);
	if (!path)
		return ct_error_set(err, -ENOMEM, "recipe", "out of memory");
	r = read_file_at(AT_FDCWD, path, RECIPE_MAX_BYTES, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return not_found(dir, name, err);
	if (r < 0)
		return ct_error_set(err, r, "recipe", "cannot read \"%s\": %s", path, strerror(-r));
	if (strlen(text) != len)
		return ct_error_set(err, -EINVAL, "recipe", "\"%s\" holds a NUL byte", path);
	return recipe_parse(name, text, ret, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void recipe_names_free(char **names)
{
	list_free(names);
}

int recipe_names(const char *dir, char ***ret, struct ct_error *err)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	char **names = calloc(1, sizeof(*names));
	struct dirent *entry;
	size_t n = 0;
	int r = 0;

	if (!d || !names) {
		free(names);
		return ct_error_set(err, -errno, "recipe", "cannot open the directory of recipes \"%s\": %s",
		        dir, strerror(errno));
	}
	while (r >= 0 && (entry = readdir(d))) {
		_cleanup_free_ char *path = str_printf("%s/recipe", entry->d_name);
		struct stat st;

		if (!path || recipe_check_name(entry->d_name, NULL) < 0 ||
		        fstatat(dirfd(d), path, &st, 0) < 0)
			continue;
		r = list_append(&names, entry->d_name);
		n += r >= 0;
	}
	if (r < 0) {
		list_free(names);
		return ct_error_set(
		        err, r, "recipe", "cannot list the recipes in \"%s\": %s", dir, strerror(-r));
	}

	qsort(names, n, sizeof(*names), compare_names);
	*ret = names;
	return 0;
}

int recipe_source_check(const struct recipe_source *source, struct ct_error *err)
{
	struct stat st;

	if (source->suite && !is_suite(source->suite))
		return ct_error_field(err, "suite", "suite must be the name of a suite such as bookworm");
	if (source->mirror && !is_mirror(source->mirror))
		return ct_error_field(err, "mirror", "mirror must be a URL with http://, https:// or file:/");
	if (!source->keyring)
		return 0;
	if (!is_keyring(source->keyring))
		return ct_error_field(
		        err, "keyring", "keyring must be the absolute path of a .gpg, .pgp or .asc file");
	if (stat(source->keyring, &st) < 0)
		return ct_error_field(err, "keyring", "cannot look at the keyring \"%s\": %s",
		        source->keyring, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return ct_error_field(err, "keyring",
		        "the keyring \"%s\" must be a regular file that is not empty", source->keyring);
	return 0;
}
