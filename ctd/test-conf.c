/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd.conf: every key once right and once wrong, errors that name file and line, the bounds that keep a host
 * safe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/conf.h"

static int read_text(const char *text, struct conf *conf, struct ct_error *err)
{
	char path[] = "/tmp/test-conf.XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	conf_init(conf);
	r = conf_read(conf, path, true, err);
	assert_int_equal(unlink(path), 0);
	return r;
}

static void accepts(const char *text)
{
	struct ct_error error = { 0 };
	struct conf conf;

	if (read_text(text, &conf, &error) < 0)
		fail_msg("%s: %s", text, error.text);
	conf_done(&conf);
}

static void refuses(const char *text, const char *reason)
{
	struct ct_error error = { 0 };
	struct conf conf;

	if (read_text(text, &conf, &error) >= 0)
		fail_msg("%s was accepted", text);
	if (!strstr(error.text, reason))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, error.text, reason);
	conf_done(&conf);
}

static void test_values(void **state)
{
	struct conf conf;

	assert_int_equal(read_text("# comment\n"
	                           "\n"
	                           "  id-start=131072 # here too\n"
	                           "dns = 192.0.2.1, 2001:db8::1\n"
	                           "nat-peers = yes\n"
	                           "routed-peers = no\n"
	                           "services = tcp/53 udp/53\n"
	                           "storage = image\n"
	                           "stop-timeout = 86400\n"
	                           "meter-sample = 1\n"
	                           "names = no\n"
	                           "meter-interval = 60\n"
	                           "ledger-interval-days = 1\n"
	                           "ledger-hour-days = 3660\n"
	                           "ledger-period-days = 62\n"
	                           "pool-size = 0\n"
	                           "nat-network6 = none\n"
	                           "traffic-class = near 192.0.2.0/24, 192.0.2.128/25 2001:db8::/32\n"
	                           "traffic-class = far 198.51.100.0/24\n"
	                           "traffic-class = near 10.0.0.0/8\n"
	                           "memory-overcommit = 1.5\n"
	                           "connections = 0\n"
	                           "metrics-listen = none\n"
	                           "metrics-listen = [::1]:9187\n"
	                           "metrics-token = none\n"
	                           "metrics-token = /etc/ctd/token\n"
	                           "metrics-certificate = /etc/ctd/gate.pem\n"
	                           "metrics-key = /etc/ctd/gate.key\n"
	                           "metrics-client-ca = /etc/ctd/clients.pem\n"
	                           "metrics-client-ca = none\n"
	                           "group = 7\n"
	                           "group = ctd",
	                         &conf, NULL),
	        0);
	assert_int_equal(conf.id_start, 131072);
	assert_int_equal(conf.n_dns, 2);
	assert_true(conf.nat_peers);
	assert_false(conf.routed_peers);
	assert_false(conf.names);
	assert_int_equal(conf.connections, 0);
	assert_int_equal(conf.n_services, 2);
	assert_int_equal(conf.services[1].port, 53);
	assert_int_equal(conf.storage, DISK_DRIVER_IMAGE);
	assert_int_equal(conf.stop_timeout_sec, 86400);
	assert_int_equal(conf.meter_sample, 1);
	assert_int_equal(conf.meter_interval, 60);
	assert_int_equal(conf.ledger_interval_days, 1);
	assert_int_equal(conf.ledger_hour_days, 3660);
	assert_int_equal(conf.ledger_period_days, 62);
	assert_int_equal(conf.pool_size, 0);
	assert_int_equal(conf.nat_network6.family, 0);
	assert_int_equal(conf.memory_overcommit_milli, 1500);
	assert_string_equal(conf.group, "ctd");
	assert_string_equal(conf.metrics_listen, "[::1]:9187");
	assert_string_equal(conf.metrics_token, "/etc/ctd/token");
	assert_string_equal(conf.metrics_certificate, "/etc/ctd/gate.pem");
	assert_string_equal(conf.metrics_key, "/etc/ctd/gate.key");
	assert_null(conf.metrics_client_ca);
	assert_int_equal(conf.n_classes, 2);
	assert_int_equal(conf_class_find(&conf, "far"), 1);
	assert_int_equal(conf_class_find(&conf, "there"), -ENOENT);
	assert_int_equal(conf_classes_finish(&conf, NULL), 0);
	assert_int_equal(conf.classes[0].n, 3); /* without what is within another */
	assert_int_equal(conf.classes[1].n, 1);
	conf_done(&conf);
}

static void refuses_classes(const char *text, const char *part)
{
	struct ct_error err = { 0 };
	struct conf conf;

	assert_int_equal(read_text(text, &conf, NULL), 0);
	assert_true(conf_classes_finish(&conf, &err) < 0);
	if (!strstr(err.text, part))
		fail_msg("%s", err.text);
	conf_done(&conf);
}

