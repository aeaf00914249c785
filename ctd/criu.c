/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Speaking to CRIU.
 *
 * `criu swrk FD` serves one request on a socket that it inherits: messages of criu's rpc.proto, one a packet.
 * Only so can a terminal be handed out whose master is outside (orphan-pts-master), and the namespaces be
 * finished from outside before anything is restored in them (setup-namespaces). Debian 12 has no package of
 * libcriu, and of the protocol we need a dozen fields: varints and byte strings, written and read here. What
 * criu answers is read with every length checked; unknown fields are passed over.
 *
 * criu opens fds of the request by their number in the process that made the socket pair: that is us. Started
 * it is by ct-keeper, so that the keeper is the parent of what is restored, and knows whether criu is still
 * at work when we and ctd have died. It runs in our mount namespace, by way of ct-criu (criu-start.c).
 */
#include "ctd/criu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-rpc.h"
#include "ctd/criu-spare.h"
#include "ctd/keeper-client.h"

#define PACKET_MAX    65536
#define CGROUP_SOFT   3 /* criu_cg_mode */
#define LOCK_NFTABLES 2 /* criu_network_lock_method */
#define LOG_LEVEL     2 /* errors and warnings */

#define FORGET_TRIES      500
#define FORGET_PAUSE_USEC 10000

/* Numbers of the fields. */
enum {
	REQ_TYPE = 1,
	REQ_OPTS = 2,
	REQ_NOTIFY_SUCCESS = 3,
	OPT_IMAGES = 1,
	OPT_PID = 2,
	OPT_LEAVE_RUNNING = 3,
	OPT_EXT_UNIX = 4,
	OPT_TCP = 5,
	OPT_LOCKS = 8,
	OPT_LOG_LEVEL = 9,
	OPT_LOG_FILE = 10,
	OPT_NOTIFY = 12,
	OPT_ROOT = 13,
	OPT_PARENT = 14,
	OPT_TRACK = 15,
	OPT_WORK = 17,
	OPT_LINK_REMAP = 18,
	OPT_FORCE_IRMAP = 21,
	OPT_SIBLING = 26,
	OPT_SKIP = 31,
	OPT_CGROUPS = 34,
	OPT_EXTERNAL = 37,
	OPT_EMPTY_NS = 38,
	OPT_FREEZER = 44,
	OPT_ORPHAN_PTS = 50,
	OPT_NETWORK_LOCK = 64,
};

/* ---- writing; an allocation failure stays in the buffer */

static void put_string(struct strbuf *b, unsigned int field, const char *s)
{
	if (s)
		criu_put_bytes(b, field, s, strlen(s));
}

static void put_message(struct strbuf *b, unsigned int field, struct strbuf *message)
{
	criu_put_bytes(b, field, message->data ?: "", message->len);
	if (message->error)
		b->error = message->error;
	strbuf_done(message);
}

static void put_options(struct strbuf *b, const struct criu_request *r)
{
	criu_put_number(b, OPT_IMAGES, (uint64_t)r->images_fd);
	criu_put_number(b, OPT_WORK, (uint64_t)r->work_fd);
	if (r->verb != CRIU_RESTORE) {
		criu_put_number(b, OPT_PID, (uint64_t)r->pid);
		criu_put_number(b, OPT_LEAVE_RUNNING, r->leave_running);
		put_string(b, OPT_FREEZER, r->freezer);
		put_string(b, OPT_PARENT, r->parent);
		criu_put_number(b, OPT_TRACK, r->track);
		if (r->lock_by_nftables)
			criu_put_number(b, OPT_NETWORK_LOCK, LOCK_NFTABLES);
	} else {
		/* A dump gives the open file whose name is gone, but not its others, a new one, and takes
		 * that away when the tasks stay: so only of older images. */
		criu_put_number(b, OPT_LINK_REMAP, 1);
		criu_put_number(b, OPT_SIBLING, 1);
		put_string(b, OPT_ROOT, r->root);
	}
	criu_put_number(b, OPT_EXT_UNIX, 1);
	criu_put_number(b, OPT_TCP, 1);
	criu_put_number(b, OPT_LOCKS, 1);
	criu_put_number(b, OPT_FORCE_IRMAP, 1);
	criu_put_number(b, OPT_LOG_LEVEL, LOG_LEVEL);
	put_string(b, OPT_LOG_FILE, r->log_file);
	criu_put_number(b, OPT_NOTIFY, 1);
	criu_put_number(b, OPT_CGROUPS, CGROUP_SOFT);
	criu_put_number(b, OPT_ORPHAN_PTS, 1);
	criu_put_number(b, OPT_EMPTY_NS, CLONE_NEWNET);
	for (size_t i = 0; i < r->n_skip; i++)
		put_string(b, OPT_SKIP, r->skip[i]);
	for (size_t i = 0; i < r->n_external; i++)
		put_string(b, OPT_EXTERNAL, r->external[i]);
}

