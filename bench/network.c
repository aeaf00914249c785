/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the network of containers costs, beside the same path without us.
 *
 *	usage: network [--rounds N] [--ports N] [--json FILE]
 *
 * Everything happens in network namespaces of its own: one plays the host of containers, one a host without
 *any of it (bare veth pairs, the same routes), each with an outside behind an uplink. A round trip is one
 *byte each way over one TCP connection; throughput one connection for a second. The paths are taken in turn,
 *round by round, and the best of each counts, so that what else the machine does hits all alike. Then ports
 *are made, configured and released by the hundred, and packets sent past few and many of them: neither may
 *grow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "netns/context.h"
#include "netns/link.h"
#include "netns/net.h"

#define TAG         "bnch"
#define TRIPS       3000
#define STREAM_USEC 700000
#define PORT        7000

static _Noreturn void die(const char *what, const struct ct_error *err)
{
	fprintf(stderr, "network: %s: %s\n", what, err && err->code ? err->text : strerror(errno));
	exit(1);
}

/* Namespaces */

static int bare_host, host, home;

static void enter(int fd)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		die("setns", NULL);
}

static int new_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		die("unshare", NULL);
	if (write_file_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", "1") < 0)
		die("ip_forward", NULL);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("namespace", NULL);
	return fd;
}

static struct ip_addr ip(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a) < 0)
		die(text, NULL);
	return a;
}

/* In the current namespace: up, with the address, and a default route if there is a gateway. */
static void set_up(const char *name, const char *address, const char *gateway)
{
	static struct nl_batch b;
	struct nl_sock sock;
	struct link_info link = { 0 };
	struct ip_addr a = ip(address), via;
	struct ct_error err = { 0 };

	if (nl_open(NETLINK_ROUTE, &sock) < 0 || link_get(&sock, &b, name, 0, &link, &err) < 0)
		die(name, &err);
	nl_batch_reset(&b);
	link_change(&b, &(struct link_change){ .index = link.index, .up = true });
	address_add(&b, link.index, &a);
	if (gateway) {
		via = ip(gateway);
		route_add(&b, &(struct route){ .via = &via, .index = link.index, .protocol = 4 });
	}
	if (nl_transact(&sock, &b, name, &err) < 0)
		die(name, &err);
	nl_close(&sock);
}

static void bare_pair(int host_ns, int guest_ns, const char *host_name, const uint8_t mac_end,
        const char *host_address, const char *guest_address)
{
	static struct nl_batch b;
	const uint8_t mac[6] = { 0x02, 0xbb, 0, 0, 0, mac_end };
	struct nl_sock sock;
	struct ct_error err = { 0 };
	struct ip_addr gateway = ip(host_address);
	char text[IP_ADDR_STRLEN];

	enter(host_ns);
	nl_batch_reset(&b);
	if (nl_open(NETLINK_ROUTE, &sock) < 0)
		die("netlink", NULL);
	link_add_veth(&b, host_name, mac, "eth0", guest_ns);
	if (nl_transact(&sock, &b, host_name, &err) < 0)
		die(host_name, &err);
	nl_close(&sock);
	set_up(host_name, host_address, NULL);
	enter(guest_ns);
	set_up("eth0", guest_address, ip_format_addr(&gateway, text, sizeof(text)));
}

/* Paths */

struct path {
	const char *name;
	int server, client; /* namespaces */
	const char *address;
	int base;                              /* index of the path to compare with, -1: none */
	uint64_t trip_nsec, trip99_nsec, bits; /* the best of all rounds */
};

static int listen_at(const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	static const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &in.sin_addr);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 8) < 0)
		die(address, NULL);
	return fd;
}

/* Answers byte for byte on the first connection, swallows all on the second. */
static void serve(int listener)
{
	static char buffer[256 * 1024];
	static const int on = 1;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while ((n = recv(fd, buffer, 1, 0)) > 0)
		(void)send(fd, buffer, 1, 0);
	close(fd);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (recv(fd, buffer, sizeof(buffer), 0) > 0)
		;
	_exit(0);
}

