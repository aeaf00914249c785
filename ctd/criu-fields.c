/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of protocol buffers, of which CRIU makes its requests and its images: varints and byte strings,
 * written and read. All lengths are checked; unknown fields are the caller's to pass over. */
#include "ctd/criu-fields.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

/* ---- writing; an allocation failure stays in the buffer */

static void put_varint(struct strbuf *b, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		(void)strbuf_putc(b, (char)(value | 0x80));
	(void)strbuf_putc(b, (char)value);
}

void criu_put_number(struct strbuf *b, unsigned int field, uint64_t value)
{
	put_varint(b, (uint64_t)field << 3);
	put_varint(b, value);
}

void criu_put_bytes(struct strbuf *b, unsigned int field, const void *data, size_t len)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, len);
	(void)strbuf_add(b, data, len);
}

/* ---- reading */

static int get_varint(struct criu_reader *r, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64 && r->at < r->end; shift += 7) {
		unsigned char byte = *r->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return -EBADMSG;
}

int criu_get_field(struct criu_reader *r, struct criu_field *ret)
{
	const unsigned char *start = r->at;
	uint64_t key, len;

	if (r->at == r->end)
		return 0;
	if (get_varint(r, &key) < 0 || key >> 3 > 0xffff)
		return -EBADMSG;

	*ret = (struct criu_field){ .number = (unsigned int)(key >> 3), .start = start };
	switch (key & 7) {
	case 0: return get_varint(r, &ret->value) < 0 ? -EBADMSG : 1;
	case 1: len = 8; break;
	case 5: len = 4; break;
	case 2:
		if (get_varint(r, &len) < 0)
			return -EBADMSG;
		break;
	default: return -EBADMSG;
	}
	if (len > (size_t)(r->end - r->at))
		return -EBADMSG;
	ret->bytes = (struct criu_reader){ r->at, r->at + len };
	r->at += len;
	return 1;
}

/* ---- images */

int criu_image_open(const char *data, size_t len, struct criu_reader *ret)
{
	const unsigned char *bytes = (const unsigned char *)data;

	if (len < CRIU_IMAGE_HEAD)
		return -EBADMSG;
	*ret = (struct criu_reader){ bytes + CRIU_IMAGE_HEAD, bytes + len };
	return 0;
}

int criu_image_next(struct criu_reader *image, struct criu_reader *ret)
{
	uint32_t size;

	if (image->at == image->end)
		return 0;
	if ((size_t)(image->end - image->at) < sizeof(size))
		return -EBADMSG;
	memcpy(&size, image->at, sizeof(size));
	image->at += sizeof(size);
	if (size > (size_t)(image->end - image->at))
		return -EBADMSG;
	*ret = (struct criu_reader){ image->at, image->at + size };
	image->at += size;
	return 1;
}
