/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The network namespace of a suspended container.
 *
 * CRIU does not save it: the interfaces are ours, made again at a resume from the configuration, with the
 * same names, hardware addresses and addresses, before any socket is restored. What a tenant has added
 * himself would be lost, so where there is an interface more, or a rule of nf_tables, it is not suspended.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h> /* before linux/netfilter.h, or both define the same */
#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/worker-suspend-net.h"
#include "libct/ct.h"

#define FILE_MAX (1024 * 1024)

/* In a child, so that we stay where we are: fn's result, at least 0, as its exit status. */
static int inside(pid_t pid, int (*fn)(const char *arg), const char *arg)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		int netns = ct_process_namespace(pid, CLONE_NEWNET);
		int r = netns < 0 || setns(netns, CLONE_NEWNET) < 0 ? -1 : fn(arg);

		_exit(r < 0 ? 255 : r);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : -EIO;
}

/* 1 if the kernel has one to tell of, else 0. */
static int has_rules(const char *unused)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg family;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
		        .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE,
		        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.family = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 },
	};
	char answer[16384] __attribute__((aligned(8)));
	_cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	ssize_t n;

	if (sock < 0 || send(sock, &request, sizeof(request), 0) < 0)
		return -errno;
	n = recv(sock, answer, sizeof(answer), 0);
	if (n < (ssize_t)sizeof(struct nlmsghdr))
		return -EIO;
	switch (((const struct nlmsghdr *)answer)->nlmsg_type) {
	case NLMSG_DONE: return 0;
	case NLMSG_ERROR: return -EIO;
	default: return 1;
	}
}

static bool is_ours(const json_t *names, const char *name, size_t len)
{
	size_t i;
	const json_t *value;

	if (len == 2 && memcmp(name, "lo", 2) == 0)
		return true;
	json_array_foreach(names, i, value)
	{
		const char *ours = json_string_value(value);

		if (ours && strlen(ours) == len && memcmp(ours, name, len) == 0)
			return true;
	}
	return false;
}

static int is_up(const char *name)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name); /* fits */
	return sock < 0 || ioctl(sock, SIOCGIFFLAGS, &request) < 0 ? -errno : !!(request.ifr_flags & IFF_UP);
}

/* What the kernel puts into every network namespace once the host has loaded a module of tunnels
 * (net.core.fb_tunnels_only_for_init_net is 0), and will put into the new one; as long as nobody uses it. */
static bool is_fallback(pid_t pid, const char *name, size_t len)
{
	static const char *const names[] = { "sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6tnl0",
		"ip6gre0", "ip_vti0", "ip6_vti0" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return inside(pid, is_up, names[i]) == 0;
	return false;
}

/* /proc/PID/net/dev: two lines of headings, then one for each, "  eth0: numbers". */
static int check_names(pid_t pid, const json_t *names, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char path[40], *rest, *line;
	int r, n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/net/dev", pid); /* fits */
	r = read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL);
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot list its interfaces: %s", strerror(-r));
	for (rest = text; (line = strsep(&rest, "\n")) && *line; n++) {
		const char *name = line + strspn(line, " "), *end = strchr(name, ':');

		if (n >= 2 && end && !is_ours(names, name, (size_t)(end - name)) &&
		        !is_fallback(pid, name, (size_t)(end - name)))
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
			        "there is an interface \"%.*s\" inside that is not of its configuration and would be lost (remove it)",
			        (int)(end - name), name);
	}
	return 0;
}

int suspend_net_check(pid_t pid, const json_t *names, struct ct_error *err)
{
	int r = check_names(pid, names, err);

	if (r < 0)
		return r;
	r = inside(pid, has_rules, NULL);
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot look for rules of nf_tables inside");
	return r == 0 ? 0
	              : ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
	                        "there are rules of nf_tables inside, which would be lost (nft flush ruleset, and load them again later)");
}

/* ---- what a CRIU leaves that was killed in the middle of a dump: a table that lets nothing through */

#define LOCK_PREFIX "CRIU-"
#define TABLES_MAX  16384

/* One message of nf_tables, with the name of a table if it has one; where the next may begin. */
static char *put_message(char *at, uint16_t type, uint16_t flags, uint16_t resource, const char *table)
{
	struct nlmsghdr *header = (struct nlmsghdr *)at;
	struct nfgenmsg *family = NLMSG_DATA(header);
	struct nlattr *name = (struct nlattr *)(at + NLMSG_LENGTH(sizeof(*family)));

	*header = (struct nlmsghdr){ .nlmsg_len = NLMSG_LENGTH(sizeof(*family)),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags };
	*family = (struct nfgenmsg){ .nfgen_family = table ? NFPROTO_INET : NFPROTO_UNSPEC,
		.version = NFNETLINK_V0,
		.res_id = htons(resource) };
	if (table) {
		const size_t len = strlen(table) + 1;

		*name = (struct nlattr){ .nla_len = (uint16_t)(NLA_HDRLEN + len),
			.nla_type = NFTA_TABLE_NAME };
		memset(name + 1, 0, NLA_ALIGN(len));
		memcpy(name + 1, table, len);
		header->nlmsg_len += (uint32_t)NLA_ALIGN(name->nla_len);
	}
	return at + header->nlmsg_len;
}

