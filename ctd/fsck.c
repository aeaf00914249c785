/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fsck: every difference between what is recorded and what is there, and its mending.
 *
 * Both directions for each kind of thing: what the records claim must exist, and what carries our tag must be
 * claimed by a record. It runs in the event loop while other verbs are at work; a container with a job at
 * work is left out, because a difference there is the job's normal state.
 */
#include "ctd/fsck.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"

void fsck_report(struct fsck *f, const char *kind, const char *object, bool repaired, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap); /* cut short is fine */
	va_end(ap);
	(void)json_array_append_new(f->differences, /* a shorter list without memory */
	        json_pack("{s:s, s:s, s:s, s:b}", "kind", kind, "object", object, "text", text, "repaired",
	                repaired));
}

struct fsck_call {
	struct manager *manager;
	struct call *call;
	bool repair;
};

static int check_all(struct fsck *f, struct ct_error *err)
{
	for (size_t i = 0; fsck_checks[i].kind; i++) {
		int r = fsck_checks[i].check(f, err);

		if (r < 0)
			return ct_error_prefix(err, "cannot check %s", fsck_checks[i].kind) ?: r;
	}
	return 0;
}

static void on_listed(struct keeper_reply *reply, void *userdata)
{
	_cleanup_free_ struct fsck_call *x = userdata;
	_cleanup_json_ json_t *differences = json_array();
	struct fsck f = {
		.manager = x->manager, .repair = x->repair, .processes = reply, .differences = differences
	};
	struct ct_error error = { 0 };
	int r;

	if (reply->result < 0) {
		call_reply_error(x->call, &reply->error);
		return;
	}
	r = check_all(&f, &error);
	if (r < 0)
		call_reply_error(x->call, &error);
	else
		call_reply(x->call, 200, json_pack("{s:O}", "differences", differences));
}

int api_fsck_run(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "repair", JSON_KIND_BOOL, 0, JSON_NO_HAS, false },
		{ NULL } };
	struct fsck_call *x;
	bool repair = false;
	int r;

	r = json_read(call_body(call), fields, &repair, err);
	if (r < 0)
		return r;
	if (!m->keeper)
		return ct_error_set(err, -ENOTCONN, "fsck", "there is no ct-keeper to ask (see ctd's log)");
	x = malloc(sizeof(*x));
	if (!x)
		return ct_error_set(err, -ENOMEM, "fsck", "out of memory");
	*x = (struct fsck_call){ .manager = m, .call = call, .repair = repair };
	r = keeper_client_list(m->keeper, on_listed, x);
	if (r < 0) {
		free(x);
		return ct_error_set(err, r, "fsck", "cannot ask ct-keeper: %s", strerror(-r));
	}
	return 0;
}
