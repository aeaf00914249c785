/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct-criu UID TOOLS: becomes CRIU, in whose place ct-keeper starts it; that speaks through fd 3.
 *
 * UID: the user namespace that criu makes shall belong to this id of the tenant's, not to root: the kernel
 * charges what is counted for each user to the effective uid of who makes it. So we take the id for good, and
 * keep all capabilities, also over the exec of criu (ambient). 0: root, as of a dump.
 *
 * TOOLS: where it finds the programs first that it calls (criu-tar.c).
 *
 * A container stands still until this is done, so it is static: what loads ct-worker's libraries takes as
 * long as starting CRIU.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"

#define SOCKET_FD  3 /* KEEPER_RUN */
#define EXIT_ERROR 127

static int take_owner(uid_t uid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return -1;
	for (unsigned long cap = 0; cap < 64; cap++)
		if (data[cap / 32].permitted & 1u << (cap % 32) &&
		        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -1;
	return prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0 || setresuid(uid, uid, uid) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	static const char *const criu[] = { "criu", "swrk", "3", NULL };
	char *program = NULL, *path;
	unsigned long owner;

	if (argc != 3)
		return EXIT_ERROR;
	owner = strtoul(argv[1], NULL, 10); /* of criu_run */
	path = str_printf("PATH=%s:" PROCESS_SEARCH_PATH, argv[2]);

	/* What is restored starts with these, and images tell nothing of what is as usual. */
	(void)setpriority(PRIO_PROCESS, 0, 0);
	/* Killed in the middle of a dump, for want of memory, it would leave a container without network. Of
	 * what it restores nobody may have that. */
	if (owner == 0)
		(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999");
	if (!path || process_path("criu", &program) < 0 || /* the one that was asked for its version */
	        fcntl(SOCKET_FD, F_SETFD, 0) < 0 || (owner && take_owner((uid_t)owner) < 0))
		return EXIT_ERROR;
	(void)execve(program, (char *const *)criu, (char *const[]){ path, (char *)"LANG=C.UTF-8", NULL });
	return EXIT_ERROR;
}
