/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON.
 *
 * A request is read by a table: what is not in the table is refused by name, so that a misspelt limit is an
 * error and not a container without that limit. Numbers must be integers (1.0 is not), strings have no NUL
 * inside (jansson refuses it while parsing, we when reading), null is the same as absent.
 *
 * jansson [2.14] bounds depth at 2048 by itself, so parsing cannot overflow the stack; we take 32, which is
 * more than any document of ours has, so that everybody who walks a document may recurse.
 */

#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

#define DEPTH_MAX 32

static const char *const kind_texts[] = {
	[JSON_KIND_STRING] = "must be a string",
	[JSON_KIND_BOOL] = "must be true or false",
	[JSON_KIND_U64] = "must be a whole number, 0 or more",
	[JSON_KIND_I64] = "must be a whole number",
	[JSON_KIND_OBJECT] = "must be an object",
	[JSON_KIND_ARRAY] = "must be an array",
	[JSON_KIND_ANY] = "must be a value",
};

static bool kind_matches(const json_t *value, enum json_kind kind)
{
	switch (kind) {
	case JSON_KIND_STRING:
		return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
	case JSON_KIND_BOOL: return json_is_boolean(value);
	case JSON_KIND_U64: return json_is_integer(value) && json_integer_value(value) >= 0;
	case JSON_KIND_I64: return json_is_integer(value);
	case JSON_KIND_OBJECT: return json_is_object(value);
	case JSON_KIND_ARRAY: return json_is_array(value);
	case JSON_KIND_ANY: return true;
	}

	return false;
}

static void store(json_t *value, enum json_kind kind, void *to)
{
	switch (kind) {
	case JSON_KIND_STRING: *(const char **)to = json_string_value(value); break;
	case JSON_KIND_BOOL: *(bool *)to = json_is_true(value); break;
	case JSON_KIND_U64: *(uint64_t *)to = (uint64_t)json_integer_value(value); break;
	case JSON_KIND_I64: *(int64_t *)to = json_integer_value(value); break;
	case JSON_KIND_OBJECT:
	case JSON_KIND_ARRAY:
	case JSON_KIND_ANY: *(json_t **)to = value; break;
	}
}

static bool is_known(const struct json_field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (str_eq(fields->name, name))
			return true;

	return false;
}

static int refuse_unknown(const json_t *object, const struct json_field *fields, struct ct_error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value) if (!is_known(fields, name)) return ct_error_field(
	        err, name, "unknown field \"%s\"", name);

	return 0;
}

static int read_field(const json_t *object, const struct json_field *f, char *target, struct ct_error *err)
{
	json_t *value = json_object_get(object, f->name);
	bool there = value && !json_is_null(value);

	if (!there && f->required)
		return ct_error_field(err, f->name, "\"%s\" is required", f->name);
	if (there && !kind_matches(value, f->kind))
		return ct_error_field(err, f->name, "\"%s\" %s", f->name, kind_texts[f->kind]);

	if (there)
		store(value, f->kind, target + f->offset);
	if (f->has_offset != JSON_NO_HAS)
		*(bool *)(target + f->has_offset) = there;
	return 0;
}

/* A field that is absent leaves its place in target as it was. On failure some may have been written. */
int json_read(const json_t *object, const struct json_field *fields, void *target, struct ct_error *err)
{
	if (!json_is_object(object))
		return ct_error_field(err, NULL, "a JSON object is expected here");

	int r = refuse_unknown(object, fields, err);
	if (r < 0)
		return r;

	for (const struct json_field *f = fields; f->name; f++) {
		r = read_field(object, f, target, err);
		if (r < 0)
			return r;
	}

	return 0;
}

/* Recurses at most as deep as jansson has parsed. */
static bool deeper_than(const json_t *value, unsigned int max)
{
	const char *name;
	json_t *child;
	size_t i;

	if (!json_is_object(value) && !json_is_array(value))
		return false;
	if (max == 0)
		return true;

	json_object_foreach((json_t *)value, name, child) if (deeper_than(child, max - 1)) return true;
	json_array_foreach(value, i, child) if (deeper_than(child, max - 1)) return true;

	return false;
}

static int too_deep(struct ct_error *err)
{
	return ct_error_kind_set(
	        err, CT_ERROR_USAGE, -E2BIG, "this JSON is nested more than %d levels deep", DEPTH_MAX);
}

int json_parse(const char *text, size_t len, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *value = NULL;
	json_error_t e;

	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!value && json_error_code(&e) == json_error_stack_overflow)
		return too_deep(err);
	if (!value)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "not valid JSON at line %d, column %d: %s", e.line, e.column, e.text);
	if (deeper_than(value, DEPTH_MAX))
		return ct_error_kind_set(err, CT_ERROR_USAGE, -E2BIG,
		        "this JSON is nested more than %d levels deep", DEPTH_MAX);

	*ret = TAKE_PTR(value);
	return 0;
}

/* The error may have come over a socket: nothing is believed about its strings. */
static int set_text(json_t *object, const char *key, const char *text, size_t size)
{
	char safe[sizeof(((struct ct_error *)0)->text)];

	str_escape_to(safe, sizeof(safe), text, strnlen(text, size));
	return json_object_set_new(object, key, json_string(safe));
}

json_t *json_from_error(const struct ct_error *err)
{
	_cleanup_json_ json_t *outer = json_object(), *inner = json_object();
	const char *code = ct_error_kind_name(err->kind);

	if (!outer || !inner)
		return NULL;
	if (json_object_set_new(inner, "code", json_string(code)) < 0 ||
	        set_text(inner, "message", err->text, sizeof(err->text)) < 0)
		return NULL;
	if (err->field[0] && set_text(inner, "field", err->field, sizeof(err->field)) < 0)
		return NULL;
	if (json_object_set(outer, "error", inner) < 0)
		return NULL;

	return TAKE_PTR(outer);
}
