/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU 3.17 does not save of a socket.
 *
 * It saves some options; those of IP and of IPv6, and most of TCP, are lost, and so are memberships of
 * multicast groups. A name server that has all addresses would no longer know which one was asked
 * (IP_PKTINFO). So when all stand still each socket is taken over for a moment (pidfd_getfd(2)) and asked;
 * and what it has that a new one of its kind has not, in a new network namespace, is noted with the images,
 * a line for each socket:
 *
 *      NUMBER-INSIDE FD [LEVEL.OPTION=BYTES ...] [LEVEL:INTERFACE:GROUP ...]
 *
 * numbers decimal, bytes hexadecimal; GROUP is a struct group_filter. A restored one is taken over likewise,
 * and given it. Whatever the images say, only options of the table are set, which root inside may set of a
 * socket. Nothing of it decides whether the container may go on: what cannot be had here is left as it is.
 * (That the kernel encrypts a connection, TCP_ULP, no container may have: seccomp-policy.c.)
 */
#include "ctd/worker-suspend-sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/icmp.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uthash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/worker-suspend-notes.h"
#include "ctd/worker-suspend-threads.h"

#define NOTE        "ctd-sockets"
#define GROUPS_SIZE (1024 * 1024) /* of /proc/PID/net/igmp */
#define GROUPS_USEC 2000000       /* for all of them */
#define SOURCES_MAX 64            /* of a group, as net.ipv6.mld_max_msf */
#define VALUE_MAX   32
#define BYTES_MAX   GROUP_FILTER_SIZE(SOURCES_MAX)

/* Of linux/in6.h, which excludes netinet/in.h. */
#define PASSPIDFD     76 /* SO_PASSPIDFD of Linux 6.5 */
#define FLOWINFO      11 /* IPV6_FLOWINFO */
#define FLOWINFO_SEND 33

enum kind {
	KIND_ANY = 1,
	KIND_IP4 = 2, /* and IPv6, which may take IPv4 too */
	KIND_IP6 = 4,
	KIND_TCP = 8,
	KIND_LISTENS = 16, /* TCP that does */
	KIND_UDP = 32,
	KIND_PING4 = 64, /* raw */
	KIND_PING6 = 128,
	KIND_NETLINK = 256,
};

/* In this order: what others depend on comes before them. */
static const struct option {
	int level, name;
	unsigned int kind;
	socklen_t size;
} options[] = {
	{ SOL_SOCKET, SO_TIMESTAMP, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_TIMESTAMPNS, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_TIMESTAMP_NEW, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_TIMESTAMPNS_NEW, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_TIMESTAMPING, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_RXQ_OVFL, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_ZEROCOPY, KIND_ANY, 4 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, KIND_ANY, 8 },
	{ SOL_SOCKET, SO_PEEK_OFF, KIND_ANY, 4 },
	{ SOL_SOCKET, PASSPIDFD, KIND_ANY, 4 },
	{ IPPROTO_IP, IP_TOS, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_TTL, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVERR, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVERR_RFC4884, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_PKTINFO, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVTTL, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVTOS, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVOPTS, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RETOPTS, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVORIGDSTADDR, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_RECVFRAGSIZE, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_CHECKSUM, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MINTTL, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_TRANSPARENT, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MULTICAST_TTL, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MULTICAST_ALL, KIND_IP4, 4 },
	{ IPPROTO_IP, IP_MULTICAST_IF, KIND_IP4, 4 },
	{ IPPROTO_IPV6, IPV6_TCLASS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVERR, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVERR_RFC4884, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVRTHDR, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVHOPOPTS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVDSTOPTS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVPATHMTU, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_RECVFRAGSIZE, KIND_IP6, 4 },
	{ IPPROTO_IPV6, FLOWINFO, KIND_IP6, 4 },
	{ IPPROTO_IPV6, FLOWINFO_SEND, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_DONTFRAG, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_MINHOPCOUNT, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_TRANSPARENT, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_CHECKSUM, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, KIND_IP6, 4 },
	{ IPPROTO_IPV6, IPV6_MULTICAST_ALL, KIND_IP6, 4 },
	{ IPPROTO_TCP, TCP_NODELAY, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_SYNCNT, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_LINGER2, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_THIN_DUPACK, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_SAVE_SYN, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_INQ, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_TX_DELAY, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, KIND_TCP, 4 },
	{ IPPROTO_TCP, TCP_CONGESTION, KIND_TCP, 16 },
	{ IPPROTO_TCP, TCP_FASTOPEN, KIND_LISTENS, 4 },
	{ IPPROTO_TCP, TCP_MAXSEG, KIND_LISTENS, 4 },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, KIND_LISTENS, 4 },
	{ IPPROTO_UDP, UDP_NO_CHECK6_TX, KIND_UDP, 4 },
	{ IPPROTO_UDP, UDP_NO_CHECK6_RX, KIND_UDP, 4 },
	{ IPPROTO_UDP, UDP_SEGMENT, KIND_UDP, 4 },
	{ IPPROTO_UDP, UDP_GRO, KIND_UDP, 4 },
	{ IPPROTO_RAW, ICMP_FILTER, KIND_PING4, 4 },
	{ IPPROTO_ICMPV6, ICMP6_FILTER, KIND_PING6, 32 },
	{ SOL_NETLINK, NETLINK_PKTINFO, KIND_NETLINK, 4 },
	{ SOL_NETLINK, NETLINK_BROADCAST_ERROR, KIND_NETLINK, 4 },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS, KIND_NETLINK, 4 },
	{ SOL_NETLINK, NETLINK_CAP_ACK, KIND_NETLINK, 4 },
	{ SOL_NETLINK, NETLINK_EXT_ACK, KIND_NETLINK, 4 },
	{ SOL_NETLINK, NETLINK_GET_STRICT_CHK, KIND_NETLINK, 4 },
};

