/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What confines lxcfs.
 *
 * It must enter pid namespaces and read /proc of all containers, so it keeps CAP_SYS_ADMIN, CAP_SYS_PTRACE
 * and CAP_DAC_READ_SEARCH, and CAP_SYS_CHROOT for a change of root that it makes when it starts; nothing
 * else, and nothing that it could get again. Around that: a root of its own that holds its program, its
 * libraries, /proc and /sys, all read-only, no file of a container and no socket; an empty network; a filter
 * on system calls without those that look into or signal other processes, load code into the kernel, or make
 * namespaces for users; and limits on its memory and its files. With CAP_SYS_ADMIN this keeps an lxcfs that
 * stumbles over something from doing harm; against one that was taken over by an attacker it is a fence, not
 * a wall. What a tenant can feed it is little: numbers that the kernel writes, and the name of his init's
 * cgroup.
 */
#include "ctd/view-sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"

#define ROOT      "/tmp" /* any directory: it is covered in our namespace only */
#define SOCKET_FD 3

static _Noreturn void die(const char *what)
{
	log_error("cannot confine lxcfs: %s: %s", what, strerror(errno));
	_exit(125);
}

static void bind_read_only(const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
	char target[64], link[64];
	struct stat st;
	ssize_t n;

	(void)snprintf(target, sizeof(target), ROOT "%s", path);
	if (lstat(path, &st) < 0)
		return; /* not every host has a /lib64 */
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			die(path);
		link[n] = '\0';
		if (symlink(link, target) < 0)
			die(path);
		return;
	}
	if ((mkdir(target, 0755) < 0 && errno != EEXIST) ||
	        mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		die(path);
	if (mount_setattr(AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		die(path);
}

static void make_root(void)
{
	static const char *const paths[] = { "/usr", "/lib", "/lib64", "/proc", "/sys" };

	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		die("namespaces");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("private mounts");
	if (mount("view", ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
	            "mode=0755,size=1m,nr_inodes=256") < 0)
		die("a root");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		bind_read_only(paths[i]);
	if (mkdir(ROOT "/run", 0755) < 0 || chdir(ROOT) < 0)
		die("its root");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("the change of root");
}

static void limit(int resource, rlim_t value)
{
	const struct rlimit r = { value, value };

	if (setrlimit(resource, &r) < 0)
		die("limits");
}

static void drop_capabilities(void)
{
	static const cap_value_t kept[] = { CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
		CAP_SYS_CHROOT };
	cap_t caps = cap_init();

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (cap != CAP_DAC_READ_SEARCH && cap != CAP_SYS_ADMIN && cap != CAP_SYS_PTRACE &&
		        cap != CAP_SYS_CHROOT && prctl(PR_CAPBSET_DROP, cap) < 0)
			die("the bounding set");
	if (!caps || cap_set_flag(caps, CAP_PERMITTED, ARRAY_SIZE(kept), kept, CAP_SET) < 0 ||
	        cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_SIZE(kept), kept, CAP_SET) < 0 ||
	        cap_set_proc(caps) < 0)
		die("capabilities");
	(void)cap_free(caps); /* the program follows */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("no new privileges");
}

static void filter_calls(void)
{
	static const char *const refused[] = { "acct", "add_key", "bpf", "delete_module", "fanotify_init",
		"finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
		"io_uring_register", "io_uring_setup", "iopl", "ioperm", "kexec_file_load", "kexec_load",
		"keyctl", "lookup_dcookie", "mount_setattr", "move_mount", "name_to_handle_at",
		"open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pidfd_send_signal",
		"process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl",
		"quotactl_fd", "reboot", "request_key", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
		"setdomainname", "sethostname", "swapoff", "swapon", "syslog", "tkill", "userfaultfd",
		"vhangup", NULL };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	for (const char *const *name = refused; *name && r >= 0; name++) {
		int call = seccomp_syscall_resolve_name(*name);

		if (call != __NR_SCMP_ERROR)
			r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
	}
	/* Only of this family has it any business. */
	if (r >= 0)
		r = seccomp_rule_add(
		        filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX));
	/* "Is it there" is a signal 0; between its own threads others go. */
	if (r >= 0)
		r = seccomp_rule_add(
		        filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(kill), 1, SCMP_A1(SCMP_CMP_NE, 0));
	if (r >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(tgkill), 1,
		        SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid()));
	if (r >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
		        SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	if (r >= 0)
		r = seccomp_load(filter);
	if (r < 0) {
		errno = -r;
		die("the filter");
	}
}

static _Noreturn void run(int sock, pid_t parent)
{
	static const char *const argv[] = { "lxcfs", "--enable-loadavg", "--enable-cfs",
		"--pidfile=/run/lxcfs.pid", "/dev/fd/3", NULL };
	static const char *const env[] = { "PATH=/usr/bin", "LANG=C.UTF-8", NULL };
	int null;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(125);
	/* It is talkative: what it has to say of itself is not for our log. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		die("/dev/null");
	make_root();
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 1 << 20);
	limit(RLIMIT_NOFILE, 1024);
	limit(RLIMIT_STACK, 1 << 20);
	limit(RLIMIT_AS, 1 << 30);
	drop_capabilities();
	filter_calls();
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		die("standard streams");
	if (sock == SOCKET_FD ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, SOCKET_FD) < 0)
		die("its socket");
	if (syscall(SYS_close_range, SOCKET_FD + 1, ~0U, 0) < 0)
		die("closing files");
	(void)execve("/usr/bin/lxcfs", (char *const *)argv, (char *const *)env); /* returns: it failed */
	_exit(127);
}

int view_sandbox_start(int *ret_sock, pid_t *ret_pid)
{
	const pid_t self = getpid();
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		(void)close(pair[0]);
		(void)close(pair[1]);
		return r;
	}
	if (pid == 0)
		run(pair[1], self);
	(void)close(pair[1]);
	*ret_sock = pair[0];
	*ret_pid = pid;
	return 0;
}
