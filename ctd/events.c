/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events: a bounded table, and long polling of it.
 *
 * GET /v1/events?after=ID&wait=S answers at once if there is anything newer than ID, else when something
 * happens or the time is over, so that a follower loses nothing between two polls.
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
	int64_t after;
	uint32_t limit;
	sd_event_source *timer;
	LIST_ENTRY(event_wait) entry;
};

struct printer {
	struct strbuf *b;
	size_t n;
};

static int print_event(const struct event_row *row, void *userdata)
{
	struct printer *p = userdata;
	char text[32];

	(void)strbuf_printf(p->b, "%s{\"id\":%lld,\"time\":\"%s\",\"type\":", p->n++ ? "," : "",
	        (long long)row->id, format_time_utc(text, sizeof(text), row->time_usec));
	(void)strbuf_json_string(p->b, row->type);
	if (row->ctid)
		(void)strbuf_printf(p->b, ",\"ctid\":\"%s\"", row->ctid);
	(void)strbuf_puts(p->b, ",\"name\":");
	(void)strbuf_json_string(p->b, row->name);
	return strbuf_printf(p->b, ",\"detail\":%s}", row->detail);
}

/* The rows after an id as a whole answer; *ret_n how many. */
static int print_events(struct manager *m, int64_t after, uint32_t limit, struct strbuf *b, size_t *ret_n,
        struct ct_error *err)
{
	struct printer p = { .b = b };
	int r;

	(void)strbuf_puts(b, "{\"events\":[");
	r = store_event_each(m->store, after, limit, print_event, &p, err);
	(void)strbuf_puts(b, "]}");
	*ret_n = p.n;
	if (r >= 0 && b->error)
		r = ct_error_set(err, b->error, "events", "out of memory");
	return r;
}

static void reply_events(struct manager *m, struct call *call, int64_t after, uint32_t limit)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct ct_error error = { 0 };
	size_t n = 0, len;

	if (print_events(m, after, limit, &b, &n, &error) < 0) {
		call_reply_error(call, &error);
		return;
	}
	len = b.len;
	call_reply_data(call, 200, "application/json", strbuf_take(&b), len);
}

static void wait_answer(struct event_wait *w)
{
	LIST_REMOVE(w, entry);
	(void)sd_event_source_disable_unref(w->timer); /* always NULL */
	reply_events(w->manager, w->call, w->after, w->limit);
	free(w);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	wait_answer(userdata);
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
	struct ct_error error = { 0 };

	json_decref(detail);
	if (store_event_add(m->store, &row, &error) < 0)
		log_warning("cannot record the event %s: %s", type, error.text);
	else if (row.id % TRIM_EVERY == 0 && store_trim(m->store, &error) < 0)
		log_warning("cannot trim old records: %s", error.text);
	while (!LIST_EMPTY(&m->event_waits))
		wait_answer(LIST_FIRST(&m->event_waits));
}

void events_free(struct manager *m)
{
	while (!LIST_EMPTY(&m->event_waits))
		wait_answer(LIST_FIRST(&m->event_waits));
}

static int wait_add(struct manager *m, struct call *call, int64_t after, uint32_t limit, uint64_t seconds,
        struct ct_error *err)
{
	struct event_wait *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return ct_error_set(err, -ENOMEM, "events", "out of memory");
	*w = (struct event_wait){ .manager = m, .call = call, .after = after, .limit = limit };
	r = sd_event_add_time_relative(
	        m->event, &w->timer, CLOCK_MONOTONIC, seconds * USEC_PER_SEC, 0, on_timeout, w);
	if (r < 0) {
		free(w);
		return ct_error_set(err, r, "events", "cannot wait: %s", strerror(-r));
	}
	LIST_INSERT_HEAD(&m->event_waits, w, entry);
	return 0;
}

int api_event_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	uint64_t after = 0, limit = 0, seconds = 0;
	size_t n = 0, len;
	int r;

	r = call_query_u64(call, "after", 0, INT64_MAX, &after, err);
	if (r >= 0)
		r = call_query_u64(call, "limit", LIMIT_DEFAULT, LIMIT_MAX, &limit, err);
	if (r >= 0)
		r = call_query_u64(call, "wait", 0, 60, &seconds, err);
	if (r >= 0)
		r = print_events(m, (int64_t)after, (uint32_t)limit, &b, &n, err);
	if (r < 0)
		return r;
	if (n == 0 && seconds > 0)
		return wait_add(m, call, (int64_t)after, (uint32_t)limit, seconds, err);

	len = b.len;
	call_reply_data(call, 200, "application/json", strbuf_take(&b), len);
	return 0;
}
