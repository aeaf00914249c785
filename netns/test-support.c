/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "netns/test-support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "netns/context.h"
#include "netns/link.h"

const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
const uint8_t foreign_mac[6] = { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 };

static int host_fd = -1;

static void lo_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

/* Or the uplink could not be used for a second. */
static void no_duplicate_detection(void)
{
	(void)write_file_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/default/accept_dad", "0");
}

static int current_namespace(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

void world_begin(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: needs root and network namespaces\n");
		exit(77);
	}

	host_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	lo_up();
	no_duplicate_detection();
}

int world_namespace(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	lo_up();
	no_duplicate_detection();
	fd = current_namespace();
	world_leave();
	return fd;
}

void world_enter(int fd)
{
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

void world_leave(void)
{
	assert_int_equal(setns(host_fd, CLONE_NEWNET), 0);
}

int run(const char *const argv[], char **ret)
{
	char *output = NULL;
	int r = process_run(argv, 10 * USEC_PER_SEC, 65536, &output);

	if (ret)
		*ret = output;
	else
		free(output);
	return r;
}

struct ip_addr ip(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(text, &a), 0);
	return a;
}

static void put_network_address(struct nl_batch *b, int index, const char *text)
{
	struct ip_addr a = ip(text);
	struct ifaddrmsg header = { .ifa_family = (uint8_t)a.family,
		.ifa_prefixlen = a.prefix,
		.ifa_flags = IFA_F_NODAD,
		.ifa_index = (uint32_t)index };

	nl_message(b, "add a test address", RTM_NEWADDR, NLM_F_CREATE, &header, sizeof(header));
	nl_put_ip(b, IFA_LOCAL, &a);
	nl_put_ip(b, IFA_ADDRESS, &a);
}

static void end_up(const char *name, const char *a4, const char *a6, const char *via4, const char *via6)
{
	static struct nl_batch b;
	struct nl_sock sock;
	struct link_info link;
	struct ip_addr gateway4 = { 0 }, gateway6 = { 0 };
	struct ct_error err = { 0 };

	assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
	assert_int_equal(link_get(&sock, &b, name, 0, &link, &err), 0);
	nl_batch_reset(&b);
	link_change(&b, &(struct link_change){ .index = link.index, .up = true });
	put_network_address(&b, link.index, a4);
	put_network_address(&b, link.index, a6);
	if (via4) {
		gateway4 = ip(via4);
		gateway6 = ip(via6);
		route_add(&b,
		        &(struct route){ .via = &gateway4, .index = link.index, .protocol = RTPROT_STATIC });
		route_add(&b,
		        &(struct route){ .via = &gateway6, .index = link.index, .protocol = RTPROT_STATIC });
	}
	assert_int_equal(nl_transact(&sock, &b, name, &err), 0);
	nl_batch_done(&b);
	nl_close(&sock);
}

/* What a link sends before the kernel has noticed the carrier is lost. */
static void wait_for_carrier(const char *name)
{
	static struct nl_batch b;
	struct link_info link = { 0 };
	struct nl_sock sock;

	assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
	for (unsigned i = 0; i < 2000 && !link.carrier; i++) {
		assert_int_equal(link_get(&sock, &b, name, 0, &link, NULL), 0);
		(void)poll(NULL, 0, 1);
	}
	assert_true(link.carrier);
	nl_batch_done(&b);
	nl_close(&sock);
}

int world_outside(void)
{
	static const uint8_t mac[6] = { 0x02, 0xee, 0, 0, 0, 1 };
	static struct nl_batch b;
	struct nl_sock sock;
	struct ct_error err = { 0 };
	int netns = world_namespace();

	assert_int_equal(nl_open(NETLINK_ROUTE, &sock), 0);
	nl_batch_reset(&b);
	link_add_veth(&b, "up0", mac, "out0", netns);
	assert_int_equal(nl_transact(&sock, &b, "up0", &err), 0);
	nl_batch_done(&b);
	nl_close(&sock);

	end_up("up0", "192.0.2.1/24", "2001:db8:ff::1/64", "192.0.2.2", "2001:db8:ff::2");
	world_enter(netns);
	end_up("out0", "192.0.2.2/24", "2001:db8:ff::2/64", "192.0.2.1", "2001:db8:ff::1");
	wait_for_carrier("out0");
	world_leave();
	wait_for_carrier("up0");
	return netns;
}

