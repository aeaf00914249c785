/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl show, and how an object is shown in general.
 *
 * Every property that the API returns is printed, known to this program or not: a newer daemon has more to
 * say. The well-known ones come first, in a fixed order. Strings are escaped, as in tables.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/properties.h"
#include "ctctl/resources.h"
#include "ctctl/table.h"

#define NAME_COLUMN 18
#define INDENT      2

static const char *const show_order[] = { "name", "ctid", "state", "marks", "broken", "template", "addresses",
	"created", "started", "exit", "pid", "base_id", "number", "config", NULL };

static int print_properties(const json_t *object, const char *const *order, int indent);

static int print_scalar(const char *name, const json_t *value, int indent)
{
	_cleanup_free_ char *text = json_to_text(value);
	_cleanup_free_ char *shown = text ? malloc(4 * strlen(text) + 2) : NULL;
	char label[128];

	if (!shown)
		return -ENOMEM;
	(void)str_escape_to(shown, 4 * strlen(text) + 2, *text ? text : "-", *text ? strlen(text) : 1);
	(void)str_escape_to(label, sizeof(label), name, strlen(name));
	(void)printf("%*s%-*s %s\n", indent, "", NAME_COLUMN - indent, label,
	        shown); /* finish_output looks at the stream's state */

	return 0;
}

static int print_value(const char *name, const json_t *value, int indent)
{
	char label[128], element[64];
	const json_t *item;
	size_t i;
	int r = 0;

	if (json_is_object(value)) {
		(void)printf("%*s%s\n", indent, "", str_escape_to(label, sizeof(label), name, strlen(name)));
		return print_properties(value, NULL, indent + INDENT);
	}

	if (!json_is_array(value) || !(json_is_object(json_array_get(value, 0)) || str_eq(name, "ssh_keys")))
		return print_scalar(name, value, indent);

	json_array_foreach(value, i, item)
	{
		(void)snprintf(
		        element, sizeof(element), "%.32s[%zu]", name, i); /* names of the API are short */
		r = print_value(element, item, indent);
		if (r < 0)
			break;
	}

	return r;
}

static bool in_order(const char *const *order, const char *key)
{
	for (; order && *order; order++)
		if (str_eq(*order, key))
			return true;

	return false;
}

static int print_properties(const json_t *object, const char *const *order, int indent)
{
	const char *key;
	const json_t *value;
	int r = 0;

	for (const char *const *known = order; known && *known && r == 0; known++) {
		value = json_object_get(object, *known);
		if (value)
			r = print_value(*known, value, indent);
	}

	json_object_foreach((json_t *)object, key, value)
	{
		if (r == 0 && !in_order(order, key))
			r = print_value(key, value, indent);
	}

	return r;
}

int properties_print(const json_t *object, const char *const *order, struct ct_error *err)
{
	int r = print_properties(object, order, 0);
	if (r < 0)
		return r;

	return finish_output(err);
}

static int run_show(struct context *ctx, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctx->operands[0]);
	if (path.error < 0)
		return path.error;

	r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;

	if (ctx->json)
		return print_json(answer, err);

	_cleanup_json_ json_t *resources = json_incref(json_object_get(answer, "resources"));
	(void)json_object_del(answer, "resources"); /* an older daemon has none */
	r = properties_print(answer, show_order, err);
	return r < 0 || !resources ? r : resources_print(resources, err);
}

const struct command command_show = {
	.name = "show",
	.operands = "NAME",
	.summary = "Show all there is to know about a container",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_CONTAINER,
	.run = run_show,
};
