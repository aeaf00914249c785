/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: what is noted beside the images of a dump, in files of their own, for a resume. */
#pragma once

#include "base/error.h"
#include "base/str.h"

#define SUSPEND_NOTE_MAX (16UL << 20)

/* -EEXIST; CT_ERROR_REFUSED and -E2BIG above SUSPEND_NOTE_MAX; -ENOMEM if that is what text remembers. */
int suspend_note_write(int dir_fd, const char *name, const struct strbuf *text, struct ct_error *err);
int suspend_note_refuse(const char *name, struct ct_error *err); /* as too long */
/* The caller frees *ret. 0 and NULL: there is none, as with images of an older build. */
int suspend_note_read(int dir_fd, const char *name, size_t max, char **ret, struct ct_error *err);
