/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl template: list, build, import, export, show, remove, recipes.
 */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"
#include "ctctl/job.h"
#include "ctctl/properties.h"
#include "ctctl/spool.h"
#include "ctctl/table.h"

#define DIGEST_SHOWN 12

static void add_size(struct table *t, const json_t *bytes)
{
	char text[32];

	if (json_is_integer(bytes) && json_integer_value(bytes) >= 0)
		table_add(t, format_size(text, sizeof(text), (uint64_t)json_integer_value(bytes)));
	else
		table_add(t, NULL);
}

static void add_template(struct table *t, const json_t *template, uint64_t now)
{
	const char *digest = json_string_value(json_object_get(template, "digest"));
	char age[32];

	table_add_json(t, json_object_get(template, "name"));
	table_add_json(t, json_object_get(template, "distribution"));
	table_add_json(t, json_object_get(template, "release"));
	add_size(t, json_object_get(template, "bytes"));
	table_add_json(t, json_object_get(template, "users"));
	table_add(t, age_of(age, sizeof(age), json_string_value(json_object_get(template, "created")), now));
	table_add_format(t, "%.*s", DIGEST_SHOWN, digest ? digest : "-");
}

static int run_template_list(struct context *ctx, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "DISTRIBUTION", "RELEASE", "SIZE", "USERS", "AGE",
		"DIGEST", NULL };
	_cleanup_table_ struct table t = { 0 };
	_cleanup_json_ json_t *answer = NULL;
	const json_t *template;
	size_t i;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", "/v1/templates", NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	table_init(&t, headings);
	json_array_foreach(json_object_get(answer, "templates"), i, template)
	        add_template(&t, template, now_realtime_usec());

	return table_print(&t, err);
}

static int run_template_recipes(struct context *ctx, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "DESCRIPTION", NULL };
	_cleanup_table_ struct table t = { 0 };
	_cleanup_json_ json_t *answer = NULL;
	const json_t *recipe;
	size_t i;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", "/v1/recipes", NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	table_init(&t, headings);
	json_array_foreach(json_object_get(answer, "recipes"), i, recipe)
	{
		table_add_json(&t, json_object_get(recipe, "name"));
		table_add_json(&t, json_object_get(recipe, "description"));
	}

	return table_print(&t, err);
}

struct build_values {
	const char *name;
	const char *suite;
	const char *mirror;
	const char *keyring;
	bool detach;
};

static const struct option_row build_options[] = {
	{ "name", 'n', OPTION_STRING, "NAME", "what the template is called (default: as the recipe)",
	        offsetof(struct build_values, name) },
	{ "suite", 's', OPTION_STRING, "SUITE", "release of the distribution",
	        offsetof(struct build_values, suite) },
	{ "mirror", 'm', OPTION_STRING, "URL", "where packages come from",
	        offsetof(struct build_values, mirror) },
	{ "keyring", 'k', OPTION_STRING, "FILE", "keys that the archive is signed with",
	        offsetof(struct build_values, keyring) },
	{ "detach", 'd', OPTION_FLAG, NULL, "do not wait; prints the id of the job",
	        offsetof(struct build_values, detach) },
	{ 0 },
};

/* The keyring is read by the daemon, whose working directory is another one. */
static int add_keyring(json_t *body, const char *keyring, struct ct_error *err)
{
	_cleanup_free_ char *absolute = realpath(keyring, NULL);

	if (!absolute)
		return ct_error_field(err, "keyring", "--keyring: \"%s\": %m", keyring);

	return json_object_set_new(body, "keyring", json_string(absolute)) < 0 ? -ENOMEM : 0;
}

static int build_body(const char *recipe, const struct build_values *v, json_t *body, struct ct_error *err)
{
	const struct {
		const char *key, *value;
	} fields[] = { { "recipe", recipe }, { "name", v->name }, { "suite", v->suite },
		{ "mirror", v->mirror } };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].value &&
		        json_object_set_new(body, fields[i].key, json_string(fields[i].value)) < 0)
			return ct_error_field(err, fields[i].key, "\"%s\" is not UTF-8", fields[i].value);

	return v->keyring ? add_keyring(body, v->keyring, err) : 0;
}

