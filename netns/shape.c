/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rates: what is sold is shaped, not policed, so that TCP gets all of it.
 *
 * Towards the container a token bucket (tc-tbf(8)) sits on the host side of its link. Out of it there is no
 * queue that the tenant cannot touch (frames come in on the host side), so for what the host routes the place
 * is where it leaves the host: a hierarchy (tc-htb(8)) on the uplink, with one class for all containers and
 * below it one for each that has a rate. The class is the packet's priority, set by the rules of the inet
 * table from the map "class"; a packet without one is not queued by us. Inside a rate, fq_codel (where the
 * kernel has it) shares among flows and keeps the queue short.
 *
 * What a port of a bridge sends may leave by many ports. It makes a detour instead, behind the guard: see
 * shape-segment.c. By an uplink that has our hierarchy it leaves as all else does.
 *
 * Where a class of traffic (classes.c) has a rate of its own, it has a place of its own beside the port's at
 * the uplink, and towards the container a hierarchy takes the bucket's place.
 *
 * The map is the record (shape-places.c): its element is made before the class and removed after it, so that
 * what was left half-done is found again. A priority whose class is not there is not an error, the packet
 * passes unshaped.
 *
 * The uplink's root is replaced only if it is the kernel's own choice. What an administrator has set up is
 * left alone, and said.
 */
#include "netns/shape.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netns/classes.h"
#include "netns/link.h"
#include "netns/queue.h"
#include "netns/sets.h"
#include "netns/spec.h"

#define PORT_HANDLE TC_H_MAKE(1u << 16, 0)
/* Towards the container */

static void put_bucket(struct nl_batch *b, int index, const struct net_rates *rates)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC,
		.tcm_ifindex = index,
		.tcm_parent = TC_H_ROOT,
		.tcm_handle = PORT_HANDLE };
	uint32_t least = queue_burst(rates->in, rates->burst);
	/* What is larger than the bucket would never come through. */
	uint32_t burst = least < rates->frame ? rates->frame : least;
	uint64_t queue = rates->in / 8 / 20 + burst + 16 * QUEUE_FRAME; /* 50 ms */
	struct tc_tbf_qopt qopt = { .rate = queue_spec(rates->in),
		.limit = queue > UINT32_MAX ? UINT32_MAX : (uint32_t)queue,
		.buffer = queue_ticks(burst, rates->in) };
	size_t options = queue_begin(b, "set the rate towards the container", RTM_NEWQDISC,
	        NLM_F_CREATE | NLM_F_REPLACE, &header, "tbf");

	nl_put(b, TCA_TBF_PARMS, &qopt, sizeof(qopt));
	if (rates->in / 8 > UINT32_MAX)
		queue_put_u64(b, TCA_TBF_RATE64, rates->in / 8);
	nl_put_u32(b, TCA_TBF_BURST, burst);
	nl_nest_end(b, options);
	queue_put_fair(b, index, PORT_HANDLE | 1, rates->in);
}

/* Whichever it is. */
static void remove_bucket(struct nl_batch *b, int index)
{
	struct tcmsg header = { .tcm_family = AF_UNSPEC, .tcm_ifindex = index, .tcm_parent = TC_H_ROOT };

	nl_message(b, "remove the rate towards the container", RTM_DELQDISC, 0, &header, sizeof(header));
	nl_tolerate(b, ENOENT);
}

/* A rate of its own for each class that has one; the rest is together in one place. */
static void put_classes_in(struct nl_batch *b, int index, const struct net_rates *rates)
{
	uint64_t rest = rates->in ? rates->in : QUEUE_RATE_MAX;

	queue_put_root(b, index, CLASSES_HANDLE, CLASSES_DEFAULT, true);
	queue_put_class(b, index, CLASSES_HANDLE, CLASSES_HANDLE | CLASSES_DEFAULT, rest, rest, rates->burst,
	        NLM_F_REPLACE);
	queue_put_fair(b, index, CLASSES_HANDLE | CLASSES_DEFAULT, rest);
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++) {
		uint64_t rate = rates->classes[i].in;

		if (!rate) {
			queue_remove_class(b, index, CLASS_HANDLE(i));
			continue;
		}
		queue_put_class(
		        b, index, CLASSES_HANDLE, CLASS_HANDLE(i), rate, rate, rates->burst, NLM_F_REPLACE);
		queue_put_fair(b, index, CLASS_HANDLE(i), rate);
	}
}

bool shape_any_class(const struct net_rates *rates, bool out)
{
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		if (out ? rates->classes[i].out : rates->classes[i].in)
			return true;

	return false;
}

/* Out of the host */

struct uplinks {
	int indexes[2];
	size_t n;
};

