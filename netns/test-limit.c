/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits, as the other end sees them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "netns/context.h"
#include "netns/test-support.h"

static struct net_context *net;
static struct container c, other;
static int outside;

static int begin(void **state)
{
	outside = routed_begin(&net);
	container_begin(
	        net, &c, 1, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.1", "2001:db8:1::1", NULL });
	container_begin(net, &other, 2, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.2", "2001:db8:1::2", NULL });
	return 0;
}

static int end(void **state)
{
	container_end(net, &c);
	container_end(net, &other);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static void limit(const struct net_limits *limits)
{
	struct ct_error err = { 0 };

	if (net_port_limit(net, c.spec.host_name, limits, &err) < 0)
		fail_msg("limit: %s", err.text);
}

/* Of either family; as large as the larger. */
static struct sockaddr_in6 at(const char *address, uint16_t port)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1)
		return in6;
	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	memset(&in6, 0, sizeof(in6));
	memcpy(&in6, &in, sizeof(in));
	return in6;
}

static int udp(int netns, const char *address, uint16_t port)
{
	static const int room = 64 * 1024 * 1024;
	struct sockaddr_in6 in = at(address, port);
	int fd = socket_open(netns, in.sin6_family, SOCK_DGRAM, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static unsigned count_waiting(int fd, int timeout_msec)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char buffer[2048];
	unsigned n = 0;

	do {
		while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) >= 0)
			n++;
	} while (timeout_msec > 0 && poll(&poll_fd, 1, timeout_msec) > 0);
	return n;
}

/* Sends for that long without a pause; how many arrived. */
static unsigned flood(int from_ns, const char *from, int to_ns, const char *to, uint64_t usec)
{
	int a = udp(from_ns, from, 0), b = udp(to_ns, to, 9000);
	struct sockaddr_in6 in = at(to, 9000);
	uint64_t start = now_monotonic_usec();
	unsigned n = 0;

	do {
		for (unsigned i = 0; i < 16; i++)
			(void)sendto(a, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&in, sizeof(in));
		n += count_waiting(b, 0);
	} while (now_monotonic_usec() - start < usec);
	n += count_waiting(b, 100);
	close(a);
	close(b);
	return n;
}

/* More than so many packets of a short flood arrive; less they may be when the machine has other things to
 * do: then again. */
static bool flows(int from_ns, const char *from, int to_ns, const char *to, uint64_t usec, unsigned least)
{
	for (unsigned i = 0; i < 8; i++)
		if (flood(from_ns, from, to_ns, to, usec) > least)
			return true;
	return false;
}

static bool passes(int from_ns, const char *from, int to_ns, const char *to)
{
	return flood(from_ns, from, to_ns, to, 1) > 0;
}

/* Begins n connections (UDP, a source port each); how many of their packets arrived. */
static unsigned connections(
        int from_ns, const char *from, int to_ns, const char *to, unsigned n, uint16_t port)
{
	struct sockaddr_in6 in = at(to, port);
	int b = udp(to_ns, to, port);
	unsigned arrived;

	for (unsigned i = 0; i < n; i++) {
		int a = udp(from_ns, from, (uint16_t)(20000 + i)); /* never the same twice */

		(void)sendto(a, "x", 1, 0, (struct sockaddr *)&in, sizeof(in));
		close(a);
	}
	/* whatever is to come may take its time */
	for (arrived = 0; arrived < n && poll(&(struct pollfd){ .fd = b, .events = POLLIN }, 1, 1000) > 0;)
		arrived += count_waiting(b, 0);
	close(b);
	return arrived;
}

/* Two seconds' worth and the tenth that may come at once, within 5 %. Never more; less if the machine has
 * other things to do: then again. */
static void expect_packets(int from_ns, const char *from, int to_ns, const char *to, unsigned per_second)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned n = flood(from_ns, from, to_ns, to, 2000000);

		assert_true(n <= per_second * 21 / 10 * 105 / 100);
		if (n >= per_second * 2 * 95 / 100)
			return;
	}
	fail_msg("fewer packets than %u a second", per_second);
}

static void packets_are_limited_both_ways(void **state)
{
	assert_true(flows(c.netns, "198.51.100.1", outside, "192.0.2.2", 300000, 1000));
	limit(&(struct net_limits){ .packets_out = 1000 });
	expect_packets(c.netns, "198.51.100.1", outside, "192.0.2.2", 1000);
	assert_true(flows(outside, "192.0.2.2", c.netns, "198.51.100.1", 300000, 700));

	limit(&(struct net_limits){ .packets_in = 500 });
	expect_packets(outside, "192.0.2.2", c.netns, "198.51.100.1", 500);
	limit(&(struct net_limits){ 0 });
	assert_true(flows(c.netns, "198.51.100.1", outside, "192.0.2.2", 300000, 1000));
}

