/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The template of a container that moves, where the other node has not got it: the word template, between two
 * checks and before anything is done to the container. */
#include <errno.h>

#include "ctd/manager.h"
#include "ctd/store.h"
#include "ctd/verbs-migrate.h"

bool migrate_template_is_wanted(const json_t *result)
{
	const json_t *check;
	size_t i;

	json_array_foreach(json_object_get(result, "checks"), i, check)
	{
		if (json_is_true(json_object_get(check, "send")))
			return true;
	}
	return false;
}

json_t *migrate_template_bytes(const struct container *c)
{
	struct template_row row = { 0 };
	int r = store_template_get(c->manager->store, c->row.template_digest, &row, NULL);
	json_t *bytes = r < 0 ? NULL : json_integer((json_int_t)row.bytes);

	template_row_done(&row);
	return bytes;
}

/* What the worker packs. */
static json_t *template_params(const struct container *c, struct ct_error *err)
{
	const char *state_dir = c->manager->conf.state_dir;
	struct template_row row = { 0 };
	json_t *params = NULL;

	if (store_template_get(c->manager->store, c->row.template_digest, &row, err) < 0)
		return NULL;
	params = json_pack("{s:o, s:o, s:s}", "store", json_sprintf("%s/fs", state_dir), "root",
	        json_sprintf("%s/fs/templates/%s/root", state_dir, row.digest), "metadata", row.metadata);
	template_row_done(&row);
	if (!params)
		(void)ct_error_set(err, -ENOMEM, "migrate", "out of memory");
	return params;
}

int migrate_send_template(struct job *job, void (*answered)(struct job *job, const json_t *result))
{
	const struct container *c = job->container;
	struct migrate *x = job->data;
	json_t *template;
	int r;

	if (x->template_sent)
		return ct_error_set(&job->error, -EIO, "migrate",
		        "the template was sent to \"%s\", which does not have it", migrate_peer(job));
	template = template_params(c, &job->error);
	if (!template)
		return job->error.code;
	x->template_sent = true;
	job_progress(job, -1, "sending the template");
	r = migrate_ask_with(job,
	        json_pack("{s:i, s:s, s:s}", "protocol", 1, "word", "template", "digest",
	                c->row.template_digest),
	        json_pack("{s:o}", "template", template), answered);
	if (r >= 0)
		job->cancel = migrate_cancel;
	return r;
}
