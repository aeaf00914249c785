/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages about queueing disciplines: hierarchies of rates (tc-htb(8)), shares inside one (tc-fq_codel(8)).
 *
 * All append to a batch. Rates are in bits per second of Ethernet frames; the kernel wants bytes, and the
 * time that a burst takes in its own ticks.
 */
#include "netns/queue.h"

#include <errno.h>

uint32_t queue_burst(uint64_t rate, uint32_t burst)
{
	uint64_t ten_msec = rate / 8 / 100;

	if (burst)
		return burst < QUEUE_FRAME ? QUEUE_FRAME : burst;
	if (ten_msec < 4 * QUEUE_FRAME)
		return 4 * QUEUE_FRAME;

	return ten_msec > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ten_msec;
}

uint32_t queue_ticks(uint32_t burst, uint64_t rate)
{
	uint64_t ticks = (uint64_t)burst * 8 * 1000000000 / QUEUE_TICK_NSEC / rate;

	return ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

struct tc_ratespec queue_spec(uint64_t rate)
{
	uint64_t bytes = rate / 8;

	return (struct tc_ratespec){ .linklayer = TC_LINKLAYER_ETHERNET,
		.rate = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes };
}

void queue_put_u64(struct nl_batch *b, uint16_t type, uint64_t value)
{
	nl_put(b, type, &value, sizeof(value));
}

size_t queue_begin(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags,
        const struct tcmsg *header, const char *kind)
{
	nl_message(b, what, type, flags, header, sizeof(*header));
	nl_put_str(b, TCA_KIND, kind);
	return nl_nest(b, TCA_OPTIONS);
}

/* Shares inside a rate. A frame must fit into the queue's target time, which at 1 Mbit/s the default of 5 ms
 * would not allow. */
void queue_put_fair(struct nl_batch *b, int index, uint32_t parent, uint64_t rate)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = parent };
	uint64_t frame_usec = (uint64_t)QUEUE_FRAME * 8 * 1500000 / rate,
	         target = frame_usec > 5000 ? frame_usec : 5000,
	         packets = rate / 8 / 5 / QUEUE_FRAME; /* 200 ms: what a flood leaves behind is soon gone */
	size_t options = queue_begin(
	        b, "set up fair queueing", RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &header, "fq_codel");

	nl_tolerate(b, ENOENT); /* without it the rate is kept all the same, first come, first served */
	nl_put_u32(b, TCA_FQ_CODEL_TARGET, (uint32_t)target);
	nl_put_u32(b, TCA_FQ_CODEL_LIMIT, packets < 64 ? 64 : packets > 10240 ? 10240 : (uint32_t)packets);
	nl_put_u32(b, TCA_FQ_CODEL_INTERVAL, (uint32_t)(20 * target));
	nl_nest_end(b, options);
}

/* One hierarchy: the root, if it is not there. What is in no class goes to the one with the minor number
 * rest, 0: is not queued. */
void queue_put_root(struct nl_batch *b, int index, uint32_t handle, uint32_t rest, bool replace)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT, .tcm_handle = handle
	};
	struct tc_htb_glob glob = { .version = TC_HTB_PROTOVER, .rate2quantum = 10, .defcls = rest };
	size_t options = queue_begin(b, "set up the queue", RTM_NEWQDISC,
	        NLM_F_CREATE | NLM_F_EXCL | (replace ? NLM_F_REPLACE : 0), &header, "htb");

	nl_put(b, TCA_HTB_INIT, &glob, sizeof(glob));
	nl_nest_end(b, options);
	nl_tolerate(b, EEXIST);
}

void queue_put_class(struct nl_batch *b, int index, uint32_t parent, uint32_t handle, uint64_t rate,
        uint64_t ceil, uint32_t burst, uint16_t flag)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = parent, .tcm_handle = handle
	};
	const uint32_t bytes = queue_burst(ceil, burst);
	struct tc_htb_opt opt = { .rate = queue_spec(rate),
		.ceil = queue_spec(ceil),
		.buffer = queue_ticks(bytes, rate),
		.cbuffer = queue_ticks(bytes, ceil),
		.quantum = ceil < 100000000 ? QUEUE_FRAME : 40 * QUEUE_FRAME };
	size_t options = queue_begin(b, "set a rate", RTM_NEWTCLASS, NLM_F_CREATE | flag, &header, "htb");

	nl_put(b, TCA_HTB_PARMS, &opt, sizeof(opt));
	if (rate / 8 > UINT32_MAX)
		queue_put_u64(b, TCA_HTB_RATE64, rate / 8);
	if (ceil / 8 > UINT32_MAX)
		queue_put_u64(b, TCA_HTB_CEIL64, ceil / 8);
	nl_nest_end(b, options);
}

void queue_remove_class(struct nl_batch *b, int index, uint32_t handle)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_handle = handle };

	nl_message(b, "remove a rate", RTM_DELTCLASS, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
}
