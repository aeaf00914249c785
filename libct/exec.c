/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A command in a running container.
 *
 * Unlike at a start, everything in the container may be hostile by now: its processes can stop or kill the
 * one that joins them, its files can be fifos or a FUSE that never answers. So nothing that a tenant could
 * delay happens in the caller or in the helper it waits for. The helper joins by the pidfd of init (all
 * namespaces in one call, no race for a pid), stays outside the container's pid namespace, and clones the
 * child; whatever opens a path runs in the child, which the caller can abandon or kill by its pidfd.
 *
 * Not by the helper but by the child are joined: the cgroup namespace, since with nsdelegate the kernel lets
 * nobody move between cgroups of which one is outside its namespace; and the time namespace, since that
 * remaps memory the helper shares (timens_install() answers EUSERS).
 *
 * A cgroup whose controllers are enabled for its children takes no processes (systemd inside enables them):
 * then the command goes to a leaf beside systemd's own slices. It belongs to the tenant, who can only spoil
 * his own commands by it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/path.h"
#include "libct/caps.h"
#include "libct/child.h"
#include "libct/ct.h"
#include "libct/process.h"
#include "libct/spec.h"
#include "libct/sys.h"

#define EXEC_LEAF  ".ct-exec"
#define GROUPS_MAX 65536

struct execution {
	const struct ct_exec_spec *spec;
	int cgroup_fd;
	int status_parent, status_child;
	int pidfd;
	pid_t pid;
	bool cgroup_is_busy;
	struct ct_error *err;
};

/* ---- in the child ---- */

static int join_rest(const struct ct_exec_spec *spec, struct ct_error *err)
{
	if (setns(spec->init_pidfd, CLONE_NEWCGROUP) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "join", "cannot join the container's cgroup namespace: %s", sys_reason(r));
	}

	/* EINVAL: a kernel without time namespaces. EPERM: the container has none of its own, and root inside
	 * has no power over the host's, in which we are already. */
	if (setns(spec->init_pidfd, CLONE_NEWTIME) < 0 && errno != EINVAL && errno != EPERM) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "join", "cannot join the container's time namespace: %s", sys_reason(r));
	}
	return 0;
}

static int open_null_inside(struct ct_error *err)
{
	struct stat st;

	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "stdio", "cannot open \"/dev/null\" inside: %s", sys_reason(r));
	}
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return ct_error_set(err, -ENODEV, "stdio", "\"/dev/null\" inside is not the null device");

	int r = fd_set_nonblock(fd, false);
	if (r < 0)
		return ct_error_set(err, r, "stdio", "cannot use \"/dev/null\" inside: %s", sys_reason(r));
	return TAKE_FD(fd);
}

static int set_terminal(const struct ct_exec_spec *spec, int *status_fd, struct ct_error *err)
{
	int master = -1, slave = -1;

	int r = child_open_pty(AT_FDCWD, "/dev/pts/ptmx", &master, &slave, err);
	if (r < 0)
		return r;

	r = child_set_window(master, spec->rows, spec->columns, err);
	if (r < 0)
		return r;

	if (fchown(slave, spec->uid, 5) < 0) { /* group tty, as devpts was mounted with */
		r = sys_error();
		return ct_error_set(err, r, "terminal", "cannot give the terminal to user %u: %s", spec->uid,
		        sys_reason(r));
	}

	r = status_send(*status_fd, STATUS_CONSOLE, master);
	if (r < 0)
		return ct_error_set(err, r, "terminal", "cannot hand over the terminal: %s", sys_reason(r));

	const int fds[3] = { slave, slave, slave };
	r = child_set_stdio(fds, status_fd, err);
	if (r < 0)
		return r;

	if (ioctl(0, TIOCSCTTY, 0) < 0) {
		r = sys_error();
		return ct_error_set(
		        err, r, "terminal", "cannot get the controlling terminal: %s", sys_reason(r));
	}
	return 0;
}

