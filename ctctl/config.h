/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys of a container's configuration as options and as key=value: one table. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

enum config_kind {
	CONFIG_STRING,    /* as it is */
	CONFIG_SIZE,      /* a size, checked, passed on as it was written */
	CONFIG_INT,       /* an integer >= 0 */
	CONFIG_SECONDS,   /* a time, passed on as whole seconds */
	CONFIG_BOOL,      /* --option and --no-option; key=yes */
	CONFIG_LIST,      /* an array of strings; the option is repeated, key=A,B */
	CONFIG_KEYS,      /* an array of SSH public keys; the option takes a file, - or a key */
	CONFIG_NET,       /* an array of objects: MODE[,key=value...] */
	CONFIG_DEVICE,    /* an array of objects: DEVICE[,key=value...] */
	CONFIG_ADDRESS,   /* .ip of the first object of net */
	CONFIG_INTERFACE, /* .KEY of the first object of net, a string; the row's key is KEY */
};

struct config_row {
	const char *option;
	const char *key;
	enum config_kind kind;
	const char *metavar; /* NULL for CONFIG_BOOL */
	const char *help;
};

extern const struct config_row config_rows[]; /* ends with .option == NULL */
/* The rows at the end of config_rows that are limits: what a plan may hold. */
extern const struct config_row *const config_limits;

/* The row of --NAME; *ret_negated: it was written --no-NAME (only of CONFIG_BOOL). NULL: none. */
const struct config_row *config_find_option(const char *name, bool *ret_negated);

/* What --option VALUE does to config: lists grow. negated is for CONFIG_BOOL, whose value is NULL. */
int config_apply_option(
        json_t *config, const struct config_row *row, const char *value, bool negated, struct ct_error *err);
/* What KEY=VALUE of set does: the value is the whole value; an empty one removes the key (JSON null). */
int config_apply_assignment(json_t *config, const char *assignment, struct ct_error *err);

/* True if something of an interface was given (--ip, --rate-out) but no interface: the container's present
 * ones are wanted. */
bool config_needs_net(const json_t *config);
/* Moves what belongs to the first interface there: of config, else of a copy of net (may be NULL), else of a
 * new one, routed if it has addresses. To be called once, before the configuration is sent. */
int config_finish(json_t *config, const json_t *net);
