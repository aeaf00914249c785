/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a process has ended.
 *
 * Of a child waitid(P_PIDFD) tells, and reaps it. A process that was adopted has another parent by now, the
 * host's init, which reaps it; up to Linux 6.14 the status goes to that parent alone. Since 6.15 whoever
 * holds a pidfd may ask for it (PIDFD_GET_INFO) as soon as the process is reaped, which the pidfd tells by
 * EPOLLHUP (6.9). Between its end and that moment the answer is: not yet.
 */
#include <errno.h>
#include <linux/ioctl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base/clock.h"
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

static int reap_adopted(int pidfd, struct keeper_process *info)
{
	struct exit_info exit = { .mask = EXIT_INFO_EXIT };

	if (ioctl(pidfd, GET_EXIT_INFO, &exit) < 0)
		return -errno;
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
