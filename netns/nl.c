/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Netlink in batches (netlink(7)).
 *
 * The kernel carries out requests inside sendmsg(2), so when the send returns all answers lie in the receive
 * queue and reading never waits. Only the last message of a batch asks for an acknowledgement; refusals are
 * always reported, with the sequence number of the refused message. For nf_tables the last message is the end
 * of the transaction, which is acknowledged by the one before it: see nl_transact. Extended acknowledgements
 * (Linux 4.12) bring the kernel's sentence, which is the only way to tell one EINVAL from another.
 *
 * Attributes are written with libmnl's checked functions: a message that outgrows the buffer is an error at
 * the end, never an overflow.
 */
#include "netns/nl.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_SIZE (32 * 1024)

int nl_open(int protocol, struct nl_sock *ret)
{
	static const int on = 1;
	static const int receive = 4 * 1024 * 1024;
	_cleanup_close_ int fd = -1;
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;

	/* all three only make answers better or roomier; what is missing shows where it matters */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive, sizeof(receive));
	if (protocol == NETLINK_ROUTE &&
	        setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0)
		return -errno;

	*ret = (struct nl_sock){ .fd = TAKE_FD(fd), .protocol = protocol, .seq = 1 };
	return 0;
}

void nl_close(struct nl_sock *sock)
{
	cleanup_closep(&sock->fd);
	sock->fd = -1;
}

void nl_batch_done(struct nl_batch *b)
{
	free(b->data);
	b->data = NULL;
}

void nl_batch_reset(struct nl_batch *b)
{
	b->len = b->last = 0;
	b->n = 0;
	b->error = 0;
	if (!b->data) {
		b->data = malloc(NL_BATCH_SIZE);
		if (!b->data)
			b->error = -ENOMEM;
	}
}

static struct nlmsghdr *current(struct nl_batch *b)
{
	return (struct nlmsghdr *)(b->data + b->last);
}

static bool fits(struct nl_batch *b, size_t len)
{
	if (b->error)
		return false;
	if (NL_BATCH_SIZE - b->len < len) {
		b->error = -EMSGSIZE;
		return false;
	}

	return true;
}

size_t nl_room(const struct nl_batch *b)
{
	return b->error ? 0 : NL_BATCH_SIZE - b->len;
}

void nl_message(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags, const void *header,
        size_t header_len)
{
	struct nlmsghdr *nlh;

	if (!fits(b, NLMSG_HDRLEN + NLMSG_ALIGN(header_len)))
		return;
	if (b->n == NL_BATCH_MESSAGES) {
		b->error = -EMSGSIZE;
		return;
	}

	b->last = b->len;
	nlh = mnl_nlmsg_put_header(b->data + b->last);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(mnl_nlmsg_put_extra_header(nlh, header_len), header, header_len);
	b->len = b->last + nlh->nlmsg_len;

	b->messages[b->n].what = what;
	b->messages[b->n].tolerate = 0;
	b->n++;
}

void nl_tolerate(struct nl_batch *b, int error)
{
	if (b->n > 0)
		b->messages[b->n - 1].tolerate = error;
}

void nl_put(struct nl_batch *b, uint16_t type, const void *data, size_t len)
{
	if (!fits(b, NLA_HDRLEN + NLA_ALIGN(len)))
		return;
	mnl_attr_put(current(b), type, len, data);
	b->len = b->last + current(b)->nlmsg_len;
}

void nl_put_u8(struct nl_batch *b, uint16_t type, uint8_t value)
{
	nl_put(b, type, &value, sizeof(value));
}

void nl_put_u16(struct nl_batch *b, uint16_t type, uint16_t value)
{
	nl_put(b, type, &value, sizeof(value));
}

void nl_put_u32(struct nl_batch *b, uint16_t type, uint32_t value)
{
	nl_put(b, type, &value, sizeof(value));
}

void nl_put_be32(struct nl_batch *b, uint16_t type, uint32_t value)
{
	nl_put_u32(b, type, htonl(value));
}

