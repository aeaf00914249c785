/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rows of the table that reads a configuration; only config.c and config-*.c include this. */
#pragma once

#include "ctd/config.h"

struct config_key {
	const char *name;
	size_t offset, has_offset; /* has_offset 0: none */
	int (*read)(const struct config_key *key, const json_t *value, struct config *config,
	        struct ct_error *err);
	uint64_t min, max;
	bool live; /* a running container follows a change */
};

/* The keys of struct limits; ends with .name == NULL. */
extern const struct config_key config_limit_keys[];

/* A string without control characters, borrowed from the value. */
int config_read_string(const char *field, const json_t *value, const char **ret, struct ct_error *err);
int config_read_bool(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err);

/* config-net.c */
int config_read_nets(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err);
int config_read_publish(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err);
/* One of mode nat. -ENOMEM. */
int config_default_net(struct config *config);
