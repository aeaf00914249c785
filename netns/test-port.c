/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ports on a host of the test's own: who reaches whom, what the kernel has before and after. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns/test-support.h"

static struct net_context *net;
static int outside;
static struct ip_addr nat_networks[2];
static const struct net_service services[] = { { IPPROTO_UDP, 5353 } };

static struct net_host_spec host_spec(void)
{
	return (struct net_host_spec){ .nat_networks = nat_networks,
		.n_nat_networks = 2,
		.routed_peers = true,
		.services = services,
		.n_services = 1,
		.enable_forwarding = true };
}

static int shell(const char *words)
{
	return run((const char *const[]){ "sh", "-c", words, NULL }, NULL);
}

static void apply(const struct net_host_spec *spec)
{
	struct ct_error err = { 0 };

	if (net_host_apply(net, spec, &err) < 0)
		fail_msg("apply: %s", err.text);
}

static int begin(void **state)
{
	struct ct_error err = { 0 };
	struct net_host_spec spec = host_spec();

	outside = world_outside();
	nat_networks[0] = ip("10.77.0.0/16");
	nat_networks[1] = ip("fd77::/64");
	spec = host_spec();
	if (net_context_new(TEST_TAG, &net, &err) < 0)
		fail_msg("context: %s", err.text);
	apply(&spec);
	return 0;
}

static int end(void **state)
{
	struct ct_error err = { 0 };

	if (net_host_remove(net, &err) < 0)
		fail_msg("remove: %s", err.text);
	net_context_free(net);
	close(outside);
	return 0;
}

static socklen_t socket_address(struct sockaddr_storage *ret, const char *address, uint16_t port)
{
	struct ip_addr a = ip(address);

	memset(ret, 0, sizeof(*ret));
	if (a.family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a.bytes, 4);
		return sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, a.bytes, 16);
		return sizeof(*in6);
	}
}

static int bound(int netns, const char *address, uint16_t port)
{
	struct sockaddr_storage storage;
	socklen_t len = socket_address(&storage, address, port);
	int fd = socket_open(netns, storage.ss_family, SOCK_DGRAM, 0);

	if (bind(fd, (struct sockaddr *)&storage, len) < 0)
		fail_msg("bind %s: %s", address, strerror(errno));
	return fd;
}

static bool readable(int fd, int timeout_msec)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, timeout_msec) > 0 && (poll_fd.revents & POLLIN);
}

/* One datagram there and one back; what the receiver took for the sender goes to ret_from. */
static bool reaches_within(
        int from_ns, const char *from, int to_ns, const char *to, uint16_t port, char *ret_from, int msec)
{
	struct sockaddr_storage storage;
	socklen_t len = socket_address(&storage, to, port);
	int a = bound(from_ns, from, 0), b = bound(to_ns, to, port);
	char buffer[16];
	bool there = false, back = false;

	if (sendto(a, "ping", 4, 0, (struct sockaddr *)&storage, len) == 4)
		there = readable(b, msec);
	if (there) {
		len = sizeof(storage);
		assert_int_equal(
		        recvfrom(b, buffer, sizeof(buffer), 0, (struct sockaddr *)&storage, &len), 4);
		if (ret_from)
			(void)inet_ntop(storage.ss_family,
			        storage.ss_family == AF_INET
			                ? (void *)&((struct sockaddr_in *)&storage)->sin_addr
			                : (void *)&((struct sockaddr_in6 *)&storage)->sin6_addr,
			        ret_from, INET6_ADDRSTRLEN);
		if (sendto(b, "pong", 4, 0, (struct sockaddr *)&storage, len) == 4)
			back = readable(a, msec);
	}

	close(a);
	close(b);
	return there && back;
}

/* What is to arrive may take its time; what is not to is not waited for so long. */
static bool reaches(int from_ns, const char *from, int to_ns, const char *to, uint16_t port, char *ret_from)
{
	return reaches_within(from_ns, from, to_ns, to, port, ret_from, 10000);
}

