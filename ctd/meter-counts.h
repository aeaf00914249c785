/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is counted of a container: the vocabulary of meter, ledger and metrics.
 *
 * All counters only grow. Their order is that of the ledger's records: new ones go at the end of those that
 * have a name; there is room for 32 of them.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum counter {
	COUNT_CPU_USER,
	COUNT_CPU_SYSTEM,
	COUNT_MEMORY,
	COUNT_DISK_SOLD,
	COUNT_DISK_USED,
	COUNT_READ_BYTES,
	COUNT_WRITE_BYTES,
	COUNT_READ_OPS,
	COUNT_WRITE_OPS,
	COUNT_NET_IN_BYTES,
	COUNT_NET_IN_PACKETS,
	COUNT_NET_OUT_BYTES,
	COUNT_NET_OUT_PACKETS,
	COUNT_NET_DROPPED,
	COUNT_RUNNING,
	COUNT_GAP,
	COUNT_OOM_KILLS,
	COUNT_THROTTLED,
	COUNT_WAIT_CPU,
	COUNT_WAIT_MEMORY,
	COUNT_WAIT_IO,
	COUNT_NET_RATE_DROPPED,
	COUNT_MEMORY_HITS,
	COUNT_PROCESSES_HITS,
	COUNT_CLASSES, /* from here on those of classes of traffic, CLASS_COUNTS of each slot */
};

/* What is counted of a class of traffic, which has a slot in the ledger as long as that lives. */
enum class_count {
	CLASS_IN_BYTES,
	CLASS_IN_PACKETS,
	CLASS_OUT_BYTES,
	CLASS_OUT_PACKETS,
	CLASS_COUNTS,
};
#define CLASS_SLOTS 8
#define _COUNT_MAX  (COUNT_CLASSES + CLASS_SLOTS * CLASS_COUNTS)

static inline unsigned count_of_class(unsigned slot, enum class_count i)
{
	return COUNT_CLASSES + slot * CLASS_COUNTS + i;
}
extern const char *const class_count_names[CLASS_COUNTS];

struct counts {
	uint64_t of[_COUNT_MAX];
};

/* What goes up and down: only the newest is known. */
enum gauge {
	GAUGE_MEMORY,
	GAUGE_MEMORY_PEAK,
	GAUGE_MEMORY_WORKING_SET,
	GAUGE_SWAP,
	GAUGE_PROCESSES,
	GAUGE_DISK,
	GAUGE_INODES,
	GAUGE_CPU_LIMIT, /* thousandths */
	GAUGE_MEMORY_LIMIT,
	GAUGE_SWAP_LIMIT,
	GAUGE_PROCESSES_LIMIT,
	GAUGE_DISK_LIMIT,
	GAUGE_INODES_LIMIT,
	_GAUGE_MAX,
};

struct gauges {
	uint64_t of[_GAUGE_MAX];
	uint32_t has; /* a bit for each that is known */
};

enum count_unit {
	UNIT_NUMBER,
	UNIT_BYTES,
	UNIT_USEC,
	UNIT_KIB_SECONDS, /* 1024 bytes held for a second: bytes would not fit for long */
};

struct counter_kind {
	const char *name; /* in the API; the unit is in it */
	enum count_unit unit;
};
extern const struct counter_kind counter_kinds[COUNT_CLASSES];

/* At most what counts_pack writes. */
#define COUNTS_PACKED_MAX (10 * (_COUNT_MAX + 1))
/* Which counters are not zero, then those, as numbers of 7 bits a byte. Returns the length. */
size_t counts_pack(const struct counts *c, uint8_t *buf);
/* -EBADMSG: not what counts_pack wrote. -EPROTONOSUPPORT: what that of a later ctd wrote, with counters that
 * are not known here. */
int counts_unpack(const uint8_t *buf, size_t len, struct counts *ret);
/* Those that have a name, by it; counters that are not known here are left out. -EBADMSG: something that
 * cannot be a counter. Classes of traffic: meter-classes.c. */
json_t *counts_to_json(const struct counts *c);
int counts_from_json(const json_t *object, struct counts *ret);
/* a += b, staying at the largest 63-bit number at most; or one of it. */
void counts_add(struct counts *a, const struct counts *b);
/* a - b; what would be below zero is zero. */
struct counts counts_minus(const struct counts *a, const struct counts *b);
void counts_add_one(struct counts *a, unsigned i, uint64_t n);
bool counts_is_zero(const struct counts *c);
