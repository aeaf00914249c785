/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that root inside sends by hand, as a verb of the probe: two honest ones, which show that somebody
 * sends and that the way is open, and many that nobody may ever see. All hold a text by which a capture finds
 * them, the others another one.
 */
#include "test/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HONEST4    "sent by root, IPv4"
#define HONEST6    "sent by root, IPv6"
#define FORGED     "forged by root"
#define PAUSE_USEC 100000

struct frame {
	uint8_t data[512];
	size_t len;
};

/* Who sends, to whom; and what is not the sender's. */
static uint8_t own_mac[6], to_mac[6], own4[4], far4[4], own6[16], far6[16];
static const uint8_t foreign_mac[6] = { 2, 0xee, 0, 0, 0, 9 };
static const uint8_t foreign4[4] = { 203, 0, 113, 66 };
static const uint8_t foreign6[16] = { 0x20, 1, 0xd, 0xb8, 0, 0x66, [15] = 0x66 };
static const uint8_t local6[16] = { 0xfe, 0x80, [15] = 0x66 };
static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void put(struct frame *f, const void *data, size_t len)
{
	if (f->len + len > sizeof(f->data))
		return;
	memcpy(f->data + f->len, data, len);
	f->len += len;
}

static void put8(struct frame *f, uint8_t value)
{
	put(f, &value, 1);
}

static void put16(struct frame *f, unsigned value)
{
	put8(f, (uint8_t)(value >> 8));
	put8(f, (uint8_t)value);
}

static void put_zeros(struct frame *f, size_t n)
{
	while (n-- > 0)
		put8(f, 0);
}

static void put_text(struct frame *f, const char *text)
{
	put(f, text, strlen(text));
}

static void ether(struct frame *f, const uint8_t to[6], const uint8_t from[6], unsigned type)
{
	put(f, to, 6);
	put(f, from, 6);
	put16(f, type);
}

static uint32_t add_up(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	return sum;
}

static void set_sum(struct frame *f, size_t at, uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	f->data[at] = (uint8_t)(~sum >> 8);
	f->data[at + 1] = (uint8_t)~sum;
}

static void ip4(struct frame *f, const uint8_t from[4], uint8_t protocol, unsigned fragment,
        const char *options, size_t payload)
{
	const size_t at = f->len, len = 20 + (options ? 8 : 0);

	put8(f, (uint8_t)(0x40 | len / 4));
	put8(f, 0);
	put16(f, (unsigned)(len + payload));
	put16(f, 7);
	put16(f, fragment);
	put8(f, 64);
	put8(f, protocol);
	put16(f, 0);
	put(f, from, 4);
	put(f, far4, 4);
	if (options)
		put(f, options, 8);
	set_sum(f, at + 10, add_up(f->data + at, len));
}

static void udp(struct frame *f, unsigned from, unsigned to, const char *text)
{
	put16(f, from);
	put16(f, to);
	put16(f, (unsigned)(8 + strlen(text)));
	put16(f, 0);
	put_text(f, text);
}

static void udp4(struct frame *f, const uint8_t mac[6], const uint8_t from[4], unsigned port,
        unsigned fragment, const char *text)
{
	ether(f, to_mac, mac, 0x0800);
	ip4(f, from, IPPROTO_UDP, fragment, NULL, 8 + strlen(text));
	udp(f, port, 68, text);
}

static void ip6(struct frame *f, const uint8_t from[16], const uint8_t to[16], uint8_t next, uint8_t hops)
{
	put8(f, 0x60);
	put_zeros(f, 5); /* the length comes last */
	put8(f, next);
	put8(f, hops);
	put(f, from, 16);
	put(f, to, 16);
}

/* Lengths and the checksum: at the end is a message of this protocol, which begins there. */
static void end6(struct frame *f, size_t ip, size_t at, uint8_t protocol)
{
	const size_t len = f->len - at, field = at + (protocol == IPPROTO_UDP ? 6 : 2);

	f->data[ip + 4] = (uint8_t)((f->len - ip - 40) >> 8);
	f->data[ip + 5] = (uint8_t)(f->len - ip - 40);
	set_sum(f, field,
	        add_up(f->data + ip + 8, 32) + (uint32_t)len + protocol + add_up(f->data + at, len));
}