/* What is asked is done in a transaction or not at all: the end of the batch has no answer. */
static int delete_table(int sock, const char *table)
{
	char batch[512] __attribute__((aligned(8))), answer[1024] __attribute__((aligned(8))), *end = batch;
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
	ssize_t n;

	end = put_message(end, NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES, NULL);
	end = put_message(end, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_ACK, 0, table);
	end = put_message(end, NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES, NULL);
	n = send(sock, batch, (size_t)(end - batch), 0) < 0 ? -1 : recv(sock, answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || header->nlmsg_type != NLMSG_ERROR)
		return -EIO;
	return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
}

/* The first of CRIU's in an answer to NFT_MSG_GETTABLE; a name of nf_tables' own ends with a NUL. */
static const char *find_lock(const char *answer, size_t len)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len)) {
		const struct nlattr *name =
		        (const struct nlattr *)((const char *)header +
		                                NLMSG_LENGTH(sizeof(
		                                        struct nfgenmsg))); /* the kernel puts it first */

		if (header->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE) &&
		        header->nlmsg_len > NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLA_HDRLEN &&
		        name->nla_type == NFTA_TABLE_NAME &&
		        str_has_prefix((const char *)(name + 1), LOCK_PREFIX))
			return (const char *)(name + 1);
	}
	return NULL;
}

static int delete_lock(const char *unused)
{
	_cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	char request[64] __attribute__((aligned(8))), answer[TABLES_MAX] __attribute__((aligned(8)));
	const char *end =
	        put_message(request, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP, 0, NULL);
	const char *table;
	ssize_t n;

	if (sock < 0 || send(sock, request, (size_t)(end - request), 0) < 0)
		return -errno;
	n = recv(sock, answer, sizeof(answer), 0);
	table = n > 0 ? find_lock(answer, (size_t)n) : NULL;
	if (!table)
		return n > 0 ? 0 : -EIO;
	sock = fd_close(sock); /* with what else it has to say */
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	return sock < 0 ? -errno : delete_table(sock, table);
}

int suspend_net_let_go(pid_t pid)
{
	return inside(pid, delete_lock, NULL);
}

/* ---- connections that wait to be accepted (sock_diag(7)) */

/* 1: the message is the last one. */
static int read_listeners(const char *answer, size_t len, bool *ret_waiting)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len)) {
		const struct inet_diag_msg *listener = NLMSG_DATA(header);

		if (header->nlmsg_type == NLMSG_DONE)
			return 1;
		if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_len < NLMSG_LENGTH(sizeof(*listener)))
			return -EIO;
		*ret_waiting |= listener->idiag_rqueue > 0;
	}
	return 0;
}

static int list_listeners(int sock, uint8_t family, bool *ret_waiting)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 diag;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
		        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.diag = { .sdiag_family = family,
		        .sdiag_protocol = IPPROTO_TCP,
		        .idiag_states = 1 << TCP_LISTEN },
	};
	char answer[16384] __attribute__((aligned(8)));
	int r = send(sock, &request, sizeof(request), 0) < 0 ? -errno : 0;

	while (r == 0) {
		ssize_t n = recv(sock, answer, sizeof(answer), 0);

		r = n < 0 ? -errno : read_listeners(answer, (size_t)n, ret_waiting);
	}
	return r;
}

/* 1: one waits, else 0. */
static int has_waiting(const char *unused)
{
	_cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	bool waiting = false;
	int r = sock < 0 ? -errno : list_listeners(sock, AF_INET, &waiting);

	if (r >= 0)
		r = list_listeners(sock, AF_INET6, &waiting);
	return r < 0 ? r : waiting;
}

int suspend_net_check_waiting(pid_t pid, struct ct_error *err)
{
	int r = inside(pid, has_waiting, NULL);

	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot list who listens inside");
	return r == 0 ? 0
	              : ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
	                        "a connection waits for a program inside to accept it, and would be lost (ss -lt shows where)");
}

static int raise_loopback(const char *unused)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	return sock < 0 || ioctl(sock, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

int suspend_net_raise(pid_t pid, struct ct_error *err)
{
	int r = inside(pid, raise_loopback, NULL);

	return r < 0 ? ct_error_set(err, r, "resume", "cannot bring up its loopback interface") : 0;
}