static void cut_is_both_ways_and_can_be_undone(void **state)
{
	struct net_counters before, after;

	limit(&(struct net_limits){ .cut = true, .packets_out = 1000 });
	assert_int_equal(net_port_counters(net, c.spec.host_name, &before, NULL), 0);
	assert_false(passes(c.netns, "198.51.100.1", outside, "192.0.2.2"));
	assert_false(passes(outside, "192.0.2.2", c.netns, "198.51.100.1"));
	assert_false(passes(-1, "192.0.2.1", c.netns, "198.51.100.1"));
	assert_int_equal(net_port_counters(net, c.spec.host_name, &after, NULL), 0);
	assert_int_equal(before.out_packets, after.out_packets);
	assert_int_equal(before.in_packets, after.in_packets);
	assert_true(passes(other.netns, "198.51.100.2", outside, "192.0.2.2"));

	limit(&(struct net_limits){ .packets_out = 1000 });
	assert_true(passes(c.netns, "198.51.100.1", outside, "192.0.2.2"));
	assert_true(passes(outside, "192.0.2.2", c.netns, "198.51.100.1"));
	limit(&(struct net_limits){ 0 });
}

static void connections_are_counted_from_both_sides(void **state)
{
	assert_int_equal(connections(c.netns, "198.51.100.1", outside, "192.0.2.2", 300, 9001), 300);

	limit(&(struct net_limits){ .connections = 50 });
	assert_int_equal(connections(c.netns, "198.51.100.1", outside, "192.0.2.2", 300, 9002), 50);
	assert_int_equal(connections(outside, "192.0.2.2", c.netns, "198.51.100.1", 20, 9003), 0);
	assert_int_equal(connections(other.netns, "198.51.100.2", outside, "192.0.2.2", 300, 9004), 300);
	limit(&(struct net_limits){ .connections = 40 });
	assert_int_equal(connections(outside, "192.0.2.2", c.netns, "198.51.100.1", 100, 9005), 40);
	limit(&(struct net_limits){ 0 });
}

static void new_connections_are_limited(void **state)
{
	uint64_t begin = now_monotonic_usec();

	limit(&(struct net_limits){ .new_connections = 100 });
	unsigned n = connections(c.netns, "198.51.100.1", outside, "192.0.2.2", 1000, 9006);

	assert_in_range(n, 16, 300 + 100 * (now_monotonic_usec() - begin) / USEC_PER_SEC);
	assert_int_equal(connections(other.netns, "198.51.100.2", outside, "192.0.2.2", 300, 9007), 300);
	limit(&(struct net_limits){ 0 });
}

/* Logs, pictures, telephone: datagrams that nobody answers are one connection, not one each. */
static void a_stream_without_answers_is_one_connection(void **state)
{
	const struct net_limits both = { .connections = 50, .new_connections = 20 };

	limit(&both);
	assert_int_equal(net_port_limit(net, other.spec.host_name, &both, NULL), 0);
	assert_true(flows(c.netns, "198.51.100.1", outside, "192.0.2.2", 300000, 500));
	assert_true(flows(outside, "192.0.2.2", c.netns, "198.51.100.1", 300000, 500));
	assert_true(flows(c.netns, "198.51.100.1", other.netns, "198.51.100.2", 300000, 500));
	assert_int_equal(net_port_limit(net, other.spec.host_name, &(struct net_limits){ 0 }, NULL), 0);
	limit(&(struct net_limits){ 0 });
}

