/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Traffic counted by where it goes. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "netns/test-support.h"

static struct net_context *net;
static struct container routed, natted;
static int outside;

static void apply_host(void)
{
	struct ip_addr nat = ip("10.77.0.0/16");
	struct net_host_spec spec = {
		.nat_networks = &nat, .n_nat_networks = 1, .routed_peers = true, .enable_forwarding = true
	};
	struct ct_error err = { 0 };

	if (net_host_apply(net, &spec, &err) < 0)
		fail_msg("%s", err.text);
}

static int begin(void **state)
{
	struct ct_error err = { 0 };

	outside = world_outside();
	if (net_context_new(TEST_TAG, &net, &err) < 0)
		fail_msg("%s", err.text);
	apply_host();
	container_begin(net, &routed, 1, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.1", "2001:db8:1::1", NULL });
	container_begin(net, &natted, 2, NET_MODE_NAT, (const char *const[]){ "10.77.0.2", NULL });
	return 0;
}

static int end(void **state)
{
	container_end(net, &routed);
	container_end(net, &natted);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

/* n datagrams of one byte to the outside and as many back; over IPv4 29 bytes each, over IPv6 49. */
static void exchange(const struct container *c, const char *to, unsigned n)
{
	struct ip_addr a = ip(to);
	struct sockaddr_storage storage = { .ss_family = (sa_family_t)a.family };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
	socklen_t len = a.family == AF_INET ? sizeof(*v4) : sizeof(*v6);
	int client = socket_open(c->netns, a.family, SOCK_DGRAM, 0),
	    server = socket_open(outside, a.family, SOCK_DGRAM, 0);
	struct pollfd waiting = { .events = POLLIN };
	char byte = 'x';

	if (a.family == AF_INET) {
		v4->sin_port = htons(7000);
		memcpy(&v4->sin_addr, a.bytes, 4);
	} else {
		v6->sin6_port = htons(7000);
		memcpy(&v6->sin6_addr, a.bytes, 16);
	}
	assert_int_equal(bind(server, (struct sockaddr *)&storage, len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&storage, len), 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(send(client, &byte, 1, 0), 1);
		waiting.fd = server;
		assert_true(poll(&waiting, 1, 10000) > 0);
		len = sizeof(storage);
		assert_int_equal(recvfrom(server, &byte, 1, 0, (struct sockaddr *)&storage, &len), 1);
		assert_int_equal(sendto(server, &byte, 1, 0, (struct sockaddr *)&storage, len), 1);
		waiting.fd = client;
		assert_true(poll(&waiting, 1, 10000) > 0);
		assert_int_equal(recv(client, &byte, 1, 0), 1);
	}
	close(client);
	close(server);
}

static struct net_counters class_of(const struct container *c, unsigned class)
{
	struct net_counters ret;
	struct ct_error err = { 0 };

	if (net_class_counters(net, c->spec.host_name, class, &ret, &err) < 0)
		fail_msg("%s", err.text);
	return ret;
}

static void apply(const struct net_class *classes, size_t n)
{
	struct ct_error err = { 0 };

	if (net_classes_apply(net, classes, n, &err) < 0)
		fail_msg("classes: %s", err.text);
}

static void packets_are_counted_by_class_both_ways(void **state)
{
	struct ip_addr near[] = { ip("192.0.0.0/16"), ip("203.0.113.0/24") },
	               far[] = { ip("2001:db8:ff::/64") };
	struct net_class classes[] = { { near, 2 }, { far, 1 } };
	struct net_counters counters;

	exchange(&routed, "192.0.2.2", 3); /* before there are any */
	assert_int_equal(class_of(&routed, 0).out_packets, 0);

	apply(classes, 2);
	exchange(&routed, "192.0.2.2", 5);
	exchange(&routed, "2001:db8:ff::2", 7);
	exchange(&natted, "192.0.2.2", 2);
	counters = class_of(&routed, 0);
	assert_int_equal(counters.out_packets, 5);
	assert_int_equal(counters.out_bytes, 5 * 29);
	assert_int_equal(counters.in_packets, 5);
	assert_int_equal(counters.in_bytes, 5 * 29);
	counters = class_of(&routed, 1);
	assert_int_equal(counters.out_packets, 7);
	assert_int_equal(counters.in_bytes, 7 * 49);
	counters = class_of(&natted, 0);
	assert_int_equal(counters.out_packets, 2);
	assert_int_equal(counters.in_packets, 2);
	assert_int_equal(class_of(&natted, 1).out_packets, 0);

	/* other prefixes, the same counters; and a host that is applied again loses nothing */
	near[0] = ip("10.0.0.0/8");
	apply(classes, 2);
	exchange(&routed, "192.0.2.2", 1);
	assert_int_equal(class_of(&routed, 0).out_packets, 5);
	near[0] = ip("192.0.2.2/32");
	apply(classes, 2);
	apply_host();
	exchange(&routed, "192.0.2.2", 1);
	assert_int_equal(class_of(&routed, 0).out_packets, 6);
	apply(NULL, 0);
	exchange(&routed, "192.0.2.2", 1);
	assert_int_equal(class_of(&routed, 0).out_packets, 6);
}

static void thousands_of_prefixes(void **state)
{
	static struct ip_addr prefixes[8000];
	struct net_class class = { prefixes, ARRAY_SIZE(prefixes) };
	struct net_counters before = class_of(&routed, 0);

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		char text[32];

		(void)snprintf(
		        text, sizeof(text), "%zu.%zu.%zu.0/24", 20 + i / 4096, i / 16 % 256, i % 16 * 16);
		prefixes[i] = ip(text);
	}
	prefixes[7999] = ip("192.0.2.0/24");
	apply(&class, 1);
	exchange(&routed, "192.0.2.2", 4);
	assert_int_equal(class_of(&routed, 0).out_packets, before.out_packets + 4);
	apply(NULL, 0);
}

static void counters_go_with_the_port(void **state)
{
	struct ip_addr all[] = { ip("192.0.0.0/8") };
	struct net_class class = { all, 1 };
	struct container c;

	apply(&class, 1);
	container_begin(net, &c, 3, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.3", NULL });
	exchange(&c, "192.0.2.2", 1);
	assert_int_equal(class_of(&c, 0).out_packets, 1);
	container_end(net, &c);
	assert_int_equal(class_of(&c, 0).out_packets, 0);
	apply(NULL, 0);
}

static void nonsense_is_refused(void **state)
{
	struct ip_addr one[] = { ip("10.0.0.0/8") }, within[] = { ip("10.1.0.0/16") },
	               host[] = { ip("10.0.0.1/8") };
	struct net_class overlapping[] = { { one, 1 }, { within, 1 } }, wrong = { host, 1 },
	                 many[NET_CLASSES_MAX + 1] = { { 0 } };
	struct ct_error err = { 0 };

	assert_int_equal(net_classes_apply(net, overlapping, 2, &err), -EEXIST);
	assert_int_equal(net_classes_apply(net, &wrong, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "10.0.0.1/8"));
	assert_int_equal(net_classes_apply(net, many, ARRAY_SIZE(many), &err), -EINVAL);
	apply(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_counted_by_class_both_ways),
		cmocka_unit_test(thousands_of_prefixes),
		cmocka_unit_test(counters_go_with_the_port),
		cmocka_unit_test(nonsense_is_refused),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
