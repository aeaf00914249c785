/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl doctor: one line for each thing that the host can or cannot do, and below what is missing the remedy.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/table.h"

#define STATE_COLUMN 8
#define NAME_COLUMN  24

static void print_field(int width, const json_t *value, const char *after)
{
	_cleanup_free_ char *text = json_to_text(value);
	char shown[1024];

	(void)printf("%-*s%s", width,
	        str_escape_to(shown, sizeof(shown), text ? text : "", text ? strlen(text) : 0), after);
}

static void print_check(const json_t *check)
{
	const json_t *remedy = json_object_get(check, "remedy");

	print_field(STATE_COLUMN, json_object_get(check, "state"),
	        " "); /* finish_output looks at the stream's state */
	print_field(NAME_COLUMN, json_object_get(check, "name"), " ");
	print_field(0, json_object_get(check, "detail"), "\n");
	if (!str_empty(json_string_value(remedy))) {
		(void)printf("%*s", STATE_COLUMN + 1, "");
		print_field(0, remedy, "\n");
	}
}

static int run_doctor(struct context *ctx, struct ct_error *err)
{
	_cleanup_json_ json_t *answer = NULL;
	const json_t *check;
	size_t i;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", "/v1/doctor", NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	json_array_foreach(json_object_get(answer, "checks"), i, check) print_check(check);

	return finish_output(err);
}

const struct command command_doctor = {
	.name = "doctor",
	.operands = "",
	.summary = "Say what this host can do, what is missing, and the remedy",
	.run = run_doctor,
};
