/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a process has ended.
 *
 * Of a child waitid(P_PIDFD) tells, and reaps it. A process that was adopted has another parent by now, the
 * host's init, which reaps it; up to Linux 6.14 the status goes to that parent alone. Since 6.15 whoever
 * holds a pidfd may ask for it (PIDFD_GET_INFO) as soon as the process is reaped, which the pidfd tells by
 * EPOLLHUP (6.9). Between its end and that moment the answer is: not yet.
 *
 * A zombie that is traced is the tracer's until that has waited for it or is gone (ptrace(2)), and while
 * there is a zombie, init of its pid namespace cannot end: a tenant that traces a command of ours and does
 * not wait would have a container that nobody can stop. So such a tracer is killed. A zombie cannot be traced
 * anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "ctd/keeper.h"

/* As in linux/pidfd.h of 6.15; older headers do not have it. */
struct exit_info {
	uint64_t mask, cgroupid;
	uint32_t ids[11];
	int32_t exit_code; /* as wait(2) gives it */
};
#define GET_EXIT_INFO  _IOWR(0xff, 11, struct exit_info)
#define EXIT_INFO_EXIT (1u << 3)

/* Exit status as a shell would say it, and the signal beside it. */
static void fill(struct keeper_process *info, int status)
{
	info->exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	info->exit_code = info->exit_signal ? 128 + info->exit_signal : WEXITSTATUS(status);
}

static int ask_exit(int pidfd, struct exit_info *ret)
{
	*ret = (struct exit_info){ .mask = EXIT_INFO_EXIT };
	return ioctl(pidfd, GET_EXIT_INFO, ret) < 0 ? -errno : 0;
}

static int reap_adopted(int pidfd, struct keeper_process *info)
{
	struct exit_info exit;
	int r = ask_exit(pidfd, &exit);

	/* Reaped between the two looks that one call takes: by the next call it has been. */
	if (r == -ESRCH)
		r = ask_exit(pidfd, &exit);
	if (r < 0)
		return r;
	if (!(exit.mask & EXIT_INFO_EXIT))
		return 0;

	fill(info, exit.exit_code);
	return 1;
}

int keeper_reap(int pidfd, struct keeper_process *info)
{
	siginfo_t how = { 0 };

	info->exit_code = -1;
	info->exit_signal = 0;
	info->exited_usec = now_realtime_usec();

	if (waitid(P_PIDFD, (id_t)pidfd, &how, WEXITED | WNOHANG) == 0) {
		if (how.si_pid == 0)
			return 0;
		info->exit_signal = how.si_code == CLD_EXITED ? 0 : how.si_status;
		info->exit_code = how.si_code == CLD_EXITED ? how.si_status : 128 + how.si_status;
		return 1;
	}
	return errno == ECHILD ? reap_adopted(pidfd, info) : -errno;
}

/* 0: nobody. */
static pid_t tracer_of(pid_t pid)
{
	static const char key[] = "\nTracerPid:";
	_cleanup_free_ char *text = NULL;
	const char *line;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid); /* fits */
	if (read_file_at(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return 0;
	line = strstr(text, key);
	return line ? (pid_t)strtol(line + sizeof(key) - 1, NULL, 10) : 0;
}

/* Somebody of the host, an administrator with a debugger, who will let go in time. */
static bool is_of_host(pid_t pid)
{
	struct stat own, other;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid); /* fits */
	return stat("/proc/self/ns/user", &own) < 0 || stat(path, &other) < 0 ||
	       (own.st_ino == other.st_ino && own.st_dev == other.st_dev);
}

bool keeper_end_tracer(pid_t pid)
{
	_cleanup_close_ int pidfd = -1;
	pid_t tracer = tracer_of(pid);

	if (tracer <= 0)
		return false;
	pidfd = (int)syscall(SYS_pidfd_open, tracer, 0);
	if (pidfd >= 0 && !is_of_host(tracer) && tracer_of(pid) == tracer)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* ESRCH: gone by itself */
	return true;
}
