/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whoever makes, changes or releases a port is killed before each of its messages to the kernel, one after
 * the other. Then nothing that the container may not send passes, and one who comes after can start over and
 * leaves nothing. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns/context.h"
#include "netns/link.h"
#include "netns/test-support.h"

static struct net_context *net;
static struct container victim, member; /* one is routed, one on the segment */
static int outside, raw_victim;
static bool segment; /* the port that is made is one of a bridge */

static void apply(void)
{
	struct net_host_spec spec = { .routed_peers = true, .enable_forwarding = true };
	struct ct_error err = { 0 };

	if (net_host_apply(net, &spec, &err) < 0)
		fail_msg("apply: %s", err.text);
}

static int begin(void **state)
{
	struct ct_error err = { 0 };

	outside = world_outside();
	if (net_context_new(TEST_TAG, &net, &err) < 0)
		fail_msg("context: %s", err.text);
	apply();
	container_begin(net, &victim, 1, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.1", NULL });
	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	segment_member_begin(net, &member, 3, false, "10.5.0.1/24", "fd05::1/64");
	return 0;
}

static int end(void **state)
{
	container_end(net, &victim);
	container_end(net, &member);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static void name_it(struct container *c)
{
	net_port_name(c->spec.host_name, TEST_TAG, 2, 0);
	net_port_mac(c->spec.mac, c->spec.host_name, 0);
}

static void describe_member(struct container *c)
{
	c->spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = NET_MODE_BRIDGE,
		.addresses = c->addresses,
		.n_addresses = 2,
		.mtu = 1500 };
	c->addresses[0] = ip("10.5.0.2/24");
	c->addresses[1] = ip("fd05::2/64");
	net_bridge_name(c->spec.bridge, TEST_TAG, 7);
	name_it(c);
}

static void describe(struct container *c)
{
	static const char *const addresses[] = { "198.51.100.2", "2001:db8:1::2", "198.51.100.8/29" };

	*c = (struct container){ .netns = world_namespace() };
	if (segment) {
		describe_member(c);
		return;
	}
	c->spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = NET_MODE_ROUTED,
		.addresses = c->addresses,
		.n_addresses = ARRAY_SIZE(addresses),
		.gateway4 = ip("169.254.1.1"),
		.gateway6 = ip("fe80::1"),
		.mtu = 1500,
		.proxy_neighbours = true };
	name_it(c);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		c->addresses[i] = ip(addresses[i]);
}

/* The whole life of a port, with sockets of its own. */
static void live(struct container *c)
{
	struct net_publish publish = {
		.protocol = IPPROTO_TCP, .port = 8080, .to_port = 80, .to = ip("198.51.100.2")
	};
	const struct net_limits limits = { .packets_out = 1000, .connections = 10, .block_mail = true };
	const struct net_rates rates = { .in = 10000000, .out = 10000000, .segment = segment };
	struct net_context *own = NULL;
	struct ct_error err = { 0 };
	int r;

	r = net_context_new(TEST_TAG, &own, &err);
	if (r == 0)
		r = net_port_create(own, c->spec.host_name, "eth0", c->netns, &err);
	if (r == 0)
		r = net_port_configure(own, &c->spec, c->netns, &err);
	c->addresses[0] = ip(segment ? "10.5.0.3/24" : "198.51.100.3");
	if (r == 0)
		r = net_port_configure(own, &c->spec, c->netns, &err);
	if (r == 0)
		r = net_port_limit(own, c->spec.host_name, &limits, &err);
	if (r == 0)
		r = net_port_shape(own, c->spec.host_name, &rates, &err);
	if (r == 0 && !segment)
		r = net_publish_add(own, &publish, 1, &err);
	if (r == 0 && !segment)
		r = net_publish_remove(own, &publish, 1, &err);
	if (r == 0)
		r = net_port_release(own, &c->spec, false, &err);
	if (r < 0)
		fprintf(stderr, "without being killed: %s\n", err.text);
	_exit(r < 0);
}

