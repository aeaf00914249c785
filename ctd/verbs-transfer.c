/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Templates that come from an archive on this host's disk, and go to one.
 *
 * The archive is named by its absolute path and opened by the worker, as root: so only root may ask, whoever
 * else may speak to the daemon (a member of the socket's group could else have any file of the host read or
 * made). An import is made as a build is (verbs-template.c), and so is what another node sends ahead of a
 * container that it moves to here. An export leaves its file only when it is complete; after a death of ctd
 * there is nothing to undo.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/recipe.h"
#include "ctd/template-store.h"
#include "ctd/verbs.h"
#include "ctd/worker.h"

#define PATH_BYTES_MAX 4000

struct transfer {
	const char *file, *recipe;
};

static const struct json_field import_fields[] = {
	{ "file", JSON_KIND_STRING, offsetof(struct transfer, file), JSON_NO_HAS, true },
	{ "recipe", JSON_KIND_STRING, offsetof(struct transfer, recipe), JSON_NO_HAS, false },
	{ NULL },
};

static const struct json_field export_fields[] = {
	{ "file", JSON_KIND_STRING, offsetof(struct transfer, file), JSON_NO_HAS, true },
	{ NULL },
};

static int read_request(
        struct call *call, const struct json_field *fields, struct transfer *ret, struct ct_error *err)
{
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM,
		        "only root may name a file of the host: the daemon opens it as root");
	r = json_read(call_body(call), fields, ret, err);
	if (r < 0)
		return r;
	if (ret->file[0] != '/' || strlen(ret->file) > PATH_BYTES_MAX || !str_is_printable(ret->file))
		return ct_error_field(err, "file", "file must be an absolute path of printable characters");
	return config_check_name("name", call_param(call, "name"), err);
}

static int import_run(struct job *job)
{
	return template_make(job, "template-import");
}

const struct job_type verb_template_import = {
	.verb = "template-import", .run = import_run, .free = template_make_free
};

int api_template_import(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_request job = {
		.type = &verb_template_import, .call = call, .detached = true, .durable = true
	};
	struct recipe recipe = { 0 };
	struct transfer in = { 0 };
	int r;

	r = read_request(call, import_fields, &in, err);
	if (r >= 0 && in.recipe)
		r = recipe_load(m->conf.recipe_dir, in.recipe, &recipe, err);
	recipe_done(&recipe);
	if (r >= 0)
		r = template_check_not_made(m, call_param(call, "name"), err);
	if (r < 0)
		return r;

	job.object = call_param(call, "name");
	job.params = json_pack("{s:s, s:s*}", "file", in.file, "recipe", in.recipe);
	return job_submit(m, &job, err);
}

/* ---- of another node, under its digest: ct-migration(7) */

static int arrive_run(struct job *job)
{
	return template_make(job, "template-import");
}

const struct job_type verb_template_arrive = {
	.verb = "template-arrive", .run = arrive_run, .free = template_make_free
};

struct arrival {
	const char *file, *digest;
};

static const struct json_field arrival_fields[] = {
	{ "file", JSON_KIND_STRING, offsetof(struct arrival, file), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct arrival, digest), JSON_NO_HAS, true },
	{ NULL },
};

int api_migration_template(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_request job = {
		.type = &verb_template_arrive, .call = call, .detached = true, .durable = true
	};
	struct arrival in = { 0 };
	int r;

	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), arrival_fields, &in, err);
	if (r < 0)
		return r;
	if (in.file[0] != '/' || strlen(in.file) > PATH_BYTES_MAX || !str_is_printable(in.file))
		return ct_error_field(err, "file", "file must be an absolute path of printable characters");
	if (strlen(in.digest) != 64 || strspn(in.digest, "0123456789abcdef") != 64)
		return ct_error_field(err, "digest", "digest must be 64 hexadecimal digits");

	job.object = in.digest;
	job.params = json_pack("{s:s}", "file", in.file);
	return job_submit(m, &job, err);
}

/* ---- export */

static void export_progress(int percent, const char *text, void *userdata)
{
	job_progress(userdata, percent, "%s", text);
}

static void export_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	job->data = NULL; /* the worker frees itself */
	if (result)
		job->result = json_deep_copy(result);
	else
		job->error = *error;
	job_finish(job, result ? 0 : error->code);
}

static void export_cancel(struct job *job)
{
	if (job->data)
		worker_cancel(job->data);
}

static int export_run(struct job *job)
{
	static const struct worker_ops ops = { .progress = export_progress, .done = export_done };
	_cleanup_json_ json_t *params = json_deep_copy(job->params);
	const struct manager *m = job->manager;
	struct template_row row = { 0 };
	struct worker *worker = NULL;
	int r;

	r = store_template_get(m->store, job->row.object, &row, &job->error);
	if (r >= 0 &&
	        (!params ||
	                json_object_set_new(params, "root",
	                        json_sprintf("%s/fs/templates/%s/root", m->conf.state_dir, row.digest)) < 0 ||
	                json_object_set_new(params, "metadata", json_string(row.metadata)) < 0))
		r = ct_error_set(&job->error, -ENOMEM, "template", "out of memory");
	template_row_done(&row);
	if (r >= 0)
		r = worker_start(m->event, m->conf.worker, "template-export", TAKE_PTR(params), &ops, job,
		        &worker, &job->error);
	if (r < 0)
		return r;

	job->data = worker;
	job->cancel = export_cancel;
	return 0;
}

const struct job_type verb_template_export = {
	.verb = "template-export", .run = export_run, .free = template_make_free
};

int api_template_export(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_request job = { .type = &verb_template_export, .call = call, .detached = true };
	struct template_row row = { 0 };
	struct transfer in = { 0 };
	int r;

	r = read_request(call, export_fields, &in, err);
	if (r >= 0)
		r = store_template_get(m->store, call_param(call, "name"), &row, err);
	template_row_done(&row);
	if (r < 0)
		return r;

	job.object = call_param(call, "name");
	job.params = json_pack("{s:s}", "file", in.file);
	return job_submit(m, &job, err);
}
