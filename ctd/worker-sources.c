/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sources of packages.
 *
 * The host's configuration is read by apt itself (apt-get indextargets, which with --no-release-info needs
 * neither network nor lists: a new machine has never asked its archive), so every form of it is understood.
 * Only what belongs to the distribution is taken: its code name or one of its pockets, with components that a
 * distribution has. A vendor's repository that an administrator has added stays out of the tenants'
 * templates.
 *
 * There is always a keyring, and it is the recipe's or the request's, not the host's list of trusted keys: a
 * template must not be signed by a vendor's key.
 */
#include "ctd/worker-sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"

void sources_done(struct sources *sources)
{
	for (size_t i = 0; i < sources->n_lines; i++) {
		free(sources->lines[i].uri);
		free(sources->lines[i].suite);
		free(sources->lines[i].components);
	}
	free(sources->lines);
	free(sources->suite);
	free(sources->keyring);
	*sources = (struct sources){ 0 };
}

static int no_memory(struct ct_error *err)
{
	return ct_error_set(err, -ENOMEM, "sources", "out of memory");
}

static int add_line(struct sources *s, const char *uri, const char *suite, const char *components)
{
	struct source_line *lines = reallocarray(s->lines, s->n_lines + 1, sizeof(*lines)), *line;

	if (!lines)
		return -ENOMEM;
	s->lines = lines;
	line = &lines[s->n_lines++];
	*line = (struct source_line){
		.uri = strdup(uri), .suite = strdup(suite), .components = strdup(components)
	};
	return line->uri && line->suite && line->components ? 0 : -ENOMEM;
}

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += len)
		if ((p == words || p[-1] == ' ') && (p[len] == '\0' || p[len] == ' '))
			return true;
	return false;
}

/* A component of a line that is there already, or a new line. apt names each once for every architecture. */
static int add_component(struct sources *s, const char *uri, const char *suite, const char *component)
{
	char *longer;

	for (size_t i = 0; i < s->n_lines; i++) {
		struct source_line *line = &s->lines[i];

		if (!str_eq(line->uri, uri) || !str_eq(line->suite, suite))
			continue;
		if (has_word(line->components, component))
			return 0;
		longer = str_printf("%s %s", line->components, component);
		if (!longer)
			return -ENOMEM;
		free(line->components);
		line->components = longer;
		return 0;
	}
	return add_line(s, uri, suite, component);
}

struct host {
	char id[64], codename[64];
};

static void copy_value(const char *line, const char *key, char ret[static 64])
{
	size_t len = strlen(key);

	if (strncmp(line, key, len) != 0 || line[len] != '=')
		return;
	line += len + 1;
	line += *line == '"';
	(void)snprintf(ret, 64, "%.*s", (int)strcspn(line, "\""), line);
}

static void read_host(struct host *host)
{
	_cleanup_free_ char *text = NULL;
	char *next, *line;

	*host = (struct host){ 0 };
	if (read_file_at(AT_FDCWD, "/etc/os-release", 65536, &text, NULL) < 0)
		return;
	for (next = text; (line = strsep(&next, "\n"));) {
		copy_value(line, "ID", host->id);
		copy_value(line, "VERSION_CODENAME", host->codename);
	}
}

static bool is_component(const char *word)
{
	static const char *const known[] = { "main", "contrib", "non-free", "non-free-firmware", "restricted",
		"universe", "multiverse" };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (str_eq(known[i], word))
			return true;
	return false;
}

/* The code name itself, or with -updates, -security, -backports (or Debian's old form with a slash). */
static bool is_pocket(const char *suite, const char *codename)
{
	static const char *const pockets[] = { "", "-updates", "-security", "/updates", "-backports" };
	size_t len = strlen(codename);

	if (len == 0 || strncmp(suite, codename, len) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(pockets); i++)
		if (str_eq(suite + len, pockets[i]))
			return true;
	return false;
}

static int take_target(struct sources *s, char *line, const struct host *host, const char *suite)
{
	const char *uri = strsep(&line, "|"), *release = strsep(&line, "|"), *component = strsep(&line, "|");

	if (!uri || !release || !component || !is_component(component) || !is_pocket(release, host->codename))
		return 0;
	if (str_eq(suite, host->codename))
		return add_component(s, uri, release, component);
	/* Another release than the host's: from where the host's own comes from, without pockets. */
	return str_eq(release, host->codename) ? add_component(s, uri, suite, component) : 0;
}

static int host_sources(const struct recipe *recipe, const char *suite, const struct host *host,
        struct sources *s, struct ct_error *err)
{
	static const char *const argv[] = { "apt-get", "indextargets", "--no-release-info", "--format",
		"$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages", NULL };
	_cleanup_free_ char *list = NULL;
	char *next, *line;
	int r;

	if (!str_eq(host->id, recipe->distribution))
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "this host is no %s whose package sources could be used: say mirror and suite (and keyring)",
		        recipe->name);
	r = process_run(argv, 60 * USEC_PER_SEC, 1 << 20, &list);
	if (r != 0)
		return ct_error_set(err, r < 0 ? r : -EIO, "sources",
		        "cannot ask apt for the host's package sources: %s",
		        r < 0 ? strerror(-r) : "apt-get indextargets failed");
	for (next = list, r = 0; r >= 0 && (line = strsep(&next, "\n"));)
		r = take_target(s, line, host, suite);
	if (r < 0)
		return no_memory(err);
	if (s->n_lines == 0)
		return ct_error_set(err, -ENOENT, "sources",
		        "the host's apt has no sources for %s %s: say mirror (and keyring)", recipe->name,
		        suite);
	return 0;
}

static int check_keyring(const struct recipe *recipe, const char *keyring, struct ct_error *err)
{
	struct stat st;

	if (!keyring)
		return ct_error_field(err, "keyring",
		        "recipe \"%s\" names no keyring: say which one signs its packages", recipe->name);
	if (stat(keyring, &st) < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOENT,
		        "the keyring \"%s\" for recipe \"%s\" is not on this host: install its package, or name another keyring",
		        keyring, recipe->name);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return ct_error_field(err, "keyring", "the keyring \"%s\" is not a file with keys", keyring);
	return 0;
}

int sources_find(const struct recipe *recipe, const struct recipe_source *request, struct sources *ret,
        struct ct_error *err)
{
	const char *mirror = request->mirror ?: recipe->mirror,
	           *keyring = request->keyring ?: recipe->keyring;
	struct sources s = { 0 };
	const char *suite;
	struct host host;
	int r;

	r = check_keyring(recipe, keyring, err);
	if (r < 0)
		return r;
	read_host(&host);
	suite = request->suite ?: recipe->suite;
	if (!suite && str_eq(host.id, recipe->distribution) && *host.codename)
		suite = host.codename;
	if (!suite)
		return ct_error_field(err, "suite",
		        "this host does not say which suite of %s is meant: say suite", recipe->name);

	s.suite = strdup(suite);
	s.keyring = strdup(keyring);
	if (!s.suite || !s.keyring)
		r = no_memory(err);
	else if (mirror)
		r = add_line(&s, mirror, suite, recipe->components ?: "main") < 0 ? no_memory(err) : 0;
	else
		r = host_sources(recipe, suite, &host, &s, err);
	if (r < 0) {
		sources_done(&s);
		return r;
	}

	*ret = s;
	return 0;
}