static int connect_to(const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	static const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &in.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0)
		die(address, NULL);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static uint64_t now_nsec(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure_trips(struct path *path)
{
	static uint64_t trips[TRIPS];
	int fd = connect_to(path->address);
	char byte = 'x';

	for (unsigned i = 0; i < TRIPS; i++) {
		uint64_t start = now_nsec();

		if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
			die(path->name, NULL);
		trips[i] = now_nsec() - start;
	}
	close(fd);
	qsort(trips, TRIPS, sizeof(*trips), by_value);
	if (!path->trip_nsec || trips[TRIPS / 2] < path->trip_nsec) {
		path->trip_nsec = trips[TRIPS / 2];
		path->trip99_nsec = trips[TRIPS * 99 / 100];
	}
}

static void measure_stream(struct path *path)
{
	static char buffer[256 * 1024];
	int fd = connect_to(path->address);
	uint64_t start = now_nsec(), bytes = 0, took;

	do {
		ssize_t n = send(fd, buffer, sizeof(buffer), 0);

		if (n <= 0)
			die(path->name, NULL);
		bytes += (uint64_t)n;
		took = now_nsec() - start;
	} while (took < STREAM_USEC * 1000ULL);
	close(fd);
	if (bytes * 8 * 1000 / (took / 1000000) > path->bits)
		path->bits = bytes * 8 * 1000 / (took / 1000000);
}

static void measure(struct path *path)
{
	int listener;
	pid_t pid;

	enter(path->server);
	listener = listen_at(path->address);
	pid = fork();
	if (pid < 0)
		die("fork", NULL);
	if (pid == 0)
		serve(listener);
	close(listener);
	enter(path->client);
	measure_trips(path);
	measure_stream(path);
	(void)waitpid(pid, NULL, 0);
}

/* Containers */

struct container {
	int netns;
	struct ip_addr address;
	struct net_port_spec spec;
};

static void make_container(struct net_context *net, struct container *c, uint32_t number, enum net_mode mode,
        const char *address, const char *bridge, uint64_t *ret_create, uint64_t *ret_configure)
{
	struct ct_error err = { 0 };
	uint64_t start;

	*c = (struct container){ .netns = new_namespace(), .address = ip(address) };
	enter(host);
	c->spec = (struct net_port_spec){
		.guest_name = "eth0", .mode = mode, .addresses = &c->address, .n_addresses = 1, .mtu = 1500
	};
	if (bridge)
		(void)snprintf(c->spec.bridge, sizeof(c->spec.bridge), "%s", bridge);
	else
		c->spec.gateway4 = ip("169.254.1.1");
	net_port_name(c->spec.host_name, TAG, number, 0);
	net_port_mac(c->spec.mac, c->spec.host_name, 0);

	start = now_monotonic_usec();
	if (net_port_create(net, c->spec.host_name, "eth0", c->netns, &err) < 0)
		die("create", &err);
	*ret_create = now_monotonic_usec() - start;
	start = now_monotonic_usec();
	if (net_port_configure(net, &c->spec, c->netns, &err) < 0)
		die("configure", &err);
	*ret_configure = now_monotonic_usec() - start;
}

/* Nanoseconds for one small datagram from one container to another. */
static uint64_t packet_cost(const struct container *from, const struct container *to)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	char text[IP_ADDR_STRLEN], byte = 'x';
	uint64_t best = UINT64_MAX;
	int sender, receiver;

	enter(to->netns);
	receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, ip_format_addr(&to->address, text, sizeof(text)), &in.sin_addr);
	if (receiver < 0 || bind(receiver, (struct sockaddr *)&in, sizeof(in)) < 0)
		die("bind", NULL);
	enter(from->netns);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (unsigned round = 0; round < 10; round++) {
		uint64_t start = now_nsec();

		for (unsigned i = 0; i < 5000; i++)
			(void)sendto(sender, &byte, 1, 0, (struct sockaddr *)&in, sizeof(in));
		if ((now_nsec() - start) / 5000 < best)
			best = (now_nsec() - start) / 5000;
		while (recv(receiver, &byte, 1, MSG_DONTWAIT) > 0)
			;
	}
	close(sender);
	close(receiver);
	return best;
}

