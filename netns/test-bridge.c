/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ports of bridges: who sees what of whom on one segment. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "netns/context.h"
#include "netns/link.h"
#include "netns/test-support.h"

static struct net_context *net;
static int outside;
static char bridge[IFNAMSIZ];

static int begin(void **state)
{
	outside = segments_begin(&net);
	net_bridge_name(bridge, TEST_TAG, 7);
	assert_string_equal(bridge, "btest7");
	return 0;
}

static int end(void **state)
{
	segments_end(net, outside);
	assert_int_equal(if_nametoindex(bridge), 0);
	return 0;
}

static bool reaches_in(int from_ns, int to_ns, const char *to, int tries)
{
	struct ip_addr a = ip(to);
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(7000) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(7000) };
	bool is4 = a.family == AF_INET;
	struct sockaddr *address = is4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t len = is4 ? sizeof(v4) : sizeof(v6);
	int sender = socket_open(from_ns, a.family, SOCK_DGRAM, 0),
	    receiver = socket_open(to_ns, a.family, SOCK_DGRAM, 0);
	struct pollfd waiting = { .fd = receiver, .events = POLLIN };
	bool arrived = false;

	memcpy(is4 ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr, a.bytes, ip_len(&a));
	assert_int_equal(bind(receiver, address, len), 0);
	while (!arrived && tries-- > 0) {
		(void)sendto(sender, "x", 1, 0, address, len);
		arrived = poll(&waiting, 1, 400) > 0;
	}
	close(sender);
	close(receiver);
	return arrived;
}

/* What is to arrive may take its time (the kernel opens a new port of a bridge within a second); what is not
 * to is not waited for so long. */
static bool reaches(int from_ns, int to_ns, const char *to)
{
	return reaches_in(from_ns, to_ns, to, 25);
}

static bool reaches_soon(int from_ns, int to_ns, const char *to)
{
	return reaches_in(from_ns, to_ns, to, 1);
}

static void members_reach_each_other_and_only_each_other(void **state)
{
	struct container a, b;
	struct ct_error err = { 0 };

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_add(net, &(struct net_bridge_spec){ .number = 7 }); /* again */
	segment_member_begin(net, &a, 1, false, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &b, 2, false, "10.5.0.2/24", "fd05::2/64");
	assert_true(reaches(a.netns, b.netns, "10.5.0.2"));
	assert_true(reaches(b.netns, a.netns, "10.5.0.1"));
	assert_true(reaches(a.netns, b.netns, "fd05::2"));
	assert_true(reaches(b.netns, a.netns, "fd05::1"));

	assert_int_equal(net_bridge_remove(net, 7, &err), -EBUSY);
	assert_non_null(strstr(err.text, "2 ports"));
	container_end(net, &a);
	container_end(net, &b);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(if_nametoindex(bridge), 0);
}

static void isolated_members_do_not(void **state)
{
	struct container a, b, c;

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &a, 1, true, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &b, 2, true, "10.5.0.2/24", "fd05::2/64");
	segment_member_begin(net, &c, 3, false, "10.5.0.3/24", "fd05::3/64");
	assert_false(reaches_soon(a.netns, b.netns, "10.5.0.2"));
	assert_false(reaches_soon(b.netns, a.netns, "fd05::1"));
	assert_true(reaches(a.netns, c.netns, "10.5.0.3"));
	assert_true(reaches(c.netns, b.netns, "fd05::2"));
	container_end(net, &a);
	container_end(net, &b);
	container_end(net, &c);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

/* As a port that joins does until it is told not to. */
static void let_learn(const char *port)
{
	struct ifinfomsg header = { .ifi_family = AF_BRIDGE, .ifi_index = (int)if_nametoindex(port) };
	struct ct_error err = { 0 };
	size_t nest;

	nl_batch_reset(&net->batch);
	nl_message(&net->batch, "let it learn", RTM_SETLINK, 0, &header, sizeof(header));
	nest = nl_nest(&net->batch, IFLA_PROTINFO);
	nl_put_u8(&net->batch, IFLA_BRPORT_LEARNING, 1);
	nl_nest_end(&net->batch, nest);
	assert_int_equal(nl_transact(&net->route, &net->batch, port, &err), 0);
}