static void test_classes(void **state)
{
	refuses_classes("traffic-class = a 10.0.0.1/8\n", "10.0.0.1/8");
	refuses_classes("traffic-class = a /no/such/file\n", "/no/such/file");
	refuses_classes("traffic-class = a ,\n", "no prefix");
	refuses_classes("traffic-class = a 0.0.0.0/0\n", "0.0.0.0/0");
	refuses_classes(
	        "traffic-class = a 192.0.2.0/24 10.0.0.0/8\ntraffic-class = b 9.0.0.0/8 10.1.0.0/16\n",
	        "10.0.0.0/8 of a and 10.1.0.0/16 of b overlap");
	refuses_classes("traffic-class = a 10.1.0.0/16\ntraffic-class = b 10.0.0.0/8\n", "overlap");
	refuses("traffic-class = a\n", "traffic-class must be");
	refuses("traffic-class = A 10.0.0.0/8\n", "traffic-class must be");
	refuses("traffic-class = a 10.0.0.0/8\ntraffic-class = b 1.0.0.0/8\ntraffic-class = c 2.0.0.0/8\n"
	        "traffic-class = d 3.0.0.0/8\ntraffic-class = e 4.0.0.0/8\n",
	        "at most 4");
}

static void test_errors(void **state)
{
	refuses("pool-size = 1\nbogus = 1\n", ":2: \"bogus\"");
	refuses("\n\nnonsense\n", ":3: a line must be");
	refuses("pool-size = 33\n", "pool-size must be");
	refuses("pool-size = -1\n", "pool-size must be");
	refuses("connections = 65536\n", "connections must be");
	refuses("autostart-parallel = 0\n", "autostart-parallel must be");
	refuses("stop-timeout = 0\n", "stop-timeout must be");
	refuses("metrics-listen = localhost:9187\n", "metrics-listen must be");
	refuses("metrics-token = token\n", "metrics-token must be");
	refuses("metrics-listen = 9187\n", "metrics-listen must be");
	refuses("meter-sample = 0\n", "meter-sample must be");
	refuses("meter-interval = 700\n", "meter-interval must be");
	refuses("meter-interval = 30\n", "meter-interval must be");
	refuses("ledger-interval-days = 0\n", "ledger-interval-days must be");
	refuses("ledger-hour-days = 4000\n", "ledger-hour-days must be");
	refuses("ledger-period-days = 61\n", "ledger-period-days must be");
	refuses("nat-peers = perhaps\n", "yes or no");
	refuses("dns = 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4\n", "at most 3");
	refuses("dns = example.org\n", "at most 3");
	refuses("nat-network = fd00::/64\n", "IPv4");
	refuses("nat-network = 10.0.0.0/30\n", "IPv4");
	refuses("nat-network6 = 10.0.0.0/8\n", "IPv6");
	refuses("services = tcp/0\n", "tcp/PORT");
	refuses("services = tcp/65536\n", "tcp/PORT");
	refuses("services = sctp/1\n", "tcp/PORT");
	refuses("storage = floppy\n", "dir or image");
	refuses("uplink-rate = 1\n", "a rate");
	refuses("memory-reserved = lots\n", "a size");
}

/* The last container's ids must end below 2^32: a sum that wraps around gives a tenant the ids of the host's
 * root. */
static void test_id_start(void **state)
{
	struct conf conf;

	refuses("id-start = 0\n", "id-start must be");
	refuses("id-start = 65535\n", "id-start must be");
	refuses("id-start = 65537\n", "id-start must be");
	refuses("id-start = 4294901760\n", "id-start must be");
	refuses("id-start = 3758096384\n", "id-start must be");
	refuses("id-start = 4294967296\n", "id-start must be");
	assert_int_equal(read_text("id-start = 3758030848\n", &conf, NULL), 0);
	assert_true((uint64_t)conf.id_start + CONF_NUMBERS_MAX * 65536ULL + 65535 < UINT32_MAX - 65535);
	conf_done(&conf);
	accepts("id-start = 65536\n");
}

static void test_missing_file(void **state)
{
	struct ct_error error = { 0 };
	struct conf conf;

	conf_init(&conf);
	assert_int_equal(conf_read(&conf, "/nonexistent/ctd.conf", false, &error), 0);
	assert_int_equal(conf_read(&conf, "/nonexistent/ctd.conf", true, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent/ctd.conf"));
	conf_done(&conf);
}

static int finish(const char *state_dir, const char *socket, struct conf *conf)
{
	conf_init(conf);
	conf->state_dir = state_dir ? strdup(state_dir) : NULL;
	conf->socket = socket ? strdup(socket) : NULL;
	return conf_finish(conf, NULL);
}

static void test_finish(void **state)
{
	char deep[300];
	struct conf conf;

	assert_int_equal(finish(NULL, NULL, &conf), 0);
	assert_string_equal(conf.state_dir, "/var/lib/ctd");
	assert_string_equal(conf.socket, "/run/ctd/ctd.sock");
	conf_done(&conf);
	assert_int_equal(finish("relative", NULL, &conf), -EINVAL);
	conf_done(&conf);
	assert_int_equal(finish(NULL, "x.sock", &conf), -EINVAL);
	conf_done(&conf);
	memset(deep, 'd', sizeof(deep) - 1);
	deep[0] = '/';
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(finish(deep, NULL, &conf), -EINVAL);
	conf_done(&conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_id_start),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
