/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream of which every byte is known at both ends, as a verb of the probe:
 *
 *      probe stream receive PORT BYTES         one connection, on all addresses of both families
 *      probe stream send ADDRESS PORT BYTES    it is tried for a minute to connect
 *
 * The receiver compares what comes with what must come, to the last byte and no further, and says
 * "received N" or where it differs. Made up and compared a word at a time, so that the network is what takes
 * the time.
 */
#include "test/probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (256 * 1024)
#define TRIES 600
#define PAUSE 100000

static uint64_t block[BLOCK / 8], got[BLOCK / 8];

/* splitmix64 of the word's number: no two blocks of a stream are alike. */
static void make_block(uint64_t number)
{
	uint64_t at = number * (BLOCK / 8);

	for (size_t i = 0; i < BLOCK / 8; i++) {
		uint64_t z = ++at * 0x9e3779b97f4a7c15ULL;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
		block[i] = z ^ z >> 31;
	}
}

static size_t part_of(uint64_t left)
{
	return left < BLOCK ? (size_t)left : BLOCK;
}

static int fail(const char *what)
{
	(void)probe_report(what, -1);
	return 1;
}

static int receive(uint16_t port, uint64_t bytes)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	uint64_t done = 0;

	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(listener, 1) < 0)
		return fail("listen");
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return fail("accept");

	for (uint64_t number = 0; done < bytes; number++) {
		size_t part = part_of(bytes - done);
		ssize_t n = recv(fd, got, part, MSG_WAITALL);

		make_block(number);
		if (n != (ssize_t)part || memcmp(got, block, part) != 0) {
			(void)printf("differs between %llu and %llu\n", (unsigned long long)done,
			        (unsigned long long)(done + part));
			return 1;
		}
		done += part;
	}
	if (recv(fd, got, 1, 0) != 0)
		return fail("end");
	(void)printf("received %llu\n", (unsigned long long)done);
	return 0;
}

static int connect_to(const char *address, uint16_t port)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char text[64];

	/* an IPv4 address as IPv6 writes it */
	(void)snprintf(text, sizeof(text), "%s%s", strchr(address, ':') ? "" : "::ffff:", address);
	if (inet_pton(AF_INET6, text, &to.sin6_addr) != 1)
		return -1;
	for (unsigned i = 0; i < TRIES; i++) {
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			return fd;
		(void)close(fd);
		(void)usleep(PAUSE);
	}
	return -1;
}

static int transmit(const char *address, uint16_t port, uint64_t bytes)
{
	int fd = connect_to(address, port);
	uint64_t done = 0;

	if (fd < 0)
		return fail("connect");
	for (uint64_t number = 0; done < bytes; number++) {
		size_t part = part_of(bytes - done);

		make_block(number);
		for (size_t sent = 0; sent < part;) {
			ssize_t n = send(fd, (char *)block + sent, part - sent, MSG_NOSIGNAL);

			if (n < 0)
				return fail("send");
			sent += (size_t)n;
		}
		done += part;
	}
	(void)close(fd);
	(void)printf("sent %llu\n", (unsigned long long)done);
	return 0;
}

int probe_stream(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[0], "receive") == 0)
		return receive((uint16_t)strtoul(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
	if (argc == 4 && strcmp(argv[0], "send") == 0)
		return transmit(argv[1], (uint16_t)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));

	(void)fprintf(stderr, "usage: probe stream receive PORT BYTES | send ADDRESS PORT BYTES\n");
	return 2;
}
