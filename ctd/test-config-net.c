/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interfaces and published ports of a configuration: what is read, and what is refused with which field. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "base/json.h"
#include "ctd/config.h"

static int read_config(const char *text, struct config *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *object = json_loads(text, 0, NULL);

	assert_non_null(object);
	return config_from_json(object, ret, err);
}

static void trunks_are_read_in_order(void **state)
{
	static const char text[] =
	        "{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[\"120-122\",7,\"44\"],\"ip\":[\"10.0.0.1\"]}]}";
	static const uint16_t want[] = { 7, 44, 120, 121, 122 };
	struct config config;

	assert_int_equal(read_config(text, &config, NULL), 0);
	assert_int_equal(config.nets[0].n_trunk, ARRAY_SIZE(want));
	assert_memory_equal(config.nets[0].trunk, want, sizeof(want));
	config_done(&config);
}

static void refused(const char *text, const char *field)
{
	struct ct_error err = { 0 };
	struct config config;

	if (read_config(text, &config, &err) != -EINVAL)
		fail_msg("is accepted: %s", text);
	assert_string_equal(err.field, field);
}

static void test_default(void **state)
{
	struct config config;

	assert_int_equal(read_config("{}", &config, NULL), 0);
	assert_int_equal(config.n_nets, 1);
	assert_int_equal(config.nets[0].mode, CONFIG_NET_NAT);
	assert_string_equal(config.nets[0].name, "eth0");
	config_done(&config);
	assert_int_equal(read_config("{\"net\":[]}", &config, NULL), 0);
	assert_int_equal(config.n_nets, 0);
	config_done(&config);
}

static void test_all_keys(void **state)
{
	static const char text[] =
	        "{\"net\":[{\"mode\":\"routed\",\"ip\":[\"203.0.113.8/29\",\"2001:db8::/64\"],\"rate_out\":\"100M\","
	        "\"rate_in\":5000000,\"guaranteed\":\"10M\",\"class\":[\"far:1M:2M\",\"near::1G\"],\"burst\":\"64K\",\"internal_rate\":\"1G\",\"pps_out\":\"1000\","
	        "\"pps_in\":2000,\"connections\":100,\"new_connections\":50,\"block_mail\":\"yes\",\"mtu\":1400,"
	        "\"mac\":\"02:00:5e:10:00:01\",\"name\":\"wan\"},"
	        "{\"mode\":\"vlan\",\"vlan\":\"120\",\"uplink\":\"eth1.5\",\"ip\":[\"10.1.0.2/24\"],\"gateway\":\"10.1.0.1\"},"
	        "{\"network\":\"office\"}]}";
	struct config config;
	const struct config_net *net;

	assert_int_equal(read_config(text, &config, NULL), 0);
	net = &config.nets[0];
	assert_int_equal(net->n_ips, 2);
	assert_true(net->rates.out == 100000000 && net->rates.in == 5000000);
	assert_true(net->rates.out_guaranteed == 10000000 && net->rates.burst == 65536);
	assert_true(net->n_classes == 2 && net->classes[0].out == 1000000 && net->classes[0].in == 2000000);
	assert_true(net->classes[1].out == 0 && net->classes[1].in == 1000000000);
	assert_string_equal(net->classes[1].name, "near");
	assert_true(net->limits.packets_out == 1000 && net->limits.packets_in == 2000);
	assert_true(
	        net->limits.connections == 100 && net->limits.new_connections == 50 && net->has_connections);
	assert_false(config.nets[2].has_connections);
	assert_true(net->limits.internal_rate == 1000000000 && net->limits.block_mail && net->has_block_mail);
	assert_true(net->mtu == 1400 && net->has_mac && net->mac[5] == 1);
	assert_int_equal(config.nets[1].vlan, 120);
	assert_int_equal(config.nets[1].index, 1);
	assert_int_equal(config.nets[1].gateway[0].family, AF_INET);
	assert_int_equal(config.nets[2].mode, CONFIG_NET_NAMED);
	assert_string_equal(config.nets[2].network, "office");
	config_done(&config);
}