/* What an option says; 0 bytes: nothing. */
struct value {
	unsigned char bytes[VALUE_MAX];
	socklen_t len;
};

static struct value get_value(int sock, const struct option *o)
{
	struct value v = { .len = o->size };

	if (getsockopt(sock, o->level, o->name, v.bytes, &v.len) < 0 || v.len > o->size)
		v.len = 0;
	return v;
}

static int get_int(int sock, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(sock, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static int take_over(int pidfd, int fd)
{
	const int sock = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return sock < 0 ? -errno : sock;
}

union group_value {
	struct group_filter filter;
	unsigned char bytes[BYTES_MAX];
};

static void put_hex(struct strbuf *b, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)strbuf_printf(b, "%02x", ((const unsigned char *)bytes)[i]);
}

/* ---- what they have */

/* A new socket of a kind. */
struct usual {
	int family, type, protocol;
	struct value values[ARRAY_SIZE(options)];
};

struct group {
	uint32_t index; /* of the interface */
	struct sockaddr_storage address;
};

struct seen {
	uint64_t inode;
	UT_hash_handle hh;
};

struct survey {
	struct usual *usual;
	size_t n_usual;
	struct group *groups;
	size_t n_groups;
	struct seen *seen; /* uthash */
	uint64_t usec;     /* what groups have taken */
	struct strbuf note, line;
};

static void survey_done(struct survey *s)
{
	struct seen *seen, *next;

	HASH_ITER(hh, s->seen, seen, next)
	{
		HASH_DEL(s->seen, seen);
		free(seen);
	}
	free(s->usual);
	free(s->groups);
	strbuf_done(&s->note);
	strbuf_done(&s->line);
}

static unsigned int kind_of(int sock, int family, int type, int protocol)
{
	unsigned int kind = KIND_ANY;

	if (family == AF_INET || family == AF_INET6)
		kind |= KIND_IP4;
	if (family == AF_INET6)
		kind |= KIND_IP6;
	if (family == AF_NETLINK)
		kind |= KIND_NETLINK;
	if (!(kind & KIND_IP4))
		return kind;
	if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
		kind |= get_int(sock, SO_ACCEPTCONN) == 1 ? KIND_TCP | KIND_LISTENS : KIND_TCP;
	if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
		kind |= KIND_UDP;
	if (type == SOCK_RAW && protocol == IPPROTO_ICMP)
		kind |= KIND_PING4;
	if (type == SOCK_RAW && protocol == IPPROTO_ICMPV6)
		kind |= KIND_PING6;
	return kind;
}

/* NULL: there can be no new one, or no memory. */
static const struct usual *usual_of(struct survey *s, int family, int type, int protocol)
{
	_cleanup_close_ int sock = -1;
	struct usual *larger, *u;

	for (size_t i = 0; i < s->n_usual; i++) {
		u = &s->usual[i];
		if (u->family == family && u->type == type && u->protocol == protocol)
			return u;
	}
	sock = socket(family, type | SOCK_CLOEXEC, protocol);
	larger = sock < 0 ? NULL : reallocarray(s->usual, s->n_usual + 1, sizeof(*larger));
	if (!larger)
		return NULL;
	s->usual = larger;
	u = &s->usual[s->n_usual++];
	*u = (struct usual){ .family = family, .type = type, .protocol = protocol };
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		u->values[i] = get_value(sock, &options[i]);
	return u;
}

static void note_options(struct survey *s, int sock, unsigned int kind, const struct usual *usual)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct value *was = &usual->values[i];
		struct value is;

		if (!(options[i].kind & kind) || was->len == 0)
			continue;
		is = get_value(sock, &options[i]);
		if (is.len == 0 || (is.len == was->len && memcmp(is.bytes, was->bytes, is.len) == 0))
			continue;
		(void)strbuf_printf(&s->line, " %d.%d=", options[i].level, options[i].name);
		put_hex(&s->line, is.bytes, is.len);
	}
}

