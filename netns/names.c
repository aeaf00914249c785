/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and addresses that follow from what a container is called by, so that nobody has to remember them. */
#include "netns/context.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

void net_port_name(char out[static IFNAMSIZ], const char *tag, uint32_t number, unsigned index)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char reversed[8];
	size_t n = 0, at = 0;

	assert(index < 100); /* v, tag, seven digits, dot, two digits: fifteen */
	do
		reversed[n++] = digits[number % 36];
	while ((number /= 36) > 0);

	out[at++] = 'v';
	for (size_t i = 0; i < NET_TAG_LEN; i++)
		out[at++] = tag[i];
	while (n > 0)
		out[at++] = reversed[--n];
	out[at++] = '.';
	if (index >= 10)
		out[at++] = digits[index / 10];
	out[at++] = digits[index % 10];
	out[at] = '\0';
}

/* FNV-1a, of which the upper bits are as good as the lower ones in the end. */
static uint64_t hash(const char *id, unsigned index)
{
	uint64_t h = 14695981039346656037ULL;

	for (const char *p = id; *p; p++)
		h = (h ^ (uint8_t)*p) * 1099511628211ULL;
	h = (h ^ index) * 1099511628211ULL;
	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

void net_port_mac(uint8_t out[static 6], const char *id, unsigned index)
{
	const uint64_t h = hash(id, index);

	out[0] = (uint8_t)(h >> 40 << 2) | 0x02; /* locally administered, unicast */
	out[1] = (uint8_t)(h >> 32) | 0x80;      /* never the gateway's, which has 'c' here */
	out[2] = (uint8_t)(h >> 24);
	out[3] = (uint8_t)(h >> 16);
	out[4] = (uint8_t)(h >> 8);
	out[5] = (uint8_t)h;
}

void net_link_local(struct ip_addr *ret, const uint8_t mac[static 6])
{
	const uint8_t bytes[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe,
		mac[3], mac[4], mac[5] };

	*ret = (struct ip_addr){ .family = AF_INET6, .prefix = 128 };
	memcpy(ret->bytes, bytes, sizeof(bytes));
}
