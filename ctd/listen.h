/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sockets that people's programs connect to: made with the right mode, and who may talk on them. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

struct listener {
	int fd; /* listening, non-blocking */
	char *path;
	bool has_group;
	gid_t group;
	dev_t dev; /* of the socket's inode: only our own is unlinked */
	ino_t ino;
};
#define LISTENER_INIT ((struct listener){ .fd = -1 })

/* type: SOCK_STREAM or SOCK_SEQPACKET. Mode 0600, or 0660 if group (name or number) is not NULL. What is left
 * over of a dead ctd at path is replaced; -EADDRINUSE if somebody listens there, -EEXIST if it is not a
 * socket. */
int listener_open(struct listener *l, const char *path, int type, const char *group, struct ct_error *err);
/* Closes and unlinks. */
void listener_done(struct listener *l);
#define _cleanup_listener_ CLEANUP(listener_done)
/* Unlinks if the socket at path is still ours (also when fd is somebody else's to close by now). */
void listener_unlink(const struct listener *l);

/* True for uid 0, ourselves, and members of the socket's group; never for the overflow uid 65534, which is
 * everybody who is not mapped in our user namespace. sock is the connected socket. -EACCES with the sentence.
 */
int listener_permit(const struct listener *l, int sock, struct ucred *ret_peer, struct ct_error *err);