static int level_of(const struct sockaddr_storage *group)
{
	return group->ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

/* Its name: numbers are others in another namespace. */
static int name_interface(int sock, uint32_t index, char ret[static IFNAMSIZ])
{
	struct ifreq request = { .ifr_ifindex = (int)index };

	if (ioctl(sock, SIOCGIFNAME, &request) < 0)
		return -errno;
	memcpy(ret, request.ifr_name, IFNAMSIZ);
	ret[IFNAMSIZ - 1] = '\0';
	return 0;
}

static void note_group(struct survey *s, int sock, const struct group *group)
{
	union group_value is = { .filter = { .gf_interface = group->index,
		                         .gf_group = group->address,
		                         .gf_numsrc = SOURCES_MAX } };
	const int level = level_of(&group->address);
	socklen_t len = sizeof(is);
	char name[IFNAMSIZ];

	if (getsockopt(sock, level, MCAST_MSFILTER, &is, &len) < 0 ||
	        name_interface(sock, group->index, name) < 0)
		return;
	if (is.filter.gf_numsrc > SOURCES_MAX)
		is.filter.gf_numsrc = SOURCES_MAX;
	(void)strbuf_printf(&s->line, " %d:%s:", level, name);
	put_hex(&s->line, &is, GROUP_FILTER_SIZE(is.filter.gf_numsrc));
}

/* The kernel lists who is a member to nobody, but says of a socket whether it is. */
static int note_groups(struct survey *s, int sock, struct ct_error *err)
{
	const uint64_t begin = now_monotonic_usec();

	for (size_t i = 0; i < s->n_groups && s->line.len <= SUSPEND_NOTE_MAX; i++)
		note_group(s, sock, &s->groups[i]);
	s->usec += now_monotonic_usec() - begin;
	if (s->usec > GROUPS_USEC)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG,
		        "it has too many multicast groups and sockets that may be members (ip maddr shows the groups)");
	return 0;
}

static int note_socket(struct survey *s, int sock, pid_t inside, int fd, struct ct_error *err)
{
	const int family = get_int(sock, SO_DOMAIN), type = get_int(sock, SO_TYPE),
	          protocol = get_int(sock, SO_PROTOCOL);
	const bool is_ip = family == AF_INET || family == AF_INET6;
	const struct usual *usual;
	int r = 0;

	if (!is_ip && family != AF_UNIX && family != AF_NETLINK)
		return 0;
	strbuf_reset(&s->line);
	usual = usual_of(s, family, type, protocol);
	if (usual)
		note_options(s, sock, kind_of(sock, family, type, protocol), usual);
	if (is_ip && type != SOCK_STREAM)
		r = note_groups(s, sock, err);
	if (r >= 0 && s->line.len > 0)
		(void)strbuf_printf(&s->note, "%d %d%s\n", inside, fd, s->line.data);
	return r < 0 || s->note.len <= SUSPEND_NOTE_MAX ? r : suspend_note_refuse(NOTE, err);
}

