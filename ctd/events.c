/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events: a bounded table, and long polling of it.
 *
 * GET /v1/events?after=ID&wait=S answers at once if there is anything newer than ID, else when something
 * happens or the time is over, so that a follower loses nothing between two polls. Who asks for some only is
 * told how far was looked, and does not make the same rows be looked at again.
 */
#include "ctd/events.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/manager.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     10000
#define TRIM_EVERY    1000

struct event_wait {
	struct manager *manager;
	struct call *call;
	struct log_query which; /* its texts are the call's */
	sd_event_source *timer;
	LIST_ENTRY(event_wait) entry;
};

struct printer {
	struct strbuf *b;
	size_t n;
	int64_t last;
};

int event_print(const struct event_row *row, struct strbuf *b)
{
	char text[32];

	(void)strbuf_printf(b, "{\"id\":%lld,\"time\":\"%s\",\"type\":", (long long)row->id,
	        format_time_utc(text, sizeof(text), row->time_usec));
	(void)strbuf_json_string(b, row->type);
	if (row->ctid)
		(void)strbuf_printf(b, ",\"ctid\":\"%s\"", row->ctid);
	(void)strbuf_puts(b, ",\"name\":");
	(void)strbuf_json_string(b, row->name);
	return strbuf_printf(b, ",\"detail\":%s}", row->detail);
}

static int print_event(const struct event_row *row, void *userdata)
{
	struct printer *p = userdata;

	p->last = row->id;
	if (p->n++ > 0)
		(void)strbuf_putc(p->b, ',');
	return event_print(row, p->b);
}

/* A whole answer; *ret_n how many rows it has, *last how far was looked for them. */
static int print_events(struct manager *m, const struct log_query *which, struct strbuf *b, size_t *ret_n,
        int64_t *ret_last, struct ct_error *err)
{
	struct printer p = { .b = b, .last = which->after };
	int64_t newest;
	int r;

	r = store_event_newest(m->store, &newest, err);
	if (r < 0)
		return r;
	(void)strbuf_puts(b, "{\"events\":[");
	r = store_event_each(m->store, which, print_event, &p, err);
	*ret_n = p.n;
	/* An id that is not there yet was asked for: it stays what counts. */
	*ret_last = p.n >= which->limit || newest < p.last ? p.last : newest;
	(void)strbuf_printf(b, "],\"last\":%lld}", (long long)*ret_last);
	if (r >= 0 && b->error)
		r = ct_error_set(err, b->error, "events", "out of memory");
	return r;
}

static void reply_buffer(struct call *call, struct strbuf *b)
{
	const size_t len = b->len;

	call_reply_data(call, 200, "application/json", strbuf_take(b), len);
}

/* Answers if there is something to tell, or if it is to. */
static void wait_look(struct event_wait *w, bool answer)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct ct_error error = { 0 };
	int64_t last = 0;
	size_t n = 0;
	int r;

	r = print_events(w->manager, &w->which, &b, &n, &last, &error);
	if (r >= 0 && n == 0 && !answer) {
		w->which.after = last;
		return;
	}
	LIST_REMOVE(w, entry);
	(void)sd_event_source_disable_unref(w->timer); /* always NULL */
	if (r < 0)
		call_reply_error(w->call, &error);
	else
		reply_buffer(w->call, &b);
	free(w);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	wait_look(userdata, true);
	return 0;
}

void manager_event(struct manager *m, const struct container *c, const char *type, json_t *detail)
{
	_cleanup_free_ char *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;
	struct event_row row = {
		.time_usec = now_realtime_usec(),
		.type = type,
		.ctid = c ? c->row.ctid : NULL,
		.name = c ? c->row.name : "",
		.detail = text ?: "{}",
	};
	struct event_wait *w, *next;
	struct ct_error error = { 0 };

	json_decref(detail);
	if (store_event_add(m->store, &row, &error) < 0)
		log_warning("cannot record the event %s: %s", type, error.text);
	else if (row.id % TRIM_EVERY == 0 && store_trim(m->store, &error) < 0)
		log_warning("cannot trim old records: %s", error.text);
	for (w = LIST_FIRST(&m->event_waits); w; w = next) {
		next = LIST_NEXT(w, entry);
		if (log_query_has(&w->which, &row))
			wait_look(w, false);
	}
	event_streams_wake(m, &row);
}

void events_free(struct manager *m)
{
	while (!LIST_EMPTY(&m->event_waits))
		wait_look(LIST_FIRST(&m->event_waits), true);
	event_streams_end(m);
}

static int wait_add(struct manager *m, struct call *call, const struct log_query *which, uint64_t seconds,
        struct ct_error *err)
{
	struct event_wait *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return ct_error_set(err, -ENOMEM, "events", "out of memory");
	*w = (struct event_wait){ .manager = m, .call = call, .which = *which };
	r = sd_event_add_time_relative(
	        m->event, &w->timer, CLOCK_MONOTONIC, seconds * USEC_PER_SEC, 0, on_timeout, w);
	if (r < 0) {
		free(w);
		return ct_error_set(err, r, "events", "cannot wait: %s", strerror(-r));
	}
	LIST_INSERT_HEAD(&m->event_waits, w, entry);
	return 0;
}

int call_log_query(
        struct call *call, const char *of, const char *type, struct log_query *ret, struct ct_error *err)
{
	uint64_t after = 0, limit = 0, from = 0, to = 0;
	int r;

	r = call_query_u64(call, "after", 0, INT64_MAX, &after, err);
	if (r >= 0)
		r = call_query_u64(call, "limit", LIMIT_DEFAULT, LIMIT_MAX, &limit, err);
	if (r >= 0)
		r = call_query_u64(call, "from", 0, INT64_MAX / USEC_PER_SEC, &from, err);
	if (r >= 0)
		r = call_query_u64(call, "to", LOG_QUERY_NO_END / USEC_PER_SEC,
		        LOG_QUERY_NO_END / USEC_PER_SEC, &to, err);
	if (r < 0)
		return r;
	*ret = (struct log_query){ .after = (int64_t)after,
		.limit = (uint32_t)limit,
		.from_usec = from * USEC_PER_SEC,
		.to_usec = to * USEC_PER_SEC,
		.of = call_query(call, of),
		.type = call_query(call, type) };
	return 0;
}

int api_event_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct log_query which;
	uint64_t seconds = 0;
	int64_t last = 0;
	size_t n = 0;
	int r;

	r = call_log_query(call, "container", "type", &which, err);
	if (r >= 0)
		r = call_query_u64(call, "wait", 0, 60, &seconds, err);
	if (r >= 0)
		r = print_events(m, &which, &b, &n, &last, err);
	if (r < 0)
		return r;
	if (n == 0 && seconds > 0) {
		which.after = last;
		return wait_add(m, call, &which, seconds, err);
	}
	reply_buffer(call, &b);
	return 0;
}
