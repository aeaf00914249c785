/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and addresses that follow from a container's number, so that nobody has to remember them. */
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

/* FNV-1a of the tag, so that two instances on one segment do not give out the same addresses. */
static uint32_t hash_tag(const char *tag)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < NET_TAG_LEN; i++)
		h = (h ^ (uint8_t)tag[i]) * 16777619U;
	return h ^ h >> 16;
}

void net_port_mac(uint8_t out[static 6], const char *tag, uint32_t number, unsigned index)
{
	uint32_t h = hash_tag(tag);

	/* 02: locally administered, unicast. 14 bits of the tag, 7 of the index, 32 of the number: unique
	 * within an instance, and on a segment with others as good as. */
	out[0] = 0x02 | (uint8_t)((h & 0x3f) << 2);
	out[1] = (uint8_t)(0x80 | (index & 0x7f)); /* never the gateway's, which has 'c' here */
	out[2] = (uint8_t)(h >> 6) ^ (uint8_t)(number >> 24);
	out[3] = (uint8_t)(number >> 16);
	out[4] = (uint8_t)(number >> 8);
	out[5] = (uint8_t)number;
}

void net_link_local(struct ip_addr *ret, const uint8_t mac[static 6])
{
	const uint8_t bytes[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe,
		mac[3], mac[4], mac[5] };

	*ret = (struct ip_addr){ .family = AF_INET6, .prefix = 128 };
	memcpy(ret->bytes, bytes, sizeof(bytes));
}