static int connect_tcp(int netns, const char *from, const char *to, uint16_t port)
{
	struct sockaddr_in6 in = at(from, 0), target = at(to, port);
	int fd = socket_open(netns, AF_INET, SOCK_STREAM, 0), r;

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	r = connect(fd, (struct sockaddr *)&target, sizeof(target)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static void mail_is_refused_at_once(void **state)
{
	struct sockaddr_in6 in = at("192.0.2.2", 25);
	int fd = socket_open(outside, AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(connect_tcp(c.netns, "198.51.100.1", "192.0.2.2", 25), 0);
	limit(&(struct net_limits){ .block_mail = true });
	assert_int_equal(connect_tcp(c.netns, "198.51.100.1", "192.0.2.2", 25), -ECONNREFUSED);
	assert_int_equal(connect_tcp(other.netns, "198.51.100.2", "192.0.2.2", 25), 0);
	limit(&(struct net_limits){ 0 });
	assert_int_equal(connect_tcp(c.netns, "198.51.100.1", "192.0.2.2", 25), 0);
	close(fd);
}

/* Packets of 1 byte are 29 in IPv4: 8000 bytes a second and the second's worth of the bucket. */
static void what_stays_on_the_host_has_a_rate_of_its_own(void **state)
{
	unsigned n;

	limit(&(struct net_limits){ .internal_rate = 64 * 8 * 1000 });
	n = flood(c.netns, "198.51.100.1", other.netns, "198.51.100.2", 1000000) * 29;
	assert_in_range(n, 64000, 2 * 64000 * 110 / 100);
	assert_true(flows(c.netns, "198.51.100.1", outside, "192.0.2.2", 1000000, 2 * 64000 / 29));
	limit(&(struct net_limits){ 0 });
}

/* New connections as fast as one can, each from another port, while a neighbour goes about his business. */
static void new_connection(struct frame *f, unsigned i, bool ip6)
{
	const uint16_t from = (uint16_t)(1024 + i % 60000), to = (uint16_t)(10000 + i / 60000);
	size_t at;

	frame_ether(f, net_gateway_mac, c.spec.mac, ip6 ? 0x86dd : 0x0800);
	at = f->len;
	if (ip6)
		frame_ip6(f, ip("2001:db8:1::1"), ip("2001:db8:ff::2"), IPPROTO_UDP, 64, 9);
	else
		frame_ip4(f, ip("198.51.100.1"), ip("192.0.2.2"), IPPROTO_UDP, 0, 9);
	frame_udp(f, from, to, "x");
	if (ip6)
		frame_sum6(f, at, at + 40, IPPROTO_UDP, 6);
}

static void flood_beside_neighbours(unsigned allowed, bool ip6)
{
	/* each family, whichever it is that is flooded */
	static const char *const ways[][2] = { { "198.51.100.2", "192.0.2.2" },
		{ "2001:db8:1::2", "2001:db8:ff::2" } };
	uint64_t entries = 0, before = 0;
	struct frame f;
	pid_t pid;

	limit(&(struct net_limits){ .connections = allowed });
	assert_int_equal(read_u64_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_count", &before), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int raw = raw_open(c.netns, "eth0");
		uint64_t end_usec = now_monotonic_usec() + 3 * USEC_PER_SEC;

		for (unsigned i = 0; now_monotonic_usec() < end_usec; i++) {
			new_connection(&f, i, ip6);
			frame_send(raw, &f);
		}
		_exit(0);
	}

	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(connections(other.netns, ways[i & 1][0], outside, ways[i & 1][1], 50,
		                         (uint16_t)(9100 + i)),
		        50);
		assert_int_equal(
		        read_u64_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_count", &entries), 0);
		assert_true(entries <= before + allowed + (i + 1) * 50 + 50);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(read_u64_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_count", &entries), 0);
	assert_true(entries >= before + 400); /* there was a flood */
	limit(&(struct net_limits){ 0 });
}

static void neighbours_do_not_notice_a_flood(void **state)
{
	flood_beside_neighbours(500, false);
	flood_beside_neighbours(16384, false);
	flood_beside_neighbours(500, true);
	flood_beside_neighbours(16384, true);
}

/* As many at once as are allowed at a time. */
static void a_first_lot_is_not_slowed(void **state)
{
	limit(&(struct net_limits){ .connections = 2000 });
	assert_int_equal(connections(c.netns, "198.51.100.1", outside, "192.0.2.2", 1900, 9050), 1900);
	limit(&(struct net_limits){ 0 });
}

static void nonsense_is_refused(void **state)
{
	struct ct_error err = { 0 };

	assert_int_equal(
	        net_port_limit(net, c.spec.host_name, &(struct net_limits){ .connections = 65536 }, &err),
	        -EINVAL);
	assert_string_equal(err.field, "connections");
	assert_int_equal(
	        net_port_limit(net, c.spec.host_name, &(struct net_limits){ .internal_rate = 1 }, &err),
	        -EINVAL);
	assert_string_equal(err.field, "internal_rate");
	assert_int_equal(net_port_limit(net, c.spec.host_name,
	                         &(struct net_limits){ .connections = 1, .new_connections = 1001 }, &err),
	        -EINVAL);
	assert_string_equal(err.field, "new_connections");
	assert_int_equal(net_port_limit(net, "eth0", &(struct net_limits){ 0 }, &err), -EINVAL);
}

static int find_filter(const struct net_object *object, void *userdata)
{
	return object->kind == NET_OBJECT_FILTER && strcmp(object->host_name, userdata) == 0;
}

static void limits_go_with_the_port(void **state)
{
	struct container short_lived;

	container_begin(net, &short_lived, 3, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.3", NULL });
	assert_int_equal(net_port_limit(net, short_lived.spec.host_name,
	                         &(struct net_limits){ 1000, 1000, 100, 100, 1000000, true, false }, NULL),
	        0);
	assert_int_equal(net_dump(net, find_filter, short_lived.spec.host_name, NULL), 1);
	container_end(net, &short_lived);
	assert_int_equal(net_dump(net, find_filter, short_lived.spec.host_name, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_limited_both_ways),
		cmocka_unit_test(cut_is_both_ways_and_can_be_undone),
		cmocka_unit_test(connections_are_counted_from_both_sides),
		cmocka_unit_test(new_connections_are_limited),
		cmocka_unit_test(a_stream_without_answers_is_one_connection),
		cmocka_unit_test(mail_is_refused_at_once),
		cmocka_unit_test(what_stays_on_the_host_has_a_rate_of_its_own),
		cmocka_unit_test(neighbours_do_not_notice_a_flood),
		cmocka_unit_test(a_first_lot_is_not_slowed),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(limits_go_with_the_port),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
