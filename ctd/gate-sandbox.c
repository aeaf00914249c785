/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What confines the gate.
 *
 * It reads what anybody sends, so it is treated as if it were taken over already. It has its listening socket
 * and its end of the pair to ctd when it comes here, and needs nothing else ever again: its root becomes an
 * empty read-only directory, its network an empty one (the socket that listens stays in the host's), its user
 * an id that nothing belongs to. The filter lets through calls on open descriptors and memory that is not to
 * be executed: no socket, no file, no process can be made, so whoever takes it over can answer scrapes and
 * ask ctd for pages.
 */
#include "ctd/gate-sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define ROOT      "/tmp" /* any directory: it is covered in our namespace only */
#define FILES_MAX 256

static int fail(struct ct_error *err, const char *what)
{
	return ct_error_set(err, -errno, "confine", "cannot confine ctd-gate: %s: %s", what, strerror(errno));
}

static int leave_host(struct ct_error *err)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0)
		return fail(err, "namespaces");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	        mount("gate", ROOT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
	                "mode=0555,size=4k,nr_inodes=1") < 0 ||
	        chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	        chdir("/") < 0)
		return fail(err, "an empty root");
	return 0;
}

static int set_limits(struct ct_error *err)
{
	static const struct {
		int resource;
		rlim_t value;
	} limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_FSIZE, 0 },
		{ RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_MEMLOCK, 0 },
		{ RLIMIT_NOFILE, FILES_MAX },
		{ RLIMIT_AS, GATE_ADDRESS_SPACE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (setrlimit(limits[i].resource, &(struct rlimit){ limits[i].value, limits[i].value }) < 0)
			return fail(err, "limits");
	return 0;
}

static int drop_privileges(uid_t id, struct ct_error *err)
{
	cap_t none;
	int r;

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0)
			return fail(err, "the bounding set");
	if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
		return fail(err, "its user");
	none = cap_init();
	r = none ? cap_set_proc(none) : -1;
	if (none)
		(void)cap_free(none); /* cannot fail with what cap_init made */
	if (r < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return fail(err, "capabilities");
	/* The death signal again: a change of user clears it. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return fail(err, "its process");
	return 0;
}

static int add_calls(scmp_filter_ctx filter)
{
	static const char *const allowed[] = { "accept4", "brk", "clock_gettime", "close", "epoll_ctl",
		"epoll_pwait", "epoll_wait", "exit", "exit_group", "fcntl", "fstat", "futex", "getpeername",
		"getrandom", "getsockname", "getsockopt", "gettimeofday", "lseek", "madvise", "munmap",
		"newfstatat", "poll", "ppoll", "pread64", "read", "recvfrom", "recvmsg", "restart_syscall",
		"rt_sigprocmask", "rt_sigreturn", "sendfile", "sendmsg", "sendto", "setsockopt", "shutdown",
		"time", "write", "writev" };
	static const char *const memory[] = { "mmap", "mprotect" };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(allowed); i++) {
		int call = seccomp_syscall_resolve_name(allowed[i]);

		if (call != __NR_SCMP_ERROR) /* not each architecture has all */
			r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
	}
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(memory); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(memory[i]), 1,
		        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mremap), 0);
	return r;
}

/* What is not allowed fails, so that a C library that looks for a time zone goes on without. */
static int filter_calls(struct ct_error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? add_calls(filter) : -ENOMEM;

	if (r >= 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	errno = -r;
	return r < 0 ? fail(err, "the filter on system calls") : 0;
}

int gate_confine(uid_t id, struct ct_error *err)
{
	int r;

	/* Before anything of ctd's: its own score is inherited. */
	(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "500"); /* not vital */
	r = leave_host(err);
	if (r >= 0)
		r = set_limits(err);
	if (r >= 0)
		r = drop_privileges(id, err);
	return r < 0 ? r : filter_calls(err);
}
