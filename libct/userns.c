/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * User namespaces, and the network namespaces they own.
 *
 * The kernel charges inotify instances, namespaces, mqueues, pending signals of a user namespace to the user
 * who made it (user.max_*, namespaces(7)). If root made them all, one tenant could use up the budget of all
 * others. So each is made by a task whose effective uid is the container's own base id.
 *
 * How: a helper keeps its capabilities over setresuid (SECBIT_NO_SETUID_FIXUP), takes the base id and clones
 * a sleeper into the new namespaces; it still has CAP_SETUID and CAP_SETGID in the parent namespace and so
 * may write the sleeper's id maps, opens the namespace files, and kills the sleeper. The sleeper shares
 * memory with two suspended processes and may therefore do nothing but sleep: all signals are blocked, so its
 * system call never returns and never writes errno.
 *
 * The fds are all that keeps the namespaces alive afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "libct/ct.h"
#include "libct/sys.h"

/* More extents than this need a map longer than the kernel takes in one write. */
#define EXTENTS_MAX 64

struct userns_job {
	uint32_t owner_uid;
	const struct ct_id_extent *extents;
	size_t n_extents;
	bool with_netns;
	int userns_fd, netns_fd;
	struct ct_error *err;
};

static _Noreturn void sleep_for_ever(const uint64_t *mask)
{
	for (;;)
		(void)syscall(
		        SYS_rt_sigsuspend, mask, sizeof(*mask)); /* with all signals blocked: until SIGKILL */
}

struct sleeper {
	uint64_t unblocked;
	pid_t parent;
};

/* It has a copy of the caller's fds: were it to outlive the caller, the caller's listening sockets would too.
 */
static int sleeper_main(void *arg)
{
	const struct sleeper *sleeper = arg;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* of a valid signal */
	if (getppid() != sleeper->parent)
		return 0;
	sleep_for_ever(&sleeper->unblocked);
}

static int write_id_maps(pid_t pid, const struct userns_job *job)
{
	char text[EXTENTS_MAX * 36], path[32];
	size_t len = 0;

	for (size_t i = 0; i < job->n_extents; i++) {
		const struct ct_id_extent *e = &job->extents[i];
		len += (size_t)snprintf(
		        text + len, sizeof(text) - len, "%u %u %u\n", e->inside, e->outside, e->count);
	}

	(void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	int r = write_file_at(AT_FDCWD, path, text);
	if (r < 0)
		return r;

	(void)snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	return write_file_at(AT_FDCWD, path, text);
}

static int open_namespace(pid_t pid, const char *name)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? sys_error() : fd;
}

/* In the helper: it dies in the network namespace that it enters here. */
static int raise_loopback(int netns_fd)
{
	_cleanup_close_ int fd = -1;
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return sys_error();

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return sys_error();

	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? sys_error() : 0;
}

static int collect_namespaces(pid_t pid, struct userns_job *job)
{
	int r = write_id_maps(pid, job);
	if (r < 0)
		return ct_error_set(job->err, r, "userns",
		        "cannot write the id maps of a new user namespace (first host id %u): %s",
		        job->extents[0].outside, sys_reason(r));

	job->userns_fd = open_namespace(pid, "user");
	if (job->userns_fd < 0)
		return ct_error_set(job->err, job->userns_fd, "userns",
		        "cannot open a new user namespace through /proc: %s", sys_reason(job->userns_fd));

	if (!job->with_netns)
		return 0;

	job->netns_fd = open_namespace(pid, "net");
	if (job->netns_fd < 0)
		return ct_error_set(job->err, job->netns_fd, "netns",
		        "cannot open a new network namespace through /proc: %s", sys_reason(job->netns_fd));

	r = raise_loopback(job->netns_fd);
	if (r < 0)
		return ct_error_set(job->err, r, "netns",
		        "cannot bring up \"lo\" in a new network namespace: %s", sys_reason(r));

	return 0;
}

static int fail_clone(struct userns_job *job, int code)
{
	switch (-code) {
	case ENOSPC:
		return ct_error_set(job->err, code, "userns",
		        "user %u may make no more namespaces: raise user.max_user_namespaces and user.max_net_namespaces",
		        job->owner_uid);
	case EINVAL:
		return ct_error_set(job->err, code, "userns",
		        "this kernel has no user namespaces or no network namespaces");
	case EPERM:
		return ct_error_set(job->err, code, "userns",
		        "not permitted to make a user namespace: the caller needs CAP_SYS_ADMIN, must not be in a chroot, and kernel.unprivileged_userns_clone or a security module must allow it");
	}
	return ct_error_set(job->err, code, "userns", "cannot make a user namespace: %s", sys_reason(code));
}

