/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Root in a container sends what it should not. Every frame is made byte by byte and put on eth0 through a
 * packet socket; what counts is whether the guard let it pass (the port's counter of sent packets) and
 * whether a neighbour or the outside sees it. The same frames without the trick do arrive, so that nothing is
 * refused by mistake of the test. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns/context.h"
#include "netns/link.h"
#include "netns/test-frames.h"

static struct net_context *net;
static int outside, raw_attacker, raw_victim, raw_outside;

static struct frame_world *const w = &frame_world;

static void ether(struct frame *f, uint16_t type)
{
	frame_ether(f, net_gateway_mac, w->attacker.spec.mac, type);
}

static void apply(void)
{
	struct ct_error err = { 0 };
	struct net_host_spec spec = { .routed_peers = true, .enable_forwarding = true };

	if (net_host_apply(net, &spec, &err) < 0)
		fail_msg("apply: %s", err.text);
}

static struct net_counters counters(const struct container *c)
{
	struct net_counters ret;
	struct ct_error err = { 0 };

	if (net_port_counters(net, c->spec.host_name, &ret, &err) < 0)
		fail_msg("counters: %s", err.text);
	return ret;
}

static int begin(void **state)
{
	struct ct_error err = { 0 };

	w->own4 = ip("198.51.100.1");
	w->own6 = ip("2001:db8:1::1");
	w->victim4 = ip("198.51.100.2");
	w->victim6 = ip("2001:db8:1::2");
	outside = world_outside();
	if (net_context_new(TEST_TAG, &net, &err) < 0)
		fail_msg("context: %s", err.text);
	apply();

	container_begin(net, &w->attacker, 1, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.1", "2001:db8:1::1", NULL });
	container_begin(net, &w->victim, 2, NET_MODE_ROUTED,
	        (const char *const[]){ "198.51.100.2", "2001:db8:1::2", NULL });
	net_link_local(&w->local6, w->attacker.spec.mac);
	raw_attacker = raw_open(w->attacker.netns, "eth0");
	raw_victim = raw_open(w->victim.netns, "eth0");
	raw_outside = raw_open(outside, "out0");
	return 0;
}

static int end(void **state)
{
	close(raw_attacker);
	close(raw_victim);
	close(raw_outside);
	container_end(net, &w->attacker);
	container_end(net, &w->victim);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static void drain(void)
{
	const int raws[] = { raw_attacker, raw_victim, raw_outside };

	for (size_t i = 0; i < ARRAY_SIZE(raws); i++)
		(void)raw_wait(raws[i], "\x01never", 6, 0, NULL, 0);
}

static void try_all(void)
{
	drain();
	for (size_t i = 0; i < n_test_frames; i++) {
		struct net_counters before = counters(&w->attacker), after;
		struct frame f;
		bool passed, reached;

		test_frames[i].make(&f);
		frame_send(raw_attacker, &f);
		reached = raw_wait(raw_victim, MARK, strlen(MARK), test_frames[i].reaches ? 10000 : 20, NULL,
		                  0) > 0 ||
		          raw_wait(raw_outside, MARK, strlen(MARK), 0, NULL, 0) > 0;
		after = counters(&w->attacker);
		passed = after.out_packets != before.out_packets;
		if (passed != test_frames[i].passes || reached != test_frames[i].reaches)
			fail_msg("%s: %s, %s", test_frames[i].name, passed ? "passed" : "did not pass",
			        reached ? "was seen" : "was not seen");
	}
}

static void only_honest_frames_pass(void **state)
{
	try_all();
}

static void nothing_changes_when_the_host_is_applied_again(void **state)
{
	struct ct_error err = { 0 };

	apply();
	assert_int_equal(net_port_configure(net, &w->attacker.spec, w->attacker.netns, &err), 0);
	try_all();
}

/* While rules are replaced again and again: not one of many frames slips through. */
static void no_gap_while_rules_are_replaced(void **state)
{
	struct net_counters before = counters(&w->attacker), after;
	struct ct_error err = { 0 };
	struct frame bad, good;

	drain();
	frame_neighbours_address4(&bad);
	frame_good4(&good);
	for (int round = 0; round < 20; round++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			for (int i = 0; i < 500; i++)
				frame_send(raw_attacker, &bad);
			_exit(0);
		}
		for (int i = 0; i < 3; i++) {
			apply();
			assert_int_equal(
			        net_port_configure(net, &w->attacker.spec, w->attacker.netns, &err), 0);
		}
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	after = counters(&w->attacker);
	assert_int_equal(after.out_packets, before.out_packets);
	assert_int_equal(after.out_dropped - before.out_dropped, 20 * 500);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);

	frame_send(raw_attacker, &good);
	assert_true(raw_wait(raw_victim, MARK, strlen(MARK), 10000, NULL, 0) > 0);
}

static void guard_answers_for_the_gateway(void **state)
{
	static const uint8_t operation_and_mac[8] = { 0, 2, 0x02, 'c', 't', 'd', 0, 1 };
	uint8_t answer[256];
	struct frame f;

	drain();
	frame_ether(&f, broadcast, w->attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, w->attacker.spec.mac, w->own4, broadcast, ip("169.254.1.1"));
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, operation_and_mac, 8, 10000, answer, sizeof(answer)) >= 42);
	assert_memory_equal(answer, w->attacker.spec.mac, 6);
	assert_memory_equal(answer + 6, net_gateway_mac, 6);
	assert_memory_equal(answer + 28, ip("169.254.1.1").bytes, 4);
	assert_memory_equal(answer + 32, w->attacker.spec.mac, 6);
	assert_memory_equal(answer + 38, w->own4.bytes, 4);

	/* duplicate detection: nobody has its address */
	frame_ether(&f, broadcast, w->attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, w->attacker.spec.mac, ip("0.0.0.0"), broadcast, w->own4);
	frame_send(raw_attacker, &f);
	frame_ether(&f, broadcast, w->attacker.spec.mac, 0x0806);
	frame_arp(&f, 1, w->attacker.spec.mac, w->own4, broadcast, w->own4);
	frame_send(raw_attacker, &f);
	assert_int_equal(raw_wait(raw_attacker, net_gateway_mac, 6, 50, NULL, 0), 0);
}

