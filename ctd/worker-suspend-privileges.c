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
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-inject.h"
#include "ctd/worker-suspend-notes.h"
#include "ctd/worker-suspend-threads.h"

#define NOTE CRIU_FINISH_NO_NEW_PRIVS

int suspend_privileges_note(int dir_fd, const struct restore_threads *threads, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf note = STRBUF_INIT;

	for (size_t i = 0; i < threads->n; i++)
		if (threads->list[i].no_new_privs)
			(void)strbuf_printf(&note, "%d\n", threads->list[i].inside);
	return suspend_note_write(dir_fd, NOTE, &note, err);
}

int suspend_privileges_save(int images_fd, const struct restore_threads *threads, struct ct_error *err)
{
	for (size_t i = 0; !INJECT_IS_KNOWN && i < threads->n; i++)
		if (threads->list[i].no_new_privs)
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
			        "thread %d inside may not gain privileges (no_new_privs), which cannot be set again on this processor (stop it)",
			        threads->list[i].inside);
	return suspend_privileges_note(images_fd, threads, err);
}

int suspend_privileges_read(int images_fd, struct restore_threads *ret, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int r = suspend_note_read(images_fd, NOTE, SUSPEND_NOTE_MAX, &text, err);

	*ret = (struct restore_threads){ 0 };
	if (r < 0 || !text)
		return r;
	ret->max = strlen(text) / 2 + 1; /* a line has two bytes at least */
	ret->list = calloc(ret->max, sizeof(*ret->list));
	if (!ret->list)
		return ct_error_set(err, -ENOMEM, "resume", "out of memory");
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		uint32_t tid;

		if (parse_u32(line, &tid) < 0 || tid == 0 || tid > INT32_MAX)
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
			        "its images name a thread that cannot be: \"" NOTE "\"");
		ret->list[ret->n++] = (struct restore_thread){ .inside = (pid_t)tid, .no_new_privs = true };
	}
	return 0;
}

int suspend_privileges_check(
        const struct restore_threads *want, const struct restore_threads *are, struct ct_error *err)
{
	for (size_t i = 0; i < want->n; i++) {
		const struct restore_thread *is = suspend_threads_find(are, want->list[i].inside);

		if (is && !is->no_new_privs) /* or it has died before CRIU came to it */
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EPERM,
			        "thread %d inside could gain privileges, and could not when it was suspended",
			        want->list[i].inside);
	}
	return 0;
}