/* A family without a route for a while is no change. */
int shape_uplinks(struct net_context *net, int ret[2], struct ct_error *err)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int r = route_uplink(&net->route, &net->batch, families[i], &ret[i]);

		if (r < 0)
			return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
		if (!ret[i])
			continue;
		shape_link_seen(net, ret[i]);
		net->uplinks_changed |= ret[i] != net->uplinks[i];
		net->uplinks[i] = ret[i];
	}
	return 0;
}

static int find_uplinks(struct net_context *net, struct uplinks *ret, struct ct_error *err)
{
	int now[2], r;

	ret->n = 0;
	r = shape_uplinks(net, now, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(now); i++)
		if (now[i] && (ret->n == 0 || ret->indexes[0] != now[i]))
			ret->indexes[ret->n++] = now[i];
	return r;
}

/* What ports have at an uplink is another when another instance begins or ceases to say its rate. */
static int look_for_others(struct net_context *net, const int uplinks[2], struct ct_error *err)
{
	bool shared = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < 2; i++) {
		struct shape_rate said = { 0 };

		r = uplinks[i] ? place_rate_of(net, uplinks[i], &said, err) : 0;
		shared |= *said.other != 0;
	}
	if (r < 0)
		return r;
	net->uplinks_changed |= shared != net->uplinks_shared;
	net->uplinks_shared = shared;
	return 0;
}

int net_uplinks(struct net_context *net, int ret[2], struct ct_error *err)
{
	int r = shape_uplinks(net, ret, err);

	if (r >= 0)
		r = look_for_others(net, ret, err);
	if (r < 0)
		return r;
	r = net->uplinks_changed;
	if (ret[0] || ret[1]) /* else nobody does anything about it yet */
		net->uplinks_changed = false;
	return r;
}

int shape_set_up_link(struct net_context *net, int index, struct ct_error *err)
{
	struct nl_batch *b = &net->batch;
	char name[IFNAMSIZ] = "?";
	int r;

	nl_batch_reset(b);
	queue_put_root(b, index, UPLINK_HANDLE, 0, false);
	(void)if_indextoname((unsigned)index, name);
	r = nl_transact(&net->route, b, name, err);
	if (r < 0)
		return r;

	/* whatever root there is, ours has our handle: elsewhere there is no place for the class of all */
	nl_batch_reset(b);
	queue_put_class(b, index, UPLINK_HANDLE, UPLINK_ALL, QUEUE_RATE_MAX, QUEUE_RATE_MAX, 0, NLM_F_EXCL);
	r = nl_transact(&net->route, b, name, NULL);
	if (r == -EEXIST)
		return 0;
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EEXIST,
		        "the uplink \"%s\" has a queueing discipline set up by hand; rates out of the host need it removed "
		        "(tc qdisc del dev %s root)",
		        name, name);

	net->uplinks_changed = true; /* who came before it with a rate has no place there yet */
	return 0;
}

static void put_rate_out(struct nl_batch *b, int index, uint32_t handle, const struct net_rates *rates,
        uint64_t rate, uint64_t ceil)
{
	if (!ceil) {
		queue_remove_class(b, index, handle);
		return;
	}
	queue_put_class(b, index, UPLINK_ALL, handle, rate, ceil, rates->burst, NLM_F_REPLACE);
	queue_put_fair(b, index, handle, ceil);
}

static int find_uplinks_ready(struct net_context *net, struct uplinks *ret, struct ct_error *err)
{
	int r;

	r = find_uplinks(net, ret, err);
	if (r < 0)
		return r;
	if (ret->n == 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENODEV,
		        "there is no uplink (no default route) on which to keep a rate out of the host");
	for (size_t i = 0; i < ret->n; i++) {
		r = shape_set_up_link(net, ret->indexes[i], err);
		if (r < 0)
			return r;
	}

	return 0;
}

int shape_check_guarantee(
        struct net_context *net, int index, const struct net_rates *rates, struct ct_error *err)
{
	struct shape_rate said;
	int r = place_rate_of(net, index, &said, err);

	if (r < 0 || !*said.other)
		return r;
	if (rates->out_guaranteed > QUEUE_RATE_MIN)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EEXIST,
		        "nothing of the uplink \"%s\" can be guaranteed: its rate is kept by another ctd of this host (its tables are %s), which guarantees all parts of it",
		        said.link, said.other);
	return 1;
}

