/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts that are kept for the reads that follow the first. */
#pragma once

#include <stdint.h>

#include "base/str.h"

/* Names of open files: who has opened it is in them. */
#define VIEW_HANDLE(number, tenant) ((uint64_t)(number) << 16 | (tenant))
#define VIEW_HANDLE_TENANT(handle)  ((uint16_t)(handle))

struct view_text {
	struct strbuf bytes;
	unsigned refs;
	uint16_t tenant;
};

struct view_texts;

struct view_texts *view_texts_new(void);
void view_texts_free(struct view_texts *t);

/* Takes what is in the buffer; one reference is the caller's. NULL: no memory, and the buffer is as it was.
 */
struct view_text *view_text_new(struct view_texts *t, uint16_t tenant, struct strbuf *bytes);
void view_text_unref(struct view_texts *t, struct view_text *text);

/* Keeps it under the handle, in place of another; where its container has as many as it may, or there is no
 * memory, an older one of the same container goes, or it is not kept. */
void view_text_keep(struct view_texts *t, uint64_t handle, struct view_text *text);
/* Borrowed until the next call; NULL: there is none. */
const struct strbuf *view_text_find(const struct view_texts *t, uint64_t handle);
void view_text_drop(struct view_texts *t, uint64_t handle);