/* True if it was killed before its nth message; false if it came to its end. */
static bool kill_at(struct container *c, unsigned nth)
{
	pid_t pid = fork();
	bool entering = true;
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)raise(SIGSTOP);
		live(c);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);

	for (;;) {
		struct user_regs_struct registers;

		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		if (entering) {
			assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, &registers), 0);
			if (registers.orig_rax == SYS_sendto && --nth == 0)
				break;
		}
		entering = !entering;
	}

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return true;
}

/* The tenant has his side up and sends what is not his. */
static void spoof(const struct container *c, unsigned nth)
{
	static struct nl_batch b;
	struct nl_sock sock;
	struct link_info link;
	struct frame f;
	int raw, r;

	world_enter(c->netns);
	assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
	r = link_get(&sock, &b, "eth0", 0, &link, NULL);
	if (r == 0) {
		nl_batch_reset(&b);
		link_change(&b, &(struct link_change){ .index = link.index, .up = true });
		assert_int_equal(nl_transact(&sock, &b, "eth0", NULL), 0);
	}
	nl_close(&sock);
	world_leave();
	if (r == -ENODEV)
		return;

	raw = raw_open(c->netns, "eth0");
	frame_ether(&f, segment ? broadcast : net_gateway_mac, c->spec.mac, 0x0800);
	frame_ip4(&f, ip(segment ? "10.5.0.77" : "198.51.100.77"), ip(segment ? "10.5.0.1" : "198.51.100.1"),
	        IPPROTO_UDP, 0, 8 + strlen(MARK));
	frame_udp(&f, 1234, 1234, MARK);
	(void)send(raw, f.data, f.len, 0); /* the host side may be down yet */
	if (raw_wait(raw_victim, MARK, strlen(MARK), 20, NULL, 0) > 0)
		fail_msg("killed before message %u: a foreign address passed", nth);
	close(raw);
}

static int count(const struct net_object *object, void *userdata)
{
	*(unsigned *)userdata += strncmp(object->host_name, "vtest2.", 7) == 0;
	return 0;
}

static void kill_everywhere(const struct container *seen_by)
{
	struct net_publish publish = {
		.protocol = IPPROTO_TCP, .port = 8080, .to_port = 80, .to = ip("198.51.100.2")
	};
	unsigned nth = 0;
	bool killed;

	raw_victim = raw_open(seen_by->netns, "eth0");
	do {
		struct ct_error err = { 0 };
		struct container c;
		unsigned left = 0;

		describe(&c);
		killed = kill_at(&c, ++nth);
		spoof(&c, nth);

		/* what a daemon does that starts again, with either address in its record */
		apply();
		assert_int_equal(net_publish_remove(net, &publish, 1, NULL), 0);
		if (net_port_release(net, &c.spec, true, &err) < 0)
			fail_msg("killed before message %u: release: %s", nth, err.text);
		assert_int_equal(net_dump(net, count, &left, NULL), 0);
		if (left > 0)
			fail_msg("killed before message %u: %u objects left", nth, left);
		close(c.netns);
	} while (killed);

	close(raw_victim);
	print_message("killed before each of %u messages\n", nth - 1);
	assert_true(nth > 20);
}

static void who_comes_after_finds_a_safe_host_and_clears_it(void **state)
{
	char *shown = NULL;

	segment = false;
	kill_everywhere(&victim);
	/* the class of all stays, no other */
	assert_int_equal(run((const char *const[]){ "tc", "class", "show", "dev", "up0", NULL }, &shown), 0);
	assert_ptr_equal(strchr(shown, '\n'), shown + strlen(shown) - 1);
	free(shown);
}

static void so_he_does_on_a_segment(void **state)
{
	segment = true;
	kill_everywhere(&member);
	assert_int_equal(if_nametoindex("itest"), 0); /* where the rate was kept */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_after_finds_a_safe_host_and_clears_it),
		cmocka_unit_test(so_he_does_on_a_segment),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
