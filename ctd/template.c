/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The metadata of a template, from its JSON text to a struct that start can use.
 *
 * The text is checked whenever it is read, not only when it was written: a database may have been edited, an
 * image may have come from a peer (threats 15, 16, 18). What passes here goes into argument vectors and names
 * of files below /run of the guest, so a path is absolute, a name has no slash, and nothing has a control
 * character. All lists are bounded.
 */
#include "ctd/template.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/template-signal.h"

#define TEXT_MAX      65536
#define LIST_MAX      64
#define WORD_MAX      1024
#define UNIT_NAME_MAX 200

void template_meta_done(struct template_meta *meta)
{
	char **lists[] = { meta->init, meta->env, meta->run_masks };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (char **word = lists[i]; word && *word; word++)
			free(*word);
		free(lists[i]);
	}
	free(meta->distribution);
	free(meta->release);
	*meta = (struct template_meta){ 0 };
}

static bool is_init_word(const char *word, size_t index)
{
	return str_is_printable(word) && (index > 0 || word[0] == '/');
}

static bool is_env_word(const char *word, size_t index)
{
	size_t name = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return str_is_printable(word) && name > 0 && word[name] == '=' && !(word[0] >= '0' && word[0] <= '9');
}

static bool is_unit_name(const char *word, size_t index)
{
	static const char *const suffixes[] = { ".service", ".socket", ".mount", ".automount", ".timer",
		".path", ".target", ".swap", ".slice", ".device", ".scope" };
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@";

	if (word[0] == '.' || strlen(word) > UNIT_NAME_MAX || strspn(word, allowed) != strlen(word))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		if (str_has_suffix(word, suffixes[i]))
			return true;
	return false;
}

/* The words of a JSON array, each checked; absent: an empty list. */
static int read_list(const json_t *array, const char *field, bool (*check)(const char *word, size_t index),
        const char *accepts, char ***ret, struct ct_error *err)
{
	size_t n = json_array_size(array);

	if (n > LIST_MAX)
		return ct_error_field(err, field, "%s of a template has at most %d entries", field, LIST_MAX);
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return ct_error_set(err, -ENOMEM, "template", "out of memory");

	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(array, i);
		const char *word = json_string_value(item);

		if (!word || json_string_length(item) != strlen(word) || strlen(word) > WORD_MAX || !*word ||
		        !check(word, i))
			return ct_error_field(err, field, "entry %zu of %s of a template must be %s", i + 1,
			        field, accepts);
		(*ret)[i] = strdup(word);
		if (!(*ret)[i])
			return ct_error_set(err, -ENOMEM, "template", "out of memory");
	}
	return 0;
}

static int read_word(const char *field, const char *word, char **ret, struct ct_error *err)
{
	if (!word)
		word = "";
	if (strlen(word) > 64 || !str_is_printable(word))
		return ct_error_field(
		        err, field, "the %s of a template has at most 64 printable characters", field);
	*ret = strdup(word);
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "template", "out of memory");
}

static int read_signal(const json_t *value, int *ret, struct ct_error *err)
{
	int number = json_is_integer(value) && json_integer_value(value) > 0 &&
	                             json_integer_value(value) <= SIGNAL_MAX
	                     ? (int)json_integer_value(value)
	                     : 0;

	if (json_is_string(value))
		number = signal_from_name(json_string_value(value));
	if (number <= 0 || number == SIGSTOP)
		return ct_error_field(err, "stop_signal",
		        "stop_signal of a template must be a number from 1 to %d or a name such as SIGTERM or SIGRTMIN+3",
		        SIGNAL_MAX);
	*ret = number;
	return 0;
}

struct fields {
	const char *distribution, *release, *recipe;
	json_t *init, *env, *run_masks, *stop_signal;
};

static const struct json_field meta_fields[] = {
	{ "distribution", JSON_KIND_STRING, offsetof(struct fields, distribution), JSON_NO_HAS, false },
	{ "release", JSON_KIND_STRING, offsetof(struct fields, release), JSON_NO_HAS, false },
	{ "recipe", JSON_KIND_STRING, offsetof(struct fields, recipe), JSON_NO_HAS, false },
	{ "init", JSON_KIND_ARRAY, offsetof(struct fields, init), JSON_NO_HAS, true },
	{ "env", JSON_KIND_ARRAY, offsetof(struct fields, env), JSON_NO_HAS, false },
	{ "run_masks", JSON_KIND_ARRAY, offsetof(struct fields, run_masks), JSON_NO_HAS, false },
	{ "stop_signal", JSON_KIND_ANY, offsetof(struct fields, stop_signal), JSON_NO_HAS, true },
	{ NULL },
};

static int meta_from_object(const json_t *object, struct template_meta *meta, struct ct_error *err)
{
	struct fields f = { 0 };
	int r;

	r = json_read(object, meta_fields, &f, err);
	if (r >= 0)
		r = read_word("distribution", f.distribution, &meta->distribution, err);
	if (r >= 0)
		r = read_word("release", f.release, &meta->release, err);
	if (r >= 0)
		r = read_list(f.init, "init", is_init_word, "printable, and the first an absolute path",
		        &meta->init, err);
	if (r >= 0 && !meta->init[0])
		r = ct_error_field(err, "init", "init of a template must name a program");
	if (r >= 0)
		r = read_list(f.env, "env", is_env_word, "NAME=VALUE", &meta->env, err);
	if (r >= 0)
		r = read_list(f.run_masks, "run_masks", is_unit_name, "the name of a systemd unit",
		        &meta->run_masks, err);
	if (r >= 0)
		r = read_signal(f.stop_signal, &meta->stop_signal, err);
	return r;
}

int template_meta_from_json(const char *text, struct template_meta *ret, struct ct_error *err)
{
	struct template_meta meta = { 0 };
	_cleanup_json_ json_t *object = NULL;
	int r;

	r = strlen(text) > TEXT_MAX ? ct_error_set(err, -E2BIG, "template",
	                                      "the metadata of a template has more than %d bytes", TEXT_MAX)
	                            : json_parse(text, strlen(text), &object, err);
	if (r >= 0 && !json_is_object(object))
		r = ct_error_set(
		        err, -EINVAL, "template", "the metadata of a template must be a JSON object");
	if (r >= 0)
		r = meta_from_object(object, &meta, err);
	if (r < 0) {
		template_meta_done(&meta);
		(void)ct_error_prefix(err, "metadata of the template");
		return r;
	}

	*ret = meta;
	return 0;
}