void nl_put_be64(struct nl_batch *b, uint16_t type, uint64_t value)
{
	uint64_t be = htobe64(value);

	nl_put(b, type, &be, sizeof(be));
}

void nl_put_str(struct nl_batch *b, uint16_t type, const char *s)
{
	nl_put(b, type, s, strlen(s) + 1);
}

void nl_put_ip(struct nl_batch *b, uint16_t type, const struct ip_addr *a)
{
	nl_put(b, type, a->bytes, ip_len(a));
}

size_t nl_nest(struct nl_batch *b, uint16_t type)
{
	size_t at = b->len;

	nl_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nl_nest_end(struct nl_batch *b, size_t nest)
{
	size_t len = b->len - nest;

	if (b->error)
		return;
	if (len > UINT16_MAX) { /* an attribute's length has 16 bits */
		b->error = -EMSGSIZE;
		return;
	}

	((struct nlattr *)(b->data + nest))->nla_len = len;
}

/* Every message gets the socket's next sequence number; returns the first. For an nf_tables batch the
 * acknowledgement is asked of the last message before the end mark, because the end mark itself is not
 * answered. */
static uint32_t number_messages(struct nl_sock *sock, struct nl_batch *b, uint32_t *ret_last)
{
	uint32_t first = sock->seq;
	struct nlmsghdr *ack = NULL;
	size_t at = 0;

	while (at < b->len) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)(b->data + at);

		nlh->nlmsg_seq = sock->seq++;
		nlh->nlmsg_pid = 0;
		if (sock->protocol != NETLINK_NETFILTER || nlh->nlmsg_type != NFNL_MSG_BATCH_END)
			ack = nlh;
		at += NLMSG_ALIGN(nlh->nlmsg_len);
	}

	assert(ack);
	ack->nlmsg_flags |= NLM_F_ACK;
	*ret_last = ack->nlmsg_seq;
	return first;
}

/* The kernel's sentence in a refusal, or NULL. */
static const char *extended_text(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	size_t skip = sizeof(*e);
	const struct nlattr *attr;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		skip += mnl_nlmsg_get_payload_len(nlh) >= sizeof(*e) ? e->msg.nlmsg_len - sizeof(e->msg) : 0;

	mnl_attr_for_each(attr, nlh, skip)
	{
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		        mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			return mnl_attr_get_str(attr);
	}

	return NULL;
}

static int refused(int code, const char *what, const char *object, const char *text, struct ct_error *err)
{
	const char *hint = "";

	if (code == -EPERM)
		hint = " (CAP_NET_ADMIN in the network namespace is needed)";
	else if (code == -EOPNOTSUPP || code == -EAFNOSUPPORT || code == -EPROTONOSUPPORT)
		hint = " (the kernel lacks this part; see `ctctl doctor`)";

	return ct_error_set(err, code, "network", "cannot %s%s%s%s: %s%s%s%s", what, object ? " of \"" : "",
	        object ? object : "", object ? "\"" : "", strerror(-code), text ? ": " : "", text ? text : "",
	        hint);
}

struct answer {
	struct nl_batch *b;
	uint32_t first, last;
	const char *object;
	struct ct_error *err;
	int result;
	bool done;
};

static void read_answer(struct answer *a, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	uint32_t index = nlh->nlmsg_seq - a->first;

	if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_seq < a->first || index >= a->b->n)
		return; /* an event, or left over from a request that was given up */
	if (nlh->nlmsg_seq == a->last)
		a->done = true;
	if (e->error == 0 || a->result < 0)
		return;
	if (a->b->messages[index].tolerate && e->error == -a->b->messages[index].tolerate)
		return;

	a->result = refused(e->error, a->b->messages[index].what, a->object, extended_text(nlh), a->err);
}

