/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Templates: what a root filesystem says about itself, recipes, and building one (ct-template(5)). */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct manager;

/* The metadata of a template image as the daemon needs it. Kept as JSON in template_image.metadata; checked
 * whenever it is read, because an image may come from elsewhere. */
struct template_meta {
	char *distribution, *release; /* debian 12 */
	char **init;                  /* argument vector, NULL-ended; absolute path inside */
	char **env;                   /* NAME=VALUE, NULL-ended; container=ctd is always added by start */
	char **run_masks;             /* systemd units to mask in /run, NULL-ended */
	int stop_signal; /* of a clean stop, sent to init: SIGRTMIN+3 for systemd, SIGUSR2 for busybox */
};
/* In the archive of a template that was exported, at the root of it. */
#define TEMPLATE_META_FILE ".ctd-template.json"

void template_meta_done(struct template_meta *meta);
int template_meta_from_json(const char *text, struct template_meta *ret, struct ct_error *err);
