/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* template-export: {"file", "root": PATH, "metadata": TEXT} to {"bytes"}.
 *
 * The archive gets its name when it is complete and synced (O_TMPFILE, linkat): a failure, a cancel or a
 * SIGKILL leaves nothing, and a file that is there already is never written to.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/template.h"
#include "ctd/worker-export.h"
#include "ctd/worker-main.h"
#include "quota/extract.h"

struct params {
	const char *file, *root, *metadata;
};

#define STRING(name, member)                                                                                 \
	{                                                                                                    \
		name, JSON_KIND_STRING, offsetof(struct params, member), JSON_NO_HAS, true                   \
	}

static const struct json_field fields[] = {
	STRING("file", file),
	STRING("root", root),
	STRING("metadata", metadata),
	{ NULL },
};

static int open_nameless(const char *path, struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return ct_error_set(err, copy ? -errno : -ENOMEM, "export",
		        "cannot make a file in the directory of \"%s\": %s", path, strerror(errno));
	return fd;
}

static int name_it(int fd, const char *path, struct stat *ret, struct ct_error *err)
{
	char self[40];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd); /* fits */
	if (fsync(fd) < 0 || fstat(fd, ret) < 0)
		return ct_error_set(err, -errno, "export", "cannot sync \"%s\": %s", path, strerror(errno));
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
		return ct_error_kind_set(err, errno == EEXIST ? CT_ERROR_STATE : CT_ERROR_FAILED, -errno,
		        "cannot name the archive \"%s\": %s", path, strerror(errno));
	return 0;
}

int export_pack(const char *path, const char *metadata, int out_fd, struct ct_error *err)
{
	const struct archive_note note = { .name = TEMPLATE_META_FILE, .text = metadata };
	_cleanup_close_ int root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (root < 0)
		return ct_error_set(err, -errno, "export", "cannot open \"%s\": %s", path, strerror(errno));
	r = archive_tree_noted(root, &note, out_fd, err);
	if (r >= 0)
		r = worker_check(err);
	/* removed meanwhile, it may have been packed in part */
	if (r >= 0 && access(path, F_OK) < 0)
		r = ct_error_kind_set(err, CT_ERROR_STATE, -ESTALE, "the template was removed meanwhile");
	return r;
}

int worker_template_export(const json_t *params, json_t **ret, struct ct_error *err)
{
	_cleanup_close_ int out = -1;
	struct params in = { 0 };
	struct stat st;
	int r;

	r = json_read(params, fields, &in, err);
	if (r < 0)
		return r;
	r = out = open_nameless(in.file, err);
	if (r < 0)
		return r;

	worker_progress(-1, "packing");
	r = export_pack(in.root, in.metadata, out, err);
	if (r >= 0)
		r = name_it(out, in.file, &st, err);
	if (r >= 0)
		*ret = json_pack("{s:s, s:I}", "file", in.file, "bytes", (json_int_t)st.st_size);
	return r;
}
