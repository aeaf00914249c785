/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mmdebstrap, apt and the maintainer scripts of packages run as root, but must not be root of the host
 * (threats 16, 17).
 *
 * Two processes stand between the worker and the program:
 *
 *   guardian  in a mount namespace of its own, where all of the host is read-only, homes and /run are hidden
 * behind empty file systems, and /tmp is the build's directory. It waits, and when the worker closes its end
 * of the life pipe, on purpose or because it was killed, it kills init      first process of user, mount,
 * pid, ipc and uts namespaces. Its ids are the leased range, so the host sees an unprivileged user; the
 * mounts it has inherited are locked together and read-only for it (mount_namespaces(7)). It starts the
 * program, reaps orphans, and when it ends, the kernel ends all that is left in its pid namespace before the
 * guardian's wait returns.
 *
 * So "the guardian has ended" means that nobody can write to the build's directory any more, and it can be
 * removed. The network is the host's: packages have to come from somewhere, and apt checks signatures.
 *
 * The mounts are made before the user namespace, since in one they could be unmade. /proc is mounted anew for
 * the pid namespace where the kernel allows it: not where the host's own is partly covered, as in some
 * containers; the program then sees the host's, which shows it no more than any user.
 */
#include "ctd/worker-sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <grp.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"

#define N_IDS           65536
#define STATUS_NO_SETUP 125

static const char *const hidden[] = { "/home", "/media", "/mnt", "/root", "/run", "/srv", "/var/tmp" };

/* Only ever called in the children: the sentence goes to who reads their stderr. */
__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list ap;
	int saved = errno;

	va_start(ap, format);
	(void)fputs("E: ", stderr); /* as mmdebstrap marks errors */
	(void)vfprintf(stderr, format, ap);
	(void)fprintf(stderr, ": %s\n", strerror(saved));
	va_end(ap);
	_exit(STATUS_NO_SETUP);
}

/* fork(2) with namespaces; the child has a copy of everything, as after fork. */
static pid_t fork_into(unsigned long flags, int *ret_pidfd)
{
	return (pid_t)syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, 0, ret_pidfd, 0, 0);
}

static void hide(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return;
	if (mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m,nr_inodes=64") <
	        0)
		die("cannot hide \"%s\"", path);
}

/* The resolver's configuration is often a link into /run, which is hidden. */
static char *read_resolver(char **ret_path)
{
	char *text = NULL;

	*ret_path = realpath("/etc/resolv.conf", NULL);
	if (!*ret_path || !str_has_prefix(*ret_path, "/run/") ||
	        read_file_at(AT_FDCWD, *ret_path, 65536, &text, NULL) < 0)
		return NULL;
	return text;
}

static void restore_resolver(char *path, const char *text)
{
	_cleanup_close_ int dir = -1, root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *slash = strrchr(path, '/');

	*slash = '\0';
	dir = root < 0 ? -errno : mkdirs_in_root(root, path, 0755);
	if (dir < 0 || replace_file_at(dir, slash + 1, text, strlen(text), 0644, false) < 0)
		die("cannot write the resolver's configuration below \"%s\"", path);
}

static void set_read_only(const char *path, bool recursive)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (syscall(SYS_mount_setattr, AT_FDCWD, path, recursive ? AT_RECURSIVE : 0, &attr, sizeof(attr)) < 0)
		die("cannot make \"%s\" read-only", path);
}

static void set_writable(const char *path)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };

	if (syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0)
		die("cannot make \"%s\" writable", path);
}

static void attach(int tree_fd, const char *target)
{
	if (syscall(SYS_move_mount, tree_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("cannot mount on \"%s\"", target);
}

static int clone_tree(int dir_fd, const char *path)
{
	int fd = (int)syscall(
	        SYS_open_tree, dir_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (fd < 0)
		die("cannot bind \"%s\"", *path ? path : "the build's directory");
	return fd;
}

#define BINDS_MAX 4

/* tmp_tree: a detached mount of the build's directory. */
static void set_up_mounts(const struct sandbox_spec *spec, int tmp_tree)
{
	_cleanup_free_ char *resolver = NULL, *resolver_path = NULL;
	char target[128];
	int bind_fds[BINDS_MAX];

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("cannot make the mounts private");
	for (size_t i = 0; i < spec->n_binds; i++)
		if ((bind_fds[i] = clone_tree(AT_FDCWD, spec->binds[i].source)) < 0)
			die("cannot bind \"%s\"", spec->binds[i].source);

	resolver = read_resolver(&resolver_path);
	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
		hide(hidden[i]);
	if (resolver)
		restore_resolver(resolver_path, resolver);
	set_read_only("/", true);
	set_writable("/proc"); /* a new one may be mounted only beside one that is no stricter */
	attach(tmp_tree, "/tmp");
	(void)close(tmp_tree);

	for (size_t i = 0; i < spec->n_binds; i++) {
		(void)snprintf(target, sizeof(target), "/tmp/%s", spec->binds[i].name);
		if (mkdir(target, 0755) < 0 && errno != EEXIST)
			die("cannot make \"%s\"", target);
		attach(bind_fds[i], target);
		(void)close(bind_fds[i]);
		set_read_only(target, true);
	}
}

static void wait_byte(int fd)
{
	char byte;

	if (read_all(fd, &byte, 1) != 1)
		_exit(STATUS_NO_SETUP); /* the guardian has gone, and has said why */
}

/* It never closes its end while it lives. */
static void check_guardian(int go_fd)
{
	struct pollfd p = { .fd = go_fd };

	if (poll(&p, 1, 0) != 0)
		_exit(STATUS_NO_SETUP);
}

static int status_of(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

__attribute__((noreturn)) static void run_program(const struct sandbox_spec *spec)
{
	static const char *const search[] = { "/usr/local/bin/", "/usr/bin/", "/bin/" };
	char path[256];

	if (dup2(spec->stdout_fd, STDOUT_FILENO) < 0 || chdir("/tmp") < 0)
		die("cannot prepare for \"%s\"", spec->argv[0]);
	(void)syscall(SYS_close_range, 3, ~0U, 0); /* exec closes them as well */
	for (size_t i = 0; i < ARRAY_SIZE(search); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", search[i], spec->argv[0]);
		(void)execve(
		        path, (char *const *)spec->argv, (char *const *)spec->env); /* returns: not here */
	}
	die("cannot execute \"%s\"", spec->argv[0]);
}

/* First process of the namespaces. */
__attribute__((noreturn)) static void run_init(const struct sandbox_spec *spec, int go_fd)
{
	siginfo_t info;
	pid_t program;

	wait_byte(go_fd); /* until the ids are mapped */
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		die("cannot become root of the sandbox");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* after the change of ids, which clears it */
		die("cannot ask for a death signal");
	check_guardian(go_fd); /* it was there after that */
	(void)mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL); /* see above */

	program = fork();
	if (program < 0)
		die("cannot fork");
	if (program == 0)
		run_program(spec);
	for (;;) {
		if (waitid(P_ALL, 0, &info, WEXITED) < 0 && errno != EINTR)
			die("cannot wait");
		if (info.si_pid == program)
			_exit(status_of(&info));
	}
}

static void map_ids(pid_t pid, uint32_t base_id)
{
	static const char *const files[] = { "uid_map", "gid_map" };
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
		errno = -write_file_printf_at(AT_FDCWD, path, "0 %u %u\n", base_id, N_IDS);
		if (errno != 0)
			die("cannot map ids by \"%s\"", path);
	}
}

static void set_default_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none); /* cannot fail, as the next two */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}