/* What the finished job made, for people: the template's name and digest. */
static int print_built(const json_t *job, struct ct_error *err)
{
	const json_t *result = json_object_get(job, "result");
	_cleanup_free_ char *name = json_to_text(json_object_get(result, "name"));
	char shown[256];

	if (str_empty(name)) {
		free(name);
		name = json_to_text(json_object_get(job, "object"));
	}
	if (!name)
		return -ENOMEM;

	(void)puts(str_escape_to(
	        shown, sizeof(shown), name, strlen(name))); /* finish_output looks at the stream's state */
	return finish_output(err);
}

struct request {
	const char *path;
	json_t *body;
	bool detach;
};

/* Asks for a job, and waits for it unless detached; *ret is the finished job, NULL: its id was printed. */
static int run_job(struct context *ctx, const struct request *request, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *job = NULL;

	int r = client_call(&ctx->client, "POST", request->path, request->body, &job, err);
	if (r < 0)
		return r;

	_cleanup_free_ char *id = json_to_text(json_object_get(job, "id"));
	if (str_empty(id))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer has no job id");
	if (request->detach && ctx->json)
		return print_json(job, err);
	if (request->detach) {
		(void)puts(id); /* finish_output looks at the stream's state */
		return finish_output(err);
	}

	return job_wait(&ctx->client, id, ret, err);
}

static int show_job(struct context *ctx, const json_t *finished, struct ct_error *err)
{
	if (!finished)
		return 0;

	return ctx->json ? print_json(finished, err) : print_built(finished, err);
}

static int run_template_build(struct context *ctx, struct ct_error *err)
{
	struct build_values v = { 0 };
	_cleanup_json_ json_t *body = json_object(), *finished = NULL;

	if (!body)
		return -ENOMEM;
	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	r = build_body(ctx->operands[0], &v, body, err);
	if (r >= 0)
		r = run_job(ctx, &(struct request){ "/v1/templates", body, v.detach }, &finished, err);
	if (r < 0)
		return r;

	return show_job(ctx, finished, err);
}

static int template_path(const char *name, struct strbuf *path)
{
	(void)strbuf_puts(path, "/v1/templates"); /* failures are kept in the buffer */

	return path_add_segment(path, name);
}

struct import_values {
	const char *name;
	const char *recipe;
	bool detach;
};

static const struct option_row import_options[] = {
	{ "name", 'n', OPTION_STRING, "NAME", "what the template is called (default: as the file)",
	        offsetof(struct import_values, name) },
	{ "recipe", 'r', OPTION_STRING, "RECIPE", "what the archive is like (default: as it says)",
	        offsetof(struct import_values, recipe) },
	{ "detach", 'd', OPTION_FLAG, NULL, "do not wait; prints the id of the job",
	        offsetof(struct import_values, detach) },
	{ 0 },
};

static int call_transfer(struct context *ctx, const char *name, const char *verb, struct request *request,
        struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *finished = NULL;

	int r = template_path(name, &path);
	if (r >= 0)
		r = strbuf_printf(&path, "/%s", verb);
	if (r < 0)
		return r;
	request->path = path.data;

	r = run_job(ctx, request, &finished, err);
	if (r < 0)
		return r;

	return show_job(ctx, finished, err);
}

/* debian.tar.zst: debian */
static char *name_of_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return strndup(base, strcspn(base, "."));
}

static int import_body(const char *file, const struct import_values *v, json_t *body, struct ct_error *err)
{
	_cleanup_free_ char *absolute = realpath(file, NULL); /* the daemon has another working directory */

	if (!absolute)
		return ct_error_field(err, "file", "\"%s\": %m", file);
	if (json_object_set_new(body, "file", json_string(absolute)) < 0)
		return ct_error_field(err, "file", "\"%s\" is not UTF-8", absolute);
	if (v->recipe && json_object_set_new(body, "recipe", json_string(v->recipe)) < 0)
		return ct_error_field(err, "recipe", "\"%s\" is not UTF-8", v->recipe);

	return 0;
}

