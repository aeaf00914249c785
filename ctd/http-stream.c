/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers without an end.
 *
 * Whoever has the data is asked for more when all of it has been sent, so that a reader costs one piece of
 * memory, and none is put together for nobody; one that takes nothing for as long as any answer may take is
 * cut. When there is no more the connection is suspended, which is our turn of it, until the stream is woken.
 */
#include "ctd/http-private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define PIECE ((size_t)16 * 1024)

struct stream {
	struct call *call; /* has the response, which has this */
	const struct stream_ops *ops;
	void *userdata;
	struct strbuf data;
	size_t sent;
	bool suspended, ended;
};

static ssize_t give(struct stream *s, char *buf, size_t max)
{
	const size_t left = s->data.len - s->sent, n = left < max ? left : max;

	memcpy(buf, s->data.data + s->sent, n);
	s->sent += n;
	s->call->connection->since = now_monotonic_usec();
	return (ssize_t)n;
}

static ssize_t on_read(void *userdata, uint64_t position, char *buf, size_t max)
{
	struct stream *s = userdata;

	if (s->sent == s->data.len) {
		strbuf_reset(&s->data);
		s->sent = 0;
		if (!s->ended && s->ops->fill(&s->data, s->userdata) < 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (s->data.error)
			return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	if (s->data.len > 0)
		return give(s, buf, max);
	if (s->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;

	strbuf_done(&s->data); /* it may wait for long, and the last piece may have been large */
	s->suspended = s->call->connection->busy = true;
	MHD_suspend_connection(s->call->connection->mhd);
	return 0;
}

static void on_free(void *userdata)
{
	struct stream *s = userdata;

	s->ops->gone(s->userdata);
	strbuf_done(&s->data);
	free(s);
}

void stream_wake(struct stream *s)
{
	if (!s->suspended)
		return;

	s->suspended = s->call->connection->busy = false;
	s->call->connection->since = now_monotonic_usec();
	http_wake(s->call->http, s->call);
}

void stream_end(struct stream *s)
{
	s->ended = true;
	stream_wake(s);
}

struct stream *stream_new(
        struct call *call, const struct stream_ops *ops, void *userdata, struct MHD_Response **ret)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct stream){ .call = call, .ops = ops, .userdata = userdata, .data = STRBUF_INIT };
	*ret = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, on_read, s, on_free);
	if (!*ret) {
		free(s);
		return NULL;
	}
	return s;
}
