/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of commands, in the order in which the help shows them, and how words become a row of it.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"

const struct command *const commands[] = {
	&command_create,
	&command_start,
	&command_stop,
	&command_restart,
	&command_kill,
	&command_freeze,
	&command_thaw,
	&command_suspend,
	&command_resume,
	&command_checkpoint,
	&command_restore,
	&command_destroy,
	&command_rename,
	&command_migrate,
	&command_evacuate,
	&command_list,
	&command_show,
	&command_set,
	&command_top,
	&command_exec,
	&command_shell,
	&command_console,
	&command_log,
	&command_plan_create,
	&command_plan_list,
	&command_plan_show,
	&command_plan_set,
	&command_plan_remove,
	&command_template_list,
	&command_template_build,
	&command_template_import,
	&command_template_export,
	&command_template_show,
	&command_template_remove,
	&command_template_recipes,
	&command_network_create,
	&command_network_list,
	&command_network_show,
	&command_network_remove,
	&command_network_cut,
	&command_network_restore,
	&command_events,
	&command_audit,
	&command_usage,
	&command_stats,
	&command_report,
	&command_job_list,
	&command_job_show,
	&command_job_cancel,
	&command_doctor,
	&command_fsck,
	&command_migrate_receive,
	&command_version,
	&command_help,
	NULL,
};

const char *command_first_word(const struct command *c)
{
	return c->family ? c->family : c->name;
}

bool command_is_family(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (str_eq((*c)->family, name))
			return true;

	return false;
}

static const char *next_first_word(void *state)
{
	const struct command *const **c = state;

	return **c ? command_first_word(*(*c)++) : NULL;
}

static const struct command *fail_first(const char *word, struct ct_error *err)
{
	const struct command *const *walk = commands;
	const char *near = suggest(word, next_first_word, &walk);

	if (near)
		(void)ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "unknown command \"%s\"; did you mean %s?", word, near);
	else
		(void)ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "unknown command \"%s\"; \"ctctl help\" lists them", word);

	return NULL;
}

static const struct command *fail_member(const char *family, const char *word, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf known = STRBUF_INIT;

	for (const struct command *const *c = commands; *c; c++)
		if (str_eq((*c)->family, family))
			(void)strbuf_printf(&known, "%s%s", known.len ? ", " : "",
			        (*c)->name + strlen(family) + 1); /* only a list for people */

	if (word)
		(void)ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "unknown command \"%s %s\"; there are: %s", family, word, known.data);
	else
		(void)ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "%s needs one of: %s", family, known.data);

	return NULL;
}

const struct command *command_find(int argc, char *const *argv, int *ret_words, struct ct_error *err)
{
	const char *second = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;

	for (const struct command *const *c = commands; *c; c++) {
		*ret_words = (*c)->family ? 2 : 1;
		if (!(*c)->family && str_eq((*c)->name, argv[0]))
			return *c;
		if (second && str_eq((*c)->family, argv[0]) &&
		        str_eq((*c)->name + strlen(argv[0]) + 1, second))
			return *c;
	}

	return command_is_family(argv[0]) ? fail_member(argv[0], second, err) : fail_first(argv[0], err);
}