static int set_stdio(const struct ct_exec_spec *spec, int *status_fd, struct ct_error *err)
{
	int fds[3] = { spec->stdio[0], spec->stdio[1], spec->stdio[2] }, null_fd = -1;

	if (spec->tty)
		return set_terminal(spec, status_fd, err);

	for (int i = 0; i < 3; i++) {
		if (fds[i] >= 0)
			continue;
		if (null_fd < 0)
			null_fd = open_null_inside(err);
		if (null_fd < 0)
			return null_fd;
		fds[i] = null_fd;
	}
	return child_set_stdio(fds, status_fd, err);
}

static int become_user(const struct ct_exec_spec *spec, uint64_t caps, struct ct_error *err)
{
	if (sys_setgroups(spec->n_groups, spec->groups) < 0 || sys_setresgid(spec->gid) < 0 ||
	        sys_setresuid(spec->uid) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "credentials", "cannot become user %u, group %u inside: %s",
		        spec->uid, spec->gid, sys_reason(r));
	}

	/* The kernel makes a process whose ids change as dumpable as fs.suid_dumpable says. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return caps_limit(spec->uid == 0 ? caps : 0, err);
}

/* A directory that is outside the root has a path that does not begin with a slash. */
static int enter_cwd(const char *cwd, struct ct_error *err)
{
	char path[4096];

	if (chdir(cwd) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "cwd", "cannot change to the directory \"%s\" inside: %s", cwd,
		        sys_reason(r));
	}
	if (syscall(SYS_getcwd, path, sizeof(path)) < 0 || path[0] != '/')
		return ct_error_set(
		        err, -EXDEV, "cwd", "the directory \"%s\" is not inside the container", cwd);
	return 0;
}

static int child_steps(struct execution *x, struct ct_error *err)
{
	const struct ct_exec_spec *spec = x->spec;

	int r = caps_become_root(err);
	if (r < 0)
		return r;

	r = child_begin(x->status_parent, err);
	if (r < 0)
		return r;

	const int keep[] = { x->status_child, spec->init_pidfd, spec->stdio[0], spec->stdio[1],
		spec->stdio[2] };
	r = child_keep_fds(keep, ARRAY_SIZE(keep), err);
	if (r < 0)
		return r;

	r = child_await_go(x->status_child, NULL, err);
	if (r < 0)
		return r;

	r = join_rest(spec, err);
	if (r < 0)
		return r;

	r = set_stdio(spec, &x->status_child, err);
	if (r < 0)
		return r;

	r = child_set_rlimits(spec->rlimits, spec->n_rlimits, err);
	if (r < 0)
		return r;

	uint64_t caps = spec->capabilities ? spec->capabilities : ct_capabilities_default();
	r = caps_bound(caps, err);
	if (r < 0)
		return r;

	r = spec->unconfined ? 0 : child_load_seccomp(&spec->seccomp, err);
	if (r < 0)
		return r;

	r = become_user(spec, caps, err);
	if (r < 0)
		return r;

	r = enter_cwd(spec->cwd ? spec->cwd : "/", err);
	if (r < 0)
		return r;

	const struct child_program program = {
		.argv = spec->argv,
		.env = spec->env,
		.search = true,
		.status_fd = x->status_child,
	};
	return child_execute(&program, err);
}

static _Noreturn void child_main(struct execution *x)
{
	struct ct_error error = { 0 };

	(void)child_steps(x, &error); /* it returns only when a step has failed, and the error says how */
	status_send_failed(x->status_child, &error);
	_exit(127);
}

/* ---- in the helper ---- */

static int explain_clone(struct execution *x, int code)
{
	switch (-code) {
	case EBUSY:
		x->cgroup_is_busy = true;
		return ct_error_set(x->err, code, "clone",
		        "the container's cgroup takes no process: controllers are enabled for its children");
	case EAGAIN:
		return ct_error_set(x->err, code, "clone",
		        "no process may be made in the container: its limit of processes is reached");
	case ENOMEM:
		return ct_error_set(x->err, code, "clone",
		        "no process may be made in the container: it is going down, or memory is short");
	case ENODEV: return ct_error_set(x->err, code, "clone", "the container's cgroup has been removed");
	}
	return ct_error_set(
	        x->err, code, "clone", "cannot make a process in the container: %s", sys_reason(code));
}