/* One that moves here has the MAC and addresses of the one that it was: first nothing, then all is for it. */
static void a_quiet_port_takes_nothing_until_it_is_opened(void **state)
{
	struct container peer, before, copy = { .netns = world_namespace() };
	struct ct_error err = { 0 };

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &peer, 1, false, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &before, 2, false, "10.5.0.2/24", "fd05::2/64");
	assert_true(reaches(peer.netns, before.netns, "10.5.0.2"));

	copy.spec = before.spec;
	copy.spec.quiet = true;
	net_port_name(copy.spec.host_name, TEST_TAG, 3, 0);
	assert_int_equal(net_port_create(net, copy.spec.host_name, "eth0", copy.netns, &err), 0);
	assert_int_equal(net_port_configure(net, &copy.spec, copy.netns, &err), 0);
	assert_true(reaches(peer.netns, before.netns, "10.5.0.2"));
	assert_true(reaches(peer.netns, before.netns, "fd05::2"));
	(void)poll(NULL, 0, 1000);
	assert_false(reaches_soon(peer.netns, copy.netns, "10.5.0.2"));
	let_learn(copy.spec.host_name);
	(void)reaches_soon(copy.netns, peer.netns, "10.5.0.1"); /* it has sent something: */
	assert_true(reaches(peer.netns, before.netns, "10.5.0.2"));

	assert_int_equal(net_port_open(net, &copy.spec, &err), 0);
	assert_true(reaches(peer.netns, copy.netns, "10.5.0.2"));
	container_end(net, &before);
	assert_true(reaches(peer.netns, copy.netns, "10.5.0.2"));
	container_end(net, &copy);
	container_end(net, &peer);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

