/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of CRIU as tests make them. */
#pragma once

#include <string.h>

#include "base/str.h"
#include "ctd/criu-fields.h"

static inline void image_begin(struct strbuf *b)
{
	(void)strbuf_add(b, "\x19\x43\x56\x54\x42\x05\x56\x56", 8); /* whatever it is of */
}

static inline void image_add(struct strbuf *b, struct strbuf *record)
{
	const uint32_t size = (uint32_t)record->len;

	(void)strbuf_add(b, &size, sizeof(size));
	(void)strbuf_add(b, record->data ? record->data : "", record->len);
	strbuf_done(record);
}

static inline void image_add_head(struct strbuf *b, unsigned int id)
{
	struct strbuf record = STRBUF_INIT;

	criu_put_number(&record, 1, id);
	image_add(b, &record);
}

/* in_parent: an earlier dump has it. */
static inline void image_add_extent(struct strbuf *b, uint64_t address, uint64_t pages, bool in_parent)
{
	struct strbuf record = STRBUF_INIT;

	criu_put_number(&record, 1, address);
	criu_put_number(&record, 2, pages);
	criu_put_number(&record, 4, in_parent ? 1 : 4);
	image_add(b, &record);
}

static inline void image_add_task(struct strbuf *b, uint64_t pid, uint64_t parent, uint64_t session)
{
	struct strbuf record = STRBUF_INIT;

	criu_put_number(&record, 1, pid);
	criu_put_number(&record, 2, parent);
	criu_put_number(&record, 4, session);
	image_add(b, &record);
}
