/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GET /v1/openapi.json: openapi.json of the source tree, built in by embed.c.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctd/api.h"

extern const char openapi_text[];
extern const size_t openapi_text_len;

int api_openapi_show(struct manager *m, struct call *call, struct ct_error *err)
{
	char *copy = malloc(openapi_text_len);
	if (!copy)
		return ct_error_set(err, -ENOMEM, NULL, "out of memory");

	memcpy(copy, openapi_text, openapi_text_len);
	call_reply_data(call, 200, "application/json", copy, openapi_text_len);
	return 0;
}
