/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Netlink: one socket, many messages in one send, errors with the kernel's own words. */
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/error.h"

struct nl_sock {
	int fd; /* -1: closed */
	int protocol;
	uint32_t seq;
};

#define NL_SOCK_INIT ((struct nl_sock){ .fd = -1 })

/* A socket of the protocol (NETLINK_ROUTE, NETLINK_NETFILTER) in the current network namespace. */
int nl_open(int protocol, struct nl_sock *ret);
void nl_close(struct nl_sock *sock); /* accepts a closed one */
#define _cleanup_nl_sock_ CLEANUP(nl_close)

#define NL_BATCH_SIZE     (192 * 1024) /* below the default send buffer of a socket, 212,992 */
#define NL_BATCH_MESSAGES 1024

/* Messages that go out in one send. What does not fit is remembered in .error, so one check at the end is
 * enough. */
struct nl_batch {
	uint8_t *data; /* NL_BATCH_SIZE, allocated at first use, kept */
	size_t len;
	size_t last; /* offset of the message being built */
	unsigned n;
	int error;
	struct {
		const char *what; /* "add the route": static */
		int tolerate;     /* an errno that is no error here, or 0 */
	} messages[NL_BATCH_MESSAGES];
};

void nl_batch_done(struct nl_batch *b);
void nl_batch_reset(struct nl_batch *b);

/* Begins a message: flags besides NLM_F_REQUEST; header is copied behind the netlink header. */
void nl_message(struct nl_batch *b, const char *what, uint16_t type, uint16_t flags, const void *header,
        size_t header_len);
/* The kernel's refusal of the current message with this errno counts as success. */
void nl_tolerate(struct nl_batch *b, int error);

void nl_put(struct nl_batch *b, uint16_t type, const void *data, size_t len);
void nl_put_u8(struct nl_batch *b, uint16_t type, uint8_t value);
void nl_put_u16(struct nl_batch *b, uint16_t type, uint16_t value);
void nl_put_u32(struct nl_batch *b, uint16_t type, uint32_t value);
void nl_put_be32(struct nl_batch *b, uint16_t type, uint32_t value);
void nl_put_be64(struct nl_batch *b, uint16_t type, uint64_t value);
void nl_put_str(struct nl_batch *b, uint16_t type, const char *s);
void nl_put_ip(struct nl_batch *b, uint16_t type, const struct ip_addr *a);
/* Attributes in between go inside; nl_nest returns what nl_nest_end wants. */
size_t nl_nest(struct nl_batch *b, uint16_t type);
void nl_nest_end(struct nl_batch *b, size_t nest);
/* Room left in bytes. */
size_t nl_room(const struct nl_batch *b);

/* Sends all and reads all answers. The first refusal that is not tolerated is the result; err says what could
 * not be done to object. An nf_tables batch is one transaction, rtnetlink messages stand for themselves:
 * those after a refused one are still carried out. */
int nl_transact(struct nl_sock *sock, struct nl_batch *b, const char *object, struct ct_error *err);

/* Sends the one message in b as it is (a dump, or a request with one answer) and calls each for every answer.
 * A positive or negative return of each ends the calls and is returned. err as above. */
int nl_query(struct nl_sock *sock, struct nl_batch *b,
        int (*each)(const struct nlmsghdr *nlh, void *userdata), void *userdata, struct ct_error *err);

/* Attributes of one level into a table of max + 1 pointers; unknown ones are passed over. */
void nl_parse(const struct nlattr **table, unsigned max, const void *data, size_t len);
void nl_parse_nested(const struct nlattr **table, unsigned max, const struct nlattr *nest);
void nl_parse_message(
        const struct nlattr **table, unsigned max, const struct nlmsghdr *nlh, size_t header_len);