/* Sockets that several have are asked once. */
static int is_new(struct survey *s, uint64_t inode)
{
	struct seen *seen;

	HASH_FIND(hh, s->seen, &inode, sizeof(inode), seen);
	if (seen)
		return 0;
	seen = calloc(1, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	seen->inode = inode;
	HASH_ADD(hh, s->seen, inode, sizeof(seen->inode), seen);
	return 1;
}

static int note_descriptor(struct survey *s, const struct restore_thread *t, int pidfd, int dir,
        const char *name, struct ct_error *err)
{
	_cleanup_close_ int sock = -1;
	char target[64];
	const ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	const int fd = (int)strtol(name, NULL, 10);
	uint64_t inode;
	int r;

	target[n < 0 ? 0 : n] = '\0';
	if (sscanf(target, "socket:[%" SCNu64, &inode) != 1)
		return 0;
	r = is_new(s, inode);
	if (r > 0)
		r = sock = take_over(pidfd, fd);
	if (r == -ESRCH || r == -EBADF) /* it has just died */
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot look at socket %d of process %d inside: %s",
		        fd, t->inside, strerror(-r));
	return sock < 0 ? 0 : note_socket(s, sock, t->inside, fd, err);
}

static int note_process(struct survey *s, const struct restore_thread *t, struct ct_error *err)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, t->tid, 0);
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	char path[32];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", t->tid); /* fits */
	if (pidfd >= 0)
		dir = opendir(path);
	if (!dir && (errno == ESRCH || errno == ENOENT)) /* as above */
		return 0;
	if (!dir)
		return ct_error_set(err, -errno, "suspend", "cannot list what process %d inside has open: %s",
		        t->inside, strerror(errno));
	while (r >= 0 && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			r = note_descriptor(s, t, pidfd, dirfd(dir), e->d_name, err);
	return r;
}

static int add_group(struct survey *s, uint32_t index, const struct sockaddr_storage *address)
{
	struct group *larger = reallocarray(s->groups, s->n_groups + 1, sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	s->groups = larger;
	s->groups[s->n_groups++] = (struct group){ .index = index, .address = *address };
	return 0;
}

/* igmp: "2 eth0 : ...", then for each group "    FB0000E0 ...", as it lies in memory. */
static int add_line4(struct survey *s, const char *line, uint32_t *index)
{
	struct sockaddr_storage address = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&address;

	if (*line != '\t') {
		*index = (uint32_t)strtoul(line, NULL, 10);
		return 0;
	}
	*in = (struct sockaddr_in){ .sin_family = AF_INET };
	in->sin_addr.s_addr = (uint32_t)strtoul(line, NULL, 16);
	return in->sin_addr.s_addr == htonl(INADDR_ALLHOSTS_GROUP) || !*index
	               ? 0
	               : add_group(s, *index, &address);
}

/* That each interface has, or each address (ff02::1, ff01::1, ff02::1:ff00:0/104). */
static bool is_everybodys(const struct in6_addr *group)
{
	static const unsigned char all[15] = { [14] = 0 }, solicited[11] = { [9] = 1, [10] = 0xff };
	const unsigned char *b = group->s6_addr;

	return b[0] == 0xff && ((memcmp(b + 2, all, 13) == 0 && b[15] == 1 && b[1] <= 2) ||
	                               (b[1] == 2 && memcmp(b + 2, solicited, sizeof(solicited)) == 0));
}

/* igmp6: "2 eth0 ff0200000000000000000000000000fb ...". */
static int add_line6(struct survey *s, const char *line, uint32_t *index)
{
	struct sockaddr_storage address = { 0 };
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)&address;
	int at = 0;

	*in = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	if (sscanf(line, "%" SCNu32 " %*s %n", index, &at) != 1 || at == 0)
		return 0;
	for (size_t i = 0; i < 16; i++)
		if (sscanf(line + at + 2 * i, "%2hhx", &in->sin6_addr.s6_addr[i]) != 1)
			return 0;
	return is_everybodys(&in->sin6_addr) ? 0 : add_group(s, *index, &address);
}

static int list_groups(struct survey *s, pid_t pid, const char *file,
        int (*add)(struct survey *s, const char *line, uint32_t *index), struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char path[40], *rest, *line;
	uint32_t index = 0;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, file); /* fits */
	r = read_file_at(AT_FDCWD, path, GROUPS_SIZE, &text, NULL);
	if (r == -ENOENT)
		return 0; /* a kernel without IPv6 */
	rest = text;
	if (r >= 0 && str_eq(file, "igmp"))
		(void)strsep(&rest, "\n"); /* the headings */
	while (r >= 0 && rest && (line = strsep(&rest, "\n")) && *line)
		r = add(s, line, &index);
	if (r == -E2BIG)
		return ct_error_kind_set(
		        err, CT_ERROR_REFUSED, r, "it has too many multicast groups (ip maddr)");
	return r < 0 ? ct_error_set(err, r, "suspend", "cannot list its multicast groups: %s", strerror(-r))
	             : 0;
}

