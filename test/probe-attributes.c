/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process that is in many things not as others are, and says how it is.
 *
 *      attributes FILE [threads]
 *
 * It has two threads, sockets of each kind, and what can be said of them. It writes to FILE how they are, a
 * line each; at SIGUSR1 again to FILE.again. With threads it has only these, and never calls membarrier(2).
 */
#include "test/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/membarrier.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define GROUP4 "224.0.0.251"
#define GROUP6 "ff02::fb"

struct option {
	int level, name, value;
};

static const struct option of_ip4[] = {
	{ SOL_SOCKET, SO_TIMESTAMP, 1 },
	{ IPPROTO_IP, IP_TOS, 0x10 },
	{ SOL_SOCKET, SO_PRIORITY, 4 }, /* which the type of service has changed */
	{ IPPROTO_IP, IP_TTL, 33 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO },
	{ IPPROTO_IP, IP_PKTINFO, 1 },
	{ IPPROTO_IP, IP_RECVERR, 1 },
	{ IPPROTO_IP, IP_RECVTTL, 1 },
};
static const struct option of_datagrams[] = {
	{ IPPROTO_IP, IP_MULTICAST_TTL, 9 },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
};
static const struct option of_ip6[] = {
	{ SOL_SOCKET, SO_TIMESTAMPNS, 1 },
	{ IPPROTO_IPV6, IPV6_V6ONLY, 1 },
	{ IPPROTO_IPV6, IPV6_TCLASS, 0x20 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 1 },
	{ IPPROTO_IPV6, IPV6_RECVERR, 1 },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 9 },
};
static const struct option of_tcp[] = {
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 60000 },
	{ IPPROTO_TCP, TCP_SYNCNT, 3 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 55 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384 },
};
static const struct option of_listener[] = {
	{ IPPROTO_TCP, TCP_FASTOPEN, 5 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 7 },
	{ IPPROTO_TCP, TCP_MAXSEG, 1000 },
};
static const struct option of_unix[] = {
	{ SOL_SOCKET, SO_TIMESTAMP, 1 },
	{ SOL_SOCKET, SO_PASSCRED, 1 },
};
static const struct option of_netlink[] = {
	{ SOL_NETLINK, NETLINK_PKTINFO, 1 },
	{ SOL_NETLINK, NETLINK_EXT_ACK, 1 },
};

#define ALL(list) list, sizeof(list) / sizeof((list)[0])

static int listener, caller, accepted, datagrams4, datagrams6, local, netlink, second;
static bool only_threads;
static volatile sig_atomic_t asked;

static void on_signal(int number)
{
	asked = number;
}

/* Or the test would compare what was never set. */
static void must(const char *what, long result)
{
	if (result >= 0)
		return;
	perror(what);
	_exit(EXIT_FAILURE);
}

static void set(int sock, const struct option *options, size_t n)
{
	for (size_t i = 0; i < n; i++)
		must("setsockopt",
		        setsockopt(sock, options[i].level, options[i].name, &options[i].value, sizeof(int)));
}

static void tell_options(FILE *out, const char *what, int sock, const struct option *options, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		socklen_t len = sizeof(int);
		int value = -1;

		(void)getsockopt(sock, options[i].level, options[i].name, &value, &len);
		(void)fprintf(out, "%s %d.%d %s\n", what, options[i].level, options[i].name,
		        value == options[i].value ? "as set" : "otherwise");
	}
}

static void tell_congestion(FILE *out, int sock)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	(void)getsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, name, &len);
	(void)fprintf(out, "congestion %.16s\n", name);
}

static void tell_group(FILE *out, int sock, int level, const char *group)
{
	struct group_filter filter = { .gf_interface = if_nametoindex("eth0") };
	socklen_t len = sizeof(filter);

	filter.gf_group.ss_family = level == IPPROTO_IP ? AF_INET : AF_INET6;
	(void)inet_pton(filter.gf_group.ss_family, group,
	        level == IPPROTO_IP ? (void *)&((struct sockaddr_in *)&filter.gf_group)->sin_addr
	                            : (void *)&((struct sockaddr_in6 *)&filter.gf_group)->sin6_addr);
	(void)fprintf(out, "%s %s\n", group,
	        getsockopt(sock, level, MCAST_MSFILTER, &filter, &len) < 0 ? strerror(errno) : "member");
}

static void tell_line(FILE *out, const char *path)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	char line[128] = "";

	if (file && !fgets(line, sizeof(line), file))
		line[0] = '\0';
	(void)fprintf(out, "%s %s\n", strrchr(path, '/'), line);
}

static void tell_thread(FILE *out, int tid)
{
	cpu_set_t cpus;
	char path[64];

	CPU_ZERO(&cpus);
	(void)sched_getaffinity(tid, sizeof(cpus), &cpus);
	(void)snprintf(path, sizeof(path), "/proc/%d/timerslack_ns", tid); /* fits */
	(void)fprintf(out, "cpus %d first %d policy %x nice %d io %lx\n", CPU_COUNT(&cpus),
	        CPU_ISSET(0, &cpus), (unsigned int)sched_getscheduler(tid),
	        getpriority(PRIO_PROCESS, (id_t)tid), syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid));
	tell_line(out, path);
}

