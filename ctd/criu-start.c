/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct-criu UID TOOLS MODULES [BASE]: becomes CRIU, in whose place ct-keeper starts it; that speaks through
 * fd 3.
 *
 * UID: who shall own the user namespace that criu makes (criu-owner.h). 0: root, as of a dump. "spare": it is
 * started before there is anything to ask of it (criu-inside.c).
 *
 * TOOLS: where it finds the programs first that it calls (criu-tar.c). MODULES: what it has loaded, with
 * colons between them, or "". BASE: what the programs are told of archives that went ahead.
 *
 * A container stands still until this is done, so it is static: what loads ct-worker's libraries takes as
 * long as starting CRIU.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu-owner.h"

#define SOCKET_FD  3 /* KEEPER_RUN */
#define EXIT_ERROR 127

int main(int argc, char **argv)
{
	static const char *const criu[] = { "criu", "swrk", "3", NULL };
	char *program = NULL, *path, *modules, *base;
	unsigned long owner;
	bool spare;

	if (argc != 4 && argc != 5)
		return EXIT_ERROR;
	spare = str_eq(argv[1], "spare");
	owner = strtoul(argv[1], NULL, 10); /* of criu_run */
	path = str_printf("PATH=%s:" PROCESS_SEARCH_PATH, argv[2]);
	modules = str_printf("LD_PRELOAD=%s", argv[3]);
	base = argc == 5 ? str_printf("CT_ARCHIVE_BASE=%s", argv[4]) : NULL;

	/* What is restored starts with these, and images tell nothing of what is as usual. */
	(void)setpriority(PRIO_PROCESS, 0, 0);
	(void)prctl(PR_SET_TIMERSLACK, 50000UL);
	(void)write_file_at(AT_FDCWD, "/proc/self/coredump_filter", "0x33");
	/* Killed in the middle of a dump, for want of memory, it would leave a container without network. Of
	 * what it restores nobody may have that. */
	if (owner == 0 && !spare)
		(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999");
	if (!path || !modules || (argc == 5 && !base) ||
	        process_path("criu", &program) < 0 || /* the one that was asked for its version */
	        fcntl(SOCKET_FD, F_SETFD, 0) < 0 || (owner && criu_owner_take((uid_t)owner) < 0))
		return EXIT_ERROR;
	(void)execve(program, (char *const *)criu,
	        (char *const[]){ path, (char *)"LANG=C.UTF-8", modules, base, NULL });
	return EXIT_ERROR;
}
