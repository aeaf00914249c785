/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's configuration: what is taken and refused, with the field; merging; names; strangers' bytes.
 * Limits are in test-limits.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "ctd/config.h"

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEVuZCBvZiBhIGtleSBmb3IgYSB0ZXN0Li4u a@b"

static int read_config(const char *text, struct config *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);

	assert_non_null(object);
	return config_from_json(object, ret, err);
}

static void refused(const char *text, const char *field)
{
	struct ct_error error = { 0 };
	struct config config;

	if (read_config(text, &config, &error) != -EINVAL)
		fail_msg("%s was accepted", text);
	assert_string_equal(error.field, field);
	assert_true(*error.text);
}

static void taken(const char *text)
{
	struct ct_error error = { 0 };
	struct config config;

	if (read_config(text, &config, &error) < 0)
		fail_msg("%s: %s", text, error.text);
	config_done(&config);
}

static void test_defaults(void **state)
{
	struct config config;

	assert_int_equal(read_config("{}", &config, NULL), 0);
	assert_string_equal(config.hostname, "");
	assert_false(config.autostart);
	assert_false(config.has_stop_timeout);
	assert_int_equal(config.n_nets, 1);
	config_done(&config);
	config_done(&config);
}

static void test_values(void **state)
{
	struct config config;

	assert_int_equal(
	        read_config("{\"hostname\":\"web.example\",\"autostart\":\"yes\",\"autostart_order\":\"7\","
	                    "\"stop_timeout\":0,\"ssh_keys\":[\"" KEY "\"],\"dns\":[\"2001:db8::1\"],"
	                    "\"net\":[{\"mode\":\"none\"}],\"disabled\":null}",
	                &config, NULL),
	        0);
	assert_string_equal(config.hostname, "web.example");
	assert_true(config.autostart);
	assert_int_equal(config.autostart_order, 7);
	assert_true(config.has_stop_timeout);
	assert_int_equal(config.stop_timeout_sec, 0);
	assert_int_equal(config.n_ssh_keys, 1);
	assert_string_equal(config.ssh_keys[0], KEY);
	assert_int_equal(config.n_dns, 1);
	assert_false(config.disabled);
	config_done(&config);
}

static void test_owners(void **state)
{
	struct config config;

	taken("{\"owner\":\"M\u00fcller & S\u00f6hne, \\\"4711\\\"\"}");
	refused("{\"owner\":\"\"}", "owner");
	refused("{\"owner\":\" a\"}", "owner");
	refused("{\"owner\":\"a \"}", "owner");
	refused("{\"owner\":\"a\\nb\"}", "owner");
	refused("{\"owner\":\"a\\u001bb\"}", "owner");
	refused("{\"owner\":\"a\\u009bb\"}", "owner");
	refused("{\"owner\":\"a\\u007f\"}", "owner");
	refused("{\"owner\":7}", "owner");
	refused("{\"owner\":\"0123456789012345678901234567890123456789012345678901234567890"
	        "123456789012345678901234567890123456789012345678901234567890\"}",
	        "owner");
	assert_int_equal(read_config("{\"owner\":\"a b\"}", &config, NULL), 0);
	assert_string_equal(config.owner, "a b");
	config_done(&config);
}

static void test_hostnames(void **state)
{
	taken("{\"hostname\":\"a\"}");
	taken("{\"hostname\":\"a-b.c9\"}");
	refused("{\"hostname\":\"\"}", "hostname");
	refused("{\"hostname\":\"A\"}", "hostname");
	refused("{\"hostname\":\"-a\"}", "hostname");
	refused("{\"hostname\":\"a-\"}", "hostname");
	refused("{\"hostname\":\"a..b\"}", "hostname");
	refused("{\"hostname\":\"a.\"}", "hostname");
	refused("{\"hostname\":\".a\"}", "hostname");
	refused("{\"hostname\":\"a b\"}", "hostname");
	refused("{\"hostname\":\"a\\nb\"}", "hostname");
	refused("{\"hostname\":\"a\\u0000b\"}", "hostname");
	refused("{\"hostname\":7}", "hostname");
	refused("{\"hostname\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
	        "hostname");
}

