/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The open files in CRIU's images.
 *
 * What a process has open in /proc or /sys, CRIU opens again before these have their masks (restore.c), and
 * from a directory one walks to what they hide. restore_audit finds those that a task has; one that is on its
 * way in a socket (SCM_RIGHTS) is nobody's. In the images it is as any other: files.img holds two magic
 * numbers, then records, each its length and a message of criu's fdinfo.proto, with the path inside and the
 * mode of each file.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define IMAGE     "files.img"
#define IMAGE_MAX (256 * 1024 * 1024)

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
	size_t at = 8;

	if (len < at)
		return -EBADMSG;
	while (at < len) {
		const unsigned char *start;
		uint32_t record;
		int r;

		if (len - at < sizeof(record))
			return -EBADMSG;
		memcpy(&record, data + at, sizeof(record));
		at += sizeof(record);
		if (record > len - at)
			return -EBADMSG;
		start = (const unsigned char *)data + at;
		r = read_record((struct criu_reader){ start, start + record }, ret, size);
		if (r != 0)
			return r;
		at += record;
	}
	return 0;
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
