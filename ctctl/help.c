/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl help: printed from the table of commands, so that it cannot be wrong.
 *
 * --list prints names alone, one a line: the commands, or the members of a family. --options prints what a
 * command accepts, as `--name` or `--name=`, --keys the keys of the configuration that it takes, --operand
 * which objects it names. The completion is built on these, and so are the tests that look for manual pages.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/config.h"
#include "ctctl/table.h"

#define HELP_COLUMN 30

static void print_option(
        char letter, const char *prefix, const char *name, const char *metavar, const char *help)
{
	char left[96];

	/* Names and metavars are ours and short. */
	(void)snprintf(left, sizeof(left), "%c%c%s --%s%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
	        letter ? "," : " ", prefix, name, metavar ? " " : "", metavar ? metavar : "");
	(void)printf("  %-*s %s\n", HELP_COLUMN, left, help); /* finish_output looks at the stream's state */
}

static void print_rows(const struct option_row *rows)
{
	for (const struct option_row *row = rows; row && row->name; row++)
		print_option(row->letter, "", row->name, row->metavar, row->help);
}

/* The configuration that a command takes as options. */
static const struct config_row *rows_of(const struct command *command)
{
	return command->takes_config ? config_rows : command->takes_limits ? config_limits : NULL;
}

static void print_config_rows(const struct config_row *row)
{
	(void)printf("\nConfiguration:\n");
	for (; row->option; row++)
		print_option(
		        0, row->kind == CONFIG_BOOL ? "[no-]" : "", row->option, row->metavar, row->help);
}

void help_print_command(const struct command *command)
{
	if (!command) {
		help_print_overview(NULL);
		return;
	}

	(void)printf("Usage: ctctl %s%s%s%s\n%s.\n", command->name, str_empty(command->operands) ? "" : " ",
	        command->operands, command->options || rows_of(command) ? " [OPTION...]" : "",
	        command->summary);
	if (command->options) {
		(void)printf("\nOptions:\n");
		print_rows(command->options);
	}
	if (rows_of(command))
		print_config_rows(rows_of(command));

	(void)printf("\nOptions of every command:\n");
	print_rows(common_options);
	(void)printf("\nMore: man ctctl-%s\n", command_first_word(command));
}

void help_print_overview(const char *family)
{
	(void)printf("Usage: ctctl [OPTION...] %s%s[OPERAND...] [OPTION...]\n\n", family ? family : "COMMAND",
	        family ? " COMMAND " : " ");
	for (const struct command *const *c = commands; *c; c++)
		if (!family || str_eq((*c)->family, family))
			(void)printf("  %-20s %s\n", (*c)->name, (*c)->summary);

	(void)printf("\nOptions of every command:\n");
	print_rows(common_options);
	(void)printf(
	        "\nMore: ctctl help COMMAND, man %s%s\n", family ? "ctctl-" : "ctctl", family ? family : "");
}

/* The first words, once each though a family has several rows. */
static void print_first_words(void)
{
	const char *last = NULL;

	for (const struct command *const *c = commands; *c; c++) {
		const char *name = command_first_word(*c);
		if (!str_eq(name, last))
			(void)puts(name); /* finish_output looks at the stream's state */
		last = name;
	}
}

static void print_members(const char *family)
{
	for (const struct command *const *c = commands; *c; c++)
		if (str_eq((*c)->family, family))
			(void)puts((*c)->name + strlen(family) + 1); /* as above */
}

static void print_keys(void)
{
	for (const struct config_row *row = config_rows; row->option; row++)
		(void)printf("%s=\n", row->kind == CONFIG_ADDRESS ? row->option : row->key); /* as above */
}

static void print_option_names(const struct command *command)
{
	const struct option_row *const sets[] = { command->options, common_options };

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		for (const struct option_row *row = sets[i]; row && row->name; row++) {
			(void)printf("--%s%s\n", row->name, row->metavar ? "=" : "");
			if (row->letter)
				(void)printf("-%c\n", row->letter);
		}

	for (const struct config_row *row = rows_of(command); row && row->option; row++) {
		(void)printf("--%s%s\n", row->option, row->metavar ? "=" : "");
		if (row->kind == CONFIG_BOOL)
			(void)printf("--no-%s\n", row->option);
	}
}

static const char *operand_name(enum operand_kind kind)
{
	switch (kind) {
	case OPERAND_NONE: return "none";
	case OPERAND_CONTAINER: return "container";
	case OPERAND_TEMPLATE: return "template";
	case OPERAND_RECIPE: return "recipe";
	case OPERAND_NETWORK: return "network";
	case OPERAND_JOB: return "job";
	case OPERAND_COMMAND: return "command";
	}
	return "none";
}

struct help_values {
	bool list;
	bool options;
	bool operand;
	bool keys;
};

static const struct option_row help_options[] = {
	{ "list", 0, OPTION_FLAG, NULL, "names only: of all commands, or of a family's",
	        offsetof(struct help_values, list) },
	{ "options", 0, OPTION_FLAG, NULL, "what a command accepts, one a line",
	        offsetof(struct help_values, options) },
	{ "operand", 0, OPTION_FLAG, NULL, "what a command's operands name",
	        offsetof(struct help_values, operand) },
	{ "keys", 0, OPTION_FLAG, NULL, "the keys that set takes as KEY=VALUE",
	        offsetof(struct help_values, keys) },
	{ 0 },
};

/* Nothing, unless one of the options asks for it. */
static int print_for_programs(
        const struct help_values *v, const struct command *command, const char *family, struct ct_error *err)
{
	if ((v->options || v->operand) && !command)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "help: --options and --operand need a command");

	if (v->list && family)
		print_members(family);
	else if (v->list && !command)
		print_first_words();
	if (v->options)
		print_option_names(command);
	if (v->operand)
		(void)puts(operand_name(command->completes)); /* finish_output looks at the stream's state */
	if (v->keys)
		print_keys();

	return 0;
}

static int run_help(struct context *ctx, struct ct_error *err)
{
	struct help_values v = { 0 };
	const struct command *command = NULL;
	const char *family = NULL;
	int words = 0;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	if (ctx->n_operands == 1 && command_is_family(ctx->operands[0]))
		family = ctx->operands[0];
	else if (ctx->n_operands > 0) {
		command = command_find((int)ctx->n_operands, ctx->operands, &words, err);
		if (!command)
			return -EINVAL;
	}

	r = print_for_programs(&v, command, family, err);
	if (r < 0)
		return r;
	if (!v.list && !v.options && !v.operand && !v.keys)
		command ? help_print_command(command) : help_print_overview(family);

	return finish_output(err);
}

const struct command command_help = {
	.name = "help",
	.operands = "[COMMAND]",
	.summary = "Say what a command takes",
	.max_operands = 2,
	.completes = OPERAND_COMMAND,
	.options = help_options,
	.run = run_help,
};