/* The kernel inside does the rest: it pings the gateway, so it has resolved it, in both families. */
static void gateway_can_be_pinged(void **state)
{
	struct frame f;
	uint8_t answer[256];
	size_t at;

	drain();
	ether(&f, 0x0800);
	frame_ip4(&f, w->own4, ip("169.254.1.1"), IPPROTO_ICMP, 0, 8);
	frame_add(&f, "\x08\0\xf7\xff\0\0\0\0", 8); /* with its checksum */
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, net_gateway_mac, 6, 10000, answer, sizeof(answer)) >= 42);
	assert_memory_equal(answer + 26, ip("169.254.1.1").bytes, 4);
	assert_memory_equal(answer + 30, w->own4.bytes, 4);
	assert_memory_equal(answer + 34, "\0\0\xff\xff", 4);

	ether(&f, 0x86dd);
	at = f.len;
	frame_ip6(&f, w->local6, ip("fe80::1"), IPPROTO_ICMPV6, 64, 8);
	frame_add(&f, "\x80\0\0\0\0\0\0\0", 8);
	frame_sum6(&f, at, at + 40, IPPROTO_ICMPV6, 2);
	frame_send(raw_attacker, &f);
	assert_true(raw_wait(raw_attacker, ip("fe80::1").bytes, 16, 10000, answer, sizeof(answer)) >= 62);
	assert_memory_equal(answer + 22, ip("fe80::1").bytes, 16);
	assert_memory_equal(answer + 38, w->local6.bytes, 16);
	assert_int_equal(answer[54], 129);
	f.len = 62;
	memcpy(f.data, answer, f.len);
	frame_sum6(&f, 14, 54, IPPROTO_ICMPV6, 2);
	assert_memory_equal(f.data + 56, answer + 56, 2); /* the guard's checksum is right */
}

static void duplicate_detection_is_not_answered(void **state)
{
	struct frame f;
	size_t at;

	drain();
	frame_ether(&f, all_nodes_mac, w->attacker.spec.mac, 0x86dd);
	at = f.len;
	frame_ip6(&f, ip("::"), ip("ff02::1:ff00:1"), IPPROTO_ICMPV6, 255, 24);
	frame_add(&f, "\x87\0\0\0\0\0\0\0", 8);
	frame_add(&f, w->own6.bytes, 16);
	frame_sum6(&f, at, at + 40, IPPROTO_ICMPV6, 2);
	frame_send(raw_attacker, &f);
	assert_int_equal(raw_wait(raw_attacker, w->own6.bytes, 16, 50, NULL, 0), 0);
}