int raw_open(int netns, const char *ifname)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd;

	if (netns >= 0)
		world_enter(netns);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	assert_true(fd >= 0);
	address.sll_ifindex = (int)if_nametoindex(ifname);
	assert_true(address.sll_ifindex > 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (netns >= 0)
		world_leave();
	return fd;
}

int socket_open(int netns, int family, int type, int protocol)
{
	int fd;

	if (netns >= 0)
		world_enter(netns);
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	assert_true(fd >= 0);
	if (netns >= 0)
		world_leave();
	return fd;
}

void container_begin(struct net_context *net, struct container *c, uint32_t number, enum net_mode mode,
        const char *const addresses[])
{
	struct ct_error err = { 0 };

	*c = (struct container){ .netns = world_namespace() };
	c->spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = mode,
		.addresses = c->addresses,
		.gateway4 = ip("169.254.1.1"),
		.gateway6 = ip("fe80::1"),
		.mtu = 1500 };
	net_port_name(c->spec.host_name, TEST_TAG, number, 0);
	net_port_mac(c->spec.mac, c->spec.host_name, 0);
	while (addresses[c->spec.n_addresses]) {
		c->addresses[c->spec.n_addresses] = ip(addresses[c->spec.n_addresses]);
		c->spec.n_addresses++;
	}

	if (net_port_create(net, c->spec.host_name, c->spec.guest_name, c->netns, &err) < 0)
		fail_msg("create: %s", err.text);
	if (net_port_configure(net, &c->spec, c->netns, &err) < 0)
		fail_msg("configure: %s", err.text);
	(void)poll(NULL, 0,
	        50); /* the kernel routes to a new IPv6 address only when a worker has run (addrconf) */
}

void container_end(struct net_context *net, struct container *c)
{
	struct ct_error err = { 0 };

	if (net_port_release(net, &c->spec, true, &err) < 0)
		fail_msg("release: %s", err.text);
	close(c->netns);
}

static int host_begin(struct net_context **ret, bool routed_peers)
{
	struct net_host_spec spec = { .routed_peers = routed_peers, .enable_forwarding = true };
	struct ct_error err = { 0 };
	int outside = world_outside();

	if (net_context_new(TEST_TAG, ret, &err) < 0 || net_host_apply(*ret, &spec, &err) < 0)
		fail_msg("%s", err.text);
	return outside;
}

int routed_begin(struct net_context **ret)
{
	return host_begin(ret, true);
}

int segments_begin(struct net_context **ret)
{
	return host_begin(ret, false);
}

void segments_end(struct net_context *net, int outside)
{
	segment_add(net, &(struct net_bridge_spec){ .number = 7 });
	assert_int_equal(net_host_remove(net, NULL), 0);
	net_context_free(net);
	close(outside);
}

void segment_add(struct net_context *net, const struct net_bridge_spec *spec)
{
	struct ct_error err = { 0 };

	if (net_bridge_add(net, spec, &err) < 0)
		fail_msg("bridge: %s", err.text);
}

void segment_member_begin(struct net_context *net, struct container *c, uint32_t number, bool isolated,
        const char *a4, const char *a6)
{
	struct ct_error err = { 0 };

	*c = (struct container){ .netns = world_namespace() };
	c->spec = (struct net_port_spec){ .guest_name = "eth0",
		.mode = NET_MODE_BRIDGE,
		.addresses = c->addresses,
		.n_addresses = 2,
		.isolated = isolated };
	c->addresses[0] = ip(a4);
	c->addresses[1] = ip(a6);
	net_bridge_name(c->spec.bridge, TEST_TAG, 7);
	net_port_name(c->spec.host_name, TEST_TAG, number, 0);
	net_port_mac(c->spec.mac, c->spec.host_name, 0);
	if (net_port_create(net, c->spec.host_name, "eth0", c->netns, &err) < 0 ||
	        net_port_configure(net, &c->spec, c->netns, &err) < 0)
		fail_msg("%s", err.text);
	(void)poll(NULL, 0, 50); /* see container_begin */
}

void frame_add(struct frame *f, const void *data, size_t len)
{
	assert_true(f->len + len <= sizeof(f->data));
	memcpy(f->data + f->len, data, len);
	f->len += len;
}

void frame_u8(struct frame *f, uint8_t value)
{
	frame_add(f, &value, sizeof(value));
}

void frame_u16(struct frame *f, uint16_t value)
{
	uint16_t be = htons(value);

	frame_add(f, &be, sizeof(be));
}