static int transact_once(struct nl_sock *sock, struct nl_batch *b, const char *object, struct ct_error *err)
{
	struct answer a = { .b = b, .object = object, .err = err };
	uint8_t buffer[RECEIVE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t n;

	a.first = number_messages(sock, b, &a.last);
	n = send(sock->fd, b->data, b->len, 0);
	if (n < 0)
		return ct_error_set(err, -errno, "network", "cannot send to the kernel: %s", strerror(errno));

	while (!a.done) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)buffer;
		int left;

		n = recv(sock->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break; /* a transaction refused as a whole has no answer for its last message */
		if (n < 0)
			return ct_error_set(err, -errno, "network", "cannot read the kernel's answer: %s",
			        strerror(errno));

		left = n;
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			read_answer(&a, nlh);
	}

	if (!a.done && a.result == 0)
		return ct_error_set(err, -EIO, "network", "the kernel did not answer");

	return a.result;
}

int nl_transact(struct nl_sock *sock, struct nl_batch *b, const char *object, struct ct_error *err)
{
	if (b->error)
		return ct_error_set(err, b->error, "network", "too much in one request to the kernel: %s",
		        strerror(-b->error));
	if (b->n == 0 || (sock->protocol == NETLINK_NETFILTER && b->n == 2))
		return 0; /* nothing, or a transaction that is only its two marks */

	return transact_once(sock, b, object, err);
}

static int query_messages(const struct nlmsghdr *nlh, int left, uint32_t seq, const char *what,
        int (*each)(const struct nlmsghdr *nlh, void *userdata), void *userdata, bool *ret_done,
        struct ct_error *err)
{
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
		int r;

		if (nlh->nlmsg_seq != seq)
			continue;
		if (nlh->nlmsg_type == NLMSG_ERROR) {
			*ret_done = true;
			return e->error ? refused(e->error, what, NULL, extended_text(nlh), err) : 0;
		}
		if (nlh->nlmsg_type == NLMSG_DONE) {
			*ret_done = true;
			return 0;
		}

		r = each(nlh, userdata);
		if (r != 0)
			return r;
		if (!(nlh->nlmsg_flags & NLM_F_MULTI)) {
			*ret_done = true;
			return 0;
		}
	}

	return 0;
}

/* What is still queued of an answer that nobody wants any more. */
static void drain(struct nl_sock *sock)
{
	uint8_t buffer[RECEIVE_SIZE];

	while (recv(sock->fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

int nl_query(struct nl_sock *sock, struct nl_batch *b,
        int (*each)(const struct nlmsghdr *nlh, void *userdata), void *userdata, struct ct_error *err)
{
	uint8_t buffer[RECEIVE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint32_t seq = sock->seq++;
	bool done = false;
	int r = 0;

	assert(b->n <= 1);
	if (b->error)
		return b->error;

	((struct nlmsghdr *)b->data)->nlmsg_seq = seq;
	if (send(sock->fd, b->data, b->len, 0) < 0)
		return ct_error_set(err, -errno, "network", "cannot send to the kernel: %s", strerror(errno));

	while (!done && r == 0) {
		ssize_t n = recv(sock->fd, buffer, sizeof(buffer), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ct_error_set(err, -errno, "network", "cannot read the kernel's answer: %s",
			        strerror(errno));
		r = query_messages((const struct nlmsghdr *)buffer, n, seq, b->messages[0].what, each,
		        userdata, &done, err);
	}

	if (!done)
		drain(sock);
	return r;
}

void nl_parse(const struct nlattr **table, unsigned max, const void *data, size_t len)
{
	const struct nlattr *attr;

	memset(table, 0, sizeof(*table) * (max + 1));
	mnl_attr_for_each_payload(data, len)
	{
		if (mnl_attr_get_type(attr) <= max)
			table[mnl_attr_get_type(attr)] = attr;
	}
}

void nl_parse_nested(const struct nlattr **table, unsigned max, const struct nlattr *nest)
{
	nl_parse(table, max, mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest));
}

void nl_parse_message(
        const struct nlattr **table, unsigned max, const struct nlmsghdr *nlh, size_t header_len)
{
	const char *payload = mnl_nlmsg_get_payload_offset(nlh, header_len);

	nl_parse(table, max, payload, (const char *)mnl_nlmsg_get_payload_tail(nlh) - payload);
}
