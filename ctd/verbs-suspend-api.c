/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* suspend and resume in the API. */
#include <errno.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/verbs.h"

static int submit(struct manager *m, struct call *call, const struct job_type *type, json_t *params,
        struct ct_error *err)
{
	struct container *c = NULL;
	int r = verb_target(m, call, &c, err);

	if (r < 0) {
		json_decref(params);
		return r;
	}
	return job_submit(m,
	        &(struct job_request){
	                .type = type,
	                .container = c,
	                .object = c->row.name,
	                .params = params,
	                .call = call,
	                .durable = true,
	        },
	        err);
}

int api_container_suspend(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "rounds", JSON_KIND_BOOL, 0, JSON_NO_HAS, false },
		{ NULL } };
	bool rounds = false;
	int r = json_read(call_body(call), fields, &rounds, err);

	return r < 0 ? r : submit(m, call, &verb_suspend, json_pack("{s:b}", "rounds", rounds), err);
}

int api_container_resume(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "discard", JSON_KIND_BOOL, 0, JSON_NO_HAS, false },
		{ NULL } };
	bool discard_it = false;
	int r = json_read(call_body(call), fields, &discard_it, err);

	return r < 0 ? r : submit(m, call, &verb_resume, json_pack("{s:b}", "discard", discard_it), err);
}
