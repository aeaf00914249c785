/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One flow from one network namespace to another, measured where it arrives.
 *
 *	usage: flow FROM-PID TO-PID ADDRESS stream SECONDS
 *	       flow FROM-PID TO-PID ADDRESS bytes N
 *	       flow FROM-PID TO-PID ADDRESS packets SECONDS
 *
 * ADDRESS is one of the receiver's. Prints one number: of "stream" the bits per second of Ethernet frames
 *that a TCP connection took, of "bytes" the milliseconds that N bytes took, of "packets" how many datagrams
 *of one byte came through in a second, and behind it the nanoseconds that it took to send one. The first
 *second does not count, so that bursts and slow starts are over.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/str.h"

#define PORT         7100
#define WARM_UP_USEC 1000000
#define BUFFER       (256 * 1024)

static char buffer[BUFFER];

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "flow: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void enter(const char *pid)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path);
	close(fd);
}

struct place {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	socklen_t len;
	int family;
};

static struct place place_of(const char *text)
{
	struct place p = { 0 };
	struct ip_addr a;

	if (ip_parse(text, &a) < 0) {
		errno = EINVAL;
		die(text);
	}
	p.family = a.family;
	if (a.family == AF_INET) {
		p.address.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(PORT) };
		memcpy(&p.address.v4.sin_addr, a.bytes, 4);
		p.len = sizeof(p.address.v4);
	} else {
		p.address.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
		memcpy(&p.address.v6.sin6_addr, a.bytes, 16);
		p.len = sizeof(p.address.v6);
	}
	return p;
}

static int open_socket(const struct place *p, int type)
{
	int fd = socket(p->family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* In a process of its own, so that both ends have a processor if there is one. It dies with the receiver. */
static pid_t start_sender(const char *from, const struct place *to, int type, int report)
{
	static const int small = 1;
	pid_t pid = fork();
	int fd;

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(from);
	fd = open_socket(to, type);
	if (connect(fd, &to->address.any, to->len) < 0)
		die("connect");
	for (uint64_t n = 0, start = now_monotonic_usec();; n++) {
		ssize_t sent = send(fd, buffer, type == SOCK_STREAM ? BUFFER : small, 0);

		if (sent < 0 && type == SOCK_STREAM)
			_exit(0);
		if (type == SOCK_DGRAM && n == 50000) { /* what one costs to send, all in all */
			uint64_t nsec = (now_monotonic_usec() - start) * 1000 / n;

			(void)!write(report, &nsec, sizeof(nsec));
		}
	}
}

static int accept_from(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept");
	return fd;
}

/* Bytes until then, or until so many are there. */
static uint64_t swallow(int fd, uint64_t until_usec, uint64_t bytes)
{
	uint64_t got = 0;

	while (now_monotonic_usec() < until_usec && got < bytes) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

		if (n <= 0)
			break;
		got += (uint64_t)n;
	}
	return got;
}

static void measure_stream(int fd, uint64_t usec, const struct place *to)
{
	const unsigned headers = to->family == AF_INET ? 66 : 86; /* with timestamps */
	uint64_t start, bytes, spent;

	(void)swallow(fd, now_monotonic_usec() + WARM_UP_USEC, UINT64_MAX);
	start = now_monotonic_usec();
	bytes = swallow(fd, start + usec, UINT64_MAX);
	spent = now_monotonic_usec() - start;
	printf("%.0f\n", (double)bytes * 8 * 1e6 / (double)spent * 1514 / (1514 - headers));
}

static void measure_bytes(int fd, uint64_t bytes)
{
	uint64_t start = now_monotonic_usec();

	if (swallow(fd, UINT64_MAX, bytes) < bytes)
		die("the connection broke");
	printf("%llu\n", (unsigned long long)(now_monotonic_usec() - start) / 1000);
}

static uint64_t count(int fd, uint64_t until_usec)
{
	uint64_t n = 0;

	while (now_monotonic_usec() < until_usec)
		if (recv(fd, buffer, sizeof(buffer), 0) >= 0)
			n++;
	return n;
}

static void measure_packets(int fd, uint64_t usec, int report)
{
	static const struct timeval second = { .tv_sec = 1 };
	static const int room = 8 * 1024 * 1024;
	uint64_t start, n, nsec = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	(void)count(fd, now_monotonic_usec() + WARM_UP_USEC);
	start = now_monotonic_usec();
	n = count(fd, start + usec);
	usec = now_monotonic_usec() - start;
	if (read(report, &nsec, sizeof(nsec)) != sizeof(nsec))
		die("the sender ended");
	printf("%.0f %llu\n", (double)n * 1e6 / (double)usec, (unsigned long long)nsec);
}

int main(int argc, char *argv[])
{
	bool packets = argc == 6 && str_eq(argv[4], "packets"), bytes = argc == 6 && str_eq(argv[4], "bytes");
	int type = packets ? SOCK_DGRAM : SOCK_STREAM, listener, fd, report[2];
	struct place to;
	uint64_t n;
	pid_t sender;

	if (argc != 6 || (!packets && !bytes && !str_eq(argv[4], "stream")) || parse_u64(argv[5], &n) < 0) {
		fprintf(stderr, "usage: flow FROM-PID TO-PID ADDRESS stream|packets SECONDS, or bytes N\n");
		return 2;
	}
	to = place_of(argv[3]);
	if (pipe2(report, O_CLOEXEC) < 0)
		die("pipe");
	enter(argv[2]);
	listener = open_socket(&to, type);
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, &to.address.any, to.len) < 0 || (!packets && listen(listener, 1) < 0))
		die(argv[3]);
	sender = start_sender(argv[1], &to, type, report[1]);
	if (sender < 0)
		die("fork");
	fd = packets ? listener : accept_from(listener);
	if (packets)
		measure_packets(fd, n * 1000000, report[0]);
	else if (bytes)
		measure_bytes(fd, n);
	else
		measure_stream(fd, n * 1000000, &to);
	(void)kill(sender, SIGKILL);
	(void)waitpid(sender, NULL, 0);
	return 0;
}