/* A key line ends up in a file of the guest's root: options could name commands, a line end another key. */
static void test_ssh_keys(void **state)
{
	taken("{\"ssh_keys\":[]}");
	refused("{\"ssh_keys\":\"" KEY "\"}", "ssh_keys");
	refused("{\"ssh_keys\":[\"command=\\\"id\\\" " KEY "\"]}", "ssh_keys");
	refused("{\"ssh_keys\":[\"" KEY "\\n" KEY "\"]}", "ssh_keys");
	refused("{\"ssh_keys\":[\"" KEY "\", 1]}", "ssh_keys");
	refused("{\"ssh_keys\":[\"ssh-ed25519 \"]}", "ssh_keys");
	refused("{\"ssh_keys\":[\"ssh-ed25519 BBBB\"]}", "ssh_keys");
	refused("{\"ssh_keys\":[\"ssh-dss AAAAB3Nz\"]}", "ssh_keys");
}

static void test_too_many_keys(void **state)
{
	_cleanup_json_ json_t *object = json_pack("{s:[]}", "ssh_keys");
	json_t *list = json_object_get(object, "ssh_keys");
	struct ct_error error = { 0 };
	struct config config;

	for (unsigned i = 0; i < CONFIG_KEYS_MAX; i++)
		assert_int_equal(json_array_append_new(list, json_string(KEY)), 0);
	assert_int_equal(config_from_json(object, &config, &error), 0);
	assert_int_equal(config.n_ssh_keys, CONFIG_KEYS_MAX);
	config_done(&config);
	assert_int_equal(json_array_append_new(list, json_string(KEY)), 0);
	assert_int_equal(config_from_json(object, &config, &error), -EINVAL);
}

static void test_others(void **state)
{
	refused("{\"autostart\":\"perhaps\"}", "autostart");
	refused("{\"autostart\":1}", "autostart");
	refused("{\"autostart_order\":-1}", "autostart_order");
	refused("{\"autostart_order\":10000}", "autostart_order");
	refused("{\"autostart_order\":1.5}", "autostart_order");
	refused("{\"stop_timeout\":86401}", "stop_timeout");
	refused("{\"dns\":[\"224.0.0.1\"]}", "dns");
	refused("{\"dns\":[\"192.0.2.1\",\"192.0.2.1\",\"192.0.2.1\",\"192.0.2.1\"]}", "dns");
	refused("{\"dns\":{}}", "dns");
	refused("{\"plan\":\"../x\"}", "plan");
	refused("{\"_pending\":1}", "_pending");
	refused("{\"of_tomorrow\":1}", "of_tomorrow");
	refused("[]", "config");
}

static void test_patch(void **state)
{
	_cleanup_json_ json_t *base = json_pack("{s:s,s:b}", "hostname", "a", "autostart", 1),
	                      *patch = json_pack("{s:n,s:i}", "hostname", "autostart_order", 3),
	                      *hidden = json_pack("{s:{}}", "_pending"), *merged = NULL;
	struct ct_error error = { 0 };

	assert_int_equal(config_check_patch(patch, &error), 0);
	merged = config_merge(base, patch);
	assert_null(json_object_get(merged, "hostname"));
	assert_true(json_is_true(json_object_get(merged, "autostart")));
	assert_int_equal(json_integer_value(json_object_get(merged, "autostart_order")), 3);
	assert_string_equal(json_string_value(json_object_get(base, "hostname")), "a");

	assert_int_equal(config_check_patch(hidden, &error), -EINVAL);
	assert_string_equal(error.field, "_pending");
}

static void test_names(void **state)
{
	static const char *const good[] = { "a", "web-1", "1a", "deadbeef" };
	static const char *const bad[] = { "", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "12",
		"0123456789abcdef0123456789abcdef",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct ct_error error = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(config_check_name("name", good[i], &error), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(config_check_name("name", bad[i], &error), -EINVAL);
	assert_string_equal(error.field, "name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_hostnames),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_ssh_keys),
		cmocka_unit_test(test_too_many_keys),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_patch),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
