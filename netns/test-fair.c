/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside one container's rate, a flood does not keep the others of its flows from being sent.
 *
 * That needs tc-fq_codel(8), without which the rate is kept all the same, first come, first served: the test
 * says which it was, and whoever runs it where the kernel is known to have it looks at that. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "netns/test-support.h"

#define M     1000000ULL
#define CALLS 40
#define TRIES 3 /* two flows may come to share a queue: one of a thousand pairs */

static struct net_context *net;
static struct container c;
static int outside;

static int begin(void **state)
{
	outside = routed_begin(&net);
	container_begin(net, &c, 1, NET_MODE_ROUTED, (const char *const[]){ "198.51.100.1", NULL });
	return 0;
}

static int end(void **state)
{
	container_end(net, &c);
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
	return 0;
}

static int socket_to(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket_open(c.netns, AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(inet_pton(AF_INET, "192.0.2.2", &to.sin_addr), 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 64 << 20 }, sizeof(int)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* What the rate had no room for so far. */
static uint64_t dropped(const struct net_rates *rates)
{
	uint64_t n = 0;

	assert_int_equal(net_port_rate_drops(net, c.spec.host_name, rates, &n, NULL), 1);
	return n;
}

/* More than the queue holds. */
static void flood(int fd, const struct net_rates *rates)
{
	static char payload[1400];
	const uint64_t before = dropped(rates), until = now_monotonic_usec() + 60 * USEC_PER_SEC;

	do {
		for (unsigned i = 0; i < 100; i++)
			(void)send(fd, payload, sizeof(payload), MSG_DONTWAIT);
		assert_true(now_monotonic_usec() < until);
	} while (dropped(rates) == before);
}

/* How many small datagrams of a flow of its own arrive beside the flood. */
static unsigned calls_that_arrive(int flooding, const struct net_rates *rates)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(5006) };
	int receiver = socket_open(outside, AF_INET, SOCK_DGRAM, 0), sender = socket_to(5006);
	struct pollfd waiting = { .fd = receiver, .events = POLLIN };
	unsigned arrived = 0;
	char byte = 'x';

	assert_int_equal(bind(receiver, (struct sockaddr *)&in, sizeof(in)), 0);
	for (unsigned i = 0; i < CALLS; i++) {
		flood(flooding, rates);
		(void)poll(NULL, 0,
		        50); /* what has not come to the queue yet: a backlog of the kernel's is no rate */
		(void)send(sender, &byte, 1, 0);
		if (poll(&waiting, 1, 10000) > 0 && recv(receiver, &byte, 1, MSG_DONTWAIT) == 1)
			arrived++;
	}
	close(sender);
	close(receiver);
	return arrived;
}

static void a_flood_leaves_room_for_other_flows(void **state)
{
	const struct net_rates rates = { .out = 2 * M };
	struct ct_error err = { 0 };
	unsigned most = 0;
	char *shown = NULL;
	bool fair;

	if (net_port_shape(net, c.spec.host_name, &rates, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(run((const char *const[]){ "tc", "qdisc", "show", "dev", "up0", NULL }, &shown), 0);
	fair = strstr(shown, "fq_codel");
	free(shown);
	for (unsigned i = 0; i < TRIES && most < CALLS; i++) {
		int fd = socket_to(5005);
		unsigned n = fair ? calls_that_arrive(fd, &rates) : CALLS;

		flood(fd, &rates);
		most = n > most ? n : most;
		close(fd);
	}
	print_message("%s fq_codel\n", fair ? "with" : "without");
	assert_int_equal(most, CALLS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_leaves_room_for_other_flows),
	};

	world_begin();
	return cmocka_run_group_tests(tests, begin, end);
}
