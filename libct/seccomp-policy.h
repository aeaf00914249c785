/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The policy that seccomp.c compiles: plain data. Not installed. */
#pragma once

#include "libct/ct.h"

enum policy_action {
	POLICY_ALLOW = 1,
	POLICY_ERRNO, /* value: the errno */
	POLICY_CLONE, /* namespace flags in argument 0 */
	POLICY_UNSHARE,
	POLICY_SOCKET, /* family, type, protocol */
	POLICY_SOCKETPAIR,
	POLICY_SOCKETCALL, /* the 32-bit multiplexer */
	POLICY_SETSOCKOPT,
	POLICY_IOCTL,
};

struct policy_group {
	enum policy_action action;
	int value;
	unsigned int profiles;    /* bit N: enum ct_seccomp_profile N */
	const char *const *names; /* NULL-ended */
};

/* Ends with names == NULL. A name stands in one group of a profile only; what stands in none is answered with
 * ENOSYS. */
extern const struct policy_group policy_groups[];

/* Calls that libseccomp 2.5.4 does not know. From 424 on, a call has the same number on every architecture.
 * Ends with name == NULL. */
struct policy_number {
	const char *name;
	int number;
};
extern const struct policy_number policy_new_calls[];

/* What a socket may be. Each list is ended by -1. */
extern const int policy_plain_families[]; /* any type and protocol */
extern const int
        policy_inet_protocols[]; /* of SOCK_STREAM and SOCK_DGRAM in AF_INET and AF_INET6; SOCK_RAW: any */
extern const int policy_netlink_protocols[];
extern const int policy_refused_socketcalls[]; /* SYS_SOCKET and others whose arguments a filter cannot see */

struct policy_pair {
	int first, second;
};
extern const struct policy_pair policy_refused_sockopts[]; /* level and name, ended by -1 */
extern const unsigned int policy_refused_ioctls[];         /* ended by 0 */
extern const unsigned long policy_refused_clone_flags;     /* of the SYSTEM profile */
