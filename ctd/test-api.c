/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds the table of routes, openapi.json and the man page against each other. The handlers are not the
 * daemon's: api.h is made to define them here, so a row without its prototype does not link. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define API_HANDLER(name)                                                                                    \
	int name(struct manager *m, struct call *call, struct ct_error *err);                                \
	int name(struct manager *m, struct call *call, struct ct_error *err)                                 \
	{                                                                                                    \
		return -ENOSYS;                                                                              \
	}                                                                                                    \
	_Static_assert(1, "")

#include "ctd/api.h"

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

extern const char openapi_text[];
extern const size_t openapi_text_len;

static json_t *document;

static int setup(void **state)
{
	struct ct_error err = { 0 };

	if (json_parse(openapi_text, openapi_text_len, &document, &err) < 0)
		fail_msg("openapi.json: %s", err.text);
	return 0;
}

static int teardown(void **state)
{
	json_decref(document);
	return 0;
}

/* Follows "#/a/b"; a path in it has its slashes written as ~1, which we do not use. */
static const json_t *resolve(const json_t *value)
{
	const char *ref = json_string_value(json_object_get(value, "$ref"));

	if (!ref)
		return value;

	_cleanup_free_ char *copy = strdup(ref);
	char *rest = copy, *word = strsep(&rest, "/");
	const json_t *at = document;
	assert_string_equal(word, "#");
	while ((word = strsep(&rest, "/")) && at)
		at = json_object_get(at, word);
	if (!at)
		fail_msg("there is nothing at %s", ref);
	return at;
}

static const char *lower(const char *method)
{
	static char buf[16];
	size_t i;

	for (i = 0; method[i] && i < sizeof(buf) - 1; i++)
		buf[i] = (char)(method[i] | 0x20);
	buf[i] = '\0';
	return buf;
}

static const json_t *path_of(const struct api_route *route)
{
	const json_t *path = json_object_get(json_object_get(document, "paths"), route->path);

	if (!path)
		fail_msg("openapi.json has no %s", route->path);
	return path;
}

static const json_t *operation_of(const struct api_route *route)
{
	const json_t *operation = json_object_get(path_of(route), lower(route->method));

	if (!operation)
		fail_msg("openapi.json has no %s %s", route->method, route->path);
	return operation;
}

static void test_routes_are_documented(void **state)
{
	for (const struct api_route *route = api_routes; route->method; route++) {
		const json_t *operation = operation_of(route),
		             *responses = json_object_get(operation, "responses");

		assert_string_equal(
		        json_string_value(json_object_get(operation, "operationId")), route->operation);
		assert_true(json_string_length(json_object_get(operation, "summary")) > 0);
		assert_non_null(json_object_get(responses, "default"));
		assert_int_equal(json_object_size(responses), 2);
		for (const struct api_route *other = api_routes; other < route; other++) {
			assert_string_not_equal(other->operation, route->operation);
			assert_ptr_not_equal(other->handler, route->handler);
		}
	}
}

static void test_documented_paths_have_routes(void **state)
{
	const char *path, *method;
	json_t *operations, *operation;

	json_object_foreach(json_object_get(document, "paths"), path, operations)
	{
		json_object_foreach(operations, method, operation)
		{
			const struct api_route *route = api_routes;

			if (str_eq(method, "parameters"))
				continue;
			while (route->method &&
			        !(str_eq(route->path, path) && str_eq(lower(route->method), method)))
				route++;
			if (!route->method)
				fail_msg("no route for %s %s", method, path);
		}
	}
}

static void test_changes(void **state)
{
	for (const struct api_route *route = api_routes; route->method; route++) {
		const json_t *parameters = json_object_get(operation_of(route), "parameters");
		json_t *parameter;
		bool has_id = false;
		size_t i;

		json_array_foreach(parameters, i, parameter) has_id |= str_eq(
		        json_string_value(json_object_get(resolve(parameter), "name")), "X-Request-Id");

		assert_int_equal(route->changes, !str_eq(route->method, "GET"));
		assert_int_equal(route->changes, has_id);
	}
}

static bool has_word(const char *words, const char *word)
{
	char padded[128], wanted[64];

	snprintf(padded, sizeof(padded), " %s ", words ? words : "");
	snprintf(wanted, sizeof(wanted), " %s ", word);
	return strstr(padded, wanted) != NULL;
}

static size_t count_words(const char *words)
{
	size_t n = words != NULL;

	for (; words && *words; words++)
		n += *words == ' ';
	return n;
}

