/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mmdebstrap and apt speak to people. From their lines we take the stage that begins ("I: ..."), for the
 * progress, and what went wrong: a broken signature above all, else the first and the last error, since the
 * first is nearest to the cause and the last says what could not be done for it. Everything is escaped, since
 * an archive's names are in it. Lines that are not known are skipped: another version loses stages, not
 * builds.
 */
#include "ctd/worker-listener.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "ctd/worker-main.h"

static const struct stage {
	const char *begin;
	int percent;
	const char *text;
} stages[] = {
	{ "I: running apt-get update", 5, "reading the lists of packages" },
	{ "I: downloading packages with apt", 10, "downloading the essential packages" },
	{ "I: extracting archives", 25, "unpacking the essential packages" },
	{ "I: installing essential packages", 30, "installing the essential packages" },
	{ "I: installing remaining packages", 45, "downloading and installing the other packages" },
	{ "I: cleaning package lists", 75, "cleaning up" },
	{ "I: creating tarball", 80, "packing and unpacking the new root" },
};

static void keep(char where[static LISTENER_SAID_MAX], const char *line)
{
	(void)str_escape_to(where, LISTENER_SAID_MAX, line, strlen(line)); /* returns where */
}

static bool is_about_signatures(const char *line)
{
	static const char *const words[] = { "NO_PUBKEY", "is not signed", "signatures were invalid",
		"GPG error" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(line, words[i]))
			return true;
	return false;
}

static void hear_line(struct listener *l, const char *line)
{
	bool marked = str_has_prefix(line, "E: ") || str_has_prefix(line, "W: ");

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++)
		if (str_has_prefix(line, stages[i].begin))
			worker_progress(stages[i].percent, "%s", stages[i].text);
	if (!*l->signature_error && is_about_signatures(line))
		keep(l->signature_error, line + (marked ? 3 : 0));
	if (!str_has_prefix(line, "E: "))
		return;
	if (!*l->first_error)
		keep(l->first_error, line + 3);
	keep(l->last_error, line + 3);
}

void listener_hear(struct listener *l, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != '\n' && data[i] != '\r') {
			if (l->len < sizeof(l->line) - 1)
				l->line[l->len++] = data[i];
			continue;
		}
		l->line[l->len] = '\0';
		hear_line(l, l->line);
		l->len = 0;
	}
}

int listener_explain(const struct listener *l, int status, const char *keyring, struct ct_error *err)
{
	if (*l->signature_error)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EKEYREJECTED,
		        "the archive is not signed by a key of \"%s\": %s", keyring, l->signature_error);
	if (!*l->first_error)
		return ct_error_set(err, -EIO, "bootstrap", "mmdebstrap ended with status %d", status);
	if (str_eq(l->first_error, l->last_error))
		return ct_error_set(err, -EIO, "bootstrap", "mmdebstrap failed: %s", l->first_error);
	return ct_error_set(
	        err, -EIO, "bootstrap", "mmdebstrap failed: %s; %s", l->first_error, l->last_error);
}
