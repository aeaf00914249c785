/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The secret that clients of the gate have to say.
 *
 * It is in a file that only root may read. The gate can open no file, and could not read this one; it gets
 * what is in it as a sealed memory file each time that it is started. A file that others may read is no
 * secret, and one that does not read is not done without: then metrics are not served at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/gate-proto.h"

static bool is_token(const char *text, size_t len)
{
	if (len < GATE_TOKEN_MIN || len > GATE_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

int gate_token_open(const char *path, int *ret, struct ct_error *err)
{
	char text[GATE_TOKEN_MAX + 2]; /* a newline, and one byte that is too much */
	_cleanup_close_ int fd = -1;
	struct stat st;
	ssize_t n = 0;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return ct_error_set(err, -errno, "gate", "cannot open metrics-token \"%.100s\": %s", path,
		        strerror(errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & 0077) != 0 || st.st_uid != geteuid())
		return ct_error_set(err, -EPERM, "gate",
		        "metrics-token \"%.100s\" must be a file of root that only root may read (chown root, chmod 600)",
		        path);
	n = read_all(fd, text, sizeof(text));
	if (n < 0)
		return ct_error_set(err, (int)n, "gate", "cannot read metrics-token \"%.100s\": %s", path,
		        strerror((int)-n));
	if (n > 0 && text[n - 1] == '\n')
		n--;
	r = is_token(text, (size_t)n)
	            ? memfd_sealed("token", text, (size_t)n)
	            : ct_error_set(err, -EINVAL, "gate",
	                      "metrics-token \"%.100s\" must hold one line of 16 to 256 letters, digits and signs",
	                      path);
	explicit_bzero(text, sizeof(text));
	if (r < 0)
		return r == -EINVAL ? r : ct_error_set(err, r, "gate", "out of memory");
	*ret = r;
	return 0;
}
