/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that the daemon opens itself have names. What comes by a pipe gets one for a while; it is on disk,
 * not in /tmp's memory, because it may be a whole distribution.
 */

#include "ctctl/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define CHUNK (256 * 1024)

/* Who sends may have gone without a word: a connection that is cut may not be known to be for hours. */
static int await_more(int64_t seconds)
{
	struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };
	int r;

	if (seconds < 0)
		return 0;
	do
		r = poll(&fd, 1, seconds > INT_MAX / 1000 ? INT_MAX : (int)seconds * 1000);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

/* To its end, or with a max just so many bytes: -EIO if there are fewer. */
static int copy_stdin(int fd, uint64_t max, int64_t seconds)
{
	_cleanup_free_ char *data = malloc(CHUNK);
	uint64_t left = max;
	ssize_t n;
	int r = data ? 0 : -ENOMEM;

	while (r >= 0 && left > 0) {
		r = await_more(seconds);
		if (r < 0)
			break;
		n = read(STDIN_FILENO, data, left < CHUNK ? (size_t)left : CHUNK);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : write_all(fd, data, (size_t)n);
		left -= r < 0 || max == UINT64_MAX ? 0 : (uint64_t)n;
	}
	return r < 0 ? r : left > 0 && max != UINT64_MAX ? -EIO : 0;
}

static const char *spool_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return str_empty(dir) ? "/var/tmp" : dir;
}

int spool_check_room(uint64_t bytes, struct ct_error *err)
{
	struct statvfs fs;
	uint64_t free_bytes;

	if (statvfs(spool_dir(), &fs) < 0)
		return ct_error_set(err, -errno, "spool", "cannot ask how much room there is in \"%s\": %s",
		        spool_dir(), strerror(errno));
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < bytes)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "what comes is kept in \"%s\" meanwhile and may take %llu MiB, and %llu MiB are free there: make room",
		        spool_dir(), (unsigned long long)(bytes >> 20) + 1,
		        (unsigned long long)(free_bytes >> 20));
	return 0;
}

static int spool(
        const void *first, size_t len, uint64_t max, int64_t seconds, char **ret, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/ctctl.XXXXXX", spool_dir());
	_cleanup_close_ int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
	int r = fd < 0 ? -errno : write_all(fd, first, len);

	if (r >= 0)
		r = copy_stdin(fd, max, seconds);

	if (fd >= 0 && r < 0)
		(void)unlink(path);
	if (r == -ETIMEDOUT)
		return ct_error_set(err, r, "spool",
		        "nothing more of what was announced came for %lld seconds", (long long)seconds);
	if (r < 0)
		return ct_error_set(err, r, "spool", "cannot copy standard input to \"%s\": %s",
		        path ? path : "", strerror(-r));
	*ret = TAKE_PTR(path);
	return 0;
}

int spool_stdin(char **ret, struct ct_error *err)
{
	return spool("", 0, UINT64_MAX, -1, ret, err);
}

int spool_bytes(
        const void *data, size_t len, uint64_t total, int64_t seconds, char **ret, struct ct_error *err)
{
	if (len > total)
		return ct_error_set(err, -EPROTO, "spool", "more came than was announced");
	int r = spool_check_room(total, err);
	if (r < 0)
		return r;
	return spool(data, len, total - len, seconds, ret, err);
}

char *absolute_path(const char *path)
{
	_cleanup_free_ char *here = NULL;

	if (path[0] == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	return here ? str_printf("%s/%s", here, path) : NULL;
}
