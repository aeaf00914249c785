/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IP addresses and prefixes.
 *
 * One value serves for an address, an address on a link and a network: family, bytes, prefix. Everything
 * below works on bytes in network order, so that both families share one loop and nothing depends on the
 * machine's byte order. inet_pton(3) is what decides about the text: it takes no octal, no hexadecimal, no
 * short form and no scope. The prefix is read here, and as strictly, because what is accepted ends in filters
 * that tell tenants apart.
 */

#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint8_t prefix_mask(unsigned int prefix, size_t byte)
{
	if (prefix >= (byte + 1) * 8)
		return 0xff;
	if (prefix <= byte * 8)
		return 0;

	return (uint8_t)(0xff << (8 - (prefix - byte * 8)));
}

/* One to three digits without leading zeros, at most max. */
static int parse_prefix(const char *s, uint8_t max, uint8_t *ret)
{
	unsigned int n = 0;

	if (s[0] == '0' && s[1] != '\0')
		return -EINVAL;

	size_t len = strlen(s);
	if (len < 1 || len > 3)
		return -EINVAL;

	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		n = n * 10 + (unsigned int)(*s - '0');
	}
	if (n > max)
		return -EINVAL;

	*ret = (uint8_t)n;
	return 0;
}

int ip_parse(const char *s, struct ip_addr *ret)
{
	struct ip_addr a = { 0 };
	char text[INET6_ADDRSTRLEN];

	if (!s)
		return -EINVAL;

	const char *slash = strchr(s, '/');
	size_t len = slash ? (size_t)(slash - s) : strlen(s);
	if (len >= sizeof(text))
		return -EINVAL;

	memcpy(text, s, len);
	text[len] = '\0';

	a.family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, text, a.bytes) != 1)
		return -EINVAL;

	a.prefix = ip_full_prefix(&a);
	if (slash && parse_prefix(slash + 1, a.prefix, &a.prefix) < 0)
		return -EINVAL;

	*ret = a;
	return 0;
}

int ip_parse_network(const char *s, struct ip_addr *ret)
{
	struct ip_addr a;

	int r = ip_parse(s, &a);
	if (r < 0)
		return r;

	for (size_t i = 0; i < ip_len(&a); i++)
		if (a.bytes[i] & (uint8_t)~prefix_mask(a.prefix, i))
			return -EINVAL;

	*ret = a;
	return 0;
}

char *ip_format_addr(const struct ip_addr *a, char *buf, size_t size)
{
	if (size == 0)
		return buf;
	if ((a->family != AF_INET && a->family != AF_INET6) ||
	        !inet_ntop(a->family, a->bytes, buf, (socklen_t)size))
		buf[0] = '\0';

	return buf;
}

char *ip_format(const struct ip_addr *a, char *buf, size_t size)
{
	ip_format_addr(a, buf, size);

	if (size > 0 && buf[0] && a->prefix != ip_full_prefix(a)) {
		size_t len = strlen(buf);
		(void)snprintf(buf + len, size - len, "/%u", a->prefix);
	}

	return buf;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && a->prefix == b->prefix && memcmp(a->bytes, b->bytes, ip_len(a)) == 0;
}

/* True if the first prefix bits of both are the same. */
static bool same_prefix(const struct ip_addr *a, const struct ip_addr *b, uint8_t prefix)
{
	for (size_t i = 0; i < ip_len(a); i++)
		if ((a->bytes[i] ^ b->bytes[i]) & prefix_mask(prefix, i))
			return false;

	return true;
}

bool ip_contains(const struct ip_addr *net, const struct ip_addr *a)
{
	return net->family != 0 && net->family == a->family && net->prefix <= a->prefix &&
	       same_prefix(net, a, net->prefix);
}

bool ip_overlaps(const struct ip_addr *a, const struct ip_addr *b)
{
	return ip_contains(a, b) || ip_contains(b, a) ||
	       (a->family != 0 && a->family == b->family &&
	               same_prefix(a, b, a->prefix < b->prefix ? a->prefix : b->prefix));
}

int ip_nth(const struct ip_addr *net, uint64_t n, struct ip_addr *ret)
{
	struct ip_addr a = *net;
	unsigned int host_bits = ip_full_prefix(net) - net->prefix;

	if (a.family != AF_INET && a.family != AF_INET6)
		return -EINVAL;
	if (host_bits < 64 && n >> host_bits)
		return -ERANGE;

	/* The host part is zero after the mask, so adding cannot carry into the prefix. */
	for (size_t i = 0; i < ip_len(&a); i++)
		a.bytes[i] &= prefix_mask(net->prefix, i);
	for (size_t i = ip_len(&a); n && i-- > 0; n >>= 8)
		a.bytes[i] |= (uint8_t)n;

	a.prefix = ip_full_prefix(&a);
	*ret = a;
	return 0;
}

static bool ip4_is_unicast(const uint8_t *b)
{
	if (b[0] == 0 || b[0] == 127)
		return false;
	if (b[0] == 169 && b[1] == 254)
		return false;

	return b[0] < 224; /* above: multicast, reserved, broadcast */
}

static bool ip6_is_unicast(const uint8_t *b)
{
	static const uint8_t zero[12];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	/* ::, ::1 and the forms that carry an IPv4 address: on the wire they stand for nobody. */
	if (memcmp(b, zero, sizeof(zero)) == 0 || memcmp(b, mapped, sizeof(mapped)) == 0)
		return false;
	if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		return false;

	return b[0] != 0xff;
}

bool ip_is_unicast(const struct ip_addr *a)
{
	if (a->family == AF_INET)
		return ip4_is_unicast(a->bytes);
	if (a->family == AF_INET6)
		return ip6_is_unicast(a->bytes);

	return false;
}