static bool reaches_soon(
        int from_ns, const char *from, int to_ns, const char *to, uint16_t port, char *ret_from)
{
	return reaches_within(from_ns, from, to_ns, to, port, ret_from, 250);
}

static void routed_is_reached_and_reaches(void **state)
{
	struct container c;
	char from[INET6_ADDRSTRLEN];

	container_begin(net, &c, 1, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.10", "2001:db8:1::10", "198.51.100.16/29", NULL });

	assert_true(reaches(c.netns, "198.51.100.10", outside, "192.0.2.2", 7000, from));
	assert_string_equal(from, "198.51.100.10");
	assert_true(reaches(c.netns, "198.51.100.16", outside, "192.0.2.2", 7000, from));
	assert_string_equal(from, "198.51.100.16");
	assert_true(reaches(c.netns, "2001:db8:1::10", outside, "2001:db8:ff::2", 7000, from));
	assert_string_equal(from, "2001:db8:1::10");
	assert_true(reaches(outside, "192.0.2.2", c.netns, "198.51.100.10", 7001, NULL));
	assert_true(reaches(outside, "2001:db8:ff::2", c.netns, "2001:db8:1::10", 7001, NULL));
	assert_true(reaches(-1, "192.0.2.1", c.netns, "198.51.100.10", 7002, NULL));
	assert_true(reaches(-1, "2001:db8:ff::1", c.netns, "2001:db8:1::10", 7002, NULL));
	container_end(net, &c);
}

static void nat_reaches_under_the_hosts_address(void **state)
{
	struct container c;
	char from[INET6_ADDRSTRLEN];

	container_begin(net, &c, 2, NET_MODE_NAT, (const char *const[]){ "10.77.0.2", "fd77::2", NULL });

	assert_true(reaches(c.netns, "10.77.0.2", outside, "192.0.2.2", 7000, from));
	assert_string_equal(from, "192.0.2.1");
	assert_true(reaches(c.netns, "fd77::2", outside, "2001:db8:ff::2", 7000, from));
	assert_string_equal(from, "2001:db8:ff::1");
	assert_false(reaches_soon(outside, "192.0.2.2", c.netns, "10.77.0.2", 7001, NULL));
	assert_false(reaches_soon(outside, "2001:db8:ff::2", c.netns, "fd77::2", 7001, NULL));
	assert_true(reaches(-1, "192.0.2.1", c.netns, "10.77.0.2", 7002, NULL));
	container_end(net, &c);
}

static void only_listed_services_of_the_host_answer(void **state)
{
	struct container c;

	container_begin(net, &c, 3, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.10", "2001:db8:1::10", NULL });

	assert_true(reaches(c.netns, "198.51.100.10", -1, "192.0.2.1", 5353, NULL));
	assert_false(reaches_soon(c.netns, "198.51.100.10", -1, "192.0.2.1", 5354, NULL));
	assert_true(reaches(c.netns, "2001:db8:1::10", -1, "2001:db8:ff::1", 5353, NULL));
	assert_false(reaches_soon(c.netns, "2001:db8:1::10", -1, "2001:db8:ff::1", 5354, NULL));
	container_end(net, &c);
}

static void peers_are_as_specified(void **state)
{
	struct net_host_spec spec = host_spec();
	struct container r1, r2, n1, n2;

	container_begin(
	        net, &r1, 4, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.1", "2001:db8:1::1", NULL });
	container_begin(
	        net, &r2, 5, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.2", "2001:db8:1::2", NULL });
	container_begin(net, &n1, 6, NET_MODE_NAT, (const char *const[]){ "10.77.0.1", "fd77::1", NULL });
	container_begin(net, &n2, 7, NET_MODE_NAT, (const char *const[]){ "10.77.0.2", "fd77::2", NULL });

	assert_true(reaches(r1.netns, "198.51.100.1", r2.netns, "198.51.100.2", 7100, NULL));
	assert_true(reaches(r1.netns, "2001:db8:1::1", r2.netns, "2001:db8:1::2", 7100, NULL));
	assert_false(reaches_soon(n1.netns, "10.77.0.1", n2.netns, "10.77.0.2", 7100, NULL));
	assert_false(reaches_soon(n1.netns, "fd77::1", n2.netns, "fd77::2", 7100, NULL));
	assert_false(reaches_soon(r1.netns, "198.51.100.1", n2.netns, "10.77.0.2", 7100, NULL));
	assert_true(reaches(n1.netns, "10.77.0.1", r2.netns, "198.51.100.2", 7100, NULL));

	spec.routed_peers = false;
	spec.nat_peers = true;
	apply(&spec);
	assert_false(reaches_soon(r1.netns, "198.51.100.1", r2.netns, "198.51.100.2", 7200, NULL));
	assert_false(reaches_soon(r1.netns, "2001:db8:1::1", r2.netns, "2001:db8:1::2", 7200, NULL));
	assert_true(reaches(n1.netns, "10.77.0.1", n2.netns, "10.77.0.2", 7200, NULL));
	assert_true(reaches(n1.netns, "fd77::1", n2.netns, "fd77::2", 7200, NULL));
	assert_false(reaches_soon(r1.netns, "198.51.100.1", n2.netns, "10.77.0.2", 7200, NULL));

	spec = host_spec();
	apply(&spec);
	container_end(net, &r1);
	container_end(net, &r2);
	container_end(net, &n1);
	container_end(net, &n2);
}

static int count(const struct net_object *object, void *userdata)
{
	unsigned *counts = userdata;

	counts[object->kind]++;
	return 0;
}

static void addresses_change_live(void **state)
{
	struct container c;
	char *shown = NULL;
	unsigned counts[3] = { 0 };
	struct ct_error err = { 0 };

	container_begin(net, &c, 8, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.10", "2001:db8:1::10", NULL });
	c.addresses[0] = ip("198.51.100.11");
	c.addresses[2] = ip("198.51.100.12");
	c.spec.n_addresses = 3;
	assert_int_equal(net_port_configure(net, &c.spec, c.netns, &err), 0);
	assert_true(reaches(c.netns, "198.51.100.11", outside, "192.0.2.2", 7300, NULL));
	assert_true(reaches(outside, "192.0.2.2", c.netns, "198.51.100.12", 7300, NULL));
	assert_true(reaches(outside, "2001:db8:ff::2", c.netns, "2001:db8:1::10", 7300, NULL));

	/* the old one is gone everywhere: inside it cannot be bound, and even if root there adds it again
	 * nothing passes */
	world_enter(c.netns);
	assert_int_equal(
	        run((const char *const[]){ "ip", "-4", "addr", "show", "dev", "eth0", NULL }, &shown), 0);
	assert_null(strstr(shown, "198.51.100.10/"));
	free(shown);
	assert_int_equal(
	        run((const char *const[]){ "ip", "addr", "add", "198.51.100.10/32", "dev", "eth0", NULL },
	                NULL),
	        0);
	world_leave();
	assert_false(reaches_soon(c.netns, "198.51.100.10", outside, "192.0.2.2", 7301, NULL));

	c.spec.n_addresses = 0;
	assert_int_equal(net_port_configure(net, &c.spec, c.netns, &err), 0);
	assert_int_equal(net_dump(net, count, counts, &err), 0);
	assert_int_equal(counts[NET_OBJECT_ROUTE], 0);
	container_end(net, &c);
}

/* What was released stays as long as somebody holds its namespace; whoever has the name next does not wait
 * for that, and does not take it from one that is in use. */
static void a_name_is_used_again(void **state)
{
	struct container c, next;
	struct ct_error err = { 0 };
	unsigned counts[3] = { 0 };
	int fresh = world_namespace();

	container_begin(net, &c, 9, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.10", NULL });
	assert_int_equal(net_port_create(net, c.spec.host_name, "eth0", fresh, &err), -EEXIST);
	assert_true(reaches(c.netns, "198.51.100.10", outside, "192.0.2.2", 7300, NULL));
	assert_int_equal(net_port_release(net, &c.spec, false, &err), 0);
	assert_int_equal(net_settle(net, &err), 1);

	container_begin(net, &next, 9, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.11", NULL });
	assert_int_equal(net_settle(net, &err), 0);
	assert_true(reaches(next.netns, "198.51.100.11", outside, "192.0.2.2", 7300, NULL));
	assert_int_equal(net_dump(net, count, counts, &err), 0);
	assert_int_equal(counts[NET_OBJECT_LINK], 1);
	container_end(net, &next);
	close(c.netns);
	close(fresh);
}

/* On the uplink's segment the host announces the addresses and answers for them; without being asked to, it
 * does neither. */
static void uplink_is_told_and_answered(void **state)
{
	static const uint8_t out_mac[6] = { 0x02, 0xdd, 0, 0, 0, 1 };
	static const uint8_t solicited_mac[6] = { 0x33, 0x33, 0xff, 0, 0, 0x55 };
	struct container c = { .netns = world_namespace() };
	int raw = raw_open(outside, "out0");
	struct net_context *next = NULL;
	struct ct_error err = { 0 };
	uint8_t seen[128];
	struct frame f;
	size_t at;

	c.spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = NET_MODE_ROUTED,
		.addresses = c.addresses,
		.n_addresses = 2,
		.gateway4 = ip("169.254.1.1"),
		.gateway6 = ip("fe80::1"),
		.proxy_neighbours = true };
	c.addresses[0] = ip("192.0.2.55");
	c.addresses[1] = ip("2001:db8:ff::55");
	net_port_name(c.spec.host_name, TEST_TAG, 20, 0);
	net_port_mac(c.spec.mac, c.spec.host_name, 0);
	if (net_port_create(net, c.spec.host_name, "eth0", c.netns, &err) < 0 ||
	        net_port_configure(net, &c.spec, c.netns, &err) < 0)
		fail_msg("%s", err.text);

	assert_int_equal(raw_wait(raw, c.addresses[0].bytes, 4, 10000, seen, sizeof(seen)), 42);
	assert_memory_equal(
	        seen + 28, c.addresses[0].bytes, 4); /* the sender's and the target's: gratuitous */
	assert_memory_equal(seen + 38, c.addresses[0].bytes, 4);
	assert_int_equal(raw_wait(raw, c.addresses[1].bytes, 16, 10000, seen, sizeof(seen)), 86);
	assert_int_equal(seen[54], 136);
	memcpy(f.data, seen, 86);
	f.len = 86;
	frame_sum6(&f, 14, 54, IPPROTO_ICMPV6, 2);
	assert_memory_equal(f.data + 56, seen + 56, 2);

	frame_ether(&f, broadcast, out_mac, 0x0806);
	frame_arp(&f, 1, out_mac, ip("192.0.2.200"), broadcast, c.addresses[0]);
	frame_send(raw, &f);
	assert_true(raw_wait(raw, c.addresses[0].bytes, 4, 10000, seen, sizeof(seen)) >= 42);
	assert_int_equal(seen[21], 2);

	frame_ether(&f, solicited_mac, out_mac, 0x86dd);
	at = f.len;
	frame_ip6(&f, ip("2001:db8:ff::200"), ip("ff02::1:ff00:55"), IPPROTO_ICMPV6, 255, 32);
	frame_add(&f, "\x87\0\0\0\0\0\0\0", 8);
	frame_add(&f, c.addresses[1].bytes, 16);
	frame_u8(&f, 1);
	frame_u8(&f, 1);
	frame_add(&f, out_mac, 6);
	frame_sum6(&f, at, at + 40, IPPROTO_ICMPV6, 2);
	frame_send(raw, &f);
	assert_true(raw_wait(raw, c.addresses[1].bytes, 16, 10000, seen, sizeof(seen)) >= 78);
	assert_int_equal(seen[54], 136);

	/* the default route leads by another link: answered there as well, and nowhere when it is released */
	assert_int_equal(
	        shell("ip link add other0 type veth peer name other1 && ip link set other1 up && ip link set other0 up && "
	              "ip route replace default dev other0 && "
	              "ip -6 route replace default dev other0"),
	        0);
	if (net_port_answer(net, &c.spec, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(shell("ip neigh show proxy dev other0 | grep -q 192.0.2.55 && "
	                       "ip -6 neigh show proxy dev other0 | grep -q 2001:db8:ff::55"),
	        0);
	/* by one that has seen none of it neither, when the routes lead back */
	assert_int_equal(shell("ip route replace default via 192.0.2.2 && "
	                       "ip -6 route replace default via 2001:db8:ff::2"),
	        0);
	assert_int_equal(net_context_new(TEST_TAG, &next, &err), 0);
	container_end(next, &c);
	net_context_free(next);
	assert_int_equal(shell("! { ip neigh show proxy; ip -6 neigh show proxy; } | grep ."), 0);
	assert_int_equal(shell("ip link del other0"), 0);
	frame_ether(&f, broadcast, out_mac, 0x0806);
	frame_arp(&f, 1, out_mac, ip("192.0.2.200"), broadcast, c.addresses[0]);
	frame_send(raw, &f);
	assert_int_equal(raw_wait(raw, c.addresses[0].bytes, 4, 1200, seen, sizeof(seen)), 0);
	close(raw);
}

static void nothing_is_left(void **state)
{
	unsigned counts[3] = { 0 };
	struct ct_error err = { 0 };
	struct container c;

	container_begin(net, &c, 9, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.10", "2001:db8:1::10", NULL });
	assert_int_equal(net_dump(net, count, counts, &err), 0);
	assert_int_equal(counts[NET_OBJECT_LINK], 1);
	assert_int_equal(counts[NET_OBJECT_ROUTE], 2);
	assert_int_equal(counts[NET_OBJECT_FILTER], 1);

	container_end(net, &c);
	memset(counts, 0, sizeof(counts));
	assert_int_equal(net_dump(net, count, counts, &err), 0);
	assert_int_equal(counts[NET_OBJECT_LINK], 0);
	assert_int_equal(counts[NET_OBJECT_ROUTE], 0);
	assert_int_equal(counts[NET_OBJECT_FILTER], 0);
}

struct totals {
	unsigned ports;
	char last[IFNAMSIZ];
	struct net_counters counters;
};

static int add_up(const char *host_name, const struct net_counters *counters, void *userdata)
{
	struct totals *totals = userdata;

	assert_true(strcmp(host_name, totals->last) > 0);
	memcpy(totals->last, host_name, strlen(host_name) + 1);
	totals->ports++;
	totals->counters.in_packets += counters->in_packets;
	totals->counters.out_packets += counters->out_packets;
	totals->counters.out_bytes += counters->out_bytes;
	return 0;
}

/* Ten datagrams of 32 bytes; what the tenant deletes inside resets nothing. */
static void counters_outlive_the_link(void **state)
{
	struct net_counters before, after;
	struct totals totals = { 0 };
	struct container c, d;
	struct ct_error err = { 0 };

	container_begin(net, &c, 30, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.30", NULL });
	container_begin(net, &d, 31, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.31", NULL });
	assert_int_equal(net_port_counters(net, c.spec.host_name, &before, &err), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_true(reaches(c.netns, "198.51.100.30", outside, "192.0.2.2", 7400, NULL));
	assert_int_equal(net_port_counters(net, c.spec.host_name, &after, &err), 0);
	assert_int_equal(after.out_packets - before.out_packets, 10);
	assert_int_equal(after.out_bytes - before.out_bytes, 10 * 32);
	assert_true(after.in_packets - before.in_packets >= 10);

	world_enter(c.netns);
	assert_int_equal(run((const char *const[]){ "ip", "link", "delete", "eth0", NULL }, NULL), 0);
	world_leave();
	assert_int_equal(net_port_counters(net, c.spec.host_name, &before, &err), 0);
	assert_int_equal(before.out_packets, after.out_packets);
	assert_int_equal(net_port_configure(net, &c.spec, c.netns, &err), -ENODEV);

	assert_int_equal(net_counters_dump(net, add_up, &totals, &err), 0);
	assert_int_equal(totals.ports, 2);
	assert_true(totals.counters.out_packets >= 10);

	/* one that a set does not tell of is not told of as one that has no traffic */
	totals = (struct totals){ 0 };
	assert_int_equal(run((const char *const[]){ "nft", "delete", "element", "netdev", "ctd-test",
	                             "refused", "{", c.spec.host_name, "}", NULL },
	                         NULL),
	        0);
	assert_int_equal(net_counters_dump(net, add_up, &totals, &err), 0);
	assert_int_equal(totals.ports, 1);
	assert_string_equal(totals.last, d.spec.host_name);
	container_end(net, &c);
	container_end(net, &d);
	assert_int_equal(net_port_counters(net, c.spec.host_name, &before, &err), -ENOENT);
	assert_int_equal(err.kind, CT_ERROR_NOT_FOUND);
}

/* Two interfaces; the default route is the first one's. What comes for the second one's address is answered
 * through it, not through the first, whose guard would not let it pass. */
static void answers_leave_by_the_interface_they_belong_to(void **state)
{
	struct container first, second = { 0 };
	struct ct_error err = { 0 };

	container_begin(
	        net, &first, 40, NET_MODE_NAT, (const char *const[]){ "10.77.0.40", "fd77::40", NULL });
	second.netns = first.netns;
	second.spec = (struct net_port_spec){ .guest_name = "eth1",
		.mode = NET_MODE_ROUTED,
		.addresses = second.addresses,
		.n_addresses = 2,
		.source_gateway4 = ip("169.254.1.1"),
		.source_gateway6 = ip("fe80::1"),
		.mtu = 1500 };
	second.addresses[0] = ip("198.51.100.40");
	second.addresses[1] = ip("2001:db8:1::40");
	net_port_name(second.spec.host_name, TEST_TAG, 40, 1);
	net_port_mac(second.spec.mac, second.spec.host_name, 1);
	if (net_port_create(net, second.spec.host_name, "eth1", second.netns, &err) < 0 ||
	        net_port_configure(net, &second.spec, second.netns, &err) < 0)
		fail_msg("%s", err.text);
	(void)poll(NULL, 0, 50);

	assert_true(reaches(outside, "192.0.2.2", first.netns, "198.51.100.40", 7500, NULL));
	assert_true(reaches(outside, "2001:db8:ff::2", first.netns, "2001:db8:1::40", 7500, NULL));
	assert_true(reaches(first.netns, "10.77.0.40", outside, "192.0.2.2", 7501, NULL));
	assert_true(reaches(first.netns, "fd77::40", outside, "2001:db8:ff::2", 7501, NULL));
	if (net_port_release(net, &second.spec, true, &err) < 0)
		fail_msg("%s", err.text);
	container_end(net, &first);
}

static void the_probe_tells_and_leaves_nothing(void **state)
{
	struct net_probe probe;
	struct ct_error err = { 0 };
	char *tables = NULL;

	if (net_probe(net, &probe, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(probe.veth && probe.nft && probe.nft_netdev && probe.nft_masquerade);
	assert_true(probe.ip_forward && probe.ipv6);
	assert_string_equal(probe.uplink, "up0");
	assert_int_equal(probe.uplink_mtu, 1500);
	assert_int_equal(run((const char *const[]){ "nft", "list", "tables", NULL }, &tables), 0);
	assert_null(strstr(tables, "probe"));
	free(tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routed_is_reached_and_reaches),
		cmocka_unit_test(nat_reaches_under_the_hosts_address),
		cmocka_unit_test(only_listed_services_of_the_host_answer),
		cmocka_unit_test(peers_are_as_specified),
		cmocka_unit_test(counters_outlive_the_link),
		cmocka_unit_test(a_name_is_used_again),
		cmocka_unit_test(uplink_is_told_and_answered),
		cmocka_unit_test(answers_leave_by_the_interface_they_belong_to),
		cmocka_unit_test(the_probe_tells_and_leaves_nothing),
		cmocka_unit_test(nothing_is_left),
		cmocka_unit_test(addresses_change_live),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
