/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening sockets of the daemon.
 *
 * The mode of the inode is the first gate: connect(2) needs write permission on it (unix(7)). It is made
 * under umask 0177, so that it is never open to others, not for an instant; the group is given before the
 * mode is widened for it. The second gate are the peer's credentials at the time of its connect
 * (SO_PEERCRED), with the supplementary groups from SO_PEERGROUPS (Linux 4.13).
 *
 * A left-over socket is told from a live one by connecting: ECONNREFUSED means that nobody listens. Two
 * daemons that start at the same moment are kept apart by the lock on the runtime directory, not here.
 */

#include "ctd/listen.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/str.h"

#define OVERFLOW_UID 65534
#define BACKLOG      512

static int find_group(const char *group, gid_t *ret, struct ct_error *err)
{
	uint32_t number;

	if (parse_u32(group, &number) == 0) {
		*ret = number;
		return 0;
	}

	errno = 0;
	struct group *entry = getgrnam(group);
	if (!entry)
		return ct_error_set(err, -ENOENT, "socket",
		        "there is no group \"%s\" for the socket: make it with groupadd, or leave it out",
		        group);

	*ret = entry->gr_gid;
	return 0;
}

static int make_address(const char *path, struct sockaddr_un *ret, struct ct_error *err)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };

	if (path[0] != '/' || strlen(path) >= sizeof(ret->sun_path))
		return ct_error_set(err, -EINVAL, "socket",
		        "the socket's path \"%s\" must be absolute and shorter than %zu bytes", path,
		        sizeof(ret->sun_path));

	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

static int remove_stale(const char *path, const struct sockaddr_un *address, int type, struct ct_error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
		                       : ct_error_set(err, -errno, "socket", "cannot look at \"%s\": %s",
		                                 path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return ct_error_set(err, -EEXIST, "socket",
		        "\"%s\" exists and is not a socket: remove it, or choose another path", path);

	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ct_error_set(err, -errno, "socket", "cannot make a socket: %s", strerror(errno));

	/* EAGAIN is a full backlog, EPROTOTYPE a socket of another type: somebody is there. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN ||
	        errno == EPROTOTYPE)
		return ct_error_set(err, -EADDRINUSE, "socket",
		        "another ctd answers at \"%s\": stop it, or choose other directories", path);
	if (errno != ECONNREFUSED)
		return ct_error_set(err, -errno, "socket",
		        "cannot tell whether somebody answers at \"%s\": %s", path, strerror(errno));

	if (unlink(path) < 0 && errno != ENOENT)
		return ct_error_set(err, -errno, "socket", "cannot remove the old socket \"%s\": %s", path,
		        strerror(errno));
	return 0;
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
	mode_t old = umask(0177);
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	(void)umask(old); /* cannot fail */

	return r;
}

int listener_open(struct listener *l, const char *path, int type, const char *group, struct ct_error *err)
{
	_cleanup_listener_ struct listener n = LISTENER_INIT;
	struct sockaddr_un address;
	struct stat st;

	int r = make_address(path, &address, err);
	if (r < 0)
		return r;

	n.has_group = group != NULL;
	r = group ? find_group(group, &n.group, err) : 0;
	if (r < 0)
		return r;

	r = remove_stale(path, &address, type, err);
	if (r < 0)
		return r;

	n.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n.fd < 0)
		return ct_error_set(err, -errno, "socket", "cannot make a socket: %s", strerror(errno));

	r = bind_private(n.fd, &address);
	if (r < 0)
		return ct_error_set(
		        err, r, "socket", "cannot make the socket \"%s\": %s", path, strerror(-r));

	n.path = strdup(path);
	if (!n.path || lstat(path, &st) < 0)
		return ct_error_set(err, -ENOMEM, "socket", "cannot make the socket \"%s\"", path);
	n.dev = st.st_dev;
	n.ino = st.st_ino;

	if (group && (lchown(path, (uid_t)-1, n.group) < 0 || chmod(path, 0660) < 0))
		return ct_error_set(err, -errno, "socket",
		        "cannot give the socket \"%s\" to the group \"%s\": %s", path, group,
		        strerror(errno));

	if (listen(n.fd, BACKLOG) < 0)
		return ct_error_set(
		        err, -errno, "socket", "cannot listen on \"%s\": %s", path, strerror(errno));

	*l = TAKE(n, LISTENER_INIT);
	return 0;
}

void listener_unlink(const struct listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(l->path); /* a left-over is replaced by the next daemon */
}

void listener_done(struct listener *l)
{
	listener_unlink(l);
	l->fd = fd_close(l->fd);
	free(l->path);
	*l = LISTENER_INIT;
}

static bool in_groups(int sock, gid_t group)
{
	socklen_t len = 0;

	/* The first call tells how much room is needed. */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false;

	_cleanup_free_ gid_t *groups = malloc(len);
	if (!groups || getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;

	for (size_t i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == group)
			return true;
	return false;
}

int listener_permit(const struct listener *l, int sock, struct ucred *ret_peer, struct ct_error *err)
{
	*ret_peer = (struct ucred){ .uid = OVERFLOW_UID, .gid = OVERFLOW_UID };

	int r = peer_cred(sock, ret_peer);
	if (r < 0)
		return ct_error_set(
		        err, -EACCES, "socket", "it is not known who is asking: %s", strerror(-r));

	if (ret_peer->uid == OVERFLOW_UID || ret_peer->uid == (uid_t)-1)
		return ct_error_set(
		        err, -EACCES, "socket", "the user %u is nobody and may not do this", ret_peer->uid);
	if (ret_peer->uid == 0 || ret_peer->uid == geteuid())
		return 0;
	if (l->has_group && (ret_peer->gid == l->group || in_groups(sock, l->group)))
		return 0;

	return ct_error_set(err, -EACCES, "socket", "the user %u may not do this: be root%s", ret_peer->uid,
	        l->has_group ? ", or a member of the socket's group" : "");
}
