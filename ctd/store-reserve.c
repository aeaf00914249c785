/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Space for what has to be written when no space is left: the records of stops and destroys, by which
 * somebody gets out of it.
 *
 * Every commit goes to the log first, and is copied from there to the database when 500 pages have come
 * together. Blocks are reserved behind the ends of both files (fallocate(2), FALLOC_FL_KEEP_SIZE: their
 * sizes, which SQLite looks at, stay), so that they can grow into them on a full disk. SQLite starts the log
 * over from its beginning once everything in it has been copied, and does not cut it as long as it is below
 * journal_size_limit, so its blocks stay. Copying may fail when the database has used up its reserve; then it
 * is tried again after the next commit, and nothing is lost as long as the log has room: some hundred
 * transactions.
 *
 * At the end of copying SQLite cuts the database to its length and with it the reserve, so it is the copying
 * that is done here, by a hook after each commit, and the space is taken back at once; on a full disk as much
 * of it as is still to be had.
 *
 * A process loses its POSIX locks on a file when it closes any descriptor of it (fcntl(2)), SQLite's locks
 * too. So the database is held open here as long as SQLite has it; on the log there are no locks.
 *
 * A quota or a file system without fallocate gives no reserve; then a full disk is an error as it always was.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define DATABASE_RESERVE (1024 * 1024)
#define SMALLEST_RESERVE (64 * 1024)
#define COPY_AT_PAGES    500

static void reserve_database(const struct store *store)
{
	struct stat st;

	if (fstat(store->file, &st) < 0)
		return;

	for (off_t n = DATABASE_RESERVE; n >= SMALLEST_RESERVE; n /= 2)
		if (fallocate(store->file, FALLOC_FL_KEEP_SIZE, 0, st.st_size + n) == 0 || errno != ENOSPC)
			return;
}

static void reserve_log(const struct store *store)
{
	_cleanup_free_ char *path = str_printf("%s-wal", store->path);
	if (!path)
		return;

	_cleanup_close_ int log = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (log >= 0)
		(void)fallocate(log, FALLOC_FL_KEEP_SIZE, 0, STORE_LOG_RESERVE); /* see above */
}

static int on_commit(void *userdata, sqlite3 *db, const char *name, int pages)
{
	if (pages < COPY_AT_PAGES)
		return SQLITE_OK;

	(void)sqlite3_wal_checkpoint_v2(
	        db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL); /* tried again after the next commit */
	reserve_database(userdata);
	return SQLITE_OK;
}

void store_reserve(struct store *store)
{
	(void)sqlite3_wal_hook(store->db, on_commit, store); /* the hook before: none */
	reserve_database(store);
	reserve_log(store);
}