static int note_all(struct survey *s, const struct restore_threads *threads, struct ct_error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < threads->n; i++)
		if (threads->list[i].tid == threads->list[i].leader)
			r = note_process(s, &threads->list[i], err);
	return r;
}

/* New ones are made in a namespace of which nobody has said anything, as they will be in a restore. */
int suspend_sockets_save(
        int images_fd, pid_t pid, const struct restore_threads *threads, struct ct_error *err)
{
	_cleanup_close_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	CLEANUP(survey_done) struct survey s = { 0 };
	int r = list_groups(&s, pid, "igmp", add_line4, err);

	if (r >= 0)
		r = list_groups(&s, pid, "igmp6", add_line6, err);
	if (r < 0)
		return r;
	if (own < 0 || unshare(CLONE_NEWNET) < 0)
		return ct_error_set(
		        err, -errno, "suspend", "cannot make a network namespace: %s", strerror(errno));
	r = note_all(&s, threads, err);
	if (setns(own, CLONE_NEWNET) < 0 && r >= 0)
		r = ct_error_set(
		        err, -errno, "suspend", "cannot leave a network namespace: %s", strerror(errno));
	if (s.line.error)
		s.note.error = s.line.error;
	return r < 0 ? r : suspend_note_write(images_fd, NOTE, &s.note, err);
}

/* ---- and get again */

struct again {
	const struct restore_threads *threads;
	pid_t inside; /* of the last line, with its pidfd */
	int pidfd;
	char *congestion; /* what a program may choose without a privilege, with a blank before and behind */
};

static void again_done(struct again *a)
{
	(void)fd_close(a->pidfd);
	free(a->congestion);
}

/* How many bytes; -EBADMSG. */
static ssize_t read_hex(const char *text, void *ret, size_t max)
{
	const size_t len = strlen(text);
	unsigned char *to = ret;

	if (len % 2 || len / 2 > max || strspn(text, "0123456789abcdef") != len)
		return -EBADMSG;
	for (size_t i = 0; i < len / 2; i++)
		(void)sscanf(text + 2 * i, "%2hhx", &to[i]); /* two digits */
	return (ssize_t)(len / 2);
}

static bool may_choose(const struct again *a, const char *name)
{
	char word[VALUE_MAX + 3];

	(void)snprintf(word, sizeof(word), " %s ", name); /* fits */
	return *name && !strchr(name, ' ') && strstr(a->congestion, word);
}

static int set_option(const struct again *a, int sock, int level, int name, const char *hex)
{
	unsigned char bytes[VALUE_MAX + 1] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		ssize_t n;

		if (options[i].level != level || options[i].name != name)
			continue;
		n = read_hex(hex, bytes, options[i].size);
		if (n <= 0)
			return -EBADMSG;
		if (sock >= 0 &&
		        (level != IPPROTO_TCP || name != TCP_CONGESTION || may_choose(a, (char *)bytes)))
			(void)setsockopt(sock, level, name, bytes, (socklen_t)n);
		return 0;
	}
	return -EBADMSG;
}

/* Never for more senders than it was a member for. */
static void join(int sock, int level, const struct group_filter *want, size_t size)
{
	const struct group_req all = { .gr_interface = want->gf_interface, .gr_group = want->gf_group };

	for (uint32_t i = 0; want->gf_fmode != MCAST_EXCLUDE && i < want->gf_numsrc; i++) {
		const struct group_source_req one = { .gsr_interface = want->gf_interface,
			.gsr_group = want->gf_group,
			.gsr_source = want->gf_slist[i] };

		(void)setsockopt(sock, level, MCAST_JOIN_SOURCE_GROUP, &one, sizeof(one));
	}
	if (want->gf_fmode != MCAST_EXCLUDE ||
	        setsockopt(sock, level, MCAST_JOIN_GROUP, &all, sizeof(all)) < 0 || want->gf_numsrc == 0)
		return;
	if (setsockopt(sock, level, MCAST_MSFILTER, want, (socklen_t)size) < 0)
		(void)setsockopt(sock, level, MCAST_LEAVE_GROUP, &all, sizeof(all));
}