static void uplink_is_shared(void **state)
{
	struct container a;
	struct ct_error err = { 0 };

	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0" });
	segment_member_begin(net, &a, 1, false, "192.0.2.77/24", "2001:db8:ff::77/64");
	assert_true(reaches(a.netns, outside, "192.0.2.2"));
	assert_true(reaches(outside, a.netns, "2001:db8:ff::77"));
	assert_int_equal(net_bridge_add(net, &(struct net_bridge_spec){ .number = 8, .uplink = "up0" }, &err),
	        -EEXIST);
	assert_int_equal(net_bridge_remove(net, 8, NULL), 0);
	container_end(net, &a);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

static bool is_told_of(int fd, const uint8_t mac[6])
{
	struct pollfd waiting = { .fd = fd, .events = POLLIN };
	uint8_t data[200];

	while (poll(&waiting, 1, 5000) > 0)
		if (recv(fd, data, sizeof(data), 0) == 42 && data[12] == 0x80 && data[13] == 0x35 &&
		        memcmp(data + 6, mac, 6) == 0 && memcmp(data + 22, mac, 6) == 0)
			return true;
	return false;
}

/* What has its addresses from elsewhere, and trunks: switches are told of the MAC. */
static void a_port_without_addresses_is_announced(void **state)
{
	struct container a;
	struct ct_error err = { 0 };
	int fd = raw_open(outside, "out0");

	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0" });
	segment_member_begin(net, &a, 1, false, "192.0.2.77/24", "2001:db8:ff::77/64");
	assert_true(reaches(a.netns, outside, "192.0.2.2"));
	a.spec.n_addresses = 0;
	assert_int_equal(net_port_announce(net, &a.spec, &err), 0);
	assert_true(is_told_of(fd, a.spec.mac));
	memcpy(a.spec.trunk[0].bridge, bridge, sizeof(bridge));
	a.spec.n_trunk = 1;
	assert_int_equal(net_port_announce(net, &a.spec, &err), 0);
	assert_true(is_told_of(fd, a.spec.mac));
	a.spec.n_trunk = 0;
	a.spec.n_addresses = 2;
	container_end(net, &a);
	close(fd);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

static int ip_does(const char *const argv[])
{
	return run(argv, NULL);
}

/* A bridge of the administrator's, with addresses of the host. */
static void lan_begin(void)
{
	static const char *const commands[][9] = {
		{ "ip", "link", "add", "lan", "type", "bridge" },
		{ "ip", "link", "set", "lan", "up" },
		{ "ip", "addr", "add", "10.5.0.254/24", "dev", "lan" },
		{ "ip", "addr", "add", "fd05::fe/64", "dev", "lan", "nodad" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		assert_int_equal(ip_does(commands[i]), 0);
}

/* As a change of a running container does. */
static void move_to_lan(struct container *c)
{
	struct ct_error err = { 0 };

	(void)snprintf(c->spec.bridge, sizeof(c->spec.bridge), "lan");
	if (net_port_configure(net, &c->spec, c->netns, &err) < 0)
		fail_msg("%s", err.text);
	(void)poll(NULL, 0, 50);
}

static uint64_t tracked(void)
{
	uint64_t n = 0;

	assert_true(read_u64_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_count", &n) >= 0);
	return n;
}

/* Where bridged frames are shown to the host's tables (br_netfilter), a flood on a segment would fill the
 * connection table. That they are shown is seen on a bridge that is not ours. */
static void what_stays_on_a_segment_has_no_connections(void **state)
{
	const bool shown = access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0;
	struct container a, b;
	uint64_t before;

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &a, 1, false, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &b, 2, false, "10.5.0.2/24", "fd05::2/64");
	before = tracked();
	assert_true(reaches(a.netns, b.netns, "10.5.0.2"));
	assert_true(reaches(b.netns, a.netns, "fd05::1"));
	assert_true(tracked() <= before);

	lan_begin();
	move_to_lan(&a);
	move_to_lan(&b);
	before = tracked();
	assert_true(reaches(a.netns, b.netns, "10.5.0.2"));
	assert_true(reaches(b.netns, a.netns, "fd05::1"));
	assert_true(!shown || tracked() > before);

	container_end(net, &a);
	container_end(net, &b);
	assert_int_equal(ip_does((const char *const[]){ "ip", "link", "del", "lan", NULL }), 0);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

static void apply_services(size_t n)
{
	static const struct net_service services[] = { { IPPROTO_UDP, 7000 } };
	const struct net_host_spec spec = {
		.services = services, .n_services = n, .enable_forwarding = true
	};
	struct ct_error err = { 0 };

	if (net_host_apply(net, &spec, &err) < 0)
		fail_msg("%s", err.text);
}

static void expect_at_host(const struct container *c, int host, bool expected)
{
	static const char *const addresses[] = { "10.5.0.254", "fd05::fe" };

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_int_equal(expected ? reaches(c->netns, host, addresses[i])
		                          : reaches_soon(c->netns, host, addresses[i]),
		        expected);
}

/* With a rate its frames make a detour, which must not change who they are from. */
static void hosts_services_are_out_of_reach_by_its_bridge(void **state)
{
	const struct net_rates rate = { .out = 1000000000, .segment = true }, none = { 0 };
	int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct ct_error err = { 0 };
	struct container a;

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &a, 1, false, "10.5.0.1/24", "fd05::1/64");
	lan_begin();
	move_to_lan(&a);
	for (unsigned slowed = 0; slowed < 2; slowed++) {
		if (net_port_shape(net, a.spec.host_name, slowed ? &rate : &none, &err) < 0)
			fail_msg("%s", err.text);
		expect_at_host(&a, host, false);
		assert_true(reaches(host, a.netns, "10.5.0.1"));
		assert_true(reaches(host, a.netns, "fd05::1"));
		world_enter(a.netns);
		assert_int_equal(
		        ip_does((const char *const[]){ "ping", "-c", "1", "-W", "10", "10.5.0.254", NULL }),
		        0);
		assert_int_equal(
		        ip_does((const char *const[]){ "ping", "-c", "1", "-W", "10", "fd05::fe", NULL }), 0);
		world_leave();
		apply_services(1);
		expect_at_host(&a, host, true);
		apply_services(0);
	}
	expect_at_host(&a, host, false);

	container_end(net, &a);
	assert_int_equal(ip_does((const char *const[]){ "ip", "link", "del", "lan", NULL }), 0);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	close(host);
}

/* A tenant's default route: to where its frames go up to the host, if that lets them. */
static void route_to_host_side(const struct container *c)
{
	char mac[20];
	const char *const neighbours[][10] = {
		{ "ip", "neigh", "replace", "10.5.0.99", "lladdr", mac, "dev", "eth0" },
		{ "ip", "neigh", "replace", "fd05::99", "lladdr", mac, "dev", "eth0" },
		{ "ip", "route", "replace", "default", "via", "10.5.0.99" },
		{ "ip", "-6", "route", "replace", "default", "via", "fd05::99", "dev", "eth0" },
	};

	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", 0xfe, c->spec.mac[1],
	        c->spec.mac[2], c->spec.mac[3], c->spec.mac[4], c->spec.mac[5]);
	world_enter(c->netns);
	for (size_t i = 0; i < ARRAY_SIZE(neighbours); i++)
		assert_int_equal(ip_does(neighbours[i]), 0);
	world_leave();
}

/* To the host's own address, and through it: a bridge passes up what is for its ports' own addresses. */
static void a_segment_does_not_lead_to_the_host(void **state)
{
	static const char *const addresses[] = { "192.0.2.1", "2001:db8:ff::1" };
	static const char *const beyond[] = { "192.0.2.2", "2001:db8:ff::2" };
	int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct container a;

	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &a, 1, false, "10.5.0.1/24", "fd05::1/64");
	assert_true(write_file_at(AT_FDCWD, "/proc/sys/net/ipv4/conf/all/rp_filter", "0") >= 0);
	route_to_host_side(&a);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		assert_false(reaches_soon(a.netns, host, addresses[i]));
		assert_false(reaches_soon(a.netns, outside, beyond[i]));
	}
	container_end(net, &a);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	close(host);
}

/* Whether somebody says which MAC the host's address on its uplink has. */
static bool is_told_of_host(const struct container *c)
{
	static const uint8_t nobody[6];
	const struct ip_addr own = ip("10.5.0.1"), host = ip("192.0.2.1");
	int raw = raw_open(c->netns, "eth0");
	struct frame f;
	bool told = false;

	for (unsigned i = 0; i < 5 && !told; i++) {
		frame_ether(&f, broadcast, c->spec.mac, 0x0806);
		frame_arp(&f, 1, c->spec.mac, own, nobody, host);
		frame_send(raw, &f);
		told = raw_wait(raw, host.bytes, 4, 300, NULL, 0) > 0;
	}
	close(raw);
	return told;
}

/* Where rp_filter is off the kernel answers by any link, as it does on a bridge that is not ours. */
static void a_segment_is_not_told_of_the_hosts_addresses(void **state)
{
	static const char *const filters[] = { "/proc/sys/net/ipv4/conf/all/rp_filter",
		"/proc/sys/net/ipv4/conf/default/rp_filter" };
	struct container a, b;

	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_true(write_file_at(AT_FDCWD, filters[i], "0") >= 0);
	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &a, 1, false, "10.5.0.1/24", "fd05::1/64");
	segment_member_begin(net, &b, 2, false, "10.5.0.2/24", "fd05::2/64");
	assert_false(is_told_of_host(&a));
	assert_true(reaches(a.netns, b.netns, "10.5.0.2"));
	lan_begin();
	move_to_lan(&a);
	assert_true(is_told_of_host(&a));

	container_end(net, &a);
	container_end(net, &b);
	assert_int_equal(ip_does((const char *const[]){ "ip", "link", "del", "lan", NULL }), 0);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
}