/* ---- reading */

struct answer {
	uint64_t type, success, pid, code;
	char script[32], message[256];
};

static void copy_text(char *to, size_t size, const struct criu_reader *bytes)
{
	(void)str_escape_to(
	        to, size, (const char *)bytes->at, (size_t)(bytes->end - bytes->at)); /* returns to */
}

/* The part of a restore is { pid = 1 }, of a notification { script = 1, pid = 2 }. */
static int read_part(struct criu_reader bytes, unsigned int pid_field, struct answer *ret)
{
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number == pid_field)
			ret->pid = f.value;
		else if (f.number == CRIU_NOTIFY_SCRIPT)
			copy_text(ret->script, sizeof(ret->script), &f.bytes);
	return r;
}

static int read_answer(const void *data, size_t len, struct answer *ret)
{
	struct criu_reader all = { data, (const unsigned char *)data + len };
	struct criu_field f;
	int r;

	*ret = (struct answer){ 0 };
	while ((r = criu_get_field(&all, &f)) > 0) {
		switch (f.number) {
		case CRIU_RESP_TYPE: ret->type = f.value; break;
		case CRIU_RESP_SUCCESS: ret->success = f.value; break;
		case CRIU_RESP_ERRNO: ret->code = f.value; break;
		case CRIU_RESP_MESSAGE: copy_text(ret->message, sizeof(ret->message), &f.bytes); break;
		case CRIU_RESP_RESTORE: r = read_part(f.bytes, 1, ret); break;
		case CRIU_RESP_NOTIFY: r = read_part(f.bytes, CRIU_NOTIFY_PID, ret); break;
		default: break; /* of a newer criu */
		}
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- the conversation */

static int send_request(int sock, const struct criu_request *request)
{
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT;
	struct strbuf options = STRBUF_INIT;

	put_options(&options, request);
	criu_put_number(&packet, REQ_TYPE, (uint64_t)request->verb);
	put_message(&packet, REQ_OPTS, &options);
	return packet.error ? packet.error : send_fds(sock, packet.data, packet.len, NULL, 0);
}

static int acknowledge(int sock, bool success)
{
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT;

	criu_put_number(&packet, REQ_TYPE, CRIU_TYPE_NOTIFY);
	criu_put_number(&packet, REQ_NOTIFY_SUCCESS, success);
	return packet.error ? packet.error : send_fds(sock, packet.data, packet.len, NULL, 0);
}

static int explain(const struct criu_request *request, const struct answer *a, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_FAILED, -EIO, "criu could not %s it%s%s",
	        request->verb == CRIU_RESTORE ? "restore" : "dump", *a->message ? ": " : "", a->message);
}

static int converse(int sock, const struct criu_request *request, criu_notify_fn notify, void *userdata,
        pid_t *ret_pid, struct ct_error *err)
{
	static char packet[PACKET_MAX];
	int refused = 0;

	for (;;) {
		struct answer a;
		int fds[1] = { -1 };
		size_t n_fds = 1;
		ssize_t n = recv_fds(sock, packet, sizeof(packet), fds, &n_fds);
		_cleanup_close_ int fd = n > 0 && n_fds ? fds[0] : -1;
		int r = n > 0 ? read_answer(packet, (size_t)n, &a) : 0;

		if (n <= 0 || r < 0)
			return refused < 0
			               ? refused
			               : ct_error_kind_set(err, CT_ERROR_FAILED, -EIO,
			                         "criu ended in the middle of its work (dmesg says if the kernel killed it for want of memory)");
		if (a.type != CRIU_TYPE_NOTIFY) {
			if (refused < 0)
				return refused;
			if (!a.success)
				return explain(request, &a, err);
			if (ret_pid)
				*ret_pid = (pid_t)a.pid;
			return 0;
		}
		if (refused == 0 && notify) {
			struct criu_notice notice = { a.script, a.message, (pid_t)a.pid, TAKE_FD(fd) };

			refused = notify(&notice, userdata, err);
			fd = notice.fd;
		}
		r = acknowledge(sock, refused >= 0);
		if (r < 0)
			return ct_error_set(err, r, "criu", "cannot answer criu: %s", strerror(-r));
	}
}

int criu_tools_open(char **ret, struct ct_error *err)
{
	char path[4096], *end;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int fd;

	path[n > 0 ? n : 0] = '\0';
	end = strrchr(path, '/');
	if (end)
		*end = '\0';
	fd = end ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return ct_error_set(err, -ENOENT, "criu", "cannot tell where ct-worker is");
	*ret = strdup(path);
	if (*ret)
		return fd;
	(void)fd_close(fd);
	return ct_error_set(err, -ENOMEM, "criu", "out of memory");
}

int criu_talk(int sock, const struct criu_request *request, criu_notify_fn notify, void *userdata,
        pid_t *ret_pid, struct ct_error *err)
{
	int r = send_request(sock, request);

	if (r < 0)
		return ct_error_set(err, r, "criu", "cannot ask criu: %s", strerror(-r));
	return converse(sock, request, notify, userdata, ret_pid, err);
}

/* Its pidfd. */
static int start(struct keeper_client *keeper, const struct criu_request *request, int theirs, int mntns,
        struct ct_error *err)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	_cleanup_close_ int program_fd = openat(request->tools_fd, "ct-criu", O_PATH | O_CLOEXEC);
	char uid[16];
	const char *const argv[] = { "ct-criu", uid, request->tools, request->modules ?: "", request->base,
		NULL };
	const struct keeper_program program = {
		.argv = argv, .program_fd = program_fd, .mntns_fd = mntns, .third_fd = theirs
	};
	int r;

	if (program_fd < 0)
		return ct_error_set(
		        err, -errno, "criu", "cannot open what criu starts with: %s", strerror(errno));
	(void)snprintf(uid, sizeof(uid), "%u", request->owner_uid); /* fits */
	r = keeper_client_run(keeper, request->key, &program, keeper_reply_store, &reply);
	r = r < 0 ? ct_error_set(err, r, "criu", "cannot ask ct-keeper: %s", strerror(-r))
	          : keeper_client_wait(keeper, &reply, err);
	return r < 0 ? r : TAKE_FD(reply.pidfd);
}