static void test_refused(void **state)
{
	refused("{\"net\":[{\"mode\":\"routed\"}]}", "ip");
	refused("{\"net\":[{\"mode\":\"routed\",\"ip\":[\"203.0.113.9/29\"]}]}", "ip");
	refused("{\"net\":[{\"mode\":\"routed\",\"ip\":[\"2001:db8::/60\"]}]}", "ip");
	refused("{\"net\":[{\"mode\":\"nat\",\"ip\":[\"10.0.0.0/29\"]}]}", "ip");
	refused("{\"net\":[{\"mode\":\"routed\",\"ip\":[\"127.0.0.1\"]}]}", "ip");
	refused("{\"net\":[{\"mode\":\"vlan\",\"ip\":[\"10.0.0.1/24\"]}]}", "vlan");
	refused("{\"net\":[{\"mode\":\"bridge\",\"ip\":[\"10.0.0.1/24\"]}]}", "bridge");
	refused("{\"net\":[{\"mode\":\"private\"}]}", "network");
	refused("{\"net\":[{\"mode\":\"nat\",\"vlan\":5}]}", "mode");
	refused("{\"net\":[{\"mode\":\"nat\",\"trunk\":[5]}]}", "mode");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"vlan\":5,\"trunk\":[6],\"ip\":[\"10.0.0.1\"]}]}",
	        "vlan");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[\"5-9\",7],\"ip\":[\"10.0.0.1\"]}]}",
	        "trunk");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[\"9-5\"],\"ip\":[\"10.0.0.1\"]}]}",
	        "trunk");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[\"4095\"],\"ip\":[\"10.0.0.1\"]}]}",
	        "trunk");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[0],\"ip\":[\"10.0.0.1\"]}]}",
	        "trunk");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[\"1-33\"],\"ip\":[\"10.0.0.1\"]}]}",
	        "trunk");
	refused("{\"net\":[{\"mode\":\"vlan\",\"uplink\":\"e\",\"trunk\":[5],\"ip\":[\"10.0.0.1\"],\"gateway\":\"10.0.0.2\"}]}",
	        "gateway");
	refused("{\"net\":[{\"network\":\"x\",\"trunk\":[5]}]}", "network");
	refused("{\"net\":[{\"mode\":\"nat\",\"mac\":\"00:11:22:33:44:55\"}]}", "mac");
	refused("{\"net\":[{\"mode\":\"nat\",\"rate_out\":\"1M\",\"guaranteed\":\"2M\"}]}", "guaranteed");
	refused("{\"net\":[{\"mode\":\"nat\",\"class\":[\"far\"]}]}", "class");
	refused("{\"net\":[{\"mode\":\"nat\",\"class\":[\"far:\"]}]}", "class");
	refused("{\"net\":[{\"mode\":\"nat\",\"class\":[\"far:1M:1M:1M\"]}]}", "class");
	refused("{\"net\":[{\"mode\":\"nat\",\"class\":[\"Far:1M\"]}]}", "class");
	refused("{\"net\":[{\"mode\":\"nat\",\"class\":[\"far:1M\",\"far:2M\"]}]}", "class");
	refused("{\"net\":[{\"mode\":\"nat\",\"uplink\":\"../x\"}]}", "uplink");
	refused("{\"net\":[{\"mode\":\"nat\",\"name\":\"lo\"}]}", "name");
	refused("{\"net\":[{\"mode\":\"nat\",\"connections\":65536}]}", "connections");
	refused("{\"net\":[{\"mode\":\"nat\",\"connections\":1,\"new_connections\":1001}]}",
	        "new_connections");
	refused("{\"net\":[{\"mode\":\"nat\",\"speed\":1}]}", "net");
	refused("{\"net\":[{\"mode\":\"nat\"},{\"mode\":\"nat\",\"name\":\"eth0\"}]}", "net");
	refused("{\"net\":[{}]}", "mode");
	refused("{\"publish\":[\"80:80\",\"79-81:1000\"]}", "publish");
}

static void test_publish(void **state)
{
	static const char *const wrong[] = { "", "80", ":80", "80:", "0:1", "1:0", "65536:1", "90-80:1",
		"1-1001:1", "65530-65535:65531", "80:80/icmp", "x:80:80", "[::1:80:80", "[10.0.0.1]:80:80",
		"::1:80:80", "10.0.0.1/8:1:1", "1-:1", "-1:1", "1:1:1", "[]:1:1", "[:1" };
	struct config_publish p;

	assert_int_equal(config_publish_parse("8080:80", &p, NULL), 0);
	assert_true(p.protocol == IPPROTO_TCP && !p.address.family && p.port == 8080 && p.to_port == 80 &&
	            p.count == 1);
	assert_int_equal(config_publish_parse("192.0.2.1:53:5353/udp", &p, NULL), 0);
	assert_true(p.protocol == IPPROTO_UDP && p.address.family == AF_INET && p.port == 53);
	assert_int_equal(config_publish_parse("[2001:db8::1]:1000-1999:2000/tcp", &p, NULL), 0);
	assert_true(p.address.family == AF_INET6 && p.count == 1000 && p.to_port == 2000);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (config_publish_parse(wrong[i], &p, NULL) != -EINVAL)
			fail_msg("is accepted: \"%s\"", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trunks_are_read_in_order),
		cmocka_unit_test(test_default),
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_publish),
	};

	return cmocka_run_group_tests_name("config-net", tests, NULL, NULL);
}
