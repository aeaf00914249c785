/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl version: ours and the daemon's. Ours is printed even if no daemon runs; the exit status says so then.
 */

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/properties.h"
#include "ctctl/table.h"

static const char *const version_order[] = { "ctctl", "version", "build", "api", "instance", "keeper",
	"state_dir", "runtime_dir", NULL };

static int run_version(struct context *ctx, struct ct_error *err)
{
	_cleanup_json_ json_t *answer = NULL;
	struct ct_error printed = { 0 };

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", "/v1/version", NULL, &answer, err);
	if (!answer)
		answer = json_object();
	if (json_object_set_new(answer, "ctctl", json_string(CTD_VERSION)) < 0)
		return -ENOMEM;

	int p = ctx->json ? print_json(answer, &printed) : properties_print(answer, version_order, &printed);
	if (r == 0 && p < 0)
		*err = printed;

	return r < 0 ? r : p;
}

const struct command command_version = {
	.name = "version",
	.operands = "",
	.summary = "Print the versions of ctctl, the daemon and the keeper",
	.run = run_version,
};