/* INTERFACE:GROUP */
static int join_group(int sock, int level, const char *word)
{
	const char *hex = strchr(word, ':');
	struct ifreq request = { 0 };
	union group_value want = { 0 };
	ssize_t n;

	if (!hex || (size_t)(hex - word) >= IFNAMSIZ)
		return -EBADMSG;
	n = read_hex(hex + 1, want.bytes, sizeof(want));
	if (n < (ssize_t)GROUP_FILTER_SIZE(0) || want.filter.gf_numsrc > SOURCES_MAX ||
	        n != (ssize_t)GROUP_FILTER_SIZE(want.filter.gf_numsrc) ||
	        (level != IPPROTO_IP && level != IPPROTO_IPV6) || level != level_of(&want.filter.gf_group))
		return -EBADMSG;
	memcpy(request.ifr_name, word, (size_t)(hex - word));
	if (sock < 0 || ioctl(sock, SIOCGIFINDEX, &request) < 0)
		return 0;
	want.filter.gf_interface = (uint32_t)request.ifr_ifindex;
	join(sock, level, &want.filter, (size_t)n);
	return 0;
}

static int set_word(const struct again *a, int sock, const char *word)
{
	unsigned int level, name;
	int at = 0;

	if (sscanf(word, "%u.%u=%n", &level, &name, &at) == 2 && at > 0)
		return set_option(a, sock, (int)level, (int)name, word + at);
	at = 0;
	return sscanf(word, "%u:%n", &level, &at) == 1 && at > 0 ? join_group(sock, (int)level, word + at)
	                                                         : -EBADMSG;
}

/* A socket of a thread; -1: it is not there. */
static int find_socket(struct again *a, pid_t inside, int fd)
{
	_cleanup_close_ int sock = -1;

	if (inside != a->inside) {
		const struct restore_thread *t = suspend_threads_find(a->threads, inside);

		a->pidfd = fd_close(a->pidfd);
		a->inside = inside;
		a->pidfd = t ? (int)syscall(SYS_pidfd_open, t->tid, 0) : -1;
	}
	sock = a->pidfd < 0 ? -1 : take_over(a->pidfd, fd);
	return sock >= 0 && get_int(sock, SO_TYPE) >= 0 ? TAKE_FD(sock) : -1;
}

static int set_line(struct again *a, char *line)
{
	char *rest = line, *word = strsep(&rest, " "), *descriptor = strsep(&rest, " ");
	_cleanup_close_ int sock = -1;
	uint32_t inside, fd;
	int priority, r = 0;

	if (!descriptor || parse_u32(word, &inside) < 0 || parse_u32(descriptor, &fd) < 0)
		return -EBADMSG;
	sock = find_socket(a, (pid_t)inside, (int)fd);
	priority = get_int(sock, SO_PRIORITY); /* which the type of service would change */
	while (r >= 0 && (word = strsep(&rest, " ")))
		r = set_word(a, sock, word);
	if (sock >= 0 && get_int(sock, SO_PRIORITY) != priority)
		(void)setsockopt(sock, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	return r;
}

/* "reno cubic\n" */
static char *read_congestion(void)
{
	_cleanup_free_ char *text = NULL;

	if (read_file_at(AT_FDCWD, "/proc/sys/net/ipv4/tcp_allowed_congestion_control", 4096, &text, NULL) <
	        0)
		return strdup("");
	text[strcspn(text, "\n")] = '\0';
	return str_printf(" %s ", text);
}

int suspend_sockets_set(int images_fd, const struct restore_threads *threads, struct ct_error *err)
{
	CLEANUP(again_done) struct again a = { .threads = threads, .inside = -1, .pidfd = -1 };
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int r = suspend_note_read(images_fd, NOTE, SUSPEND_NOTE_MAX, &text, err);

	if (r < 0)
		return r;
	a.congestion = read_congestion();
	if (!a.congestion)
		return ct_error_set(err, -ENOMEM, "resume", "out of memory");
	rest = text;
	while (r >= 0 && rest && (line = strsep(&rest, "\n")) && *line)
		r = set_line(&a, line);
	return r < 0 ? ct_error_kind_set(err, CT_ERROR_REFUSED, r,
	                       "its images say of sockets what cannot be: \"" NOTE "\"")
	             : 0;
}
