/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What differs of an archive from one before; see the header.
 *
 * A tmpfs has no record of what was written to since: what is written through a mapping leaves the times of a
 * file as they were. So all of it is read again while the container stands still, which goes as fast as
 * memory, and compared with what went ahead; only what differs goes to the disk, into digests and to another
 * node, which would take many times as long.
 *
 * Both are streams of blocks of 512 bytes. A block is expected to be that behind the one that the last was
 * found to be, or should have been. Where that is wrong and it looks like the header of a file, a header of
 * the same name in the base is the place to go on from. What we take for a header does not matter for what
 * comes out, since nothing is named that has not been compared: a file of a tenant's that looks like one only
 * makes it longer. Nor can many of one name make it slow.
 *
 * Written is: the mark, then records, each of two numbers of 64 bits (little-endian). {at, length}: so much
 * of the base, from there. {DATA, length}: so many bytes follow. {END, length}: of all that comes out.
 */
#include "ctd/criu-archive.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define MARK        "CTDTMPF1"
#define MARK_SIZE   (sizeof(MARK) - 1)
#define BLOCK       512
#define CHUNK       (512 * (size_t)BLOCK)
#define NAME_SIZE   100 /* of a header of tar's */
#define MAGIC_AT    257
#define MAGIC       "ustar"
#define MAGIC_SIZE  (sizeof(MAGIC) - 1)
#define TYPE_AT     156
#define PREFIX_AT   345
#define PREFIX_END  500
#define TRIES_MAX   16
#define MEMBERS_MAX (1024 * 1024) /* what is behind is found if it follows, and else written */
#define DATA        UINT64_MAX
#define END         (UINT64_MAX - 1)
#define NOWHERE     SIZE_MAX

struct criu_archive_member {
	uint64_t key;
	size_t at;
};

struct record {
	uint64_t from, length;
};

/* ---- headers of the base */

static bool is_header(const unsigned char *block)
{
	return memcmp(block + MAGIC_AT, MAGIC, MAGIC_SIZE) == 0;
}

static uint64_t add_bytes(uint64_t key, const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		key = (key ^ data[i]) * 0x100000001b3; /* FNV-1a */
	return key;
}

/* Of its name, without the number of tar's process that the names of some headers have. */
static uint64_t header_key(const unsigned char *block)
{
	static const char *const numbered[] = { "/GNUSparseFile.", "/PaxHeaders." };
	const char *name = (const char *)block;
	size_t len = strnlen(name, NAME_SIZE), before = len, after = len;
	uint64_t key = 0xcbf29ce484222325;

	for (size_t i = 0; i < ARRAY_SIZE(numbered); i++) {
		const char *found = memmem(name, len, numbered[i], strlen(numbered[i]));

		if (!found)
			continue;
		before = after = (size_t)(found - name) + strlen(numbered[i]);
		while (after < len && name[after] >= '0' && name[after] <= '9')
			after++;
		break;
	}
	key = add_bytes(key, block, before);
	key = add_bytes(key, block + after, len - after);
	key = add_bytes(key, block + TYPE_AT, 1);
	return add_bytes(key, block + PREFIX_AT, PREFIX_END - PREFIX_AT);
}

