/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans.
 *
 * A container of a plan has the plan's name and its values in its own configuration. So there is one place
 * that says what a container has, an export carries it, and a value that was set for one container alone is
 * told from the plan's by being different. Changing the plan changes those that still are the plan's.
 */
#include "ctd/plan.h"

#include <errno.h>

#include "base/json.h"
#include "ctd/config-key.h"
#include "ctd/manager.h"

static bool is_limit(const char *name)
{
	for (const struct config_key *key = config_limit_keys; key->name; key++)
		if (str_eq(key->name, name))
			return true;
	return false;
}

int plan_check(const json_t *config, struct ct_error *err)
{
	struct config parsed;
	const char *name;
	json_t *value;
	int r;

	if (!json_is_object(config))
		return ct_error_field(err, "config", "config must be an object");
	json_object_foreach((json_t *)config, name, value)
	{
		if (!is_limit(name))
			return ct_error_field(err, name,
			        "\"%.40s\" cannot be in a plan: a plan holds limits (ct-limits(7))", name);
	}
	r = config_from_json(config, &parsed, err);
	if (r >= 0)
		config_done(&parsed);
	return r;
}

json_t *plan_difference(const json_t *config, const json_t *old, const json_t *new)
{
	json_t *patch = json_object();
	const char *name;
	json_t *value;
	int r = patch ? 0 : -ENOMEM;

	json_object_foreach((json_t *)old, name, value)
	{
		if (r == 0 && !json_object_get(new, name) && json_equal(json_object_get(config, name), value))
			r = json_object_set_new(patch, name, json_null());
	}
	json_object_foreach((json_t *)new, name, value)
	{
		json_t *own = json_object_get(config, name), *was = json_object_get(old, name);
		bool follows = !own || (was && json_equal(own, was));

		if (r == 0 && follows && !(own && json_equal(own, value)))
			r = json_object_set(patch, name, value);
	}
	if (r == 0)
		return patch;
	json_decref(patch);
	return NULL;
}

static int load(struct manager *m, const char *name, json_t **ret, struct ct_error *err)
{
	struct plan_row row = { 0 };
	int r = store_plan_get(m->store, name, &row, err);

	if (r < 0)
		return r;
	r = json_parse(row.config, strlen(row.config), ret, err);
	plan_row_done(&row);
	return r;
}

int plan_expand(
        struct manager *m, const json_t *config, const json_t *patch, json_t **ret, struct ct_error *err)
{
	const char *name = json_string_value(json_object_get(patch, "plan"));
	const char *before = json_string_value(json_object_get(config, "plan"));
	_cleanup_json_ json_t *new = NULL, *old = NULL, *expanded = NULL;
	int r;

	if (!name) {
		*ret = json_incref((json_t *)patch);
		return 0;
	}
	r = load(m, name, &new, err);
	if (r < 0) {
		if (err)
			(void)snprintf(err->field, sizeof(err->field), "plan");
		return r;
	}
	if (before && load(m, before, &old, NULL) < 0)
		old = NULL; /* it is gone; its values stay as the container's own */

	/* A plan that is taken says all: values of its keys that were the container's own go too. */
	expanded = plan_difference(config, old, new);
	if (!expanded || json_object_update(expanded, new) < 0 ||
	        json_object_update(expanded, (json_t *)patch) < 0)
		return ct_error_set(err, -ENOMEM, "plan", "out of memory");
	*ret = TAKE_PTR(expanded);
	return 0;
}
