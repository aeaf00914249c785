/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Traffic allowances: looked at with each sample of the meter.
 *
 * What is done about one that is used up is kept in the container's own configuration, under a key that
 * nobody can set, and not in network_cut, which is the administrator's: neither forgets the other. ports.c
 * asks here what an interface is to have, so a container that is cut is cut whenever its interfaces are made,
 * before they are up. It is written before the kernel is told. So a ctd that dies in between is finished by
 * the next one, which tells the kernel again of every container that has such a key.
 *
 * All of it is done on the host's side: what the container has set up inside is not touched. If the
 * interfaces cannot be slowed (the uplink has no room for our queues, or the kernel no place where those of
 * segments are) they are cut: more is taken away than was said, never less.
 */
#include "ctd/allowance.h"

#include <errno.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/unit.h"
#include "ctd/manager.h"
#include "ctd/ports.h"
#include "ctd/verbs.h"

#define TRIFLE     8000 /* bits per second */
#define RETRY_USEC (60 * USEC_PER_SEC)

static enum allowance_action action_of(const struct container *c)
{
	return c->config.limits.traffic_action.given ? c->config.limits.traffic_action.value
	                                             : ALLOWANCE_EVENT;
}

static uint64_t limit_of(const struct container *c)
{
	return c->config.limits.traffic_allowance.given ? c->config.limits.traffic_allowance.value : 0;
}

static bool is_exhausted(const struct container *c)
{
	return c->config.limits.traffic_allowance.given && c->config.allowance.level >= ALLOWANCE_EXHAUSTED;
}

static bool is_running(const struct container *c)
{
	return c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN;
}

/* ---- what an interface is to have */

static void lower(uint64_t *rate, uint64_t most)
{
	if (*rate == 0 || *rate > most)
		*rate = most;
}

/* On a segment the rate out is that of all that is sent, and there is no other. */
static void slow(uint64_t rate, bool segment, struct net_limits *limits, struct net_rates *rates)
{
	lower(&rates->out, rate);
	lower(&rates->in, rate);
	rates->burst = 0; /* that of the rate that was sold would let seconds of it through */
	rates->segment = segment;
	if (!segment)
		lower(&limits->internal_rate, rate);
	if (rates->out_guaranteed > rate / 100)
		rates->out_guaranteed = rate / 100 > TRIFLE ? rate / 100 : TRIFLE;
	/* What has a queue of its own has it beside that of the rest. */
	memset(rates->classes, 0, sizeof(rates->classes));
}

void allowance_limit(
        const struct container *c, bool segment, struct net_limits *limits, struct net_rates *rates)
{
	if (!is_exhausted(c))
		return;
	switch (action_of(c)) {
	case ALLOWANCE_EVENT: return;
	case ALLOWANCE_CUT:
	case ALLOWANCE_STOP: limits->cut = true; return;
	case ALLOWANCE_SLOW:
		if (c->meter && c->meter->allowance_cut)
			limits->cut = true;
		else
			slow(c->config.limits.traffic_rate, segment, limits, rates);
	}
}

static bool is_slowed(const struct container *c)
{
	return is_exhausted(c) && action_of(c) == ALLOWANCE_SLOW;
}

void allowance_begin(struct container *c)
{
	if (!c->meter)
		return;
	c->meter->allowance_applied = c->meter->allowance_cut = false;
	c->meter->allowance_slowed |= is_slowed(c);
}

bool allowance_cut_instead(struct container *c, const struct ct_error *error)
{
	if (!is_slowed(c) || !c->meter || c->meter->allowance_cut)
		return false;
	c->meter->allowance_cut = true;
	log_error("\"%s\" cannot be slowed and is cut: %s", c->row.name, error->text);
	return true;
}

/* The kernel, as the configuration is now. */
static int apply(struct container *c, struct ct_error *err)
{
	struct meter *meter = c->meter;
	struct ct_error error = { 0 };
	int r;

	meter->allowance_cut = false;
	if (!is_slowed(c) && !meter->allowance_slowed)
		return ports_limit(c, err);
	meter->allowance_slowed = true; /* half of it may get done */
	r = ports_shape(c, &error);
	if (r >= 0) {
		meter->allowance_slowed = is_slowed(c);
		return 0;
	}
	if (allowance_cut_instead(c, &error))
		return ports_limit(c, err);
	(void)ports_limit(c, NULL); /* what can be given back is; all of it is tried again */
	return ct_error_set(err, r, "allowance", "its speed cannot be given back: %s", error.text);
}

/* ---- what was used */

static int take_posting(int64_t start, const struct counts *counts, void *userdata)
{
	*(struct counts *)userdata = *counts;
	return 0;
}

