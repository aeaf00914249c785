/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* It is started by ct-keeper, as any CRIU is, so that the keeper is the parent of what it restores. Its
 * socket is ours alone: when we end, whatever the reason, it does. */
#include "ctd/criu-spare.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-finish.h"
#include "ctd/criu.h"
#include "ctd/keeper-client.h"

#define DEADLINE_MSEC   10000
#define BYTES_EACH_MSEC 32768 /* at the least: a container may stand still and wait */

static int start(struct keeper_client *keeper, const char *key, int sock, struct criu_spare *spare,
        struct ct_error *err)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	_cleanup_close_ int tools = -1, program = -1, mntns = -1;
	_cleanup_free_ char *path = NULL, *modules = NULL;
	int r = tools = criu_tools_open(&path, err);

	if (r < 0)
		return r;
	modules = str_printf("%s/" CRIU_SPARE_MODULE ":%s/" CRIU_FINISH_MODULE, path, path);
	program = openat(tools, "ct-criu", O_PATH | O_CLOEXEC);
	mntns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (!modules || program < 0 || mntns < 0)
		return ct_error_set(err, -ENOENT, "criu", "cannot open what criu starts with");
	r = keeper_client_run(keeper, key,
	        &(struct keeper_program){
	                .argv = (const char *const[]){ "ct-criu", "spare", CRIU_TOOLS, modules, NULL },
	                .program_fd = program,
	                .mntns_fd = mntns,
	                .third_fd = sock,
	        },
	        keeper_reply_store, &reply);
	r = r < 0 ? ct_error_set(err, r, "criu", "cannot ask ct-keeper: %s", strerror(-r))
	          : keeper_client_wait(keeper, &reply, err);
	if (r >= 0)
		spare->pidfd = TAKE_FD(reply.pidfd);
	return r;
}

/* 0 or why there is no answer. */
static int say(int sock, const struct criu_spare_message *message, const int fds[static CRIU_SPARE_FDS],
        uint64_t timeout_msec)
{
	const int timeout = timeout_msec < INT32_MAX ? (int)timeout_msec : INT32_MAX;
	struct pollfd answer = { .fd = sock, .events = POLLIN };
	char byte;
	int r = send_fds(sock, message, sizeof(*message), fds, CRIU_SPARE_FDS);

	if (r < 0)
		return r;
	while ((r = poll(&answer, 1, timeout)) < 0 && errno == EINTR)
		;
	if (r == 0)
		return -ETIMEDOUT;
	return r > 0 && read_all(sock, &byte, 1) == 1 ? 0 : -EPIPE;
}

int criu_spare_start(struct keeper_client *keeper, const char *key, int round_fd,
        const struct criu_spare_place *place, struct criu_spare *ret, struct ct_error *err)
{
	const int fds[CRIU_SPARE_FDS] = { round_fd, place->cgroups_fd, place->home_fd };
	struct criu_spare_message message = { .type = CRIU_SPARE_READ };
	struct criu_spare spare = CRIU_SPARE_INIT;
	int ends[2], r;

	if (strlen(place->name) >= sizeof(message.text))
		return ct_error_set(err, -ENAMETOOLONG, "criu", "its cgroup has too long a name");
	(void)snprintf(message.text, sizeof(message.text), "%s", place->name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return ct_error_set(
		        err, -errno, "criu", "cannot make a pair of sockets: %s", strerror(errno));
	spare.sock = ends[0];
	r = start(keeper, key, ends[1], &spare, err);
	(void)fd_close(ends[1]);
	if (r >= 0) {
		r = say(spare.sock, &message, fds, DEADLINE_MSEC + place->bytes / BYTES_EACH_MSEC);
		if (r < 0)
			(void)ct_error_set(err, r, "criu", "it cannot be read ahead: %s", strerror(-r));
	}
	if (r < 0)
		criu_spare_done(&spare);
	*ret = spare;
	return r;
}

int criu_spare_go(struct criu_spare *spare, const struct criu_spare_task *task)
{
	const int fds[CRIU_SPARE_FDS] = { task->sock, task->mntns_fd, task->images_fd };
	struct criu_spare_message message = { .type = CRIU_SPARE_GO, .owner_uid = task->owner_uid };
	int r = -ENOENT;

	(void)snprintf(message.text, sizeof(message.text), "%s", task->base ?: ""); /* of ours: fits */
	if (spare->sock >= 0)
		r = say(spare->sock, &message, fds, DEADLINE_MSEC);
	if (r < 0)
		criu_spare_done(spare);
	else
		spare->sock = fd_close(spare->sock);
	return r;
}

void criu_spare_done(struct criu_spare *spare)
{
	struct pollfd end = { .fd = spare->pidfd, .events = POLLIN };

	spare->sock = fd_close(spare->sock);
	while (spare->pidfd >= 0 && poll(&end, 1, -1) < 0 && errno == EINTR)
		;
	spare->pidfd = fd_close(spare->pidfd);
}
