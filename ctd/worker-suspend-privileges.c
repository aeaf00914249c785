/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU 3.17 does not save of a thread: that it may not gain privileges by executing a program.
 *
 * The audit before a dump sees who is so, and it is noted with the images, numbers inside, one a line. In the
 * restore CRIU has a module loaded that makes them so again (criu-finish.c); the audit behind it sees whether
 * they are. Who is so in the images and not afterwards is not resumed; the other way round it does not
 * matter.
 */
#include "ctd/worker-suspend-privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-inject.h"

#define NOTE     CRIU_FINISH_NO_NEW_PRIVS
#define NOTE_MAX (64UL << 20)

int suspend_privileges_note(int dir_fd, const struct restore_threads *threads, struct ct_error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, NOTE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_strbuf_ struct strbuf note = STRBUF_INIT;
	int r = fd < 0 ? -errno : 0;

	for (size_t i = 0; r >= 0 && i < threads->n; i++)
		r = strbuf_printf(&note, "%d\n", threads->tids[i]);
	if (r >= 0)
		r = write_all(fd, note.data ?: "", note.len);
	return r < 0 ? ct_error_set(err, r, "suspend", "cannot write \"" NOTE "\": %s", strerror(-r)) : 0;
}

int suspend_privileges_save(int images_fd, const struct restore_threads *threads, struct ct_error *err)
{
	if (threads->n > 0 && !INJECT_IS_KNOWN)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "thread %d inside may not gain privileges (no_new_privs), which cannot be set again on this processor (stop it)",
		        threads->tids[0]);
	return suspend_privileges_note(images_fd, threads, err);
}

int suspend_privileges_read(int images_fd, struct restore_threads *ret, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int r = read_file_at(images_fd, NOTE, NOTE_MAX, &text, NULL);

	*ret = (struct restore_threads){ 0 };
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "resume", "cannot read \"" NOTE "\": %s", strerror(-r));
	ret->tids = calloc(strlen(text) / 2 + 1, sizeof(*ret->tids)); /* a line has two bytes at least */
	if (!ret->tids)
		return ct_error_set(err, -ENOMEM, "resume", "out of memory");
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		uint32_t tid;

		if (parse_u32(line, &tid) < 0 || tid == 0 || tid > INT32_MAX)
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
			        "its images name a thread that cannot be: \"" NOTE "\"");
		ret->tids[ret->n++] = (pid_t)tid;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

int suspend_privileges_check(
        const struct restore_threads *want, const struct restore_threads *are, struct ct_error *err)
{
	if (are->n > 0)
		qsort(are->tids, are->n, sizeof(*are->tids), compare);
	for (size_t i = 0; i < want->n; i++)
		if (are->n == 0 || !bsearch(&want->tids[i], are->tids, are->n, sizeof(*are->tids), compare))
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EPERM,
			        "thread %d inside could gain privileges, and could not when it was suspended",
			        want->tids[i]);
	return 0;
}
