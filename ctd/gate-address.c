/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ADDRESS:PORT, numeric, for ctd.conf and for the gate. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/str.h"
#include "ctd/gate-proto.h"

int gate_address(const char *text, struct sockaddr_storage *ret)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_storage address = { 0 };
	char host[INET6_ADDRSTRLEN + 2];
	struct ip_addr ip;
	uint64_t port;
	size_t len;
	bool six;

	if (!colon || parse_u64(colon + 1, &port) < 0 || port < 1 || port > 65535)
		return -EINVAL;
	len = (size_t)(colon - text);
	six = len > 2 && text[0] == '[' && text[len - 1] == ']';
	if (six) {
		text++;
		len -= 2;
	}
	if (len >= sizeof(host) || memchr(text, '/', len))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (ip_parse(host, &ip) < 0 || ip.family != (six ? AF_INET6 : AF_INET))
		return -EINVAL;

	if (six) {
		struct sockaddr_in6 *in = (struct sockaddr_in6 *)&address;

		in->sin6_family = AF_INET6;
		in->sin6_port = htons((uint16_t)port);
		memcpy(&in->sin6_addr, ip.bytes, sizeof(in->sin6_addr));
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&address;

		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		memcpy(&in->sin_addr, ip.bytes, sizeof(in->sin_addr));
	}
	*ret = address;
	return 0;
}
