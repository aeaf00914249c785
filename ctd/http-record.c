/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is kept of changing calls: who did what with which result (audit), and the answer under the client's
 * request id.
 *
 * A request id stands for one request: the SHA-256 of method, path and body must be the same when it comes
 * again. If it has been answered the recorded answer is given; if it is still at work the repetition waits
 * for that answer, so a client that lost its connection just asks again. Ids that were at work when ctd died
 * are forgotten at its next start (store_request_reset): what the verb did is told by its job.
 *
 * Both records are one transaction, not synced: they have to survive us, not the power. If they cannot be
 * written the verb has been done nevertheless, and its answer is given; that is logged once, not for each of
 * ten thousand calls.
 */

#include "ctd/http-private.h"

#include <errno.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/store.h"

#define DIGEST_LEN 32
#define TRIM_EVERY 1000 /* records */

static int digest_request(const struct call *call, char ret[2 * DIGEST_LEN + 1])
{
	/* The NULs between are part of it: no two requests run together to the same bytes. */
	gcry_buffer_t pieces[] = {
		{ .data = call->method, .len = strlen(call->method) + 1 },
		{ .data = call->url, .len = strlen(call->url) + 1 },
		{ .data = call->raw ? call->raw : (char *)"", .len = call->raw_len },
	};
	unsigned char digest[DIGEST_LEN];

	if (gcry_md_hash_buffers(GCRY_MD_SHA256, 0, digest, pieces, ARRAY_SIZE(pieces)) != 0)
		return -EIO;

	hex_encode(ret, digest, sizeof(digest));
	return 0;
}

static struct call *find_original(const struct call *call)
{
	for (struct call *c = call->http->calls; c; c = c->next)
		if (c->recorded && !c->answered && str_eq(c->request_id, call->request_id))
			return c;

	return NULL;
}

static int wait_for_original(struct call *call, struct ct_error *err)
{
	struct call *original = find_original(call);

	/* Then it belongs to a call that this daemon does not have. */
	if (!original)
		return err->code;

	call->waiting = true;
	call->next_waiter = original->waiters;
	original->waiters = call;
	return 1;
}

int record_begin(struct call *call, struct ct_error *err)
{
	_cleanup_free_ char *answer = NULL;
	char digest[2 * DIGEST_LEN + 1];
	unsigned status = 0;

	if (!call->route->changes || call->request_id[0] == '\0')
		return 0;

	int r = digest_request(call, digest);
	if (r < 0)
		return ct_error_set(err, r, NULL, "cannot compute the digest of the request");

	r = store_request_begin(
	        call->http->store, call->request_id, call->peer.uid, digest, &status, &answer, err);
	if (r == -EBUSY)
		return wait_for_original(call, err);
	if (r < 0)
		return r;
	if (r == 0) {
		call->recorded = true;
		return 0;
	}

	call->waiting = true; /* not to be recorded again */
	size_t len = strlen(answer);
	call_reply_data(call, status, "application/json", TAKE_PTR(answer), len);
	return 1;
}

static const char *object_of(const struct call *call)
{
	if (call->object)
		return call->object;
	return call->n_params > 0 ? call->params[0].value : "";
}

static int record_write(
        struct call *call, unsigned status, const char *text, const char *message, struct ct_error *err)
{
	char object[256];
	const struct audit_row row = {
		.time_usec = now_realtime_usec(),
		.uid = call->peer.uid,
		.gid = call->peer.gid,
		.pid = call->peer.pid,
		.operation = call->route->operation,
		.object = str_escape_to(object, sizeof(object), object_of(call), strlen(object_of(call))),
		.status = status,
		.message = message,
	};

	if (call->recorded) {
		int r = store_request_finish(call->http->store, call->request_id, status, text, err);
		if (r < 0)
			return r;
	}

	return store_audit_add(call->http->store, &row, err);
}

static int record_commit(
        struct call *call, unsigned status, const char *text, const char *message, struct ct_error *err)
{
	int r = store_begin(call->http->store, false, err);
	if (r < 0)
		return r;

	r = record_write(call, status, text, message, err);
	if (r < 0) {
		store_rollback(call->http->store);
		return r;
	}

	return store_commit(call->http->store, err);
}

void record_finish(struct call *call, unsigned status, const char *data, size_t len, const char *message)
{
	struct ct_error err = { 0 };

	if (!call->http || !call->route || !call->route->changes || call->waiting)
		return;

	/* What a handler gives need not be terminated. */
	_cleanup_free_ char *text = call->recorded ? strndup(data ? data : "", len) : NULL;
	int r = call->recorded && !text ? ct_error_set(&err, -ENOMEM, NULL, "out of memory")
	                                : record_commit(call, status, text, message, &err);
	if (r < 0 && !call->http->record_failed)
		log_warning("cannot record the answer to %s (user %u): %s", call->route->operation,
		        call->peer.uid, err.text);
	call->http->record_failed = r < 0;
	/* Also where nothing ever happens but what is refused. */
	if (r >= 0 && call->http->n_recorded++ % TRIM_EVERY == 0 && store_trim(call->http->store, &err) < 0)
		log_warning("cannot trim old records: %s", err.text);
}