static long barrier(unsigned int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void tell_sockets(FILE *out)
{
	tell_options(out, "listener", listener, ALL(of_ip4));
	tell_options(out, "listener", listener, ALL(of_tcp));
	tell_options(out, "listener", listener, ALL(of_listener));
	tell_options(out, "caller", caller, ALL(of_ip4));
	tell_options(out, "caller", caller, ALL(of_tcp));
	tell_options(out, "accepted", accepted, ALL(of_tcp));
	tell_options(out, "datagrams", datagrams4, ALL(of_ip4));
	tell_options(out, "datagrams", datagrams4, ALL(of_datagrams));
	tell_options(out, "datagrams6", datagrams6, ALL(of_ip6));
	tell_options(out, "local", local, ALL(of_unix));
	tell_options(out, "netlink", netlink, ALL(of_netlink));
	tell_congestion(out, caller);
	tell_group(out, datagrams4, IPPROTO_IP, GROUP4);
	tell_group(out, datagrams6, IPPROTO_IPV6, GROUP6);
}

static int tell(const char *path)
{
	_cleanup_fclose_ FILE *out = fopen(path, "we");

	if (!out)
		return EXIT_FAILURE;
	tell_thread(out, getpid());
	tell_thread(out, second);
	tell_line(out, "/proc/self/coredump_filter");
	if (only_threads)
		return EXIT_SUCCESS;
	tell_sockets(out);
	(void)fprintf(
	        out, "barrier %s\n", barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) < 0 ? strerror(errno) : "ok");
	return EXIT_SUCCESS;
}

static void *be_second(void *ready)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	must("affinity", sched_setaffinity(0, sizeof(cpus), &cpus));
	must("ioprio",
	        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)));
	must("slack", prctl(PR_SET_TIMERSLACK, 777777UL));
	second = gettid();
	(void)pthread_barrier_wait(ready);
	for (;;)
		(void)pause();
	return NULL;
}

static void be_otherwise(void)
{
	const struct sched_param none = { 0 };
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	must("coredump_filter", fd < 0 ? fd : write(fd, "0x7f", 4));
	(void)close(fd);
	must("slack", prctl(PR_SET_TIMERSLACK, 123456UL));
	must("policy", sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none));
	must("nice", setpriority(PRIO_PROCESS, 0, 3));
	must("ioprio", syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6)));
}

static int open_sockets(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct ip_mreqn member4 = { .imr_multiaddr = { inet_addr(GROUP4) },
		.imr_ifindex = (int)if_nametoindex("eth0") };
	struct ipv6_mreq member6 = { .ipv6mr_interface = if_nametoindex("eth0") };
	socklen_t len = sizeof(to);

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&to, len) < 0 || listen(listener, 5) < 0 ||
	        getsockname(listener, (struct sockaddr *)&to, &len) < 0 ||
	        connect(caller, (struct sockaddr *)&to, len) < 0)
		return -1;
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	datagrams4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	datagrams6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	local = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	set(listener, ALL(of_ip4));
	set(listener, ALL(of_tcp));
	set(listener, ALL(of_listener));
	set(caller, ALL(of_ip4));
	set(caller, ALL(of_tcp));
	set(accepted, ALL(of_tcp));
	set(datagrams4, ALL(of_ip4));
	set(datagrams4, ALL(of_datagrams));
	set(datagrams6, ALL(of_ip6));
	set(local, ALL(of_unix));
	set(netlink, ALL(of_netlink));
	(void)inet_pton(AF_INET6, GROUP6, &member6.ipv6mr_multiaddr);
	return setsockopt(caller, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) < 0 ||
	                       setsockopt(datagrams4, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member4,
	                               sizeof(member4)) < 0 ||
	                       setsockopt(datagrams6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &member6,
	                               sizeof(member6)) < 0
	               ? -1
	               : 0;
}

static int wait_and_tell(const char *path)
{
	char again[256];

	(void)snprintf(again, sizeof(again), "%s.again", path);
	if (tell(path) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	for (;;) {
		sigset_t none;

		(void)sigemptyset(&none);
		(void)sigsuspend(&none);
		if (asked && tell(again) != EXIT_SUCCESS)
			return EXIT_FAILURE;
		asked = 0;
	}
}

int probe_attributes(int argc, char **argv)
{
	sigset_t mine;
	pthread_barrier_t ready;
	pthread_t thread;

	if (argc < 1)
		return EXIT_FAILURE;
	only_threads = argc > 1;
	(void)sigemptyset(&mine);
	(void)sigaddset(&mine, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &mine, NULL); /* until it waits for it */
	(void)signal(SIGUSR1, on_signal);
	if (!only_threads && (barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0 || open_sockets() < 0)) {
		perror("attributes");
		return EXIT_FAILURE;
	}
	(void)pthread_barrier_init(&ready, NULL, 2);
	if (pthread_create(&thread, NULL, be_second, &ready) != 0) /* style-ok: a process with threads */
		return EXIT_FAILURE;
	(void)pthread_barrier_wait(&ready);
	be_otherwise();
	return wait_and_tell(argv[0]);
}