static void udp6(
        struct frame *f, const uint8_t mac[6], const uint8_t from[16], unsigned port, const char *text)
{
	const size_t at = f->len + 14;

	ether(f, to_mac, mac, 0x86dd);
	ip6(f, from, far6, IPPROTO_UDP, 64);
	udp(f, port, 546, text);
	end6(f, at, at + 40, IPPROTO_UDP);
}

/* UDP behind one further header of 8 bytes. */
static void udp6_behind(struct frame *f, uint8_t header, const char *bytes)
{
	const size_t at = f->len + 14;

	ether(f, to_mac, own_mac, 0x86dd);
	ip6(f, own6, far6, header, 64);
	put8(f, IPPROTO_UDP);
	put(f, bytes, 7);
	udp(f, 1234, 546, FORGED);
	end6(f, at, at + 48, IPPROTO_UDP);
}

/* fragment: in a fragment of its own. The text is in an option that nobody knows. */
static void icmp6(
        struct frame *f, const uint8_t from[16], uint8_t type, bool fragment, const uint8_t *body, size_t len)
{
	const size_t at = f->len + 14, message = at + 40 + (fragment ? 8 : 0);

	ether(f, all_nodes_mac, own_mac, 0x86dd);
	ip6(f, from, all_nodes, fragment ? IPPROTO_FRAGMENT : IPPROTO_ICMPV6, 255);
	if (fragment)
		put(f, "\x3a\0\0\0\0\0\0\7", 8);
	put8(f, type);
	put_zeros(f, 3);
	put(f, body, len);
	put(f, "\xfd\3", 2);
	put_text(f, FORGED);
	put_zeros(f, 22 - strlen(FORGED));
	end6(f, at, message, IPPROTO_ICMPV6);
}

/* A neighbour's message: flags, target, its MAC. */
static void neighbour6(
        struct frame *f, const uint8_t from[16], uint8_t type, bool fragment, const uint8_t target[16])
{
	uint8_t body[28] = { type == 136 ? 0x60 : 0 };

	memcpy(body + 4, target, 16);
	body[20] = type == 136 ? 2 : 1;
	body[21] = 1;
	memcpy(body + 22, own_mac, 6);
	icmp6(f, from, type, fragment, body, sizeof(body));
}

static void arp(
        struct frame *f, unsigned op, const uint8_t mac[6], const uint8_t sender[4], const uint8_t target[4])
{
	ether(f, everybody, own_mac, 0x0806);
	put(f, "\0\1\x08\0\6\4", 6);
	put16(f, op);
	put(f, mac, 6);
	put(f, sender, 4);
	put(f, everybody, 6);
	put(f, target, 4);
	put_text(f, FORGED);
}

/* Tags before an honest packet. */
static void tagged(struct frame *f, unsigned type, unsigned id, unsigned inner)
{
	ether(f, to_mac, own_mac, type);
	put16(f, id);
	if (inner) {
		put16(f, 0x8100);
		put16(f, inner);
	}
	put16(f, 0x0800);
	ip4(f, own4, IPPROTO_UDP, 0, NULL, 8 + strlen(FORGED));
	udp(f, 1234, 68, FORGED);
}

static void icmp4(struct frame *f, uint8_t type)
{
	ether(f, to_mac, own_mac, 0x0800);
	ip4(f, own4, IPPROTO_ICMP, 0, NULL, 8 + 28 + strlen(FORGED));
	const size_t at = f->len;
	put8(f, type);
	put8(f, 1);
	put16(f, 0);
	put(f, foreign4, 4);
	put_zeros(f, 28);
	put_text(f, FORGED);
	set_sum(f, at + 2, add_up(f->data + at, f->len - at));
}

static void with_options4(struct frame *f)
{
	ether(f, to_mac, own_mac, 0x0800);
	ip4(f, own4, IPPROTO_UDP, 0, "\x83\7\4\xc0\0\2\1\0", 8 + strlen(FORGED)); /* a source route */
	udp(f, 1234, 68, FORGED);
}

