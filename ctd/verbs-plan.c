/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans by the API: made, shown, changed, removed.
 *
 * A change of a plan is a change of the containers that have it, each by a job of its own, as if somebody had
 * set it: checked, recorded, applied live, undone if the kernel will not. First the plan is written, so that
 * who is created meanwhile has the new values; then all jobs are submitted; the answer is given when the last
 * one has ended and says for each container what changed, or why it did not.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/plan.h"
#include "ctd/resources.h"
#include "ctd/verbs.h"

static json_t *users_of(struct manager *m, const char *plan)
{
	json_t *list = json_array();
	struct container *c, *next;

	HASH_ITER(hh_name, m->containers.by_name, c, next)
	{
		if (str_eq(c->config.plan, plan))
			(void)json_array_append_new(
			        list, json_string(c->row.name)); /* a shorter list without memory */
	}
	return list;
}

static json_t *plan_to_json(struct manager *m, const struct plan_row *row)
{
	json_t *config = json_loads(row->config, 0, NULL);
	char text[32];

	return json_pack("{s:s, s:o, s:s, s:o}", "name", row->name, "config", config ?: json_object(),
	        "created", format_time_utc(text, sizeof(text), row->created_usec), "containers",
	        users_of(m, row->name));
}

struct plan_list {
	struct manager *manager;
	json_t *array;
};

static int add_plan(const struct plan_row *row, void *userdata)
{
	struct plan_list *list = userdata;

	return json_array_append_new(list->array, plan_to_json(list->manager, row)) < 0 ? -ENOMEM : 0;
}

int api_plan_list(struct manager *m, struct call *call, struct ct_error *err)
{
	struct plan_list list = { .manager = m, .array = json_array() };
	int r = store_plan_each(m->store, add_plan, &list, err);

	if (r < 0) {
		json_decref(list.array);
		return r;
	}
	call_reply(call, 200, json_pack("{s:o}", "plans", list.array));
	return 0;
}

int api_plan_show(struct manager *m, struct call *call, struct ct_error *err)
{
	struct plan_row row = { 0 };
	int r = store_plan_get(m->store, call_param(call, "name"), &row, err);

	if (r < 0)
		return r;
	call_reply(call, 200, plan_to_json(m, &row));
	plan_row_done(&row);
	return 0;
}

struct request {
	const char *name;
	json_t *config;
	bool dry_run;
};

int api_plan_create(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, offsetof(struct request, name), JSON_NO_HAS, true },
		{ "config", JSON_KIND_OBJECT, offsetof(struct request, config), JSON_NO_HAS, true },
		{ NULL },
	};
	struct request in = { 0 };
	struct plan_row row = { .created_usec = now_realtime_usec() };
	_cleanup_free_ char *text = NULL;
	int r;

	r = json_read(call_body(call), fields, &in, err);
	if (r >= 0)
		r = config_check_name("name", in.name, err);
	if (r >= 0)
		r = plan_check(in.config, err);
	if (r < 0)
		return r;
	call_set_object(call, in.name);
	text = json_dumps(in.config, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	row.name = (char *)in.name;
	row.config = text;
	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_plan_insert(m->store, &row, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r < 0)
		return r;
	call_reply(call, 201, plan_to_json(m, &row));
	return 0;
}

int api_plan_remove(struct manager *m, struct call *call, struct ct_error *err)
{
	const char *name = call_param(call, "name");
	_cleanup_json_ json_t *users = users_of(m, name);
	int r;

	if (json_array_size(users) > 0)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "%zu %s the plan \"%s\", \"%s\" among them (ctctl set NAME plan= takes it away)",
		        json_array_size(users),
		        json_array_size(users) == 1 ? "container has" : "containers have", name,
		        json_string_value(json_array_get(users, 0)));
	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_plan_delete(m->store, name, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r >= 0)
		call_reply(call, 200, json_object());
	return r;
}

/* ---- changing ---- */

struct plan_change {
	struct manager *manager;
	struct call *call;
	json_t *answer, *affected; /* affected is borrowed from answer */
	unsigned open;             /* jobs, and who submits them */
};

static void change_unref(struct plan_change *change)
{
	if (--change->open > 0)
		return;
	call_reply(change->call, 200, change->answer);
	free(change);
}

