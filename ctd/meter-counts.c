/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of counters, and their form in the ledger.
 *
 * Most containers are idle most of the time, and most numbers of an interval are small. So a record begins
 * with a bit for each counter that is not zero, and has only those, seven bits a byte, the lowest first, the
 * eighth bit on all bytes but the last. The bits of classes of traffic begin with the 32nd.
 */
#include "ctd/meter-counts.h"

#include <errno.h>

const struct counter_kind counter_kinds[COUNT_CLASSES] = {
	[COUNT_CPU_USER] = { "cpu_user_usec", UNIT_USEC },
	[COUNT_CPU_SYSTEM] = { "cpu_system_usec", UNIT_USEC },
	[COUNT_MEMORY] = { "memory_kib_seconds", UNIT_KIB_SECONDS },
	[COUNT_DISK_SOLD] = { "disk_sold_kib_seconds", UNIT_KIB_SECONDS },
	[COUNT_DISK_USED] = { "disk_used_kib_seconds", UNIT_KIB_SECONDS },
	[COUNT_READ_BYTES] = { "read_bytes", UNIT_BYTES },
	[COUNT_WRITE_BYTES] = { "write_bytes", UNIT_BYTES },
	[COUNT_READ_OPS] = { "read_ops", UNIT_NUMBER },
	[COUNT_WRITE_OPS] = { "write_ops", UNIT_NUMBER },
	[COUNT_NET_IN_BYTES] = { "net_in_bytes", UNIT_BYTES },
	[COUNT_NET_IN_PACKETS] = { "net_in_packets", UNIT_NUMBER },
	[COUNT_NET_OUT_BYTES] = { "net_out_bytes", UNIT_BYTES },
	[COUNT_NET_OUT_PACKETS] = { "net_out_packets", UNIT_NUMBER },
	[COUNT_NET_DROPPED] = { "net_dropped_packets", UNIT_NUMBER },
	[COUNT_RUNNING] = { "running_usec", UNIT_USEC },
	[COUNT_GAP] = { "gap_usec", UNIT_USEC },
	[COUNT_OOM_KILLS] = { "oom_kills", UNIT_NUMBER },
	[COUNT_THROTTLED] = { "throttled_usec", UNIT_USEC },
	[COUNT_WAIT_CPU] = { "waiting_cpu_usec", UNIT_USEC },
	[COUNT_WAIT_MEMORY] = { "waiting_memory_usec", UNIT_USEC },
	[COUNT_WAIT_IO] = { "waiting_io_usec", UNIT_USEC },
	[COUNT_NET_RATE_DROPPED] = { "net_rate_dropped_packets", UNIT_NUMBER },
	[COUNT_MEMORY_HITS] = { "memory_limit_hits", UNIT_NUMBER },
	[COUNT_PROCESSES_HITS] = { "processes_limit_hits", UNIT_NUMBER },
};

const char *const class_count_names[CLASS_COUNTS] = {
	[CLASS_IN_BYTES] = "in_bytes",
	[CLASS_IN_PACKETS] = "in_packets",
	[CLASS_OUT_BYTES] = "out_bytes",
	[CLASS_OUT_PACKETS] = "out_packets",
};

/* In a record those of classes begin with this bit, so that there can be more that have a name. */
#define CLASS_BIT 32
_Static_assert(COUNT_CLASSES <= CLASS_BIT && CLASS_SLOTS * CLASS_COUNTS <= 64 - CLASS_BIT, "no bit is left");

static unsigned bit_of(unsigned i)
{
	return i < COUNT_CLASSES ? i : i - COUNT_CLASSES + CLASS_BIT;
}

/* _COUNT_MAX: of none that is known here. */
static unsigned count_of_bit(unsigned bit)
{
	if (bit < CLASS_BIT)
		return bit < COUNT_CLASSES ? bit : _COUNT_MAX;
	return bit - CLASS_BIT + COUNT_CLASSES;
}

static size_t put(uint8_t *buf, uint64_t n)
{
	size_t len = 0;

	for (; n >= 0x80; n >>= 7)
		buf[len++] = (uint8_t)(n | 0x80);
	buf[len++] = (uint8_t)n;
	return len;
}

static int get(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
	uint64_t n = 0;

	for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
		uint8_t byte = *(*p)++;

		if (shift == 63 && byte > 1)
			return -EBADMSG;
		n |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = n;
			return 0;
		}
	}
	return -EBADMSG;
}

size_t counts_pack(const struct counts *c, uint8_t *buf)
{
	uint64_t mask = 0;
	size_t len;

	for (unsigned i = 0; i < _COUNT_MAX; i++)
		mask |= (uint64_t)(c->of[i] != 0) << bit_of(i);
	len = put(buf, mask);
	for (uint64_t left = mask; left; left &= left - 1)
		len += put(buf + len, c->of[count_of_bit((unsigned)__builtin_ctzll(left))]);
	return len;
}

int counts_unpack(const uint8_t *buf, size_t len, struct counts *ret)
{
	const uint8_t *p = buf, *end = buf + len;
	struct counts c = { 0 };
	uint64_t mask, n;
	bool unknown = false;

	if (!buf || get(&p, end, &mask) < 0)
		return -EBADMSG;
	for (unsigned bit = 0; bit < 64; bit++) {
		unsigned i = count_of_bit(bit);

		if (!(mask >> bit & 1))
			continue;
		if (get(&p, end, &n) < 0)
			return -EBADMSG;
		if (i < _COUNT_MAX)
			c.of[i] = n;
		else
			unknown = true;
	}
	if (p != end)
		return -EBADMSG;
	/* Whole, and by its rules: a ctd that counts more has written it. */
	if (unknown)
		return -EPROTONOSUPPORT;
	*ret = c;
	return 0;
}

void counts_add_one(struct counts *a, unsigned i, uint64_t n)
{
	if (__builtin_add_overflow(a->of[i], n, &a->of[i]) || a->of[i] > INT64_MAX)
		a->of[i] = INT64_MAX;
}

void counts_add(struct counts *a, const struct counts *b)
{
	for (unsigned i = 0; i < _COUNT_MAX; i++)
		counts_add_one(a, i, b->of[i]);
}

struct counts counts_minus(const struct counts *a, const struct counts *b)
{
	struct counts d = { 0 };

	for (unsigned i = 0; i < _COUNT_MAX; i++)
		d.of[i] = a->of[i] > b->of[i] ? a->of[i] - b->of[i] : 0;
	return d;
}

bool counts_is_zero(const struct counts *c)
{
	for (unsigned i = 0; i < _COUNT_MAX; i++)
		if (c->of[i])
			return false;
	return true;
}

json_t *counts_to_json(const struct counts *c)
{
	json_t *object = json_object();

	for (unsigned i = 0; object && i < COUNT_CLASSES; i++)
		(void)json_object_set_new(object, counter_kinds[i].name,
		        json_integer((json_int_t)c->of[i])); /* below 2^63; one that is missing is zero */
	return object;
}

int counts_from_json(const json_t *object, struct counts *ret)
{
	*ret = (struct counts){ 0 };
	for (unsigned i = 0; i < COUNT_CLASSES; i++) {
		const json_t *value = json_object_get(object, counter_kinds[i].name);

		if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
			return -EBADMSG;
		ret->of[i] = (uint64_t)json_integer_value(value);
	}
	return 0;
}