/* Query parameters are those of the route, path parameters those of the path; all are typed. */
static void check_parameters(
        const struct api_route *route, const json_t *parameters, size_t *n_query, size_t *n_path)
{
	json_t *item;
	size_t i;

	json_array_foreach(parameters, i, item)
	{
		const json_t *parameter = resolve(item);
		const char *name = json_string_value(json_object_get(parameter, "name"));
		const char *in = json_string_value(json_object_get(parameter, "in"));
		char braced[64];

		assert_true(json_is_object(json_object_get(parameter, "schema")));
		snprintf(braced, sizeof(braced), "{%s}", name);
		if (str_eq(in, "query") && !has_word(route->query, name))
			fail_msg("%s does not accept the parameter %s", route->operation, name);
		if (str_eq(in, "path") && !strstr(route->path, braced))
			fail_msg("%s has no %s", route->path, braced);
		*n_query += str_eq(in, "query");
		*n_path += str_eq(in, "path");
	}
}

static void test_parameters(void **state)
{
	for (const struct api_route *route = api_routes; route->method; route++) {
		size_t n_query = 0, n_path = 0, n_braces = 0;

		check_parameters(
		        route, json_object_get(operation_of(route), "parameters"), &n_query, &n_path);
		check_parameters(route, json_object_get(path_of(route), "parameters"), &n_query, &n_path);
		for (const char *c = route->path; *c; c++)
			n_braces += *c == '{';
		assert_int_equal(n_query, count_words(route->query));
		assert_int_equal(n_path, n_braces);
	}
}

/* A body is an object whose properties are all listed; queries have none. */
static void test_bodies(void **state)
{
	for (const struct api_route *route = api_routes; route->method; route++) {
		const json_t *body = json_object_get(operation_of(route), "requestBody");
		const json_t *schema = resolve(json_object_get(
		        json_object_get(json_object_get(body, "content"), "application/json"), "schema"));

		if (!route->changes) {
			assert_null(body);
			continue;
		}
		if (!schema || !json_is_object(json_object_get(schema, "properties")) ||
		        !json_is_false(json_object_get(schema, "additionalProperties")))
			fail_msg("the body of %s is not closed", route->operation);
		assert_string_equal(json_string_value(json_object_get(schema, "type")), "object");
		assert_int_equal(json_is_true(json_object_get(body, "required")),
		        json_array_size(json_object_get(schema, "required")) > 0 ||
		                str_eq(route->operation, "containerSet"));
	}
}

/* Every reference leads somewhere, and what is required is there. */
static void check_value(const json_t *value)
{
	const json_t *properties = json_object_get(value, "properties");
	json_t *item;
	const char *key;
	size_t i;

	(void)resolve(value);
	if (json_is_object(properties) && json_is_array(json_object_get(value, "required"))) {
		json_array_foreach(json_object_get(value, "required"), i,
		        item) if (!json_object_get(properties, json_string_value(item)))
		        fail_msg("\"%s\" is required but not described", json_string_value(item));
	}

	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, key, item) check_value(item);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item) check_value(item);
	}
}

static void test_references(void **state)
{
	assert_string_equal(json_string_value(json_object_get(document, "openapi")), "3.0.3");
	check_value(document);
}

/* At the first place where two paths of a method differ, neither may be a {segment}: no request matches both.
 */
static bool ambiguous(const char *a, const char *b)
{
	while (*a && *b) {
		size_t la = strcspn(a + 1, "/") + 1, lb = strcspn(b + 1, "/") + 1;

		if (la != lb || memcmp(a, b, la) != 0) {
			if (a[1] != '{' && b[1] != '{')
				return false;
		}
		a += la;
		b += lb;
	}

	return *a == *b;
}

static void test_routes_are_unambiguous(void **state)
{
	for (const struct api_route *a = api_routes; a->method; a++)
		for (const struct api_route *b = api_routes; b < a; b++)
			if (str_eq(a->method, b->method) && ambiguous(a->path, b->path))
				fail_msg("%s and %s match the same requests", a->path, b->path);

	assert_true(ambiguous("/v1/a/{x}", "/v1/a/b"));
	assert_true(ambiguous("/v1/{x}/b", "/v1/a/{y}"));
	assert_false(ambiguous("/v1/{x}/b", "/v1/a/c"));
	assert_false(ambiguous("/v1/a", "/v1/a/b"));
}

static void test_man_page(void **state)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(read_file_at(AT_FDCWD, CTD_API_MAN, 1024 * 1024, &text, NULL), 0);
	for (const struct api_route *route = api_routes; route->method; route++) {
		char line[128];
		snprintf(line, sizeof(line), "Li %s %s\n", route->method, route->path);
		if (!strstr(text, line))
			fail_msg("ctd-api(7) does not mention %s %s", route->method, route->path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes_are_documented),
		cmocka_unit_test(test_documented_paths_have_routes),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_routes_are_unambiguous),
		cmocka_unit_test(test_man_page),
	};

	return cmocka_run_group_tests_name("api", tests, setup, teardown);
}
