/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events as lines of JSON, for as long as the client listens: GET /v1/events/stream.
 *
 * Each stream goes through the table piece by piece, as its client reads (http-stream.c). One who does not
 * read what is there is cut after a time, as everywhere, and goes on with the last id that it has. An empty
 * line now and then finds out whether a client that hears nothing is still there.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ctd/api.h"
#include "ctd/events.h"
#include "ctd/manager.h"

#define PIECE       200
#define STREAMS_MAX 64 /* of the connections that all share */
#define BEAT_USEC   (30 * USEC_PER_SEC)

struct event_stream {
	struct manager *manager;
	struct stream *stream;
	struct log_query which; /* its texts are the call's */
	bool beat;
	LIST_ENTRY(event_stream) entry;
};

struct piece {
	struct strbuf *b;
	uint32_t n;
	int64_t last;
};

static int print_line(const struct event_row *row, void *userdata)
{
	struct piece *p = userdata;

	p->n++;
	p->last = row->id;
	(void)event_print(row, p->b);
	return strbuf_putc(p->b, '\n');
}

static int fill(struct strbuf *b, void *userdata)
{
	struct event_stream *s = userdata;
	struct piece p = { .b = b, .last = s->which.after };
	int64_t newest = 0;
	int r;

	r = store_event_newest(s->manager->store, &newest, NULL);
	if (r >= 0)
		r = store_event_each(s->manager->store, &s->which, print_line, &p, NULL);
	if (r < 0)
		return r;
	s->which.after = p.n >= s->which.limit || newest < p.last ? p.last : newest;
	if (p.n == 0 && s->beat)
		(void)strbuf_putc(b, '\n'); /* kept in the buffer, as above */
	s->beat = false;
	return b->error;
}

static void gone(void *userdata)
{
	struct event_stream *s = userdata;

	if (s->manager) {
		LIST_REMOVE(s, entry);
		s->manager->n_event_streams--;
	}
	free(s);
}

static int on_beat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct event_stream *s;

	m->event_beat = sd_event_source_disable_unref(m->event_beat);
	LIST_FOREACH(s, &m->event_streams, entry)
	{
		s->beat = true;
		stream_wake(s->stream);
	}
	if (!LIST_EMPTY(&m->event_streams))
		(void)sd_event_add_time_relative(m->event, &m->event_beat, CLOCK_MONOTONIC, BEAT_USEC, 0,
		        on_beat, m); /* without it a client that is gone is found at the next event */
	return 0;
}

void event_streams_wake(struct manager *m, const struct event_row *row)
{
	struct event_stream *s;

	LIST_FOREACH(s, &m->event_streams, entry)
	if (log_query_has(&s->which, row))
		stream_wake(s->stream);
}

void event_streams_end(struct manager *m)
{
	while (!LIST_EMPTY(&m->event_streams)) {
		struct event_stream *s = LIST_FIRST(&m->event_streams);

		LIST_REMOVE(s, entry);
		m->n_event_streams--;
		s->manager = NULL;
		stream_end(s->stream);
	}
	m->event_beat = sd_event_source_disable_unref(m->event_beat);
}

int api_event_stream(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct stream_ops ops = { .fill = fill, .gone = gone };
	struct event_stream *s;
	struct log_query which;
	int64_t newest = 0;
	int r;

	r = call_log_query(call, "container", "type", &which, err);
	if (r >= 0 && !call_query(call, "after") && !call_query(call, "from")) {
		r = store_event_newest(m->store, &newest, err);
		which.after = newest;
	}
	if (r < 0)
		return r;
	if (m->n_event_streams >= STREAMS_MAX)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EAGAIN,
		        "there are %d streams of events already, more are not served: end one of them",
		        STREAMS_MAX);
	which.limit = PIECE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ct_error_set(err, -ENOMEM, "events", "out of memory");
	*s = (struct event_stream){ .manager = m, .which = which };
	s->stream = call_reply_stream(call, "application/jsonl", &ops, s);
	if (!s->stream) {
		free(s);
		return 0;
	}
	LIST_INSERT_HEAD(&m->event_streams, s, entry);
	m->n_event_streams++;
	if (!m->event_beat)
		(void)sd_event_add_time_relative(
		        m->event, &m->event_beat, CLOCK_MONOTONIC, BEAT_USEC, 0, on_beat, m); /* as above */
	return 0;
}
