/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Templates and recipes in the API; building one is a job that a worker does.
 *
 * The request is checked here, where the answer is given; the worker reads the recipe and does the rest. It
 * builds into tmp/build-JOB of the store and tells the digest; the rename and the record are made here
 * (template-store.h). One build at a time for one name: the second is refused. Two names that come to the
 * same digest share the directory. A cancelled, failed or interrupted build leaves at most its directory in
 * tmp/, which the sweeper removes.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/recipe.h"
#include "ctd/sweeper.h"
#include "ctd/template-store.h"
#include "ctd/template.h"
#include "ctd/verbs.h"
#include "ctd/worker.h"

struct request {
	const char *recipe, *name;
	struct recipe_source source;
};

static const struct json_field request_fields[] = {
	{ "recipe", JSON_KIND_STRING, offsetof(struct request, recipe), JSON_NO_HAS, true },
	{ "name", JSON_KIND_STRING, offsetof(struct request, name), JSON_NO_HAS, false },
	{ "suite", JSON_KIND_STRING, offsetof(struct request, source.suite), JSON_NO_HAS, false },
	{ "mirror", JSON_KIND_STRING, offsetof(struct request, source.mirror), JSON_NO_HAS, false },
	{ "keyring", JSON_KIND_STRING, offsetof(struct request, source.keyring), JSON_NO_HAS, false },
	{ NULL },
};

/* What the worker says at its end. */
struct built {
	const char *digest;
	json_t *metadata;
	uint64_t bytes;
};

static const struct json_field built_fields[] = {
	{ "digest", JSON_KIND_STRING, offsetof(struct built, digest), JSON_NO_HAS, true },
	{ "metadata", JSON_KIND_OBJECT, offsetof(struct built, metadata), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct built, bytes), JSON_NO_HAS, true },
	{ NULL },
};

static void build_progress(int percent, const char *text, void *userdata)
{
	job_progress(userdata, percent, "%s", text);
}

static int fill_row(
        const struct job *job, const json_t *result, struct template_row *row, struct ct_error *err)
{
	/* By another node: under its digest alone, for names are this node's. */
	const bool arrived = job->type == &verb_template_arrive;
	struct template_meta meta = { 0 };
	struct built built = { 0 };
	int r;

	r = json_read(result, built_fields, &built, err);
	if (r < 0)
		return r;
	if (strlen(built.digest) != 64 || strspn(built.digest, "0123456789abcdef") != 64)
		return ct_error_set(err, -EPROTO, "template", "the worker gave a digest that is none");
	memcpy(row->digest, built.digest, sizeof(row->digest));
	if (arrived && !str_eq(built.digest, job->row.object))
		return ct_error_set(err, -EBADMSG, "template",
		        "the template that came is not the one that was sent (digest %.12s, not %.12s)",
		        built.digest, job->row.object);
	row->bytes = built.bytes;
	row->created_usec = now_realtime_usec();
	row->name = arrived ? NULL : strdup(job->row.object);
	row->metadata = json_dumps(built.metadata, JSON_COMPACT | JSON_SORT_KEYS);
	if ((!row->name && !arrived) || !row->metadata)
		return ct_error_set(err, -ENOMEM, "template", "out of memory");

	r = template_meta_from_json(row->metadata, &meta, err);
	template_meta_done(&meta);
	return r;
}

static int add_built(struct job *job, const json_t *result, struct ct_error *err)
{
	struct template_row row = { 0 };
	char tmp[TEMPLATE_TMP_SIZE];
	int r;

	template_tmp_name(job->row.id, tmp);
	r = fill_row(job, result, &row, err);
	if (r >= 0)
		r = template_store_add(job->manager, tmp, &row, err);
	if (r >= 0 && !row.name)
		template_store_hold(job->manager, row.digest);
	if (r >= 0)
		job->result = template_to_json(&row);
	template_row_done(&row);
	return r;
}

static void build_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct sweeper *sweeper = job->manager->sweeper;
	int r;

	job->data = NULL; /* the worker frees itself */
	if (result) {
		r = add_built(job, result, &job->error);
	} else {
		job->error = *error;
		r = error->code;
	}
	if (r >= 0)
		manager_event(job->manager, NULL,
		        job->type == &verb_template_arrive ? "template.arrived" : "template.built",
		        json_pack("{s:s}", "name", job->row.object));
	job_finish(job, r);
	sweeper_kick(sweeper); /* the old image, the rest of a failed one */
}

static void build_cancel(struct job *job)
{
	if (job->data)
		worker_cancel(job->data);
}

void template_make_free(struct job *job)
{
	worker_free(TAKE_PTR(job->data));
}

