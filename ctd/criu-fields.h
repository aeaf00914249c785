/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of protocol buffers, as CRIU has them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct strbuf;

struct criu_reader {
	const unsigned char *at, *end;
};
struct criu_field {
	unsigned int number;
	uint64_t value; /* of a varint */
	struct criu_reader bytes;
	const unsigned char *start; /* it ends where the reader is */
};
/* 1: a field, 0: the end, -EBADMSG. */
int criu_get_field(struct criu_reader *r, struct criu_field *ret);

/* An image: some magic numbers, then records, each a length of four bytes and a message. -EBADMSG. */
#define CRIU_IMAGE_HEAD 8
int criu_image_open(const char *data, size_t len, struct criu_reader *ret);
/* 1: a record, 0: the end. */
int criu_image_next(struct criu_reader *image, struct criu_reader *ret);

void criu_put_number(struct strbuf *b, unsigned int field, uint64_t value);
void criu_put_bytes(struct strbuf *b, unsigned int field, const void *data, size_t len);
