/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A command of ctctl: one row of the table that dispatches, prints the help, feeds the completion and is
 * walked by the tests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "ctctl/client.h"
#include "ctctl/options.h"

/* What an operand of a command names; tells the completion where to look. */
enum operand_kind {
	OPERAND_NONE,
	OPERAND_CONTAINER,
	OPERAND_TEMPLATE,
	OPERAND_RECIPE,
	OPERAND_NETWORK,
	OPERAND_JOB,
	OPERAND_COMMAND,
};

#define OPERANDS_ANY SIZE_MAX

struct context {
	const struct command *command;
	int argc; /* of the command: argv[0] is its last word */
	char **argv;

	struct client client;
	bool json;       /* --json */
	bool help;       /* --help was met; nothing is to be done */
	int exit_status; /* when the command itself went well: 0, or what exec passes through */

	char **operands; /* set by options_parse; borrowed from argv */
	size_t n_operands;
};

struct command {
	const char *name;     /* one word, or two for a member of a family: "template build" */
	const char *family;   /* its first word then; else NULL */
	const char *operands; /* as the usage line shows them */
	const char *summary;  /* one line without a full stop */
	size_t min_operands, max_operands;
	enum operand_kind completes;
	const struct option_row *options; /* ends with .name == NULL; NULL: only the common ones */
	bool takes_config;                /* --option for each row of config_rows as well */
	bool takes_limits;                /* only for those that are limits */
	bool takes_command; /* what follows the first operand is another program's command line */
	int (*run)(struct context *ctx, struct ct_error *err);
};

extern const struct command *const commands[]; /* ends with NULL */

/* The command that the words name; *ret_words is 1 or 2, how many of them are its name. NULL: none, *err says
 * what there is. */
const struct command *command_find(int argc, char *const *argv, int *ret_words, struct ct_error *err);
/* True if name is the first word of several commands. */
bool command_is_family(const char *name);
/* What ctctl's first argument may be: the family or the name. Borrowed from the table. */
const char *command_first_word(const struct command *c);
/* Prints usage and options. command NULL: the overview; family: the overview of its members only. */
void help_print_command(const struct command *command);
void help_print_overview(const char *family);

/* POST (or another method) /v1/containers/NAME[/VERB] for each operand; a failure is told and the others are
 * still tried. body may be NULL. Answers are printed as they are with --json, else by print, which is told
 * how long the call took, unless that is NULL. The first failure is what is returned; *err then has its kind
 * and an empty text. */
typedef int (*answer_fn)(const char *name, const json_t *answer, uint64_t usec, struct ct_error *err);
int command_each_container(struct context *ctx, const char *method, const char *verb, const json_t *body,
        answer_fn print, struct ct_error *err);

/* `ctctl: TEXT` on stderr, escaped. */
void tell_error(const struct ct_error *err);
/* The answer of the API: on one line, indented on a terminal; always pure ASCII. Flushed; a full stdout is
 * -EIO. */
int print_json(const json_t *value, struct ct_error *err);
/* The same on one line always, not flushed: for streams. */
int print_json_line(const json_t *value);
/* The nearest of the words, NULL: none is near. next returns them one by one and NULL at the end. */
const char *suggest(const char *word, const char *(*next)(void *state), void *state);

/* Every command, by file. */
extern const struct command command_create, command_start, command_stop, command_restart, command_kill,
        command_freeze, command_thaw, command_suspend, command_resume, command_checkpoint, command_restore,
        command_destroy, command_rename, command_list, command_show, command_top, command_plan_list,
        command_plan_create, command_plan_show, command_plan_set, command_plan_remove, command_set,
        command_exec, command_shell, command_console, command_log, command_template_list,
        command_template_build, command_template_import, command_template_export, command_template_show,
        command_template_remove, command_template_recipes, command_network_create, command_network_list,
        command_network_show, command_network_remove, command_network_cut, command_network_restore,
        command_events, command_audit, command_usage, command_stats, command_report, command_job_list,
        command_job_show, command_job_cancel, command_migrate, command_migrate_receive, command_evacuate,
        command_doctor, command_fsck, command_version, command_help;