/* What happened to one container: its own line. */
static void note(struct plan_change *change, const char *name, json_t *patch, const struct ct_error *error)
{
	json_t *line = json_pack("{s:s, s:O}", "name", name, "config", patch);

	if (line && error && error->code < 0)
		(void)json_object_set_new(line, "error", json_string(error->text));
	(void)json_array_append_new(change->affected, line); /* a shorter list without memory */
}

/* A set job ends by being freed, whatever way it went. */
static void free_plan_set(struct job *job)
{
	struct plan_change *change = job->data;

	if (!change)
		return;
	note(change, job->row.object, json_object_get(job->params, "config"), &job->error);
	change_unref(change);
}

static int run_plan_set(struct job *job)
{
	return verb_set.run(job);
}

const struct job_type verb_plan_set = { .verb = "set", .run = run_plan_set, .free = free_plan_set };

static int affect(struct plan_change *change, struct container *c, const json_t *old, const json_t *new,
        bool dry_run, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL, *patch = NULL, *merged = NULL;
	struct ct_error error = { 0 };
	struct config parsed;
	int r;

	r = json_parse(c->row.config, strlen(c->row.config), &config, err);
	if (r < 0)
		return r;
	patch = plan_difference(config, old, new);
	merged = patch ? config_merge(config, patch) : NULL;
	if (!merged)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	if (json_object_size(patch) == 0)
		return 0;
	if (dry_run) {
		r = config_from_json(merged, &parsed, &error);
		if (r >= 0) {
			r = limits_check_change(c, &parsed, patch, &error);
			config_done(&parsed);
		}
		error.code = r < 0 ? r : 0;
		note(change, c->row.name, patch, &error);
		return 0;
	}
	change->open++;
	return job_submit(change->manager,
	        &(struct job_request){
	                .type = &verb_plan_set,
	                .container = c,
	                .object = c->row.name,
	                .params = json_pack("{s:O}", "config", patch),
	                .data = change,
	        },
	        err);
}

static int write_plan(struct manager *m, const char *name, const json_t *config, struct ct_error *err)
{
	_cleanup_free_ char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	struct plan_row row = { .name = (char *)name, .config = text };
	int r;

	if (!text)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_plan_update(m->store, &row, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	return store_commit(m->store, err);
}

static int change_all(struct manager *m, struct call *call, const json_t *old, json_t *new, bool dry_run,
        struct ct_error *err)
{
	const char *name = call_param(call, "name");
	struct plan_change *change = malloc(sizeof(*change));
	struct container *c, *next;

	if (!change)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	*change = (struct plan_change){ .manager = m, .call = call, .open = 1 };
	change->answer = json_pack("{s:s, s:O, s:[]}", "name", name, "config", new, "affected");
	change->affected = json_object_get(change->answer, "affected");
	HASH_ITER(hh_name, m->containers.by_name, c, next)
	{
		struct ct_error error = { 0 };

		/* What could not be submitted has been noted by its job's end. */
		if (str_eq(c->config.plan, name))
			(void)affect(change, c, old, new, dry_run, &error);
	}
	change_unref(change);
	return 0;
}

int api_plan_set(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = {
		{ "config", JSON_KIND_OBJECT, offsetof(struct request, config), JSON_NO_HAS, true },
		{ "dry_run", JSON_KIND_BOOL, offsetof(struct request, dry_run), JSON_NO_HAS, false },
		{ NULL },
	};
	_cleanup_json_ json_t *old = NULL, *new = NULL;
	struct plan_row row = { 0 };
	struct request in = { 0 };
	int r;

	r = json_read(call_body(call), fields, &in, err);
	if (r >= 0)
		r = store_plan_get(m->store, call_param(call, "name"), &row, err);
	if (r < 0)
		return r;
	r = json_parse(row.config, strlen(row.config), &old, err);
	plan_row_done(&row);
	if (r < 0)
		return r;
	new = config_merge(old, in.config);
	if (!new)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	r = plan_check(new, err);
	if (r >= 0 && !in.dry_run)
		r = write_plan(m, call_param(call, "name"), new, err);
	return r < 0 ? r : change_all(m, call, old, new, in.dry_run, err);
}