static int userns_helper(void *arg)
{
	struct userns_job *job = arg;
	_Alignas(16) char stack[4096];
	struct sleeper sleeper = { .unblocked = ~0ULL, .parent = getpid() };

	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0 || sys_setresuid(job->owner_uid) < 0)
		return ct_error_set(job->err, sys_error(), "userns",
		        "cannot become user %u: %s (CAP_SETUID and CAP_SETPCAP are needed)", job->owner_uid,
		        strerrordesc_np(errno));

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* again: it is forgotten with a change of credentials */
	int flags = CLONE_VM | CLONE_NEWUSER | (job->with_netns ? CLONE_NEWNET : 0);
	pid_t pid = clone(sleeper_main, stack + sizeof(stack), flags, &sleeper);
	if (pid < 0)
		return fail_clone(job, sys_error());

	int r = collect_namespaces(pid, job);

	(void)kill(pid, SIGKILL); /* it is our unreaped child: the pid is its */
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return r;
}

static int userns_run(struct userns_job *job)
{
	job->userns_fd = job->netns_fd = -1;

	int r = helper_run(userns_helper, job, job->err);
	if (r < 0) {
		job->userns_fd = fd_close(job->userns_fd);
		job->netns_fd = fd_close(job->netns_fd);
	}
	return r;
}

static int check_extents(const struct ct_id_extent *extents, size_t n_extents, struct ct_error *err)
{
	if (!extents || n_extents == 0 || n_extents > EXTENTS_MAX)
		return ct_error_field(err, "extents", "a user namespace takes 1 to %d id extents, not %zu",
		        EXTENTS_MAX, n_extents);

	for (size_t i = 0; i < n_extents; i++) {
		const struct ct_id_extent *e = &extents[i];
		if (e->count == 0 || e->count > UINT32_MAX - e->outside || e->count > UINT32_MAX - e->inside)
			return ct_error_field(err, "extents",
			        "the id extent %u %u %u is empty or goes past the last id", e->inside,
			        e->outside, e->count);
	}
	return 0;
}

int ct_userns_new(
        uint32_t owner_uid, const struct ct_id_extent *extents, size_t n_extents, struct ct_error *err)
{
	int r = check_extents(extents, n_extents, err);
	if (r < 0)
		return r;

	struct userns_job job = {
		.owner_uid = owner_uid,
		.extents = extents,
		.n_extents = n_extents,
		.err = err,
	};
	r = userns_run(&job);
	return r < 0 ? r : job.userns_fd;
}

static int check_base_id(uint32_t base_id, struct ct_error *err)
{
	if (base_id < CT_ID_COUNT || base_id > UINT32_MAX - 2 * CT_ID_COUNT)
		return ct_error_field(err, "base_id", "the base id must be from %u to %u, not %u",
		        CT_ID_COUNT, UINT32_MAX - 2 * CT_ID_COUNT, base_id);
	return 0;
}

int ct_idmap_userns_new(uint32_t base_id, struct ct_error *err)
{
	const struct ct_id_extent extents[] = {
		{ .inside = 0, .outside = base_id, .count = CT_ID_COUNT },
		{ .inside = CT_ID_COUNT, .outside = 0, .count = 1 },
	};

	int r = check_base_id(base_id, err);
	return r < 0 ? r : ct_userns_new(base_id, extents, ARRAY_SIZE(extents), err);
}

int ct_shell_new(uint32_t base_id, struct ct_shell *ret, struct ct_error *err)
{
	const struct ct_id_extent extent = { .inside = 0, .outside = base_id, .count = CT_ID_COUNT };

	if (!ret)
		return -EINVAL;

	int r = check_base_id(base_id, err);
	if (r < 0)
		return r;

	struct userns_job job = {
		.owner_uid = base_id,
		.extents = &extent,
		.n_extents = 1,
		.with_netns = true,
		.err = err,
	};
	r = userns_run(&job);
	if (r < 0)
		return r;

	*ret = (struct ct_shell){ .base_id = base_id, .userns_fd = job.userns_fd, .netns_fd = job.netns_fd };
	return 0;
}

void ct_shell_done(struct ct_shell *shell)
{
	if (!shell)
		return;

	shell->userns_fd = fd_close(shell->userns_fd);
	shell->netns_fd = fd_close(shell->netns_fd);
}
