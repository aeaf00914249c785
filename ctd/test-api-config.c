/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keys of a container's configuration that openapi.json describes are those that config.c reads: none
 * more, none less. The table is not for others to see, so config.c is part of this file. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ctd/config.c"

#include "base/json.h"

extern const char openapi_text[];
extern const size_t openapi_text_len;

static json_t *document;

static int setup(void **state)
{
	return json_parse(openapi_text, openapi_text_len, &document, NULL);
}

static int teardown(void **state)
{
	json_decref(document);
	return 0;
}

static const json_t *properties_of(const char *schema)
{
	const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
	const json_t *properties = json_object_get(json_object_get(schemas, schema), "properties");

	assert_true(json_is_object(properties));
	return properties;
}

static void expect_documented(const char *name)
{
	if (name[0] == '_')
		return;
	if (!json_object_get(properties_of("Config"), name) ||
	        !json_object_get(properties_of("ConfigPart"), name))
		fail_msg("openapi.json does not describe the key \"%s\" of a configuration", name);
}

static void test_keys_are_documented(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		expect_documented(keys[i].name);
	for (const struct config_key *key = config_limit_keys; key->name; key++)
		expect_documented(key->name);
}

static void test_documented_keys_are_read(void **state)
{
	_cleanup_json_ json_t *patch = json_object();
	struct ct_error err = { 0 };
	json_t *property;
	const char *name;

	json_object_foreach((json_t *)properties_of("ConfigPart"), name, property)
	        assert_int_equal(json_object_set_new(patch, name, json_null()), 0);
	if (config_check_patch(patch, &err) < 0)
		fail_msg("openapi.json describes too much: %s", err.text);
	assert_int_equal(json_object_size(properties_of("Config")), json_object_size(patch));
}

/* The bounds and words that the document promises are accepted, what is beyond them is not. */
static void try_value(const char *name, json_t *value, bool accepted)
{
	_cleanup_json_ json_t *object = json_pack("{s:o}", name, value);
	struct ct_error err = { 0 };
	struct config config;

	int r = config_from_json(object, &config, &err);
	if (r == 0)
		config_done(&config);
	if ((r == 0) != accepted)
		fail_msg("%s %s: %s", name, accepted ? "is refused" : "is accepted beyond its bounds",
		        err.text);
}

static void test_bounds(void **state)
{
	json_t *property;
	const char *name;

	json_object_foreach((json_t *)properties_of("Config"), name, property)
	{
		const json_t *low = json_object_get(property, "minimum"),
		             *high = json_object_get(property, "maximum");

		if (json_integer_value(low) > 0)
			try_value(name, json_integer(json_integer_value(low) - 1), false);
		if (high) {
			try_value(name, json_integer(json_integer_value(high)), true);
			try_value(name, json_integer(json_integer_value(high) + 1), false);
		}
		if (json_is_integer(low))
			try_value(name, json_integer(json_integer_value(low)), true);
		try_value(name, json_pack("[[]]"), false);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_documented),
		cmocka_unit_test(test_documented_keys_are_read),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests_name("api-config", tests, setup, teardown);
}
