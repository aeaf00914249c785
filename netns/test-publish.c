/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Published ports, by the connections that they make possible. */
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

#include "netns/test-support.h"

static struct net_context *net;
static struct container a, b;
static int outside;

static int begin(void **state)
{
	struct ip_addr networks[] = { ip("10.77.0.0/16"), ip("fd77::/64") };
	struct net_host_spec spec = {
		.nat_networks = networks, .n_nat_networks = 2, .enable_forwarding = true
	};
	struct ct_error err = { 0 };

	outside = world_outside();
	if (net_context_new(TEST_TAG, &net, &err) < 0 || net_host_apply(net, &spec, &err) < 0)
		fail_msg("%s", err.text);
	container_begin(net, &a, 1, NET_MODE_NAT, (const char *const[]){ "10.77.0.1", "fd77::1", NULL });
	container_begin(net, &b, 2, NET_MODE_NAT, (const char *const[]){ "10.77.0.2", "fd77::2", NULL });
	return 0;
}

static int end(void **state)
{
	container_end(net, &a);
	container_end(net, &b);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static socklen_t at(struct sockaddr_storage *ret, const char *address, uint16_t port)
{
	struct ip_addr target = ip(address);
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)target.family;
	if (target.family == AF_INET) {
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, target.bytes, 4);
		return sizeof(*v4);
	}
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, target.bytes, 16);
	return sizeof(*v6);
}

