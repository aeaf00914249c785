/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and messages, without a kernel. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netns/context.h"
#include "netns/guard.h"
#include "netns/nft.h"
#include "netns/queue.h"

static void names_fit_and_differ(void **state)
{
	char name[IFNAMSIZ];

	net_port_name(name, "abcd", 0, 0);
	assert_string_equal(name, "vabcd0.0");
	net_port_name(name, "abcd", 35, 9);
	assert_string_equal(name, "vabcdz.9");
	net_port_name(name, "abcd", 36, 10);
	assert_string_equal(name, "vabcd10.10");
	net_port_name(name, "zzzz", UINT32_MAX, 99);
	assert_string_equal(name, "vzzzz1z141z3.99");
}

static int compare_macs(const void *a, const void *b)
{
	return memcmp(a, b, 6);
}

static void macs_are_local_and_never_the_gateways(void **state)
{
	static uint8_t macs[20000][6];
	uint8_t same[6];

	for (unsigned i = 0; i < ARRAY_SIZE(macs); i++) {
		char id[33];

		(void)snprintf(id, sizeof(id), "%032x", i / 4); /* ids that differ in little */
		net_port_mac(macs[i], id, i % 4);
		assert_int_equal(macs[i][0] & 3, 2);
		assert_int_not_equal(memcmp(macs[i], net_gateway_mac, 6), 0);
		net_port_mac(same, id, i % 4);
		assert_memory_equal(macs[i], same, 6);
	}
	qsort(macs, ARRAY_SIZE(macs), 6, compare_macs);
	for (unsigned i = 1; i < ARRAY_SIZE(macs); i++)
		assert_memory_not_equal(macs[i - 1], macs[i], 6);
}

static void link_local_address_is_eui64(void **state)
{
	static const uint8_t mac[6] = { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 };
	struct ip_addr want, have;

	assert_int_equal(ip_parse("fe80::11:22ff:fe33:4455", &want), 0);
	net_link_local(&have, mac);
	assert_true(ip_equal(&want, &have));
}

static void tags_are_checked(void **state)
{
	struct net_context *net = NULL;
	struct ct_error err = { 0 };

	assert_int_equal(net_context_new("ABCD", &net, &err), -EINVAL);
	assert_string_equal(err.field, "tag");
	assert_int_equal(net_context_new("a/cd", &net, NULL), -EINVAL);
	assert_int_equal(net_context_new("abcde", &net, NULL), -EINVAL);
	assert_null(net);
}

static void nested_attributes_have_their_length(void **state)
{
	static struct nl_batch b;
	uint32_t header = 0x12345678;
	size_t outer, inner;
	const struct nlattr *attr;
	const struct nlmsghdr *nlh;

	nl_batch_reset(&b);
	nl_message(&b, "test", 16, 0, &header, sizeof(header));
	outer = nl_nest(&b, 1);
	inner = nl_nest(&b, 2);
	nl_put_str(&b, 3, "abc");
	nl_nest_end(&b, inner);
	nl_put_u8(&b, 4, 1);
	nl_nest_end(&b, outer);
	assert_int_equal(b.error, 0);

	nlh = (const struct nlmsghdr *)b.data;
	assert_int_equal(nlh->nlmsg_len, b.len);
	assert_int_equal(b.len, 16 + 4 + 4 + 4 + 8 + 8);
	attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(header));
	assert_int_equal(mnl_attr_get_type(attr), 1);
	assert_int_equal(mnl_attr_get_payload_len(attr), 4 + 8 + 8);
	attr = mnl_attr_get_payload(attr);
	assert_int_equal(mnl_attr_get_payload_len(attr), 8);
	nl_batch_done(&b);
}