/* Made, but nobody's yet; and released with its link still up. */
static void without_a_container_nothing_passes(void **state)
{
	struct container c = { .netns = world_namespace() };
	struct ct_error err = { 0 };
	struct frame f;
	int raw;

	net_port_name(c.spec.host_name, TEST_TAG, 3, 0);
	if (net_port_create(net, c.spec.host_name, "eth0", c.netns, &err) < 0)
		fail_msg("create: %s", err.text);
	raw = raw_open(c.netns, "eth0");
	drain();
	frame_good4(&f);
	frame_send(raw, &f);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);

	c.spec.guest_name = "eth0";
	c.spec.mode = NET_MODE_ROUTED;
	c.spec.addresses = c.addresses;
	c.addresses[0] = ip("198.51.100.3");
	c.spec.n_addresses = 1;
	net_port_mac(c.spec.mac, c.spec.host_name, 0);
	assert_int_equal(net_port_configure(net, &c.spec, c.netns, &err), 0);
	frame_ether(&f, net_gateway_mac, c.spec.mac, 0x0800);
	frame_udp4_from(&f, c.addresses[0], 1234, 0);
	frame_send(raw, &f);
	assert_true(raw_wait(raw_victim, MARK, strlen(MARK), 10000, NULL, 0) > 0);

	assert_int_equal(net_port_release(net, &c.spec, false, &err), 0);
	frame_send(raw, &f);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);
	assert_int_equal(net_port_release(net, &c.spec, true, &err), 0); /* again, and gone for good */
	close(raw);
	close(c.netns);
}

/* A VLAN device inside: its tag does not lie in the frame but beside it, and a priority tag (id 0) would be
 * stripped by the host. */
static void tags_beside_the_frame_are_seen(void **state)
{
	static const uint16_t ids[] = { 0, 5 };
	static struct nl_batch b;
	struct nl_sock sock;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct net_counters before = counters(&w->attacker), after;
		struct link_info link;
		struct frame f;
		int r, raw;

		world_enter(w->attacker.netns);
		assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
		assert_int_equal(link_get(&sock, &b, "eth0", 0, &link, NULL), 0);
		nl_batch_reset(&b);
		link_add_vlan(&b, "tagged", link.index, ids[i], 0);
		r = nl_transact(&sock, &b, "tagged", NULL);
		if (r == -EOPNOTSUPP) { /* this kernel has no VLANs; the lab's has */
			world_leave();
			nl_close(&sock);
			break;
		}
		assert_int_equal(r, 0);
		assert_int_equal(link_get(&sock, &b, "tagged", 0, &link, NULL), 0);
		nl_batch_reset(&b);
		link_make_link_local(&b, "tagged", 0, false);
		link_change(&b, &(struct link_change){ .index = link.index, .up = true });
		assert_int_equal(nl_transact(&sock, &b, "tagged", NULL), 0);
		world_leave();

		raw = raw_open(w->attacker.netns, "tagged");
		drain();
		frame_good4(&f);
		frame_send(raw, &f);
		assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 100, NULL, 0), 0);
		after = counters(&w->attacker);
		assert_int_equal(after.out_packets, before.out_packets);
		assert_true(after.out_dropped > before.out_dropped);
		close(raw);

		nl_batch_reset(&b);
		link_delete(&b, "tagged");
		assert_int_equal(nl_transact(&sock, &b, "tagged", NULL), 0);
		nl_close(&sock);
	}
	nl_batch_done(&b);
}

/* An administrator takes away all tables. We hear of it, close everything, and open again what ought to be
 * open. */
static void flushed_tables_are_put_back(void **state)
{
	struct ct_error err = { 0 };
	struct pollfd watch = { .fd = net_watch_fd(net, &err), .events = POLLIN };
	struct frame good, bad;

	assert_true(watch.fd >= 0);
	apply();
	assert_true(poll(&watch, 1, 0) > 0); /* our own doing */
	assert_int_equal(net_watch_read(net, &err), 0);
	assert_int_equal(poll(&watch, 1, 0), 0);

	frame_good4(&good);
	frame_neighbours_address4(&bad);
	assert_int_equal(run((const char *const[]){ "nft", "flush", "ruleset", NULL }, NULL), 0);
	assert_true(poll(&watch, 1, 10000) > 0);
	assert_int_equal(net_watch_read(net, &err), 1);

	apply();
	drain();
	frame_send(raw_attacker, &good);
	frame_send(raw_attacker, &bad);
	assert_int_equal(raw_wait(raw_victim, MARK, strlen(MARK), 50, NULL, 0), 0);
	assert_int_equal(net_watch_read(net, &err), 0);

	assert_int_equal(net_port_configure(net, &w->attacker.spec, w->attacker.netns, &err), 0);
	assert_int_equal(net_port_configure(net, &w->victim.spec, w->victim.netns, &err), 0);
	try_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_honest_frames_pass),
		cmocka_unit_test(nothing_changes_when_the_host_is_applied_again),
		cmocka_unit_test(no_gap_while_rules_are_replaced),
		cmocka_unit_test(guard_answers_for_the_gateway),
		cmocka_unit_test(gateway_can_be_pinged),
		cmocka_unit_test(duplicate_detection_is_not_answered),
		cmocka_unit_test(without_a_container_nothing_passes),
		cmocka_unit_test(tags_beside_the_frame_are_seen),
		cmocka_unit_test(flushed_tables_are_put_back),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