static int server(int netns, const char *address, uint16_t port)
{
	struct sockaddr_storage storage;
	socklen_t len = at(&storage, address, port);
	static const int on = 1;
	int fd = socket_open(netns, storage.ss_family, SOCK_STREAM, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&storage, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Connects and has a byte sent back and forth; ret_from: as whom the server sees the client. */
static bool talks_within(int from_ns, const char *to, uint16_t port, int listener,
        char ret_from[static INET6_ADDRSTRLEN], int msec)
{
	struct sockaddr_storage storage;
	socklen_t len = at(&storage, to, port);
	int client = socket_open(from_ns, storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), accepted;
	struct pollfd waiting = { .fd = listener, .events = POLLIN };
	char byte = 'x';

	(void)connect(client, (struct sockaddr *)&storage, len);
	if (poll(&waiting, 1, msec) <= 0) {
		close(client);
		return false;
	}
	len = sizeof(storage);
	accepted = accept4(listener, (struct sockaddr *)&storage, &len, SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	(void)inet_ntop(storage.ss_family,
	        storage.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&storage)->sin_addr
	                                     : (void *)&((struct sockaddr_in6 *)&storage)->sin6_addr,
	        ret_from, INET6_ADDRSTRLEN);

	assert_int_equal(send(accepted, &byte, 1, 0), 1);
	waiting.fd = client;
	assert_true(poll(&waiting, 1, 10000) > 0);
	assert_int_equal(recv(client, &byte, 1, 0), 1);
	close(accepted);
	close(client);
	return true;
}

/* What is to arrive may take its time; what is not to is not waited for so long. */
static bool talks(
        int from_ns, const char *to, uint16_t port, int listener, char ret_from[static INET6_ADDRSTRLEN])
{
	return talks_within(from_ns, to, port, listener, ret_from, 10000);
}

static bool talks_soon(
        int from_ns, const char *to, uint16_t port, int listener, char ret_from[static INET6_ADDRSTRLEN])
{
	return talks_within(from_ns, to, port, listener, ret_from, 300);
}

static struct net_publish tcp(const char *address, uint16_t port, const char *to, uint16_t to_port)
{
	struct net_publish publish = {
		.protocol = IPPROTO_TCP, .port = port, .to_port = to_port, .count = 1, .to = ip(to)
	};

	if (address)
		publish.address = ip(address);
	return publish;
}

static void add(const struct net_publish *list, size_t n)
{
	struct ct_error err = { 0 };

	if (net_publish_add(net, list, n, &err) < 0)
		fail_msg("publish: %s", err.text);
}

static void published_ports_keep_the_clients_address(void **state)
{
	struct net_publish list[] = { tcp(NULL, 8080, "10.77.0.1", 80), tcp(NULL, 8080, "fd77::1", 80) };
	int v4 = server(a.netns, "10.77.0.1", 80), v6 = server(a.netns, "fd77::1", 80);
	char from[INET6_ADDRSTRLEN];

	assert_false(talks_soon(outside, "192.0.2.1", 8080, v4, from));
	add(list, 2);
	assert_true(talks(outside, "192.0.2.1", 8080, v4, from));
	assert_string_equal(from, "192.0.2.2");
	assert_true(talks(outside, "2001:db8:ff::1", 8080, v6, from));
	assert_string_equal(from, "2001:db8:ff::2");
	assert_false(talks_soon(outside, "192.0.2.1", 80, v4, from));

	/* from the host, from a neighbour, and from itself, by the host's address */
	assert_true(talks(-1, "192.0.2.1", 8080, v4, from));
	assert_true(talks(b.netns, "192.0.2.1", 8080, v4, from));
	assert_true(talks(a.netns, "192.0.2.1", 8080, v4, from));
	assert_true(talks(a.netns, "2001:db8:ff::1", 8080, v6, from));

	assert_int_equal(net_publish_remove(net, list, 2, NULL), 0);
	assert_false(talks_soon(outside, "192.0.2.1", 8080, v4, from));
	assert_false(talks_soon(outside, "2001:db8:ff::1", 8080, v6, from));
	assert_int_equal(net_publish_remove(net, list, 2, NULL), 0);
	close(v4);
	close(v6);
}

static void an_address_of_its_own_wins(void **state)
{
	struct net_publish list[] = { tcp(NULL, 8081, "10.77.0.1", 81),
		tcp("192.0.2.1", 8081, "10.77.0.2", 82) };
	int first = server(a.netns, "10.77.0.1", 81), second = server(b.netns, "10.77.0.2", 82);
	char from[INET6_ADDRSTRLEN];

	add(list, 1);
	assert_true(talks(outside, "192.0.2.1", 8081, first, from));
	add(list, 2);
	assert_true(talks(outside, "192.0.2.1", 8081, second, from));
	assert_int_equal(net_publish_remove(net, list, 2, NULL), 0);
	close(first);
	close(second);
}

static void ranges_lead_port_by_port(void **state)
{
	struct net_publish range = tcp(NULL, 9000, "10.77.0.1", 7000);
	int fd = server(a.netns, "10.77.0.1", 7099);
	char from[INET6_ADDRSTRLEN];

	range.count = 100;
	add(&range, 1);
	assert_true(talks(outside, "192.0.2.1", 9099, fd, from));
	assert_false(talks_soon(outside, "192.0.2.1", 9100, fd, from));
	assert_int_equal(net_publish_remove(net, &range, 1, NULL), 0);
	close(fd);
}

static int count_all(const struct net_publish *publish, void *userdata)
{
	++*(unsigned *)userdata;
	return 0;
}

static void conflicts_are_told_and_change_nothing(void **state)
{
	struct net_publish first = tcp(NULL, 8082, "10.77.0.1", 80),
	                   list[] = { tcp(NULL, 8090, "10.77.0.2", 80), tcp(NULL, 8082, "10.77.0.2", 80) };
	struct ct_error err = { 0 };
	unsigned n = 0;
	int fd;

	add(&first, 1);
	add(&first, 1); /* the same again */
	assert_int_equal(net_publish_add(net, list, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "8082/tcp"));
	assert_non_null(strstr(err.text, "10.77.0.1"));
	assert_int_equal(net_publish_dump(net, count_all, &n, NULL), 0);
	assert_int_equal(n, 1);

	/* not his to give away, so not removed */
	assert_int_equal(net_publish_remove(net, list, 2, NULL), 0);
	n = 0;
	assert_int_equal(net_publish_dump(net, count_all, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(net_publish_remove(net, &first, 1, NULL), 0);

	fd = server(-1, "192.0.2.1", 8090);
	assert_int_equal(net_publish_add(net, list, 1, &err), -EEXIST);
	assert_non_null(strstr(err.text, "8090/tcp"));
	close(fd);

	list[0].to = ip("fd77::1");
	list[0].address = ip("192.0.2.1");
	assert_int_equal(net_publish_add(net, list, 1, &err), -EINVAL);
	list[0] = tcp(NULL, 65000, "10.77.0.1", 1);
	list[0].count = 1000;
	assert_int_equal(net_publish_add(net, list, 1, &err), -EINVAL);
}

static void another_instances_ports_are_not_taken(void **state)
{
	const struct net_host_spec spec = { .enable_forwarding = true };
	struct net_publish first = tcp(NULL, 8084, "10.77.0.1", 80), same = first,
	                   list[] = { tcp(NULL, 8091, "10.77.0.2", 80), tcp(NULL, 8084, "10.77.0.2", 80) };
	struct net_context *second = NULL;
	struct ct_error err = { 0 };
	unsigned n = 0;

	assert_int_equal(net_context_new("tedg", &second, NULL), 0);
	assert_int_equal(net_host_apply(second, &spec, NULL), 0);
	add(&first, 1);
	assert_int_equal(net_publish_add(second, list, 2, &err), -EEXIST);
	assert_int_equal(err.kind, CT_ERROR_STATE);
	assert_non_null(strstr(err.text, "8084/tcp"));
	assert_non_null(strstr(err.text, "ctd-test"));
	assert_int_equal(net_publish_dump(second, count_all, &n, NULL), 0);
	assert_int_equal(n, 0);
	list[1] = tcp("192.0.2.2", 8084, "10.77.0.2", 80); /* which of the two is asked first nobody knows */
	assert_int_equal(net_publish_add(second, list, 2, NULL), -EEXIST);
	list[1] = tcp(NULL, 8084, "10.77.0.2", 80);
	/* a container that moves from one to the other has its address on both for a moment */
	assert_int_equal(net_publish_add(second, &same, 1, NULL), 0);
	assert_int_equal(net_publish_remove(net, &first, 1, NULL), 0);
	assert_int_equal(net_publish_add(second, list, 1, NULL), 0);
	assert_int_equal(net_host_remove(second, NULL), 0);
	net_context_free(second);
}

static void forwards_survive_another_apply(void **state)
{
	struct ip_addr networks[] = { ip("10.77.0.0/16"), ip("fd77::/64") };
	struct net_host_spec spec = {
		.nat_networks = networks, .n_nat_networks = 2, .enable_forwarding = true
	};
	struct net_publish publish = tcp(NULL, 8083, "10.77.0.1", 83);
	int fd = server(a.netns, "10.77.0.1", 83);
	char from[INET6_ADDRSTRLEN];

	add(&publish, 1);
	assert_int_equal(net_host_apply(net, &spec, NULL), 0);
	assert_true(talks(outside, "192.0.2.1", 8083, fd, from));
	assert_int_equal(net_publish_remove(net, &publish, 1, NULL), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_ports_keep_the_clients_address),
		cmocka_unit_test(an_address_of_its_own_wins),
		cmocka_unit_test(ranges_lead_port_by_port),
		cmocka_unit_test(conflicts_are_told_and_change_nothing),
		cmocka_unit_test(another_instances_ports_are_not_taken),
		cmocka_unit_test(forwards_survive_another_apply),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