static void print_times(const char *what, uint64_t *times, size_t n, FILE *json)
{
	qsort(times, n, sizeof(*times), by_value);
	printf("%-26s %8.3f ms p50 %8.3f ms p99\n", what, (double)times[n / 2] / 1000,
	        (double)times[n * 99 / 100] / 1000);
	if (json)
		fprintf(json, ",\n  {\"what\": \"%s\", \"p50_usec\": %lu, \"p99_usec\": %lu}", what,
		        times[n / 2], times[n * 99 / 100]);
}

static void measure_many(struct net_context *net, size_t n, FILE *json)
{
	struct container *c = calloc(n, sizeof(*c));
	uint64_t *create = calloc(n, sizeof(*create)), *configure = calloc(n, sizeof(*configure)),
	         *release = calloc(n, sizeof(*release));
	uint64_t few = 0, many;
	size_t part = n / 5;
	struct ct_error err = { 0 };

	if (!c || !create || !configure || !release)
		die("memory", NULL);
	for (size_t i = 0; i < n; i++) {
		char address[IP_ADDR_STRLEN];

		(void)snprintf(address, sizeof(address), "10.%zu.%zu.1", 100 + i / 250, i % 250 + 1);
		make_container(net, &c[i], (uint32_t)(1000 + i), NET_MODE_ROUTED, address, NULL, &create[i],
		        &configure[i]);
		if (i == 1)
			few = packet_cost(&c[0], &c[1]);
	}
	many = packet_cost(&c[0], &c[n - 1]);
	enter(host);
	for (size_t i = 0; i < n; i++) {
		uint64_t start = now_monotonic_usec();

		if (net_port_release(net, &c[i].spec, false, &err) < 0)
			die("release", &err);
		release[i] = now_monotonic_usec() - start;
		close(c[i].netns);
	}

	printf("\n%zu ports\n", n);
	print_times("create, the first fifth", create, part, json);
	print_times("create, the last fifth", create + n - part, part, json);
	print_times("configure, the first fifth", configure, part, json);
	print_times("configure, the last fifth", configure + n - part, part, json);
	print_times("release", release, n, json);
	printf("packet with 2 ports        %5lu ns\npacket with %4zu ports     %5lu ns\n", few, n, many);
	if (json)
		fprintf(json,
		        ",\n  {\"what\": \"packet\", \"few_nsec\": %lu, \"many_nsec\": %lu, \"ports\": %zu}",
		        few, many, n);
	free(c);
	free(create);
	free(configure);
	free(release);
}

