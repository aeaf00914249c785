/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic, as ctd.conf names them. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "netns/net.h"

struct conf;

#define CONF_CLASS_NAME 24 /* bytes of a name, with its end */

struct conf_class {
	char name[CONF_CLASS_NAME];
	char *words; /* as they were given; used up by conf_classes_finish */
	struct ip_addr *prefixes;
	size_t n, max;
};

/* One line's value: adds to the class it names. -EINVAL. */
int conf_read_class(struct conf *conf, const char *value);
/* Reads the prefixes and the files with them. -EINVAL with a sentence. */
int conf_classes_finish(struct conf *conf, struct ct_error *err);
void conf_classes_done(struct conf *conf);
/* Small letters, digits and -, and it fits. */
bool conf_class_is_name(const char *s);
/* The number of a class, or -ENOENT. */
int conf_class_find(const struct conf *conf, const char *name);