static int compare_members(const void *a, const void *b)
{
	const struct criu_archive_member *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* Without them all is written. A file of a tenant's can be headers and nothing else, and the memory is the
 * host's. */
static void list_members(struct criu_archive_base *base)
{
	size_t n = 0;

	for (size_t at = 0; n < MEMBERS_MAX && at + BLOCK <= base->size; at += BLOCK)
		n += is_header(base->data + at);
	if (n == 0)
		return;
	base->members = calloc(n, sizeof(*base->members));
	if (!base->members)
		return;
	for (size_t at = 0; base->n_members < n && at + BLOCK <= base->size; at += BLOCK)
		if (is_header(base->data + at))
			base->members[base->n_members++] =
			        (struct criu_archive_member){ header_key(base->data + at), at };
	qsort(base->members, base->n_members, sizeof(*base->members), compare_members);
}

int criu_archive_open(int fd, struct criu_archive_base *ret)
{
	struct stat st;
	void *data;

	*ret = CRIU_ARCHIVE_BASE_INIT;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return 0;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	ret->data = data;
	ret->size = (size_t)st.st_size;
	return 0;
}

void criu_archive_done(struct criu_archive_base *base)
{
	if (base->data)
		(void)munmap((void *)base->data, base->size); /* ours */
	free(base->members);
	*base = CRIU_ARCHIVE_BASE_INIT;
}

/* ---- writing */

struct shorten {
	const struct criu_archive_base *base;
	int out_fd;
	size_t expected;       /* where the next block should be found in the base, or NOWHERE */
	struct record pending; /* of the base; length 0: none */
	uint64_t total;
};

static int write_record(int fd, uint64_t from, uint64_t length)
{
	const struct record r = { htole64(from), htole64(length) };

	return write_all(fd, &r, sizeof(r));
}

static int flush_pending(struct shorten *s)
{
	int r = s->pending.length ? write_record(s->out_fd, s->pending.from, s->pending.length) : 0;

	s->pending.length = 0;
	return r;
}

static int name_base(struct shorten *s, size_t at, size_t len)
{
	if (s->pending.length && s->pending.from + s->pending.length != at) {
		int r = flush_pending(s);

		if (r < 0)
			return r;
	}
	if (!s->pending.length)
		s->pending.from = at;
	s->pending.length += len;
	return 0;
}

static int write_data(struct shorten *s, const unsigned char *data, size_t len)
{
	int r = flush_pending(s);

	if (r >= 0 && len > 0)
		r = write_record(s->out_fd, DATA, len);
	return r < 0 || len == 0 ? r : write_all(s->out_fd, data, len);
}

static bool is_at(const struct criu_archive_base *base, size_t at, const unsigned char *data, size_t len)
{
	return at <= base->size && len <= base->size - at && memcmp(base->data + at, data, len) == 0;
}

/* The same header, or the first of several of its name. */
static size_t find_header(const struct criu_archive_base *base, const unsigned char *block)
{
	const uint64_t key = header_key(block);
	size_t low = 0, high = base->n_members, first;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (base->members[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	first = low;
	if (first == base->n_members || base->members[first].key != key)
		return NOWHERE;
	for (; low < base->n_members && low - first < TRIES_MAX && base->members[low].key == key; low++)
		if (is_at(base, base->members[low].at, block, BLOCK))
			return base->members[low].at;
	return base->members[first].at;
}

/* How many bytes of data, whole blocks or all, are in the base where they are expected. */
static size_t count_equal(struct shorten *s, const unsigned char *data, size_t len)
{
	size_t n = 0;

	if (s->expected == NOWHERE)
		return 0;
	if (is_at(s->base, s->expected, data, len))
		return len;
	while (n + BLOCK <= len && is_at(s->base, s->expected + n, data + n, BLOCK))
		n += BLOCK;
	return n;
}

/* data are whole blocks, but for the last of all. */
static int shorten_chunk(struct shorten *s, const unsigned char *data, size_t len)
{
	size_t at = 0, written = 0; /* from written to at is data to be written */
	int r = 0;

	while (r >= 0 && at < len) {
		size_t n = count_equal(s, data + at, len - at);

		if (n == 0 && len - at >= BLOCK && is_header(data + at)) {
			const size_t found = find_header(s->base, data + at);

			s->expected = found == NOWHERE ? s->expected : found;
			n = count_equal(s, data + at, len - at);
		}
		if (n > 0) {
			if (at > written)
				r = write_data(s, data + written, at - written);
			if (r >= 0)
				r = name_base(s, s->expected, n);
			written = at + n;
		} else {
			n = len - at < BLOCK ? len - at : BLOCK;
		}
		at += n;
		if (s->expected != NOWHERE)
			s->expected += n;
	}
	s->total += len;
	return r < 0 || at == written ? r : write_data(s, data + written, at - written);
}

int criu_archive_shorten(int in_fd, struct criu_archive_base *base, int out_fd)
{
	struct shorten s = { .base = base, .out_fd = out_fd, .expected = NOWHERE };
	unsigned char *chunk = malloc(CHUNK);
	ssize_t n = 0;
	int r = chunk ? write_all(out_fd, MARK, MARK_SIZE) : -ENOMEM;

	if (r >= 0 && !base->members)
		list_members(base);
	while (r >= 0 && (n = read_all(in_fd, chunk, CHUNK)) > 0)
		r = shorten_chunk(&s, chunk, (size_t)n);
	free(chunk);
	if (r >= 0)
		r = n < 0 ? (int)n : flush_pending(&s);
	return r < 0 ? r : write_record(out_fd, END, s.total);
}

/* ---- reading */

bool criu_archive_is_short(int fd)
{
	const off_t at = lseek(fd, 0, SEEK_CUR);
	char mark[MARK_SIZE];

	return at >= 0 && pread(fd, mark, sizeof(mark), at) == sizeof(mark) &&
	       memcmp(mark, MARK, sizeof(mark)) == 0;
}

static int read_exactly(int fd, void *data, size_t len)
{
	ssize_t n = read_all(fd, data, len);

	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EBADMSG;
}

static int copy_data(int in_fd, uint64_t len, unsigned char *chunk, int out_fd)
{
	int r = 0;

	while (r >= 0 && len > 0) {
		const size_t n = len < CHUNK ? (size_t)len : CHUNK;

		r = read_exactly(in_fd, chunk, n);
		if (r >= 0)
			r = write_all(out_fd, chunk, n);
		len -= n;
	}
	return r;
}

static int restore_records(int in_fd, const struct criu_archive_base *base, unsigned char *chunk, int out_fd)
{
	struct record record;
	uint64_t total = 0, from, length;
	int r;

	for (;;) {
		r = read_exactly(in_fd, &record, sizeof(record));
		if (r < 0)
			return r;
		from = le64toh(record.from);
		length = le64toh(record.length);
		if (from == END)
			return length == total ? 0 : -EBADMSG;
		if (from == DATA)
			r = copy_data(in_fd, length, chunk, out_fd);
		else if (from <= base->size && length <= base->size - from)
			r = write_all(out_fd, base->data + from, (size_t)length);
		else
			r = -EBADMSG;
		if (r < 0)
			return r;
		total += length;
	}
}

int criu_archive_restore(int in_fd, const struct criu_archive_base *base, int out_fd)
{
	unsigned char *chunk = malloc(CHUNK);
	char mark[MARK_SIZE];
	int r = chunk ? read_exactly(in_fd, mark, sizeof(mark)) : -ENOMEM;

	if (r >= 0 && memcmp(mark, MARK, sizeof(mark)) != 0)
		r = -EBADMSG;
	if (r >= 0)
		r = restore_records(in_fd, base, chunk, out_fd);
	free(chunk);
	return r;
}