/* The keeper takes notice of its end a moment after the pidfd does. */
static void forget(struct keeper_client *keeper, const char *key)
{
	for (int i = 0; i < FORGET_TRIES; i++) {
		_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
		int r = keeper_client_forget(keeper, key, keeper_reply_store, &reply);

		if (r < 0 || keeper_client_wait(keeper, &reply, NULL) != -EBUSY)
			return;
		(void)usleep(FORGET_PAUSE_USEC);
	}
}

/* One that an earlier keeper started has nobody any more who would be the parent of what it restores. */
static bool is_known(struct keeper_client *keeper, const char *key)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	return keeper_client_pidfd(keeper, key, keeper_reply_store, &reply) >= 0 &&
	       keeper_client_wait(keeper, &reply, NULL) >= 0;
}

/* The same, of one that was started ahead, or else anew. */
static int begin(
        struct keeper_client *keeper, const struct criu_request *request, int theirs, struct ct_error *err)
{
	_cleanup_close_ int mntns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	const struct criu_spare_task task = {
		.sock = theirs,
		.mntns_fd = mntns,
		.images_fd = request->images_fd,
		.owner_uid = request->owner_uid,
		.base = request->base,
	};

	if (mntns < 0)
		return ct_error_set(
		        err, -errno, "criu", "cannot open its mount namespace: %s", strerror(errno));
	if (!request->spare || request->spare->pidfd < 0)
		return start(keeper, request, theirs, mntns, err);
	if (is_known(keeper, request->key) && criu_spare_go(request->spare, &task) >= 0)
		return TAKE_FD(request->spare->pidfd);
	criu_spare_done(request->spare);
	forget(keeper, request->key);
	return start(keeper, request, theirs, mntns, err);
}

int criu_run(struct keeper_client *keeper, const struct criu_request *request, criu_notify_fn notify,
        void *userdata, pid_t *ret_pid, struct ct_error *err)
{
	_cleanup_close_ int ours = -1, theirs = -1, pidfd = -1;
	struct pollfd end = { .events = POLLIN };
	int pair[2], r;

	/* criu asks the socket who made it, and obeys root alone. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return ct_error_set(
		        err, -errno, "criu", "cannot make a pair of sockets: %s", strerror(errno));
	ours = pair[0];
	theirs = pair[1];

	r = pidfd = begin(keeper, request, theirs, err);
	if (r < 0)
		return r;
	theirs = fd_close(theirs);
	if (request->pidfd)
		*request->pidfd = pidfd;
	r = criu_talk(ours, request, notify, userdata, ret_pid, err);
	ours = fd_close(ours);

	end.fd = pidfd;
	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		; /* how it ended says no more than its answer */
	forget(keeper, request->key);
	return r;
}
