/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The open files in CRIU's images, and the locks on them.
 *
 * What a process has open in /proc or /sys, CRIU opens again before these have their masks (restore.c), and
 * from a directory one walks to what they hide. restore_audit finds those that a task has; one that is on its
 * way in a socket (SCM_RIGHTS) is nobody's. In the images it is as any other: files.img holds two magic
 * numbers, then records, each its length and a message of criu's fdinfo.proto, with the path inside and the
 * mode of each file.
 *
 * filelocks.img is another such, with a record for each lock. The kernel looks through all that a file has
 * when one more is set, and they are set twice (criu-finish.c).
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-inject.h"
#include "ctd/criu.h"

#define IMAGE     "files.img"
#define IMAGE_MAX (256 * 1024 * 1024)
#define LOCKS     "filelocks.img"

enum {
	FILE_REG = 3, /* also of directories */
	REG_NAME = 6,
	REG_MODE = 10,
};

static bool is_in(const char *path, const char *name)
{
	const char *rest = str_has_prefix(path, name) ? path + strlen(name) : NULL;

	return rest && (*rest == '/' || !*rest);
}

/* Of /proc and /sys, which are mounted nowhere else; from /sys/fs/cgroup on there is nothing of sysfs, as
 * restore_audit sees to. */
static bool is_bare(const struct criu_reader *name)
{
	char path[32];
	size_t len = (size_t)(name->end - name->at);

	(void)snprintf(path, sizeof(path), "%.*s", (int)(len < sizeof(path) ? len : sizeof(path) - 1),
	        (const char *)name->at); /* the beginning is enough */
	return is_in(path, "/proc") || (is_in(path, "/sys") && !is_in(path, "/sys/fs/cgroup"));
}

static int read_regular(struct criu_reader bytes, char *ret, size_t size)
{
	struct criu_reader name = { 0 };
	uint64_t mode = S_IFDIR; /* one that does not say */
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number == REG_NAME)
			name = f.bytes;
		else if (f.number == REG_MODE)
			mode = f.value;
	if (r < 0 || !name.at || !S_ISDIR((mode_t)mode) || !is_bare(&name))
		return r;
	(void)str_escape_to(ret, size, (const char *)name.at, (size_t)(name.end - name.at)); /* returns to */
	return 1;
}

static int read_record(struct criu_reader bytes, char *ret, size_t size)
{
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number == FILE_REG) {
			r = read_regular(f.bytes, ret, size);
			if (r != 0)
				return r;
		}
	return r;
}

int criu_files_find_bare(const char *data, size_t len, char *ret, size_t size)
{
	struct criu_reader image, record;
	int r = criu_image_open(data, len, &image);

	while (r == 0 && (r = criu_image_next(&image, &record)) > 0)
		r = read_record(record, ret, size);
	return r;
}

int criu_files_check(int images_fd, struct ct_error *err)
{
	_cleanup_free_ char *data = NULL;
	char name[256];
	size_t len = 0;
	int r;

	r = read_file_at(images_fd, IMAGE, IMAGE_MAX, &data, &len);
	if (r >= 0)
		r = criu_files_find_bare(data, len, name, sizeof(name));
	if (r < 0)
		return ct_error_set(err, r, "criu", "cannot read \"" IMAGE "\": %s", strerror(-r));
	return r == 0 ? 0
	              : ct_error_kind_set(err, CT_ERROR_REFUSED, -EPERM,
	                        "the directory \"%s\" is open inside, or on its way in a socket: leave it",
	                        name);
}

int criu_locks_count(const char *data, size_t len, size_t *ret)
{
	struct criu_reader image, record;
	int r = criu_image_open(data, len, &image);

	*ret = 0;
	while (r >= 0 && (r = criu_image_next(&image, &record)) > 0)
		(*ret)++;
	return r;
}

int criu_locks_check(int images_fd, struct ct_error *err)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0, n = 0;
	int r = read_file_at(images_fd, LOCKS, IMAGE_MAX, &data, &len);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = criu_locks_count(data, len, &n);
	if (r < 0)
		return ct_error_set(err, r, "criu", "cannot read \"" LOCKS "\": %s", strerror(-r));
	if (n > CRIU_FINISH_LOCKS_MAX)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
		        "its processes have %zu locks on files, and at most %d can be set again (/proc/locks says who has them)",
		        n, CRIU_FINISH_LOCKS_MAX);
	if (n > 0 && !INJECT_IS_KNOWN)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "its processes have locks on files, which cannot be set again on this processor (stop it)");
	return 0;
}
