/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl create: prints the name, which is the only thing that a script cannot know before.
 */

#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/config.h"
#include "ctctl/password.h"
#include "ctctl/table.h"

#define PASSWORD_MAX 512

struct create_values {
	const char *template;
	bool start;
	bool password_stdin;
};

static const struct option_row create_options[] = {
	{ "template", 't', OPTION_STRING, "TEMPLATE", "what it is made from (ctctl template list)",
	        offsetof(struct create_values, template) },
	{ "start", 's', OPTION_FLAG, NULL, "start it as well", offsetof(struct create_values, start) },
	{ "password-stdin", 0, OPTION_FLAG, NULL, "root's password is one line on standard input",
	        offsetof(struct create_values, password_stdin) },
	{ 0 },
};

int password_from_stdin(json_t *body, struct ct_error *err)
{
	char line[PASSWORD_MAX + 2];

	ssize_t n = read_all(STDIN_FILENO, line, sizeof(line));
	if (n < 0)
		return ct_error_set(err, (int)n, NULL, "cannot read the password from standard input: %s",
		        strerror((int)-n));
	if (n > 0 && line[n - 1] == '\n')
		n--;

	int r = 0;
	if (n == 0 || n > PASSWORD_MAX || memchr(line, '\n', (size_t)n) || memchr(line, '\0', (size_t)n))
		r = ct_error_field(err, "password",
		        "the password on standard input is not one line of 1 to %d bytes", PASSWORD_MAX);
	else if (json_object_set_new(body, "password", json_stringn(line, (size_t)n)) < 0)
		r = ct_error_field(err, "password", "the password on standard input is not UTF-8");

	explicit_bzero(line, sizeof(line));
	return r;
}

static int build_body(const struct context *ctx, const struct create_values *v, json_t *config, json_t *body,
        struct ct_error *err)
{
	if (!v->template)
		return ct_error_field(err, "template",
		        "--template is missing; \"ctctl template list\" shows what there is");

	int r = config_finish(config, NULL);
	if (r < 0)
		return r;

	if (ctx->n_operands > 0 && json_object_set_new(body, "name", json_string(ctx->operands[0])) < 0)
		return ct_error_field(err, "name", "\"%s\" is no name", ctx->operands[0]);
	if (json_object_set_new(body, "template", json_string(v->template)) < 0)
		return ct_error_field(err, "template", "\"%s\" is no name", v->template);
	if (json_object_size(config) > 0 && json_object_set(body, "config", config) < 0)
		return -ENOMEM;
	if (v->start && json_object_set_new(body, "start", json_true()) < 0)
		return -ENOMEM;

	return v->password_stdin ? password_from_stdin(body, err) : 0;
}

static int print_created(const struct context *ctx, const json_t *answer, struct ct_error *err)
{
	char name[256];

	if (ctx->json)
		return print_json(answer, err);

	const char *text = json_string_value(json_object_get(answer, "name"));
	if (!text)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer has no name");

	(void)puts(str_escape_to(
	        name, sizeof(name), text, strlen(text))); /* finish_output looks at the stream's state */
	return finish_output(err);
}

static int run_create(struct context *ctx, struct ct_error *err)
{
	struct create_values v = { 0 };
	_cleanup_json_ json_t *config = json_object(), *body = json_object(), *answer = NULL;

	if (!config || !body)
		return -ENOMEM;
	int r = options_parse(ctx, &v, config, err);
	if (r < 0)
		return r;

	r = build_body(ctx, &v, config, body, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "POST", "/v1/containers", body, &answer, err);
	if (r < 0)
		return r;

	return print_created(ctx, answer, err);
}

const struct command command_create = {
	.name = "create",
	.operands = "[NAME] --template TEMPLATE",
	.summary = "Make a container; prints its name",
	.max_operands = 1,
	.options = create_options,
	.takes_config = true,
	.run = run_create,
};
