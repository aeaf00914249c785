/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of text beside images, each of a module of its own that writes and reads its lines. */
#include "ctd/worker-suspend-notes.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/fd.h"

int suspend_note_refuse(const char *name, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
	        "what has to be noted of its processes and sockets (\"%s\") takes more than %lu MiB", name,
	        SUSPEND_NOTE_MAX >> 20);
}

int suspend_note_write(int dir_fd, const char *name, const struct strbuf *text, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	int r = text->error;

	if (text->len > SUSPEND_NOTE_MAX)
		return suspend_note_refuse(name, err);
	if (r >= 0)
		fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r >= 0)
		r = fd < 0 ? -errno : write_all(fd, text->data ?: "", text->len);
	return r < 0 ? ct_error_set(err, r, "suspend", "cannot write \"%s\": %s", name, strerror(-r)) : 0;
}

int suspend_note_read(int dir_fd, const char *name, size_t max, char **ret, struct ct_error *err)
{
	int r = read_file_at(dir_fd, name, max, ret, NULL);

	if (r == -ENOENT)
		*ret = NULL;
	return r < 0 && r != -ENOENT
	               ? ct_error_set(err, r, "resume", "cannot read \"%s\": %s", name, strerror(-r))
	               : 0;
}
