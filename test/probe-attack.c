/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a hostile tenant tries, as verbs of the probe. Each line of the output is one attempt and how it
 * ended; whether that is right is for the test to say.
 */
#include "test/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int probe_syscalls(int argc, char **argv)
{
	struct clone_args clone3_args = { .exit_signal = SIGCHLD };
	char buffer[256] = { 0 };
	int pair[2];

	probe_report("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	probe_report("add_key", syscall(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_PROCESS_KEYRING));
	probe_report("bpf", syscall(SYS_bpf, 0, buffer, sizeof(buffer)));
	probe_report("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
	probe_report("userfaultfd", syscall(SYS_userfaultfd, 1));
	probe_report("io_uring_setup", syscall(SYS_io_uring_setup, 8, buffer));
	probe_report("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	probe_report("init_module", syscall(SYS_init_module, buffer, 0, ""));
	probe_report("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, 0));
	probe_report("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
	probe_report("swapon", syscall(SYS_swapon, "/", 0));
	probe_report("syslog", syscall(SYS_syslog, 3, buffer, sizeof(buffer)));
	probe_report("clone3", syscall(SYS_clone3, &clone3_args, 0));
	probe_report("unshare-user", unshare(CLONE_NEWUSER));
	probe_report("unshare-pid", unshare(CLONE_NEWPID));
	probe_report("unshare-time", unshare(CLONE_NEWTIME));
	probe_report("clone-user", syscall(SYS_clone, (unsigned long)(CLONE_NEWUSER | SIGCHLD), 0, 0, 0, 0));
	probe_report("unshare-mount", unshare(CLONE_NEWNS));
	probe_report("unshare-net", unshare(CLONE_NEWNET));
	probe_report("socketpair-inet", socketpair(AF_INET, SOCK_STREAM, 0, pair)); /* style-ok: it fails */
	probe_report("settime", clock_settime(CLOCK_REALTIME, &(struct timespec){ 0 }));
	probe_report("raise-user-limit", open("/proc/sys/user/max_inotify_instances", O_WRONLY | O_CLOEXEC));
	return 0;
}

static void try_socket(const char *name, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	probe_report(name, fd);
	if (fd >= 0)
		(void)close(fd);
}

int probe_sockets(int argc, char **argv)
{
	char name[32];
	int one = 1;

	for (int family = 0; family < 48; family++) {
		(void)snprintf(name, sizeof(name), "family-%d", family);
		try_socket(name, family, family == AF_PACKET ? SOCK_RAW : SOCK_STREAM, 0);
	}
	for (int protocol = 0; protocol < 24; protocol++) {
		(void)snprintf(name, sizeof(name), "netlink-%d", protocol);
		try_socket(name, AF_NETLINK, SOCK_RAW, protocol);
	}
	try_socket("unix-dgram", AF_UNIX, SOCK_DGRAM, 0);
	try_socket("tcp", AF_INET, SOCK_STREAM, IPPROTO_TCP);
	try_socket("udp6", AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
	try_socket("raw-icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP);
	try_socket("sctp", AF_INET, SOCK_STREAM, 132);
	try_socket("sctp-seqpacket", AF_INET, SOCK_SEQPACKET, 132);
	try_socket("dccp", AF_INET, 6, 33);
	try_socket("mptcp", AF_INET, SOCK_STREAM, 262);

	/* The kernel takes 32 bits of these arguments; a filter that compares 64 is walked around so. */
	probe_report("alg-high-bits", syscall(SYS_socket, 0x100000026UL, SOCK_SEQPACKET, 0));
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	probe_report("tcp-ulp", setsockopt(tcp, IPPROTO_TCP, TCP_ULP, "tls", 3));
	probe_report(
	        "tcp-ulp-high-bits", syscall(SYS_setsockopt, tcp, 0x100000006UL, 0x10000001fUL, "tls", 3));
	probe_report("tcp-nodelay", setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return 0;
}

int probe_terminal(int argc, char **argv)
{
	probe_report("tiocsti", ioctl(0, TIOCSTI, "x"));
	probe_report("tiocsti-high-bits", syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x"));
	probe_report("tioclinux", ioctl(0, TIOCLINUX, "\2"));
	probe_report("host-tty", open("/dev/tty1", O_RDWR | O_CLOEXEC | O_NOCTTY));
	return 0;
}

/* Undoing what the container was built with. */
int probe_mounts(int argc, char **argv)
{
	static const char *const locked[] = { "/proc/kcore", "/proc/cmdline", "/proc/kallsyms", "/proc",
		"/sys/firmware", "/sys", "/dev", "/run" };
	char name[64];

	(void)mkdir("/probe-mnt", 0755);
	for (size_t i = 0; i < sizeof(locked) / sizeof(locked[0]); i++) {
		(void)snprintf(name, sizeof(name), "umount:%s", locked[i]);
		if (access(locked[i], F_OK) == 0)
			probe_report(name, umount2(locked[i], MNT_DETACH));
	}
	probe_report("remount-dev", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RELATIME, NULL));
	probe_report("remount-sys-rw",
	        mount(NULL, "/sys", NULL,
	                MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, NULL));
	if (argc > 0)
		probe_report("remount-bind-rw",
		        mount(NULL, argv[0], NULL, MS_REMOUNT | MS_BIND | MS_RELATIME, NULL));
	probe_report("second-proc", mount("proc", "/probe-mnt", "proc", 0, NULL));
	probe_report("second-sysfs", mount("sysfs", "/probe-mnt", "sysfs", 0, NULL));
	probe_report("bind-proc", mount("/proc", "/probe-mnt", NULL, MS_BIND, NULL));
	probe_report("own-tmpfs", mount("tmpfs", "/probe-mnt", "tmpfs", 0, NULL));
	probe_report("own-umount", umount2("/probe-mnt", 0));
	probe_report("umount:/dev/shm", umount2("/dev/shm", 0));
	probe_report("host-block", mount("/dev/vda", "/probe-mnt", "ext4", 0, NULL));
	probe_report("debugfs", mount("debugfs", "/probe-mnt", "debugfs", 0, NULL));
	return 0;
}

int probe_devices(int argc, char **argv)
{
	probe_report("mknod-null", mknod("/probe-null", S_IFCHR | 0666, makedev(1, 3)));
	probe_report("mknod-disk", mknod("/probe-disk", S_IFBLK | 0666, makedev(254, 0)));
	probe_report("mknod-mem", mknod("/probe-mem", S_IFCHR | 0666, makedev(1, 1)));
	probe_report("open-null", open("/dev/null", O_RDWR | O_CLOEXEC));
	for (int i = 0; i < argc; i++)
		probe_report(argv[i], open(argv[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK));
	return 0;
}

/* ---- against those who join ---- */

/* The program of a process; without a right to it, "". */
static void program_of(const char *pid, char ret[256])
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	ssize_t n = readlink(path, ret, 255);
	ret[n > 0 ? n : 0] = '\0';
}

/* Whether the process still runs its parent's program: what has executed one of the tenant's is the tenant's.
 * An exec changes the program first, then closes fds, then lets others in, and last sets the name; so it has
 * to be asked after something was taken. */
static int is_joining(pid_t pid)
{
	char number[16], path[32], line[256] = { 0 }, program[256], own[256];

	(void)snprintf(number, sizeof(number), "%d", (int)pid);
	(void)snprintf(path, sizeof(path), "/proc/%s/comm", number);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		(void)close(fd);
	if (n <= 0 || strncmp(line, "probe", 5) == 0)
		return 0;

	program_of(number, program);
	program_of("self", own);
	return strcmp(program, own) != 0;
}

static void rob_path(pid_t pid, const char *what, int flags)
{
	char path[64], name[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)snprintf(name, sizeof(name), "robbed:%s", what);
	if (is_joining(pid))
		probe_report(name, 0);
	(void)close(fd);
}

static void rob(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0 || !is_joining(pid)) {
		if (pidfd >= 0)
			(void)close(pidfd);
		return;
	}
	(void)printf("seen %d\n", (int)pid);
	for (int fd = 0; fd < 32; fd++) {
		long got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (got >= 0 && is_joining(pid))
			probe_report("robbed:pidfd_getfd", 0);
		if (got >= 0)
			(void)close((int)got);
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && is_joining(pid))
		probe_report("robbed:ptrace", 0);
	rob_path(pid, "exe", O_RDONLY);
	rob_path(pid, "mem", O_RDWR);
	rob_path(pid, "fd", O_RDONLY | O_DIRECTORY);
	rob_path(pid, "root", O_RDONLY | O_DIRECTORY);
	(void)close(pidfd);
}

static void each_process(void (*fn)(pid_t))
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		if (pid > 1 && pid != getpid())
			fn(pid);
	}
	if (d)
		(void)closedir(d);
}

static void stop(pid_t pid)
{
	if (is_joining(pid) && kill(pid, SIGSTOP) == 0)
		(void)printf("stopped %d\n", (int)pid);
}

static int for_seconds(int argc, char **argv, void (*fn)(pid_t))
{
	time_t end = time(NULL) + (argc > 0 ? (time_t)strtol(argv[0], NULL, 10) : 5);

	while (time(NULL) <= end) {
		each_process(fn);
		(void)fflush(stdout);
	}
	return 0;
}

/* For some seconds: take what processes have that have just been cloned into the container. */
int probe_rob(int argc, char **argv)
{
	return for_seconds(argc, argv, rob);
}

/* For some seconds: stop each of them. */
int probe_stop(int argc, char **argv)
{
	return for_seconds(argc, argv, stop);
}