static void what_does_not_fit_is_an_error_not_an_overflow(void **state)
{
	static struct nl_batch b;
	static uint8_t data[4096];
	uint32_t header = 0;
	struct nl_sock sock = NL_SOCK_INIT;
	struct ct_error err = { 0 };

	nl_batch_reset(&b);
	nl_message(&b, "test", 16, 0, &header, sizeof(header));
	for (unsigned i = 0; i < 100; i++)
		nl_put(&b, 1, data, sizeof(data));
	assert_int_equal(b.error, -EMSGSIZE);
	assert_true(b.len <= NL_BATCH_SIZE);
	assert_int_equal(nl_room(&b), 0);
	assert_int_equal(nl_transact(&sock, &b, "x", &err), -EMSGSIZE);
	assert_int_equal(err.code, -EMSGSIZE);

	nl_batch_reset(&b);
	for (unsigned i = 0; i <= NL_BATCH_MESSAGES; i++)
		nl_message(&b, "test", 16, 0, &header, sizeof(header));
	assert_int_equal(b.error, -EMSGSIZE);
	nl_batch_done(&b);
}

static uint8_t interval_end[16];

static bool end_of(const char *network, size_t len)
{
	static struct nl_batch b;
	struct nft_place p = { &b, NFPROTO_INET, "t" };
	struct nft_elements e;
	struct ip_addr a;
	unsigned n;

	assert_int_equal(ip_parse(network, &a), 0);
	nl_batch_reset(&b);
	e = nft_elements_begin(&p, NFT_MSG_NEWSETELEM, "s");
	nft_element_interval(&p, &e, &a);
	n = e.n;
	nft_elements_end(&p, &e);
	/* the last attributes are the key of the end, then its flags */
	if (n == 2)
		memcpy(interval_end, b.data + b.len - 8 - len, len);
	nl_batch_done(&b);
	return n == 2;
}

static void interval_ends_behind_its_network(void **state)
{
	assert_true(end_of("10.0.0.0/8", 4));
	assert_memory_equal(interval_end, "\x0b\0\0\0", 4);
	assert_true(end_of("192.0.255.0/24", 4));
	assert_memory_equal(interval_end, "\xc0\x01\0\0", 4);
	assert_true(end_of("192.0.2.255/32", 4));
	assert_memory_equal(interval_end, "\xc0\0\x03\0", 4);
	assert_false(end_of("240.0.0.0/4", 4));
	assert_true(end_of("fd00:ffff::/32", 16));
	assert_memory_equal(interval_end, "\xfd\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static enum port_set set_of(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(text, &a), 0);
	return port_set_of(&a);
}

static void prefixes_have_their_sets(void **state)
{
	assert_int_equal(set_of("192.0.2.1"), PORT_SOURCE4);
	assert_int_equal(set_of("192.0.2.0/24"), PORT_SOURCE4);
	assert_int_equal(set_of("192.0.0.0/23"), PORT_SETS);
	assert_int_equal(set_of("2001:db8::1"), PORT_SOURCE6);
	assert_int_equal(set_of("2001:db8::/64"), PORT_BLOCK64);
	assert_int_equal(set_of("2001:db8::/63"), PORT_SETS);
}

static void bursts_do_not_wrap(void **state)
{
	assert_int_equal(queue_ticks(125000, 1000000), 1000000000 / QUEUE_TICK_NSEC);
	assert_int_equal(queue_ticks(64 << 20, 1000000), UINT32_MAX);
	assert_int_equal(queue_ticks(UINT32_MAX / 2, QUEUE_RATE_MIN), UINT32_MAX);
	assert_int_equal(queue_ticks(QUEUE_FRAME, QUEUE_RATE_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_fit_and_differ),
		cmocka_unit_test(macs_are_local_and_never_the_gateways),
		cmocka_unit_test(link_local_address_is_eui64),
		cmocka_unit_test(tags_are_checked),
		cmocka_unit_test(nested_attributes_have_their_length),
		cmocka_unit_test(what_does_not_fit_is_an_error_not_an_overflow),
		cmocka_unit_test(interval_ends_behind_its_network),
		cmocka_unit_test(prefixes_have_their_sets),
		cmocka_unit_test(bursts_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
