/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jansson with cleanup, and reading an object strictly: every field known, every type checked, the culprit
 * named. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define _cleanup_json_ CLEANUP(json_decrefp) /* jansson's own */

enum json_kind {
	JSON_KIND_STRING, /* const char *, borrowed from the object */
	JSON_KIND_BOOL,   /* bool */
	JSON_KIND_U64,    /* uint64_t; a JSON integer >= 0 */
	JSON_KIND_I64,    /* int64_t */
	JSON_KIND_OBJECT, /* json_t *, borrowed */
	JSON_KIND_ARRAY,  /* json_t *, borrowed */
	JSON_KIND_ANY,    /* json_t *, borrowed */
};

/* One field that an object may have. offset is where in the target the value goes, has_offset where a bool
 * says that it was there (SIZE_MAX: nowhere). null in the input counts as absent. */
struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset;
	size_t has_offset;
	bool required;
};

#define JSON_NO_HAS SIZE_MAX

/* Reads object by the table into *target; unknown fields are refused. fields ends with .name == NULL. -EINVAL
 * with err->field. */
int json_read(const json_t *object, const struct json_field *fields, void *target, struct ct_error *err);

/* Parses at most len bytes; duplicates refused, depth bounded (by jansson: 2048; we refuse above 32).
 * -EINVAL, -E2BIG. */
int json_parse(const char *text, size_t len, json_t **ret, struct ct_error *err);

/* {"error": {"code": KIND, "message": TEXT, "field": FIELD?}}; NULL: out of memory. */
json_t *json_from_error(const struct ct_error *err);