static int exec_helper(void *arg)
{
	struct execution *x = arg;
	const struct ct_exec_spec *spec = x->spec;
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP | CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uintptr_t)&x->pidfd,
		.cgroup = (uint64_t)x->cgroup_fd,
	};

	int r = child_raise_rlimits(spec->rlimits, spec->n_rlimits, x->err);
	if (r < 0)
		return r;

	if (setns(spec->init_pidfd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
	                                    CLONE_NEWNET) < 0) {
		r = sys_error();
		if (r == -ESRCH)
			return ct_error_set(x->err, r, "join", "the container's init has exited");
		return ct_error_set(
		        x->err, r, "join", "cannot join the container's namespaces: %s", sys_reason(r));
	}

	x->pid = sys_clone3(&args);
	if (x->pid == 0)
		child_main(x);

	return x->pid < 0 ? explain_clone(x, sys_error()) : 0;
}

/* ---- in the caller ---- */

static int open_leaf(const struct ct_exec_spec *spec, struct ct_error *err)
{
	if (mkdirat(spec->cgroup_fd, EXEC_LEAF, 0755) < 0 && errno != EEXIST) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "cgroup", "cannot make the cgroup \"" EXEC_LEAF "\": %s", sys_reason(r));
	}

	_cleanup_close_ int fd = open_beneath(spec->cgroup_fd, EXEC_LEAF, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return ct_error_set(
		        err, fd, "cgroup", "cannot open the cgroup \"" EXEC_LEAF "\": %s", sys_reason(fd));

	int r = ct_cgroup_delegate(fd, spec->base_id, spec->base_id, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int check(const struct ct_exec_spec *spec, struct ct_error *err)
{
	if (!spec)
		return ct_error_field(err, "spec", "there is no specification");

	int r = spec_check_program(spec->argv, spec->env, err);
	if (r < 0)
		return r;

	r = spec_check_confinement(&spec->seccomp, spec->unconfined, spec->base_id, err);
	if (r < 0)
		return r;

	if (spec->uid >= CT_ID_COUNT || spec->gid >= CT_ID_COUNT)
		return ct_error_field(err, spec->uid >= CT_ID_COUNT ? "uid" : "gid",
		        "ids inside are from 0 to %u", CT_ID_COUNT - 1);
	if (spec->n_groups > GROUPS_MAX || (spec->n_groups > 0 && !spec->groups))
		return ct_error_field(err, "groups", "the list of groups is missing or too long");
	if (spec->cwd && spec->cwd[0] != '/')
		return ct_error_field(err, "cwd", "\"%s\" is no absolute directory", spec->cwd);

	return spec_check_rlimits(spec->rlimits, spec->n_rlimits, err);
}

static int exec_run(struct execution *x, struct ct_process *ret)
{
	_cleanup_close_ int leaf = -1;

	int r = status_pair(&x->status_parent, &x->status_child, x->err);
	if (r < 0)
		return r;

	r = helper_run(exec_helper, x, x->err);
	if (r < 0 && x->cgroup_is_busy) {
		leaf = open_leaf(x->spec, x->err);
		if (leaf < 0)
			return leaf;

		x->cgroup_fd = leaf;
		r = helper_run(exec_helper, x, x->err);
	}
	if (r < 0)
		return r;

	x->status_child = fd_close(x->status_child);
	return process_adopt(x->pid, &x->pidfd, &x->status_parent, true, ret, x->err);
}

int ct_exec(const struct ct_exec_spec *spec, struct ct_process *ret, struct ct_error *err)
{
	if (!ret)
		return -EINVAL;

	int r = check(spec, err);
	if (r < 0)
		return r;

	struct execution x = {
		.spec = spec,
		.cgroup_fd = spec->cgroup_fd,
		.status_parent = -1,
		.status_child = -1,
		.pidfd = -1,
		.err = err,
	};
	r = exec_run(&x, ret);

	fd_close(x.status_parent);
	fd_close(x.status_child);
	fd_close(x.pidfd);
	return r;
}
