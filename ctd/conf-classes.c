/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic in ctd.conf: "traffic-class = NAME PREFIX|FILE...".
 *
 * A file has prefixes one in a line, comments after #: such lists are made by programs and have thousands.
 * Lists of a class that overlap are made one, the larger prefix stays; that two classes overlap is an error,
 * because what would count is not to be seen from the file.
 */
#include "ctd/conf-classes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/conf.h"

#define FILE_MAX (16 * 1024 * 1024)

bool conf_class_is_name(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len < CONF_CLASS_NAME &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == len && s[0] != '-';
}

static struct conf_class *class_of(struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->n_classes; i++)
		if (str_eq(conf->classes[i].name, name))
			return &conf->classes[i];
	if (conf->n_classes == NET_CLASSES_MAX)
		return NULL;
	(void)snprintf(conf->classes[conf->n_classes].name, CONF_CLASS_NAME, "%s", name); /* it fits */
	return &conf->classes[conf->n_classes++];
}

int conf_read_class(struct conf *conf, const char *value)
{
	_cleanup_free_ char *copy = strdup(value), *words = NULL;
	char *rest = copy, *name = copy ? strsep(&rest, " \t,") : NULL;
	struct conf_class *class;

	if (!copy)
		return -ENOMEM;
	if (!conf_class_is_name(name) || !rest)
		return -EINVAL;
	class = class_of(conf, name);
	if (!class)
		return -EINVAL;
	words = str_printf("%s %s", class->words ? class->words : "", rest);
	if (!words)
		return -ENOMEM;
	free(class->words);
	class->words = TAKE_PTR(words);
	return 0;
}

void conf_classes_done(struct conf *conf)
{
	for (unsigned i = 0; i < conf->n_classes; i++) {
		free(conf->classes[i].words);
		free(conf->classes[i].prefixes);
	}
	conf->n_classes = 0;
}

int conf_class_find(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->n_classes; i++)
		if (str_eq(conf->classes[i].name, name))
			return (int)i;
	return -ENOENT;
}

/* ---- prefixes ---- */

static int add_prefix(struct conf_class *class, const char *word, const char *where, struct ct_error *err)
{
	struct ip_addr prefix;

	if (ip_parse_network(word, &prefix) < 0 || prefix.prefix == 0)
		return ct_error_set(err, -EINVAL, "configuration",
		        "traffic-class %s: \"%.60s\"%s%s is not a prefix such as 192.0.2.0/24", class->name,
		        word, where ? " in " : "", where ? where : "");
	if (class->n == class->max) {
		size_t max = class->max ? 2 * class->max : 64;
		struct ip_addr *grown = reallocarray(class->prefixes, max, sizeof(*grown));

		if (!grown)
			return ct_error_set(err, -ENOMEM, "configuration", "out of memory");
		class->prefixes = grown;
		class->max = max;
	}
	class->prefixes[class->n++] = prefix;
	return 0;
}

static int add_file(struct conf_class *class, const char *path, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *next, *line;
	int r = read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL);

	if (r < 0)
		return ct_error_set(err, r, "configuration", "traffic-class %s: cannot read \"%s\": %s",
		        class->name, path, strerror(-r));
	next = text;
	while ((line = strsep(&next, "\n"))) {
		char *word = line + strspn(line, " \t\r");

		word[strcspn(word, "# \t\r")] = '\0';
		r = *word ? add_prefix(class, word, path, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_words(struct conf_class *class, struct ct_error *err)
{
	char *next = class->words, *word;
	int r = 0;

	while (r >= 0 && (word = strsep(&next, " \t,")))
		if (*word)
			r = *word == '/' ? add_file(class, word, err) : add_prefix(class, word, NULL, err);
	if (r >= 0 && class->n == 0)
		r = ct_error_set(
		        err, -EINVAL, "configuration", "traffic-class %s has no prefix", class->name);
	return r;
}

/* ---- overlaps ---- */

/* A larger network before those within it. */
static int by_place(const void *a, const void *b)
{
	const struct ip_addr *one = a, *other = b;
	int r = (int)one->family - (int)other->family;

	if (r == 0)
		r = memcmp(one->bytes, other->bytes, sizeof(one->bytes));
	return r ? r : (int)one->prefix - (int)other->prefix;
}

/* Networks are within one another or apart, so in this order each is to be compared with the last that
 * stayed. */
static void make_one(struct conf_class *class)
{
	size_t n = 0;

	qsort(class->prefixes, class->n, sizeof(*class->prefixes), by_place);
	for (size_t i = 0; i < class->n; i++)
		if (n == 0 || !ip_contains(&class->prefixes[n - 1], &class->prefixes[i]))
			class->prefixes[n++] = class->prefixes[i];
	class->n = n;
}

static int check_apart(const struct conf_class *a, const struct conf_class *b, struct ct_error *err)
{
	char one[IP_ADDR_STRLEN], other[IP_ADDR_STRLEN];
	size_t i = 0, k = 0;

	while (i < a->n && k < b->n) {
		if (ip_overlaps(&a->prefixes[i], &b->prefixes[k]))
			return ct_error_set(err, -EINVAL, "configuration",
			        "traffic-class: %s of %s and %s of %s overlap",
			        ip_format(&a->prefixes[i], one, sizeof(one)), a->name,
			        ip_format(&b->prefixes[k], other, sizeof(other)), b->name);
		if (by_place(&a->prefixes[i], &b->prefixes[k]) < 0)
			i++;
		else
			k++;
	}
	return 0;
}

int conf_classes_finish(struct conf *conf, struct ct_error *err)
{
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < conf->n_classes; i++) {
		r = read_words(&conf->classes[i], err);
		if (r >= 0)
			make_one(&conf->classes[i]);
		for (unsigned k = 0; r >= 0 && k < i; k++)
			r = check_apart(&conf->classes[k], &conf->classes[i], err);
	}
	return r;
}
