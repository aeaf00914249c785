/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A helper process: what vfork is for, with a stack of its own.
 *
 * Much of what libct does changes the calling task for good: to enter a user namespace, to take another uid,
 * to move to another network namespace. So it is done in a child that dies afterwards. CLONE_VM spares the
 * copy of the page tables (17 ms from a process of 1 GB, 20 us so), CLONE_VFORK stops the caller so that two
 * tasks never run on one heap and one errno, CLONE_FILES lets what the child opens be the caller's. clone(2)
 * with a stack instead of vfork(2), because a function that vforked may not call others that return.
 *
 * Signals are blocked from before the clone until after: a handler of the caller must not run in the child,
 * in shared memory but with foreign credentials. A SIGKILL to the child alone ends it like a failure.
 *
 * A change of credentials makes the shared memory undumpable for the caller too (commit_creds() in the
 * kernel); it is so on purpose while the child runs, so that nothing may trace it, and is put back
 * afterwards.
 */
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "libct/sys.h"

#define HELPER_STACK (256 * 1024)

struct helper {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static int helper_main(void *p)
{
	struct helper *h = p;

	h->result = h->fn(h->arg);
	_exit(0);
}

/* With SIGCHLD as exit signal: a child that the helper makes with CLONE_PARENT inherits it and must be an
 * ordinary child of the caller. */
static int helper_clone_and_wait(struct helper *h)
{
	_Alignas(16) char stack[HELPER_STACK];

	pid_t pid =
	        clone(helper_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, h);
	if (pid < 0)
		return sys_error();

	/* ECHILD: the caller ignores SIGCHLD and the kernel has reaped it. The result came through memory. */
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;

	return h->result;
}

int helper_run(int (*fn)(void *arg), void *arg, struct ct_error *err)
{
	struct helper h = { .fn = fn, .arg = arg, .result = -ECANCELED };
	int saved = errno;
	sigset_t all, old;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	int dumpable = prctl(PR_GET_DUMPABLE);
	(void)prctl(PR_SET_DUMPABLE, 0); /* cannot fail with 0 */

	if (err)
		err->code = 0;
	int r = helper_clone_and_wait(&h);

	(void)prctl(PR_SET_DUMPABLE,
	        dumpable == 1); /* 2 cannot be asked for; a caller that had it stays undumpable */
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = saved;

	if (r < 0 && err && err->code == 0)
		return ct_error_set(err, r, "helper", "cannot run a helper process: %s", sys_reason(r));
	return r;
}
