/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts that are kept.
 *
 * Who reads a file in parts must get parts of the same text, so the text stays until the file is closed, as
 * long as there is room. Room is by container: who opens ten thousand files has no ten thousand texts here,
 * and pushes out none but his own. One text may be kept under many handles.
 */
#include "ctd/view-text.h"

#include <stdlib.h>

#include "ctd/view-tenant.h"

#define KEPT         64U /* of a container */
#define TENANT_BYTES (1U << 20)
#define ALL_BYTES    (16U << 20)

struct kept {
	uint64_t handle; /* 0: free */
	struct view_text *text;
};

struct shelf {
	struct kept kept[KEPT];
	unsigned next;
	size_t bytes; /* of texts that are alive, each counted once */
};

struct view_texts {
	struct shelf *of[VIEW_TENANTS]; /* those that have ever had one */
	size_t bytes;
};

struct view_texts *view_texts_new(void)
{
	return calloc(1, sizeof(struct view_texts));
}

static void empty(struct view_texts *t, struct kept *k)
{
	if (k->handle)
		view_text_unref(t, k->text);
	*k = (struct kept){ 0 };
}

void view_texts_free(struct view_texts *t)
{
	for (unsigned i = 0; t && i < VIEW_TENANTS; i++) {
		for (unsigned j = 0; t->of[i] && j < KEPT; j++)
			empty(t, &t->of[i]->kept[j]);
		free(t->of[i]);
	}
	free(t);
}

static struct shelf *shelf_of(struct view_texts *t, uint16_t tenant)
{
	if (!t->of[tenant])
		t->of[tenant] = calloc(1, sizeof(struct shelf));
	return t->of[tenant];
}

struct view_text *view_text_new(struct view_texts *t, uint16_t tenant, struct strbuf *bytes)
{
	struct shelf *s = shelf_of(t, tenant);
	struct view_text *text = s ? calloc(1, sizeof(*text)) : NULL;

	if (!text)
		return NULL;
	*text = (struct view_text){ .bytes = *bytes, .refs = 1, .tenant = tenant };
	*bytes = STRBUF_INIT;
	s->bytes += text->bytes.len;
	t->bytes += text->bytes.len;
	return text;
}

void view_text_unref(struct view_texts *t, struct view_text *text)
{
	if (--text->refs > 0)
		return;
	t->of[text->tenant]->bytes -= text->bytes.len;
	t->bytes -= text->bytes.len;
	strbuf_done(&text->bytes);
	free(text);
}

static struct kept *find(const struct view_texts *t, uint64_t handle)
{
	struct shelf *s = t->of[VIEW_HANDLE_TENANT(handle)];

	for (unsigned i = 0; s && i < KEPT; i++)
		if (s->kept[i].handle == handle)
			return &s->kept[i];
	return NULL;
}

void view_text_keep(struct view_texts *t, uint64_t handle, struct view_text *text)
{
	struct shelf *s = t->of[text->tenant];
	struct kept *place = find(t, handle);

	if (VIEW_HANDLE_TENANT(handle) != text->tenant)
		return; /* a file that was passed on to another container */
	if (!place)
		place = &s->kept[s->next++ % KEPT];
	empty(t, place);
	for (unsigned i = 0; i < KEPT && (s->bytes > TENANT_BYTES || t->bytes > ALL_BYTES); i++)
		empty(t, &s->kept[s->next++ % KEPT]);
	if (s->bytes > TENANT_BYTES || t->bytes > ALL_BYTES)
		return;
	text->refs++;
	*place = (struct kept){ .handle = handle, .text = text };
}

const struct strbuf *view_text_find(const struct view_texts *t, uint64_t handle)
{
	const struct kept *k = find(t, handle);

	return k ? &k->text->bytes : NULL;
}

void view_text_drop(struct view_texts *t, uint64_t handle)
{
	struct kept *k = find(t, handle);

	if (k)
		empty(t, k);
}