/* Of the period that now is in. */
static int used_of(const struct container *c, int64_t now, int64_t *ret_period, uint64_t *ret)
{
	const struct account *a = &c->meter->account;
	struct store *ledger = c->manager->metering->ledger;
	struct counts sum = { 0 }, rest = counts_minus(&a->total, &a->posted);
	int r = 0;

	*ret_period = ledger_period(now, a->day);
	if (!ledger)
		return -ENOENT;
	if (a->id)
		r = ledger_each(ledger, a->id, POSTING_PERIOD, *ret_period, *ret_period + 1, take_posting,
		        &sum, NULL);
	if (ledger_period(a->open, a->day) == *ret_period)
		counts_add(&sum, &rest);
	*ret = sum.of[COUNT_NET_IN_BYTES] + sum.of[COUNT_NET_OUT_BYTES];
	return r;
}

static int used_now(const struct container *c, int64_t *ret_period, uint64_t *ret)
{
	return used_of(c, (int64_t)(now_realtime_usec() / USEC_PER_SEC), ret_period, ret);
}

/* ---- what is done */

/* NULL: nothing is. */
static int keep(struct container *c, const struct allowance *a, bool durable, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	int r = json_parse(c->row.config, strlen(c->row.config), &config, err);

	if (r < 0)
		return r;
	if (!a)
		(void)json_object_del(config, CONFIG_ALLOWANCE); /* it need not be there */
	else if (json_object_set_new(config, CONFIG_ALLOWANCE, allowance_to_json(a)) < 0)
		return ct_error_set(err, -ENOMEM, "allowance", "out of memory");
	return container_update(c, NULL, config, durable, err);
}

/* What the ledger does not say again after a power cut. */
static bool must_last(const struct allowance *before, const struct allowance *a)
{
	return a->level > before->level || a->stopped != before->stopped ||
	       (a->period == before->period && a->carried != before->carried);
}

static const char *action_text(const struct container *c, char buf[40])
{
	char rate[24];

	switch (action_of(c)) {
	case ALLOWANCE_EVENT: return "event";
	case ALLOWANCE_CUT: return "cut";
	case ALLOWANCE_STOP: return "stop";
	case ALLOWANCE_SLOW: break;
	}
	(void)snprintf(buf, 40, "slow:%s",
	        format_bitrate(rate, sizeof(rate), c->config.limits.traffic_rate)); /* it fits */
	return buf;
}

static void tell(struct container *c, uint32_t before)
{
	const struct limits *l = &c->config.limits;
	const uint32_t level = c->config.allowance.level;
	const char *type = level > before
	                           ? level >= ALLOWANCE_EXHAUSTED ? "traffic.exhausted" : "traffic.warning"
	                   : before >= ALLOWANCE_EXHAUSTED ? "traffic.restored"
	                                                   : NULL;
	char action[40];

	if (!type)
		return;
	manager_event(c->manager, c, type,
	        json_pack("{s:I, s:I, s:s}", "used", (json_int_t)c->meter->allowance_used, "allowance",
	                (json_int_t)(l->traffic_allowance.given ? l->traffic_allowance.value : 0), "action",
	                action_text(c, action)));
	if (level >= ALLOWANCE_EXHAUSTED)
		log_notice(
		        "\"%s\" has used up its traffic allowance: %s", c->row.name, action_text(c, action));
}

static void stop(struct container *c)
{
	struct ct_error error = { 0 };

	if (job_submit(c->manager,
	            &(struct job_request){ .type = &verb_stop,
	                    .container = c,
	                    .object = c->row.name,
	                    .params = json_pack("{s:b}", ALLOWANCE_STOPS, 1) },
	            &error) < 0)
		log_error(
		        "\"%s\" has used up its traffic and cannot be stopped: %s", c->row.name, error.text);
}

static bool shall_stop(const struct container *c, uint32_t level)
{
	return c->config.limits.traffic_allowance.given && level >= ALLOWANCE_EXHAUSTED &&
	       action_of(c) == ALLOWANCE_STOP;
}

/* The wish to start it again lasts until it runs. */
static void plan_run(const struct container *c, struct allowance *a)
{
	if (is_running(c))
		a->stopped = shall_stop(c, a->level);
}

int allowance_forget_wish(struct container *c, struct ct_error *err)
{
	struct allowance a = c->config.allowance;

	if (!a.stopped)
		return 0;
	a.stopped = false;
	return keep(c, &a, true, err);
}

/* Dropped (negative), there may be no container any more. */
static void on_started(int result, void *userdata)
{
	struct container *c = userdata;
	struct ct_error error = { 0 };

	if (result >= 0 && allowance_forget_wish(c, &error) < 0)
		log_error("\"%s\" has traffic again and runs, which is not recorded: %s", c->row.name,
		        error.text);
}

/* What has failed is tried again, once a minute at most. */
static void start_again(struct container *c)
{
	const uint64_t now = now_monotonic_usec();
	struct ct_error error = { 0 };

	if (c->meter->allowance_tried_usec && now - c->meter->allowance_tried_usec < RETRY_USEC)
		return;
	c->meter->allowance_tried_usec = now;
	if (verb_start_quietly(c, on_started, c, &error) < 0)
		log_error("\"%s\" has traffic again and cannot be started: %s", c->row.name, error.text);
}

static void run_or_stop(struct container *c, bool changed)
{
	if (shall_stop(c, c->config.allowance.level)) {
		if (is_running(c) && !c->active)
			stop(c);
	} else if (c->config.allowance.stopped && c->state == CONTAINER_STOPPED && !c->config.disabled &&
	           !c->config.suspended_slot && !c->row.broken && (changed || !c->active)) {
		start_again(c);
	}
}