void frame_ether(struct frame *f, const uint8_t to[6], const uint8_t from[6], uint16_t type)
{
	f->len = 0;
	frame_add(f, to, 6);
	frame_add(f, from, 6);
	frame_u16(f, type);
}

static uint32_t add_up(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void frame_ip4(struct frame *f, struct ip_addr from, struct ip_addr to, uint8_t protocol, uint16_t fragment,
        size_t payload)
{
	size_t at = f->len;
	uint16_t sum;

	frame_u16(f, 0x4500);
	frame_u16(f, (uint16_t)(20 + payload));
	frame_u16(f, 0x1234);
	frame_u16(f, fragment);
	frame_u8(f, 64);
	frame_u8(f, protocol);
	frame_u16(f, 0);
	frame_add(f, from.bytes, 4);
	frame_add(f, to.bytes, 4);
	sum = htons(fold(add_up(f->data + at, 20, 0)));
	memcpy(f->data + at + 10, &sum, sizeof(sum));
}

void frame_ip6(
        struct frame *f, struct ip_addr from, struct ip_addr to, uint8_t next, uint8_t hops, size_t payload)
{
	frame_u16(f, 0x6000);
	frame_u16(f, 0);
	frame_u16(f, (uint16_t)payload);
	frame_u8(f, next);
	frame_u8(f, hops);
	frame_add(f, from.bytes, 16);
	frame_add(f, to.bytes, 16);
}

void frame_udp(struct frame *f, uint16_t from, uint16_t to, const char *text)
{
	frame_u16(f, from);
	frame_u16(f, to);
	frame_u16(f, (uint16_t)(8 + strlen(text)));
	frame_u16(f, 0);
	frame_add(f, text, strlen(text));
}

void frame_sum6(struct frame *f, size_t ip6, size_t offset, uint8_t protocol, size_t sum_offset)
{
	uint32_t sum = add_up(f->data + ip6 + 8, 32, protocol + (uint32_t)(f->len - offset));
	uint16_t be;

	memset(f->data + offset + sum_offset, 0, 2);
	be = htons(fold(add_up(f->data + offset, f->len - offset, sum)));
	memcpy(f->data + offset + sum_offset, &be, sizeof(be));
}

void frame_arp(struct frame *f, uint16_t op, const uint8_t sender_mac[6], struct ip_addr sender,
        const uint8_t target_mac[6], struct ip_addr target)
{
	frame_u16(f, 1);
	frame_u16(f, ETH_P_IP);
	frame_u16(f, 0x0604);
	frame_u16(f, op);
	frame_add(f, sender_mac, 6);
	frame_add(f, sender.bytes, 4);
	frame_add(f, target_mac, 6);
	frame_add(f, target.bytes, 4);
}

void frame_arp_marked(struct frame *f, uint16_t op, const uint8_t ether_mac[6], const uint8_t mac[6],
        struct ip_addr sender, struct ip_addr target)
{
	frame_ether(f, broadcast, ether_mac, 0x0806);
	frame_arp(f, op, mac, sender, broadcast, target);
	frame_add(f, MARK, strlen(MARK));
}

void frame_send(int raw, const struct frame *f)
{
	assert_int_equal(send(raw, f->data, f->len, 0), (ssize_t)f->len);
}

size_t raw_wait(int raw, const void *text, size_t text_len, int timeout_msec, uint8_t *ret, size_t size)
{
	uint64_t end = now_monotonic_usec() + (uint64_t)timeout_msec * USEC_PER_MSEC;

	for (;;) {
		uint64_t now = now_monotonic_usec();
		struct pollfd poll_fd = { .fd = raw, .events = POLLIN };
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		uint8_t buffer[4096];
		ssize_t n;

		/* what is there already counts, however late we look, but not what comes without end */
		if (now > end + 10 * USEC_PER_SEC ||
		        poll(&poll_fd, 1, now < end ? (int)((end - now) / USEC_PER_MSEC) + 1 : 0) <= 0)
			return 0;
		n = recvfrom(raw, buffer, sizeof(buffer), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
		if (n <= 0 || from.sll_pkttype == PACKET_OUTGOING ||
		        !memmem(buffer, (size_t)n, text, text_len))
			continue;

		if (ret)
			memcpy(ret, buffer, (size_t)n < size ? (size_t)n : size);
		return (size_t)n;
	}
}
