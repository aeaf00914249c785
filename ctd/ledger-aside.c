/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A ledger that is damaged makes room for a new one.
 *
 * Nothing is deleted: its files are renamed to ledger.db.damaged-DATE, with the -wal and -shm that belong to
 * it, so that sqlite3's .recover finds what can be found. The database goes last: if we die before, the next
 * ctd finds it under its name, and the new one never meets a log that is not its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/ledger.h"

#define ASIDE "ledger.db.damaged-"

bool ledger_is_damage(int r)
{
	/* Not a database, not ours, a directory or a link in its place, a disk that cannot read it. Not that
	 * of a later ctd, which is whole: it is refused, as the state of a later ctd is. */
	return r == -EUCLEAN || r == -EPROTO || r == -EIO || r == -EINVAL || r == -EISDIR || r == -ELOOP;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int move(const char *path, const char *aside, const char *suffix)
{
	_cleanup_free_ char *from = str_printf("%s%s", path, suffix), *to = str_printf("%s%s", aside, suffix);

	if (!from || !to)
		return -ENOMEM;
	if (rename(from, to) < 0 && !(errno == ENOENT && *suffix))
		return -errno;
	return 0;
}

/* 20261121T064311Z */
static void stamp(uint64_t now_usec, char *ret, size_t size)
{
	char text[32], *out = ret;

	for (const char *p = format_time_utc(text, sizeof(text), now_usec); *p && out + 1 < ret + size; p++)
		if (*p != '-' && *p != ':')
			*out++ = *p;
	*out = '\0';
}

int ledger_set_aside(const char *path, uint64_t now_usec, char **ret, struct ct_error *err)
{
	_cleanup_free_ char *aside = NULL;
	char date[32];
	int r = 0;

	stamp(now_usec, date, sizeof(date));
	for (unsigned i = 0; i < 100; i++) {
		free(aside);
		aside = i ? str_printf("%s.damaged-%s.%u", path, date, i)
		          : str_printf("%s.damaged-%s", path, date);
		if (!aside)
			return ct_error_set(err, -ENOMEM, "ledger", "out of memory");
		if (!exists(aside))
			break;
	}
	r = move(path, aside, "-wal");
	if (r >= 0)
		r = move(path, aside, "-shm");
	if (r >= 0)
		r = move(path, aside, "");
	if (r < 0)
		return ct_error_set(err, r, "ledger", "cannot put the damaged ledger \"%s\" aside: %s", path,
		        strerror(-r));
	*ret = TAKE_PTR(aside);
	return 0;
}

int ledger_aside_each(const char *dir, int (*each)(const char *name, void *userdata), void *userdata)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!stream)
		return -errno;
	while (r == 0 && (entry = readdir(stream)))
		if (str_has_prefix(entry->d_name, ASIDE) && !str_has_suffix(entry->d_name, "-wal") &&
		        !str_has_suffix(entry->d_name, "-shm"))
			r = each(entry->d_name, userdata);
	(void)closedir(stream); /* was only read */
	return r;
}