static bool is_of_interest(const struct container *c)
{
	if (c->unreadable || !c->row.complete || !c->meter || c->teardown ||
	        c->config.handover != HANDOVER_NONE || !(is_running(c) || c->state == CONTAINER_STOPPED))
		return false;
	return c->config.limits.traffic_allowance.given || c->config.allowance.period;
}

static int evaluate(struct container *c, bool changed, struct ct_error *err)
{
	const struct allowance before = c->config.allowance;
	struct allowance a = before;
	uint64_t used = 0;
	int64_t period;
	int r;

	r = used_now(c, &period, &used);
	if (r < 0)
		return ct_error_set(err, r, "allowance", "the ledger does not say what it used");
	c->meter->allowance_used = allowance_count(&a, limit_of(c), period, used);
	c->meter->allowance_known = true;
	plan_run(c, &a);
	if (a.period != before.period || a.level != before.level || a.carried != before.carried ||
	        a.stopped != before.stopped) {
		r = keep(c, &a, must_last(&before, &a), err);
		if (r < 0)
			return r;
		c->meter->allowance_applied = false;
		tell(c, before.level);
	}
	if (!c->meter->allowance_applied && is_running(c)) {
		r = apply(c, err);
		if (r < 0)
			return r;
		c->meter->allowance_applied = true;
	}
	run_or_stop(c, changed);
	return c->config.limits.traffic_allowance.given || a.stopped ? 0 : keep(c, NULL, false, err);
}

static void look_at(struct container *c, bool changed)
{
	struct ct_error error = { 0 };

	if (is_of_interest(c) && evaluate(c, changed, &error) < 0)
		log_error("the traffic allowance of \"%s\" has no effect yet: %s", c->row.name, error.text);
}

void allowance_evaluate(struct container *c)
{
	look_at(c, false);
}

/* In the job that has changed it: a start waits for its end. */
void allowance_changed(struct container *c)
{
	if (c->meter) {
		c->meter->allowance_applied = false;
		c->meter->allowance_tried_usec = 0;
	}
	look_at(c, true);
}

/* ---- between nodes */

int allowance_offer(const struct container *c, json_t *config)
{
	struct allowance a = c->config.allowance;
	uint64_t used = 0;
	int64_t period;

	if (!c->config.limits.traffic_allowance.given)
		return 0;
	if (c->meter && used_now(c, &period, &used) >= 0)
		(void)allowance_count(&a, limit_of(c), period, used); /* the sum is in it */
	if (!a.period)
		return 0;
	allowance_leave(&a);
	return json_object_set_new(config, CONFIG_ALLOWANCE, allowance_to_json(&a));
}

int allowance_take(struct container *c, struct ct_error *err)
{
	struct allowance a = c->config.allowance;
	uint64_t used = 0;
	int64_t period;

	if (!a.period || !c->meter)
		return 0;
	/* Of what a ledger cannot say, nothing is known here: all stays carried. */
	if (used_now(c, &period, &used) < 0)
		return 0;
	allowance_arrive(&a, period, used);
	return keep(c, &a, true, err);
}

/* The period that is kept: nobody has looked since. */
static bool is_over(const struct container *c)
{
	const struct allowance *a = &c->config.allowance;

	return c->meter && (int64_t)(now_realtime_usec() / USEC_PER_SEC) >=
	                           ledger_period_end(a->period, c->meter->account.day);
}

int allowance_check_start(const struct container *c, struct ct_error *err)
{
	char size[24];

	if (!shall_stop(c, c->config.allowance.level) || is_over(c))
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EDQUOT,
	        "cannot start \"%s\": it has used up the %s of traffic of this billing period; raise traffic_allowance or wait for the next",
	        c->row.name, format_size(size, sizeof(size), c->config.limits.traffic_allowance.value));
}

void allowance_print(const struct container *c, struct strbuf *b)
{
	static const char *const words[] = { "open", "warned", "exhausted" };
	const struct allowance *a = &c->config.allowance;
	char text[40];

	if (!c->config.limits.traffic_allowance.given || !c->meter)
		return;
	(void)strbuf_printf(b, ",\"allowance\":{\"bytes\":%llu,\"action\":\"%s\",\"state\":\"%s\"",
	        (unsigned long long)c->config.limits.traffic_allowance.value, action_text(c, text),
	        words[(a->level >= ALLOWANCE_WARNED) + (a->level >= ALLOWANCE_EXHAUSTED)]);
	if (c->meter->allowance_known)
		(void)strbuf_printf(b, ",\"used\":%llu", (unsigned long long)c->meter->allowance_used);
	if (a->period)
		(void)strbuf_printf(b, ",\"until\":\"%s\"",
		        format_time_utc(text, sizeof(text),
		                (uint64_t)ledger_period_end(a->period, c->meter->account.day) *
		                        USEC_PER_SEC));
	(void)strbuf_putc(b, '}');
}
