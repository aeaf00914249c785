/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much of an allowance is used, and how that is kept.
 *
 * The ledger says what went through in a billing period. What is kept is only what was done about it, so it
 * is written when that changes. A ledger that has less than it had in the same period is another one (the
 * old was damaged): what was known of the old is carried on top.
 *
 * A container that moves takes all that it has used with it as carried. The ledger of the node where it
 * arrives may have some of that, from when it was there before: that much is not carried there.
 */
#include "ctd/allowance.h"

#include <errno.h>

#include "base/json.h"
#include "base/unit.h"

#define RATE_MIN 8000
#define RATE_MAX 1000000000000ULL
#define SLOW     "slow:"

static uint32_t level_of(uint64_t limit, uint64_t used)
{
	if (limit == 0)
		return 0;
	if (used >= limit)
		return ALLOWANCE_EXHAUSTED;
	return used >= limit - limit / 5 ? ALLOWANCE_WARNED : 0;
}

static uint64_t sum_of(const struct allowance *a)
{
	return a->seen > UINT64_MAX - a->carried ? UINT64_MAX : a->seen + a->carried;
}

uint64_t allowance_count(struct allowance *a, uint64_t limit, int64_t period, uint64_t used)
{
	if (a->period != period) {
		a->period = period;
		a->carried = 0;
	} else if (used < a->seen) {
		a->carried += a->seen;
	}
	a->seen = used;
	a->level = level_of(limit, sum_of(a));
	return sum_of(a);
}

void allowance_leave(struct allowance *a)
{
	a->carried = sum_of(a);
	a->seen = 0;
}

void allowance_arrive(struct allowance *a, int64_t period, uint64_t used)
{
	const uint64_t sum = sum_of(a);

	if (a->period != period)
		return;
	a->seen = used;
	a->carried = sum > used ? sum - used : 0;
}

int allowance_action_parse(const char *text, enum allowance_action *ret, uint64_t *ret_rate)
{
	static const char *const names[] = {
		[ALLOWANCE_EVENT] = "event",
		[ALLOWANCE_CUT] = "cut",
		[ALLOWANCE_STOP] = "stop",
	};
	uint64_t rate = 0;

	*ret_rate = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i] && str_eq(text, names[i])) {
			*ret = i;
			return 0;
		}
	if (!str_has_prefix(text, SLOW) || parse_bitrate(text + strlen(SLOW), &rate) < 0 || rate < RATE_MIN ||
	        rate > RATE_MAX)
		return -EINVAL;
	*ret = ALLOWANCE_SLOW;
	*ret_rate = rate;
	return 0;
}

struct stored {
	uint64_t period, level, seen, carried;
	bool stopped;
};

int allowance_from_json(const json_t *object, struct allowance *ret, struct ct_error *err)
{
	struct stored in = { 0 };
	static const struct json_field fields[] = {
		{ "period", JSON_KIND_U64, offsetof(struct stored, period), JSON_NO_HAS, true },
		{ "level", JSON_KIND_U64, offsetof(struct stored, level), JSON_NO_HAS, true },
		{ "seen", JSON_KIND_U64, offsetof(struct stored, seen), JSON_NO_HAS, true },
		{ "carried", JSON_KIND_U64, offsetof(struct stored, carried), JSON_NO_HAS, true },
		{ "stopped", JSON_KIND_BOOL, offsetof(struct stored, stopped), JSON_NO_HAS, true },
		{ NULL },
	};
	int r = json_read(object, fields, &in, err);

	if (r < 0)
		return r;
	*ret = (struct allowance){ (int64_t)in.period, (uint32_t)in.level, in.seen, in.carried, in.stopped };
	return 0;
}

json_t *allowance_to_json(const struct allowance *a)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:b}", "period", (json_int_t)a->period, "level",
	        (json_int_t)a->level, "seen", (json_int_t)a->seen, "carried", (json_int_t)a->carried,
	        "stopped", (int)a->stopped);
}