static int shape_out(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	uint64_t rate = rates->out_guaranteed ? rates->out_guaranteed : rates->out;
	uint32_t class, handles[NET_CLASSES_MAX];
	struct uplinks uplinks;
	bool shared = false; /* with what another instance guarantees */
	int r;

	r = find_uplinks_ready(net, &uplinks, err);
	for (size_t i = 0; r >= 0 && i < uplinks.n; i++) {
		r = shape_check_guarantee(net, uplinks.indexes[i], rates, err);
		shared |= r > 0;
	}
	if (r < 0)
		return r;
	r = place_take(net, host_name, false, &class, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < uplinks.n; i++) {
		put_rate_out(&net->batch, uplinks.indexes[i], class, rates, shared ? QUEUE_RATE_MIN : rate,
		        rates->out);
		for (unsigned k = 0; k < NET_CLASSES_MAX; k++) {
			uint64_t own = rates->classes[k].out;

			put_rate_out(&net->batch, uplinks.indexes[i], place_of_class(class, k), rates,
			        shared ? QUEUE_RATE_MIN : own, own);
		}
	}
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	for (unsigned k = 0; k < NET_CLASSES_MAX; k++)
		handles[k] = rates->classes[k].out ? place_of_class(class, k) : 0;
	return classes_rate(net, host_name, handles, err);
}

int shape_find(struct net_context *net, const char *host_name, struct shape_places *ret, struct ct_error *err)
{
	struct uplinks uplinks = { 0 };
	struct shape_place place;
	int r;

	*ret = (struct shape_places){ 0 };
	r = place_find(net, host_name, false, &place, err);
	if (r < 0 || !place.handle)
		return r;
	ret->handles[ret->n_handles++] = place.handle;
	r = find_uplinks(net, &uplinks, err);
	if (r >= 0)
		r = shape_links(net, &ret->links, err);
	if (r < 0)
		return r;
	if (place_is_segment(place.handle)) {
		int detour;

		r = segment_index(net, &detour, err);
		if (r < 0 || !detour)
			return r;
		if (ret->links.n == SHAPE_LINKS)
			ret->links.n--;
		ret->links.indexes[ret->links.n++] = detour;
		return 0;
	}
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		ret->handles[ret->n_handles++] = place_of_class(place.handle, i);
	return 0;
}

static int remove_uplink_classes(
        struct net_context *net, const char *host_name, uint32_t class, struct ct_error *err)
{
	static const uint32_t none[NET_CLASSES_MAX];
	struct uplinks uplinks;
	struct shape_links links;
	int r;

	r = classes_rate(net, host_name, none, err);
	if (r >= 0)
		r = find_uplinks(net, &uplinks, err);
	if (r >= 0)
		r = shape_links(net, &links, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	for (size_t i = 0; i < links.n; i++) {
		queue_remove_class(&net->batch, links.indexes[i], class);
		for (unsigned k = 0; k < NET_CLASSES_MAX; k++)
			queue_remove_class(&net->batch, links.indexes[i], place_of_class(class, k));
	}
	return nl_transact(&net->route, &net->batch, host_name, err);
}

int shape_release(struct net_context *net, const char *host_name, struct ct_error *err)
{
	struct shape_place place;
	bool segment;
	int r;

	r = place_find(net, host_name, false, &place, err);
	if (r < 0 || !place.handle)
		return r;
	segment = place_is_segment(place.handle) || TC_H_MAJ(place.handle) != UPLINK_HANDLE;
	if (segment) {
		r = place_find(net, host_name, true, &place, err); /* the last one takes all along */
		if (r >= 0)
			r = segment_release(net, host_name, place.handle, place.other_segments == 0, err);
	} else {
		r = remove_uplink_classes(net, host_name, place.handle, err);
	}
	return r < 0 ? r : place_forget(net, host_name, err);
}

static int shape_segment(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	uint32_t class;
	int r;

	r = segment_check(net, err);
	if (r >= 0)
		r = place_take(net, host_name, true, &class, err);
	if (r >= 0) /* that of an older ctd goes with the first of its classes */
		r = segment_check(net, err);
	return r < 0 ? r : segment_rate(net, host_name, class, rates, err);
}

int net_segments_settle(struct net_context *net, struct ct_error *err)
{
	struct shape_place place;
	int index, r;

	r = segment_index(net, &index, err);
	if (r < 0 || !index)
		return r;
	r = place_find(net, "", true, &place, err);
	return r < 0 || place.other_segments ? r : segment_remove(net, err);
}

static int check_rate(uint64_t rate, const char *field, struct ct_error *err)
{
	if (rate != 0 && (rate < QUEUE_RATE_MIN || rate > QUEUE_RATE_MAX))
		return ct_error_field(err, field, "a rate must be 8000 bits per second to 1 Tbit/s");

	return 0;
}

int net_port_shape(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err)
{
	struct link_info link;
	int r;

	r = spec_check_name(net, host_name, err);
	if (r == 0)
		r = check_rate(rates->in, "rate_in", err);
	if (r == 0)
		r = check_rate(rates->out, "rate_out", err);
	if (r == 0)
		r = check_rate(rates->out_guaranteed, "rate_out_guaranteed", err);
	for (unsigned i = 0; r == 0 && i < NET_CLASSES_MAX; i++) {
		r = check_rate(rates->classes[i].in, "class_rate_in", err);
		if (r == 0)
			r = check_rate(rates->classes[i].out, "class_rate_out", err);
	}
	if (r < 0)
		return r;
	if (rates->segment && (shape_any_class(rates, false) || shape_any_class(rates, true)))
		return ct_error_field(
		        err, "class_rate_out", "a port of a bridge has one rate in and one out");
	if (rates->segment && rates->out_guaranteed && !*rates->uplink)
		return ct_error_field(err, "rate_out_guaranteed",
		        "a part of an uplink can be guaranteed on a bridge that is joined to one only");
	if (rates->out_guaranteed > rates->out)
		return ct_error_field(
		        err, "rate_out_guaranteed", "no more can be guaranteed than the whole rate");

	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "there is no port \"%s\"", host_name);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	if (shape_any_class(rates, false))
		put_classes_in(&net->batch, link.index, rates);
	else if (rates->in)
		put_bucket(&net->batch, link.index, rates);
	else if (link.shaped)
		remove_bucket(&net->batch, link.index);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	if (!rates->out && !shape_any_class(rates, true))
		return shape_release(net, host_name, err);
	return rates->segment ? shape_segment(net, host_name, rates, err)
	                      : shape_out(net, host_name, rates, err);
}

