/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is written into a container's file system from outside: hostname, hosts, resolver, interfaces, root's
 * keys and password. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"

struct guest_edit {
	const char *hostname;      /* NULL: leave. /etc/hosts gets a line for it only if it can be edited */
	const struct ip_addr *dns; /* of resolv.conf; n_dns 0: leave it */
	unsigned n_dns;
	bool first_start;      /* resolv.conf of the template is replaced even if it is not ours */
	char *const *ssh_keys; /* with set_keys: exactly these stand in our part of root's authorized_keys */
	unsigned n_ssh_keys;
	bool set_keys;
	const char *password_hash; /* crypt(5) string for root; NULL: leave */
};

/* root_fd: the container's root as a directory (a detached mount, or /proc/PID/root of its init). base_id: of
 * its ids as this process sees them. Only what differs is written. Never blocks on what the tenant put there:
 * fifos, devices and oversized files are refused. */
int guest_apply(int root_fd, uint32_t base_id, const struct guest_edit *edit, struct ct_error *err);

/* /etc/network/interfaces, in the same way, where there is ifupdown. At the first start what the template has
 * is replaced, later only what was written here. */
int guest_set_interfaces(
        int root_fd, uint32_t base_id, const char *text, bool first_start, struct ct_error *err);

/* A file for systemd-networkd that comes before all others, in the same way, where there is its directory.
 * One that is gone was taken away inside, and stays away. */
int guest_set_networkd(
        int root_fd, uint32_t base_id, const char *text, bool first_start, struct ct_error *err);

/* The same for NetworkManager: one among its own. */
int guest_set_network_manager(
        int root_fd, uint32_t base_id, const char *text, bool first_start, struct ct_error *err);

/* Our part of /etc/hosts: exactly these lines, or none. What else is in the file stays, and who owns it; a
 * link is left alone. -EFBIG: it would be too large, and is without our part; -ESTALE: it is being changed
 * inside. */
int guest_set_names(int root_fd, uint32_t base_id, const char *lines, struct ct_error *err);

/* A yescrypt hash with a new salt; the caller's. -EINVAL: the password has a control character, is empty or
 * longer than 512 bytes. */
int guest_hash_password(const char *password, char **ret, struct ct_error *err);

/* Looks "USER", "UID" or "UID:GID" up with a bounded parser of the container's /etc/passwd and /etc/group (no
 * NSS). home and shell are the caller's; NULL if not known. groups: room for 32, *n_groups in and out. */
struct guest_user {
	uint32_t uid, gid;
	uint32_t groups[32];
	size_t n_groups;
	char *name, *home, *shell;
};
void guest_user_done(struct guest_user *user);
int guest_find_user(int root_fd, const char *who, struct guest_user *ret, struct ct_error *err);