/* Another end of the tagged link: a sub-interface outside. */
static int vlan_outside(uint16_t vlan)
{
	static struct nl_batch b;
	struct nl_sock sock;
	struct link_info link;
	int r;

	world_enter(outside);
	assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
	assert_int_equal(link_get(&sock, &b, "out0", 0, &link, NULL), 0);
	nl_batch_reset(&b);
	link_add_vlan(&b, "tagged", link.index, vlan, 0);
	r = nl_transact(&sock, &b, "tagged", NULL);
	if (r == 0) {
		struct ip_addr a4 = ip("10.6.0.1/24"), a6 = ip("fd06::1/64");

		assert_int_equal(link_get(&sock, &b, "tagged", 0, &link, NULL), 0);
		nl_batch_reset(&b);
		link_change(&b, &(struct link_change){ .index = link.index, .up = true });
		address_add(&b, link.index, &a4);
		address_add(&b, link.index, &a6);
		assert_int_equal(nl_transact(&sock, &b, "tagged", NULL), 0);
	}
	nl_batch_done(&b);
	nl_close(&sock);
	world_leave();
	return r;
}

static void vlan_leads_to_its_own_segment(void **state)
{
	struct container a;
	struct ct_error err = { 0 };

	if (vlan_outside(42) == -EOPNOTSUPP) {
		/* the host must say so, and leave nothing */
		assert_int_equal(
		        net_bridge_add(net,
		                &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 }, &err),
		        -EOPNOTSUPP);
		assert_int_equal(if_nametoindex(bridge), 0);
		return;
	}

	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 });
	segment_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 42 });
	assert_int_equal(net_bridge_add(net,
	                         &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 43 }, &err),
	        -EEXIST);
	segment_member_begin(net, &a, 1, false, "10.6.0.2/24", "fd06::2/64");
	assert_true(reaches(a.netns, outside, "10.6.0.1"));
	assert_true(reaches(outside, a.netns, "10.6.0.2"));
	assert_true(reaches(a.netns, outside, "fd06::1"));
	container_end(net, &a);
	assert_int_equal(net_bridge_remove(net, 7, NULL), 0);
	assert_int_equal(if_nametoindex("wtest7"), 0);
}