/* What ports without a rate send: it has what the others leave. */
static void put_rest(struct nl_batch *b, int index, uint64_t rate)
{
	uint64_t least = rate / 100 > QUEUE_RATE_MIN ? rate / 100 : QUEUE_RATE_MIN;

	if (!rate) {
		queue_remove_class(b, index, UPLINK_REST);
		return;
	}
	queue_put_class(b, index, UPLINK_ALL, UPLINK_REST, least, rate, 0, NLM_F_REPLACE);
	queue_put_fair(b, index, UPLINK_REST, rate);
}

static int put_rate_of_all(struct net_context *net, int index, uint64_t rate, struct ct_error *err)
{
	struct nl_batch *b = &net->batch;
	const uint64_t all = rate ? rate : QUEUE_RATE_MAX;
	int r;

	r = rate ? shape_set_up_link(net, index, err) : 0;
	if (r < 0)
		return r;
	nl_batch_reset(b);
	queue_put_class(b, index, UPLINK_HANDLE, UPLINK_ALL, all, all, 0, NLM_F_REPLACE);
	nl_tolerate(b, rate ? 0 : ENOENT);
	put_rest(b, index, rate);
	return nl_transact(&net->route, b, "uplink", err);
}

static int refuse_rate(const struct shape_rate *said, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EEXIST,
	        "the rate of the uplink \"%s\" is kept by another ctd of this host (its tables are %s): one of them can have uplink-rate",
	        said->link, said->other);
}

/* It is said before it is set; who says it at the same time is seen then. */
static int shape_uplink(struct net_context *net, int index, uint64_t rate, struct ct_error *err)
{
	struct shape_rate said;
	int r;

	r = place_rate_of(net, index, &said, err);
	if (r < 0 || !*said.link)
		return r;
	if (*said.other && rate)
		return refuse_rate(&said, err);
	if (!rate && !said.own && !said.alone)
		return 0; /* what there is may be another's */

	if (rate && !said.own) {
		r = place_rate_say(net, said.link, true, err);
		if (r >= 0)
			r = place_rate_of(net, index, &said, err);
		if (r >= 0 && *said.other) {
			(void)place_rate_say(net, said.link, false, NULL); /* the other one's error counts */
			return refuse_rate(&said, err);
		}
	}
	if (r >= 0)
		r = put_rate_of_all(net, index, rate, err);
	if (r >= 0 && !rate && said.own)
		r = place_rate_say(net, said.link, false, err);
	return r;
}

int net_uplink_shape(struct net_context *net, uint64_t rate, struct ct_error *err)
{
	struct uplinks uplinks;
	int r;

	r = check_rate(rate, "rate", err);
	if (r < 0)
		return r;
	r = find_uplinks(net, &uplinks, err);
	for (size_t i = 0; r >= 0 && i < uplinks.n; i++)
		r = shape_uplink(net, uplinks.indexes[i], rate, err);
	return r < 0 ? r : 0;
}