static void print_path(const struct path *path, const struct path *paths, FILE *json)
{
	const struct path *base = path->base >= 0 ? &paths[path->base] : NULL;

	printf("%-26s %8.1f us %8.1f us %8.2f Gbit/s", path->name, (double)path->trip_nsec / 1000,
	        (double)path->trip99_nsec / 1000, (double)path->bits / 1e9);
	if (base)
		printf("   %.2f x  %.2f x of %s", (double)path->trip_nsec / (double)base->trip_nsec,
		        (double)path->bits / (double)base->bits, base->name);
	printf("\n");
	if (json)
		fprintf(json,
		        "%s\n  {\"what\": \"%s\", \"trip_p50_nsec\": %lu, \"trip_p99_nsec\": %lu, \"bits_per_second\": %lu}",
		        path == paths ? "" : ",", path->name, path->trip_nsec, path->trip99_nsec, path->bits);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = { { "rounds", required_argument, NULL, 'r' },
		{ "ports", required_argument, NULL, 'p' }, { "json", required_argument, NULL, 'j' }, { 0 } };
	static const struct net_service services[] = { { IPPROTO_TCP, PORT } };
	struct ip_addr nat = ip("10.77.0.0/16");
	struct net_host_spec spec = { .nat_networks = &nat,
		.n_nat_networks = 1,
		.routed_peers = true,
		.services = services,
		.n_services = 1,
		.enable_forwarding = true };
	uint32_t rounds = 5, ports = 500;
	struct container routed, second, natted, member, other;
	int bare_guest, bare_second, bare_outside, outside, c;
	struct net_context *net;
	struct ct_error err = { 0 };
	char bridge[IFNAMSIZ];
	FILE *json = NULL;
	uint64_t unused;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r' && parse_u32(optarg, &rounds) == 0 && rounds > 0)
			continue;
		if (c == 'p' && parse_u32(optarg, &ports) == 0 && ports <= 5000)
			continue;
		if (c == 'j') {
			json = fopen(optarg, "we");
			if (!json)
				die(optarg, NULL);
			continue;
		}
		fprintf(stderr, "usage: network [--rounds N] [--ports N] [--json FILE]\n");
		return 2;
	}

	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	bare_host = new_namespace();
	set_up("lo", "127.0.0.2/32", NULL);
	bare_guest = new_namespace();
	bare_second = new_namespace();
	bare_outside = new_namespace();
	bare_pair(bare_host, bare_guest, "guest", 1, "198.51.100.1/30", "198.51.100.2/30");
	bare_pair(bare_host, bare_second, "second", 2, "198.51.100.5/30", "198.51.100.6/30");
	bare_pair(bare_host, bare_outside, "up0", 3, "192.0.2.1/24", "192.0.2.2/24");

	host = new_namespace();
	outside = new_namespace();
	bare_pair(host, outside, "up0", 4, "192.0.2.1/24", "192.0.2.2/24");
	enter(host);
	set_up("up0", "192.0.2.1/24", "192.0.2.2");
	if (net_context_new(TAG, &net, &err) < 0 || net_host_apply(net, &spec, &err) < 0 ||
	        net_bridge_add(net, &(struct net_bridge_spec){ .number = 1 }, &err) < 0)
		die("host", &err);
	net_bridge_name(bridge, TAG, 1);
	make_container(net, &routed, 1, NET_MODE_ROUTED, "198.51.100.10", NULL, &unused, &unused);
	make_container(net, &second, 2, NET_MODE_ROUTED, "198.51.100.11", NULL, &unused, &unused);
	make_container(net, &natted, 3, NET_MODE_NAT, "10.77.0.2", NULL, &unused, &unused);
	make_container(net, &member, 4, NET_MODE_BRIDGE, "10.5.0.1/24", bridge, &unused, &unused);
	make_container(net, &other, 5, NET_MODE_BRIDGE, "10.5.0.2/24", bridge, &unused, &unused);
	(void)usleep(100000);

	{
		struct path paths[] = {
			{ "loopback", bare_host, bare_host, "127.0.0.2", -1 },
			{ "bare veth", bare_host, bare_guest, "192.0.2.1", -1 },
			{ "routed to host", host, routed.netns, "192.0.2.1", 1 },
			{ "bare, forwarded", bare_outside, bare_guest, "192.0.2.2", -1 },
			{ "routed to outside", outside, routed.netns, "192.0.2.2", 3 },
			{ "nat to outside", outside, natted.netns, "192.0.2.2", 3 },
			{ "routed to routed", second.netns, routed.netns, "198.51.100.11", 3 },
			{ "bridge to bridge", other.netns, member.netns, "10.5.0.2", 3 },
		};

		for (unsigned round = 0; round < rounds; round++) {
			for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
				measure(&paths[i]);
		}
		printf("%-26s %11s %11s %15s   ratios of round trip and throughput\n", "path", "p50", "p99",
		        "throughput");
		if (json)
			fprintf(json, "[");
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
			print_path(&paths[i], paths, json);
	}

	enter(host);
	if (ports >= 10)
		measure_many(net, ports, json);
	if (json) {
		fprintf(json, "\n]\n");
		if (fclose(json) != 0)
			die("json", NULL);
	}
	if (net_host_remove(net, &err) < 0)
		die("remove", &err);
	net_context_free(net);
	enter(home);
	return 0;
}