/* The program's end, or the worker's. */
static int watch(int init_fd, int life_fd)
{
	struct pollfd fds[] = { { .fd = init_fd, .events = POLLIN }, { .fd = life_fd, .events = POLLIN } };
	siginfo_t info;

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno == EINTR)
		;
	if (fds[1].revents)
		(void)syscall(
		        SYS_pidfd_send_signal, init_fd, SIGKILL, NULL, 0); /* ESRCH: it has ended by itself */
	while (waitid(P_PIDFD, (id_t)init_fd, &info, WEXITED) < 0)
		if (errno != EINTR)
			die("cannot wait for the sandbox");
	return status_of(&info);
}

__attribute__((noreturn)) static void run_guardian(const struct sandbox_spec *spec, int tmp_tree, int life_fd)
{
	int go[2], init_fd = -1;
	pid_t init;

	set_default_signals();
	if (dup2(spec->stderr_fd, STDERR_FILENO) < 0)
		_exit(STATUS_NO_SETUP);
	set_up_mounts(spec, tmp_tree);
	if (pipe2(go, O_CLOEXEC) < 0)
		die("cannot make a pipe");
	init = fork_into(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, &init_fd);
	if (init < 0)
		die("cannot make namespaces for the sandbox");
	if (init == 0) {
		(void)close(go[1]);
		run_init(spec, go[0]);
	}
	(void)close(go[0]);
	(void)close(spec->stdout_fd); /* its end shall be seen when the program has it no more */
	map_ids(init, spec->base_id);
	if (write_all(go[1], "g", 1) < 0)
		die("cannot start the sandbox");
	_exit(watch(init_fd, life_fd));
}

int sandbox_start(const struct sandbox_spec *spec, struct sandbox *ret, struct ct_error *err)
{
	_cleanup_close_ int tmp_tree = -1;
	int life[2], pidfd = -1;
	pid_t pid;

	if (spec->n_binds > BINDS_MAX)
		return ct_error_set(err, -EINVAL, "sandbox", "a sandbox has at most %d binds", BINDS_MAX);
	tmp_tree = clone_tree(spec->tmp_fd, ""); /* here: in another mount namespace it would be refused */
	if (tmp_tree < 0)
		return ct_error_set(
		        err, -errno, "sandbox", "cannot bind the build's directory: %s", strerror(errno));
	if (pipe2(life, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "sandbox", "cannot make a pipe: %s", strerror(errno));
	pid = fork_into(CLONE_NEWNS, &pidfd);
	if (pid < 0) {
		int r = -errno;

		(void)close(life[0]);
		(void)close(life[1]);
		return ct_error_set(err, r, "sandbox", "cannot make a mount namespace: %s", strerror(-r));
	}
	if (pid == 0) {
		(void)close(life[1]);
		run_guardian(spec, tmp_tree, life[0]);
	}
	(void)close(life[0]);

	*ret = (struct sandbox){ .pidfd = pidfd, .life_fd = life[1] };
	return 0;
}

int sandbox_wait(struct sandbox *sandbox)
{
	int status = process_wait(sandbox->pidfd, UINT64_MAX);

	sandbox->pidfd = fd_close(sandbox->pidfd);
	sandbox->life_fd = fd_close(sandbox->life_fd);
	return status;
}

void sandbox_done(struct sandbox *sandbox)
{
	sandbox->life_fd = fd_close(sandbox->life_fd);
	if (sandbox->pidfd >= 0)
		(void)sandbox_wait(sandbox); /* killed: whatever its status */
}
