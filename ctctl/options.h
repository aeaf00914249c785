/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of commands as tables, read by getopt_long(3). */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct context;

enum option_kind {
	OPTION_FLAG,    /* bool, becomes true */
	OPTION_CLEAR,   /* bool, becomes false */
	OPTION_STRING,  /* const char * */
	OPTION_INT,     /* int64_t, >= 0; initialise with -1 for "not given" */
	OPTION_SECONDS, /* int64_t, whole seconds; takes 90, 90s, 5m */
	OPTION_LIST,    /* struct string_list; may be given several times */
};

struct option_row {
	const char *name;
	char letter; /* 0: none */
	enum option_kind kind;
	const char *metavar; /* NULL for flags */
	const char *help;
	size_t offset; /* in the values of the command */
};

struct string_list {
	const char **items; /* borrowed strings */
	size_t n;
};

static inline void string_list_done(struct string_list *l)
{
	free(l->items);
	*l = (struct string_list){ 0 };
}
int string_list_add(struct string_list *l, const char *item);

/* The options that every command has; the first rows of what options_parse accepts. */
extern const struct option_row common_options[];

/* Reads ctx->argv by the table of ctx->command into *values (laid out as its rows say) and, for commands with
 * takes_config, into the object config. Sets ctx->operands. With --help: -ECANCELED and ctx->help. */
int options_parse(struct context *ctx, void *values, json_t *config, struct ct_error *err);

/* Reads only what stands before the first operand, by common_options: what `ctctl [options] COMMAND` takes.
 * Returns how many words those were. */
int options_parse_global(struct context *ctx, int argc, char **argv, struct ct_error *err);
