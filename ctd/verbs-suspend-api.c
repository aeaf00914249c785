/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* suspend and resume in the API. */
#include <errno.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/verbs.h"

static int submit(struct manager *m, struct call *call, const struct job_type *type, struct container *c,
        json_t *params, struct ct_error *err)
{
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

struct suspend_request {
	bool rounds, keep_running;
};

int api_container_suspend(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = {
		{ "rounds", JSON_KIND_BOOL, offsetof(struct suspend_request, rounds), JSON_NO_HAS, false },
		{ "keep_running", JSON_KIND_BOOL, offsetof(struct suspend_request, keep_running), JSON_NO_HAS,
		        false },
		{ NULL },
	};
	struct suspend_request in = { 0 };
	struct container *c = NULL;
	int r = json_read(call_body(call), fields, &in, err);

	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	return in.keep_running
	               ? submit(m, call, &verb_checkpoint, c, NULL, err)
	               : submit(m, call, &verb_suspend, c, json_pack("{s:b}", "rounds", in.rounds), err);
}

struct resume_request {
	bool discard, checkpoint, force;
};

/* Of a checkpoint that was kept, if that is asked for and nothing newer is suspended: that goes first. To
 * give one up is to give up what was kept. */
static bool is_of_checkpoint(const struct container *c, const struct resume_request *in)
{
	return in->checkpoint && c->config.checkpoint.id && !c->config.restoring &&
	       (in->discard || !c->config.suspended_slot);
}

int api_container_resume(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = {
		{ "discard", JSON_KIND_BOOL, offsetof(struct resume_request, discard), JSON_NO_HAS, false },
		{ "checkpoint", JSON_KIND_BOOL, offsetof(struct resume_request, checkpoint), JSON_NO_HAS,
		        false },
		{ "force", JSON_KIND_BOOL, offsetof(struct resume_request, force), JSON_NO_HAS, false },
		{ NULL },
	};
	struct resume_request in = { 0 };
	struct container *c = NULL;
	int r = json_read(call_body(call), fields, &in, err);

	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	if (is_of_checkpoint(c, &in))
		return submit(m, call, &verb_restore, c,
		        json_pack("{s:b, s:b}", "force", in.force, "discard", in.discard), err);
	/* Who means to go back must not hear that all is well. */
	if (in.checkpoint && (in.force || in.discard) && !c->config.suspended_slot)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ENOENT,
		        "cannot restore \"%s\": it has no checkpoint (ctctl checkpoint --keep-running %s makes one)",
		        c->row.name, c->row.name);
	return submit(m, call, &verb_resume, c, json_pack("{s:b}", "discard", in.discard), err);
}
