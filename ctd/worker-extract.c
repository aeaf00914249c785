/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* extract_archive in a child.
 *
 * The archive was written by a program that we do not trust, and is read by a large library. The reader
 * therefore has only the capabilities that it takes to give files owners, modes and file capabilities, no way
 * to get more (no_new_privs), and no fd but the archive, the empty root, and the pipe for its answer. What an
 * archive may make it keep in memory (directories, maps of holes, a decompressor's window) is bounded. It is
 * killed when the worker dies.
 */
#include "ctd/worker-extract.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/worker-main.h"

#define MEMORY_MAX (1ULL << 30)

struct answer {
	int result;
	struct ct_error error;
	struct extract_result extracted;
};

static int drop_privileges(struct ct_error *err)
{
	static const int kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (setrlimit(RLIMIT_DATA, &(struct rlimit){ MEMORY_MAX, MEMORY_MAX }) < 0)
		return ct_error_set(err, -errno, "extract", "cannot bound the memory: %s", strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		data[0].permitted |= 1u << kept[i]; /* all of them are below 32 */
		data[0].effective |= 1u << kept[i];
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, data) < 0)
		return ct_error_set(err, -errno, "extract", "cannot give up privileges: %s", strerror(errno));
	return 0;
}

/* Leaves archive as 0, root as 3, the pipe as 4. */
static int keep_fds(int archive_fd, int root_fd, int result_fd)
{
	int archive = fd_move_above(archive_fd, 10), root = fd_move_above(root_fd, 10),
	    result = fd_move_above(result_fd, 10);

	if (archive < 0 || root < 0 || result < 0 || dup2(archive, 0) < 0 || dup3(root, 3, O_CLOEXEC) < 0 ||
	        dup3(result, 4, O_CLOEXEC) < 0 || dup2(2, 1) < 0)
		return -EBADF;
	return syscall(SYS_close_range, 5, ~0U, 0) < 0 ? -errno : 0;
}

__attribute__((noreturn)) static void run(
        int archive_fd, int root_fd, const struct extract_options *given, int result_fd, pid_t parent)
{
	struct extract_options options = *given;
	struct answer answer = { 0 };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
	        keep_fds(archive_fd, root_fd, result_fd) < 0)
		_exit(EXIT_FAILURE);
	options.skip_devices = true;
	answer.result = drop_privileges(&answer.error);
	if (answer.result >= 0)
		answer.result = extract_archive(0, 3, &options, &answer.extracted, &answer.error);
	_exit(write_all(4, &answer, sizeof(answer)) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int extractor_start(int archive_fd, int root_fd, const struct extract_options *options, struct extractor *ret,
        struct ct_error *err)
{
	pid_t parent = getpid(), pid;
	int fds[2], pidfd = -1;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "extract", "cannot make a pipe: %s", strerror(errno));
	pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0); /* a fork with a pidfd */
	if (pid == 0)
		run(archive_fd, root_fd, options, fds[1], parent);
	(void)close(fds[1]);
	if (pid < 0) {
		int r = -errno;

		(void)close(fds[0]);
		return ct_error_set(err, r, "extract", "cannot fork: %s", strerror(-r));
	}

	*ret = (struct extractor){ .pidfd = pidfd, .result_fd = fds[0] };
	return 0;
}

int extractor_wait(struct extractor *extractor, struct extract_result *ret, struct ct_error *err)
{
	struct answer answer;
	ssize_t n = read_all(extractor->result_fd, &answer, sizeof(answer));
	int status = process_wait(extractor->pidfd, UINT64_MAX);

	extractor->pidfd = fd_close(extractor->pidfd);
	extractor->result_fd = fd_close(extractor->result_fd);
	if (status != 0 || n != sizeof(answer))
		return ct_error_set(err, -EIO, "extract",
		        "the process that unpacks the archive ended with status %d", status);
	if (answer.result < 0) {
		if (err)
			*err = answer.error;
		return answer.result;
	}
	*ret = answer.extracted;
	return 0;
}

void extractor_done(struct extractor *extractor)
{
	if (extractor->pidfd >= 0) {
		(void)syscall(
		        SYS_pidfd_send_signal, extractor->pidfd, SIGKILL, NULL, 0); /* ESRCH: it has ended */
		(void)process_wait(extractor->pidfd, UINT64_MAX);                   /* killed */
	}
	extractor->pidfd = fd_close(extractor->pidfd);
	extractor->result_fd = fd_close(extractor->result_fd);
}

int extractor_run(int archive_fd, int root_fd, const struct extract_options *options, struct ct_error *err)
{
	struct extractor extractor = EXTRACTOR_INIT;
	struct extract_result extracted;
	int r;

	r = extractor_start(archive_fd, root_fd, options, &extractor, err);
	if (r < 0)
		return r;

	struct pollfd fds[] = { { .fd = extractor.pidfd, .events = POLLIN },
		{ .fd = worker_stop_fd(), .events = POLLIN } };

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno == EINTR)
		;
	r = worker_check(err);
	if (r >= 0)
		r = extractor_wait(&extractor, &extracted, err);
	extractor_done(&extractor);
	return r;
}