/* The nth, or false. */
static bool make(struct frame *f, unsigned n)
{
	static const uint8_t router[12] = { 64, 0, 0x70, 0x80 }, redirect[36] = { 0, 0, 0, 0, 0xfe, 0x80 };

	f->len = 0;
	switch (n) {
	case 0: udp4(f, own_mac, own4, 1234, 0, HONEST4); break;
	case 1: udp6(f, own_mac, own6, 1234, HONEST6); break;
	case 2: udp4(f, foreign_mac, own4, 1234, 0, FORGED); break;
	case 3: udp6(f, foreign_mac, own6, 1234, FORGED); break;
	case 4: udp4(f, own_mac, foreign4, 1234, 0, FORGED); break;
	case 5: udp6(f, own_mac, foreign6, 1234, FORGED); break;
	case 6: udp4(f, own_mac, far4, 1234, 0, FORGED); break;
	case 7: udp4(f, own_mac, own4, 67, 0, FORGED); break; /* a DHCP server */
	case 8: udp4(f, own_mac, own4, 67, 0x2000, FORGED); break;
	case 9: udp6(f, own_mac, own6, 547, FORGED); break;
	case 10: arp(f, 2, own_mac, far4, own4); break;
	case 11: arp(f, 1, own_mac, far4, far4); break; /* gratuitous */
	case 12: arp(f, 1, foreign_mac, own4, far4); break;
	case 13: arp(f, 1, own_mac, foreign4, far4); break;
	case 14: neighbour6(f, own6, 136, false, far6); break;
	case 15: neighbour6(f, local6, 136, false, local6); break;
	case 16: neighbour6(f, foreign6, 135, false, far6); break;
	case 17: neighbour6(f, own6, 136, true, far6); break;
	case 18: icmp6(f, own6, 134, false, router, sizeof(router)); break;
	case 19: icmp6(f, local6, 134, false, router, sizeof(router)); break;
	case 20: icmp6(f, own6, 134, true, router, sizeof(router)); break;
	case 21: icmp6(f, own6, 137, false, redirect, sizeof(redirect)); break;
	case 22: icmp4(f, 5); break; /* a redirect */
	case 23: icmp4(f, 9); break; /* a router's */
	case 24: with_options4(f); break;
	case 25: udp6_behind(f, IPPROTO_HOPOPTS, "\0\1\4\0\0\0\0"); break;
	case 26: udp6_behind(f, IPPROTO_DSTOPTS, "\0\1\4\0\0\0\0"); break;
	case 27: udp6_behind(f, IPPROTO_ROUTING, "\0\4\0\0\0\0\0"); break;
	case 28: tagged(f, 0x8100, 42, 0); break;
	case 29: tagged(f, 0x8100, 0, 0); break; /* a priority only */
	case 30: tagged(f, 0x8100, 42, 43); break;
	case 31: tagged(f, 0x88a8, 42, 0); break;
	case 32: tagged(f, 0x88a8, 42, 43); break;
	default: return false;
	}
	return true;
}

static bool find_mac(int fd, const char *device)
{
	struct ifreq request = { 0 };

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		return false;
	memcpy(own_mac, request.ifr_hwaddr.sa_data, sizeof(own_mac));
	return true;
}

static bool read_mac(const char *text, uint8_t mac[6])
{
	unsigned b[6];

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
		return false;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return true;
}

/* DEVICE OWN4 OWN6 TO4 TO6 MAC: all of them, again and again, from the moment the device is there. */
int probe_frames(int argc, char **argv)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (argc != 6 || fd < 0 || inet_pton(AF_INET, argv[1], own4) != 1 ||
	        inet_pton(AF_INET6, argv[2], own6) != 1 || inet_pton(AF_INET, argv[3], far4) != 1 ||
	        inet_pton(AF_INET6, argv[4], far6) != 1 || !read_mac(argv[5], to_mac))
		return probe_report("frames", -1);
	for (;; (void)usleep(PAUSE_USEC)) {
		struct sockaddr_ll to = { .sll_family = AF_PACKET,
			.sll_ifindex = (int)if_nametoindex(argv[0]) };
		struct frame f;

		if (to.sll_ifindex == 0 || !find_mac(fd, argv[0]))
			continue;
		for (unsigned n = 0; make(&f, n); n++) /* the link may be down, or a queue full */
			(void)sendto(fd, f.data, f.len, 0, (struct sockaddr *)&to, sizeof(to));
	}
}
