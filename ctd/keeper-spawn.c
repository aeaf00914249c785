/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the keeper's binary, starting it, reaching its socket.
 *
 * ct-keeper puts itself into the background and ends when the one in the background listens (or tells on its
 * standard error why not), so starting it is running a program to its end. That another was quicker is no
 * failure: it is there, which is what was wanted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "ctd/keeper-binary.h"
#include "ctd/keeper-client-internal.h"

#define SPAWN_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define EXIT_HELD          4 /* of ct-keeper(8): another keeper holds the runtime directory */

int keeper_socket_connect(const char *runtime_dir)
{
	_cleanup_close_ int dir = open(runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), sock = -1;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (dir < 0)
		return -errno;

	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return -errno;

	/* sun_path is short, a runtime directory may be deep. */
	(void)snprintf(
	        address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/keeper.sock", dir); /* fits */
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;

	return TAKE_FD(sock);
}

/* What the program has said, as one line. */
static void read_reason(int pipe_fd, char *text, size_t size)
{
	ssize_t n = read(pipe_fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

int keeper_spawn(const char *binary, const char *runtime_dir, struct ct_error *err)
{
	/* It is started in "/". */
	_cleanup_free_ char *program = realpath(binary, NULL), *dir = realpath(runtime_dir, NULL);
	const char *const argv[] = { program, "--runtime", dir, NULL };
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int pidfd = -1, reason = -1, said = -1;
	char text[600];
	int fds[2], r;

	if (!program || !dir)
		return ct_error_set(err, -errno, "keeper", "cannot use \"%s\": %s",
		        program ? runtime_dir : binary, strerror(errno));
	if (pipe2(fds, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "keeper", "cannot make a pipe: %s", strerror(errno));
	reason = fds[0];
	said = fds[1];

	options.stderr_fd = said;
	pidfd = process_spawn(argv, &options, NULL);
	if (pidfd < 0)
		return ct_error_set(
		        err, pidfd, "keeper", "cannot execute \"%s\": %s", binary, strerror(-pidfd));
	said = fd_close(said);

	r = process_wait(pidfd, SPAWN_TIMEOUT_USEC);
	if (r == 0 || r == EXIT_HELD)
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "keeper", "\"%s\" did not start within 10 s", binary);

	read_reason(reason, text, sizeof(text));
	return ct_error_set(
	        err, -EIO, "keeper", "\"%s\" ended with %d: %s", binary, r, *text ? text : "it said nothing");
}

/* The file of that name in the directory of the running program. */
static int find_beside(char **ret)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;

	*ret = str_printf("%.*s/ct-keeper", (int)(slash - self), self);
	return *ret ? 0 : -ENOMEM;
}

int keeper_binary_find(char **ret)
{
	_cleanup_free_ char *beside = NULL;
	int r;

	r = find_beside(&beside);
	if (r >= 0 && access(beside, X_OK) == 0) {
		*ret = TAKE_PTR(beside);
		return 0;
	}
	if (r == -ENOMEM)
		return r;

	if (access(CTD_LIBEXECDIR "/ct-keeper", X_OK) < 0)
		return -errno;
	*ret = strdup(CTD_LIBEXECDIR "/ct-keeper");
	return *ret ? 0 : -ENOMEM;
}

int keeper_build_id_of(const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : keeper_binary_build_id(fd, ret, size);
}