static int run_template_import(struct context *ctx, struct ct_error *err)
{
	struct import_values v = { 0 };
	_cleanup_free_ char *name = NULL, *spooled = NULL;
	_cleanup_json_ json_t *body = json_object();
	const char *file;

	if (!body)
		return -ENOMEM;
	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	file = ctx->operands[0];
	if (str_eq(file, "-")) {
		if (!v.name || v.detach)
			return ct_error_field(err, "name",
			        "standard input has no name and cannot be left behind: give --name, and no --detach");
		r = spool_stdin(&spooled, err);
		if (r < 0)
			return r;
		file = spooled;
	}
	name = v.name ? strdup(v.name) : name_of_file(file);
	r = name ? import_body(file, &v, body, err) : -ENOMEM;
	if (r >= 0)
		r = call_transfer(ctx, name, "import", &(struct request){ NULL, body, v.detach }, err);
	if (spooled)
		(void)unlink(spooled); /* it has been read, or nobody wants it */
	return r;
}

static int run_template_export(struct context *ctx, struct ct_error *err)
{
	_cleanup_free_ char *absolute = NULL;
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	absolute = absolute_path(ctx->operands[1]);
	body = absolute ? json_pack("{s:s}", "file", absolute) : NULL;
	if (!body)
		return ct_error_field(err, "file", "\"%s\" is not a path in UTF-8", ctx->operands[1]);

	return call_transfer(ctx, ctx->operands[0], "export", &(struct request){ NULL, body, false }, err);
}

static int run_template_show(struct context *ctx, struct ct_error *err)
{
	static const char *const order[] = { "name", "digest", "distribution", "release", "bytes", "created",
		"users", NULL };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = template_path(ctx->operands[0], &path);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;

	return ctx->json ? print_json(answer, err) : properties_print(answer, order, err);
}

static int run_template_remove(struct context *ctx, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = template_path(ctx->operands[0], &path);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "DELETE", path.data, NULL, ctx->json ? &answer : NULL, err);
	if (r < 0 || !ctx->json)
		return r;

	return print_json(answer, err);
}

const struct command command_template_list = {
	.name = "template list",
	.family = "template",
	.operands = "",
	.summary = "List templates",
	.run = run_template_list,
};

const struct command command_template_build = {
	.name = "template build",
	.family = "template",
	.operands = "RECIPE",
	.summary = "Build a template; shows the progress, interrupt cancels it",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_RECIPE,
	.options = build_options,
	.run = run_template_build,
};

const struct command command_template_import = {
	.name = "template import",
	.family = "template",
	.operands = "FILE|-",
	.summary = "Make a template from an archive of a root filesystem",
	.min_operands = 1,
	.max_operands = 1,
	.options = import_options,
	.run = run_template_import,
};

const struct command command_template_export = {
	.name = "template export",
	.family = "template",
	.operands = "TEMPLATE FILE",
	.summary = "Write a template to an archive",
	.min_operands = 2,
	.max_operands = 2,
	.completes = OPERAND_TEMPLATE,
	.run = run_template_export,
};

const struct command command_template_show = {
	.name = "template show",
	.family = "template",
	.operands = "TEMPLATE",
	.summary = "Show one template",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_TEMPLATE,
	.run = run_template_show,
};

const struct command command_template_remove = {
	.name = "template remove",
	.family = "template",
	.operands = "TEMPLATE",
	.summary = "Remove a template that no container uses",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_TEMPLATE,
	.run = run_template_remove,
};

const struct command command_template_recipes = {
	.name = "template recipes",
	.family = "template",
	.operands = "",
	.summary = "List what templates can be built from",
	.run = run_template_recipes,
};