/* Gives the worker what it needs to make a template in tmp/. */
int template_make(struct job *job, const char *verb)
{
	static const struct worker_ops ops = { .progress = build_progress, .done = build_done };
	const struct manager *m = job->manager;
	_cleanup_json_ json_t *params = json_deep_copy(job->params);
	char tmp[TEMPLATE_TMP_SIZE];
	struct worker *worker = NULL;
	int r;

	template_tmp_name(job->row.id, tmp);
	if (!params || json_object_set_new(params, "recipes", json_string(m->conf.recipe_dir)) < 0 ||
	        json_object_set_new(params, "store", json_sprintf("%s/fs", m->conf.state_dir)) < 0 ||
	        json_object_set_new(params, "tmp", json_string(tmp)) < 0 ||
	        (job->type == &verb_template_build &&
	                json_object_set_new(params, "base_id", json_integer(manager_base_id(m, 0))) < 0))
		return ct_error_set(&job->error, -ENOMEM, "template", "out of memory");

	r = worker_start(m->event, m->conf.worker, verb, TAKE_PTR(params), &ops, job, &worker, &job->error);
	if (r < 0)
		return r;
	job->data = worker;
	job->cancel = build_cancel;
	return 0;
}

static int build_run(struct job *job)
{
	return template_make(job, "template-build");
}

const struct job_type verb_template_build = {
	.verb = "template-build", .run = build_run, .free = template_make_free
};

int template_check_not_made(const struct manager *m, const char *name, struct ct_error *err)
{
	const struct job *job;

	LIST_FOREACH(job, &m->jobs.open, open_entry)
	if (template_is_made_by(job) && str_eq(job->row.object, name))
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "template \"%s\" is being made already, by job %lld", name, (long long)job->row.id);
	return 0;
}

static int check_request(const struct manager *m, struct request *in, struct ct_error *err)
{
	struct recipe recipe = { 0 };
	int r;

	r = recipe_load(m->conf.recipe_dir, in->recipe, &recipe, err);
	if (r < 0)
		return r;
	recipe_done(&recipe);
	if (!in->name)
		in->name = in->recipe;
	r = config_check_name("name", in->name, err);
	if (r >= 0)
		r = recipe_source_check(&in->source, err);
	if (r >= 0)
		r = template_check_not_made(m, in->name, err);
	return r;
}

int api_template_build(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_request job = {
		.type = &verb_template_build, .call = call, .detached = true, .durable = true
	};
	struct request in = { 0 };
	int r;

	r = json_read(call_body(call), request_fields, &in, err);
	if (r >= 0)
		r = check_request(m, &in, err);
	if (r < 0)
		return r;

	call_set_object(call, in.name);
	job.object = in.name;
	job.params = json_pack("{s:s, s:s*, s:s*, s:s*}", "recipe", in.recipe, "suite", in.source.suite,
	        "mirror", in.source.mirror, "keyring", in.source.keyring);
	return job_submit(m, &job, err);
}

static int list_template(const struct template_row *row, void *userdata)
{
	return json_array_append_new(userdata, template_to_json(row)) < 0 ? -ENOMEM : 0;
}

int api_template_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_json_ json_t *templates = json_array();
	int r;

	r = store_template_each(m->store, list_template, templates, err);
	if (r < 0)
		return r;
	call_reply(call, 200, json_pack("{s:O}", "templates", templates));
	return 0;
}

int api_template_show(struct manager *m, struct call *call, struct ct_error *err)
{
	struct template_row row = { 0 };
	int r;

	r = store_template_get(m->store, call_param(call, "name"), &row, err);
	if (r < 0)
		return r;
	call_reply(call, 200, template_to_json(&row));
	template_row_done(&row);
	return 0;
}

int api_template_remove(struct manager *m, struct call *call, struct ct_error *err)
{
	const char *name = call_param(call, "name");
	int r;

	r = template_store_remove(m, name, err);
	if (r < 0)
		return r;
	manager_event(m, NULL, "template.removed", json_pack("{s:s}", "name", name));
	call_reply(call, 200, json_object());
	return 0;
}

int api_recipe_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_json_ json_t *recipes = json_array();
	char **names = NULL;
	int r;

	r = recipe_names(m->conf.recipe_dir, &names, err);
	for (size_t i = 0; r >= 0 && names[i]; i++) {
		struct recipe recipe = { 0 };

		r = recipe_load(m->conf.recipe_dir, names[i], &recipe, err);
		if (r >= 0)
			(void)json_array_append_new(recipes, json_pack("{s:s, s:s}", "name", recipe.name,
			                                             "description", recipe.description));
		recipe_done(&recipe);
	}
	recipe_names_free(names);
	if (r < 0)
		return r;
	call_reply(call, 200, json_pack("{s:O}", "recipes", recipes));
	return 0;
}