static void nonsense_is_refused(void **state)
{
	struct ct_error err = { 0 };

	assert_int_equal(
	        net_bridge_add(net, &(struct net_bridge_spec){ .number = 7, .vlan = 5 }, &err), -EINVAL);
	assert_string_equal(err.field, "uplink");
	assert_int_equal(
	        net_bridge_add(
	                net, &(struct net_bridge_spec){ .number = 7, .uplink = "up0", .vlan = 4095 }, &err),
	        -EINVAL);
	assert_string_equal(err.field, "vlan");
	assert_int_equal(
	        net_bridge_add(net, &(struct net_bridge_spec){ .number = 7, .uplink = "nosuch" }, &err),
	        -ENODEV);
	assert_non_null(strstr(err.text, "nosuch"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_reach_each_other_and_only_each_other),
		cmocka_unit_test(isolated_members_do_not),
		cmocka_unit_test(a_quiet_port_takes_nothing_until_it_is_opened),
		cmocka_unit_test(what_stays_on_a_segment_has_no_connections),
		cmocka_unit_test(hosts_services_are_out_of_reach_by_its_bridge),
		cmocka_unit_test(a_segment_does_not_lead_to_the_host),
		cmocka_unit_test(a_segment_is_not_told_of_the_hosts_addresses),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(vlan_leads_to_its_own_segment),
		cmocka_unit_test(uplink_is_shared),
		cmocka_unit_test(a_port_without_addresses_is_announced),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
