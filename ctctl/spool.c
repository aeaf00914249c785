/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that the daemon opens itself have names. What comes by a pipe gets one for a while; it is on disk,
 * not in /tmp's memory, because it may be a whole distribution.
 */

#include "ctctl/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define CHUNK (256 * 1024)

static int copy_stdin(int fd)
{
	_cleanup_free_ char *data = malloc(CHUNK);
	ssize_t n;
	int r = data ? 0 : -ENOMEM;

	while (r >= 0 && (n = read(STDIN_FILENO, data, CHUNK)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : write_all(fd, data, (size_t)n);
	}
	return r < 0 ? r : 0;
}

int spool_stdin(char **ret, struct ct_error *err)
{
	const char *dir = getenv("TMPDIR");
	_cleanup_free_ char *path = str_printf("%s/ctctl.XXXXXX", str_empty(dir) ? "/var/tmp" : dir);
	_cleanup_close_ int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
	int r = fd < 0 ? -errno : copy_stdin(fd);

	if (fd >= 0 && r < 0)
		(void)unlink(path);
	if (r < 0)
		return ct_error_set(err, r, "spool", "cannot copy standard input to \"%s\": %s",
		        path ? path : "", strerror(-r));
	*ret = TAKE_PTR(path);
	return 0;
}

char *absolute_path(const char *path)
{
	_cleanup_free_ char *here = NULL;

	if (path[0] == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	return here ? str_printf("%s/%s", here, path) : NULL;
}
