/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which system calls a container has: an allow list that carries a full Debian or Ubuntu with systemd,
 * databases and web servers.
 *
 * What is on no list is answered with ENOSYS, as by a kernel that is older than the call: libraries fall
 * back. EPERM is said where a program would take ENOSYS for a broken system, and where it expects to be
 * refused (bpf, perf, modules). clone3 gets ENOSYS though it is old: its flags lie in memory that a filter
 * cannot read, and glibc then uses clone.
 *
 * Why things are refused:
 *
 * io_uring, keyrings, bpf, perf, userfaultfd: the parts of the kernel where most holes of the last years
 * were; keys are besides not charged to the memory cgroup.
 *
 * Nested user, pid, ipc, uts, cgroup, time namespaces (SYSTEM): CRIU cannot dump them, and a nested user
 * namespace opens code to users inside who are not even root there. Mount and network namespaces stay:
 * systemd's sandboxing lives on them.
 *
 * AF_ALG, VSOCK, XDP, RDS, TIPC and so on: reach, modules loaded by a socket call, page-cache bugs. SCTP,
 * DCCP, MPTCP likewise, so for IP the protocol is checked too; and NETLINK_XFRM. NETLINK_AUDIT must say
 * EPROTONOSUPPORT: PAM and sudo take that for a kernel without audit and go on.
 *
 * TCP_ULP (kernel TLS), IPsec policies by setsockopt: page-cache and lifetime bugs.
 *
 * TIOCSTI and TIOCLINUX: typing into somebody else's terminal.
 *
 * FS_IOC_GETFSMAP: where on the disk there are blocks of whom; ext4 tells everybody, of the whole file system
 * of the host, and a native directory (quota/native.c) is one of it. Encryption: keys, which are not charged,
 * and directories that can then be neither read for a move nor be looked into by an overlay.
 *
 * socketcall(socket): on 32-bit x86 its arguments lie in memory, so the list of families could be walked
 * around. Programs that old have no network.
 */
#include <asm/ioctls.h>
#include <errno.h>
#include <linux/fscrypt.h>
#include <linux/fsmap.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>

#include "libct/seccomp-policy.h"

#define SYSTEM  (1u << CT_SECCOMP_SYSTEM)
#define NESTING (1u << CT_SECCOMP_NESTING)
#define BOTH    (SYSTEM | NESTING)

#define NAMES(...)                                                                                           \
	(const char *const[])                                                                                \
	{                                                                                                    \
		__VA_ARGS__, NULL                                                                            \
	}

/* clang-format off */
static const char *const files[] = {
	"_llseek", "_newselect", "access", "cachestat", "chdir", "chmod", "chown", "chown32", "chroot", "close", "close_range",
	"copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait",
	"epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "faccessat", "faccessat2", "fadvise64", "fadvise64_64",
	"fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64",
	"fdatasync", "fgetxattr", "file_getattr", "file_setattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat",
	"fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents",
	"getdents64", "getxattr", "getxattrat", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
	"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "lchown",
	"lchown32", "lgetxattr", "link", "linkat", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek",
	"lsetxattr", "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open",
	"openat", "openat2", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "pread64", "preadv", "preadv2", "pselect6",
	"pselect6_time64", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
	"removexattr", "removexattrat", "rename", "renameat", "renameat2", "rmdir", "select", "sendfile", "sendfile64",
	"setxattr", "setxattrat", "signalfd", "signalfd4", "splice", "stat", "stat64", "statfs", "statfs64", "statx", "symlink",
	"symlinkat", "sync", "sync_file_range", "sync_file_range2", "syncfs", "tee", "truncate", "truncate64", "umask",
	"unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vmsplice", "write", "writev", NULL,
};

static const char *const mounts[] = {
	"fsconfig", "fsmount", "fsopen", "fspick", "listmount", "mount", "mount_setattr", "move_mount", "open_tree",
	"open_tree_attr", "pivot_root", "setns", "statmount", "umount", "umount2", NULL,
};

static const char *const memory[] = {
	"brk", "get_mempolicy", "madvise", "map_shadow_stack", "mbind", "membarrier", "memfd_create", "mincore", "mlock",
	"mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
	"pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise", "process_mrelease", "remap_file_pages",
	"set_mempolicy", "set_mempolicy_home_node", NULL,
};

static const char *const processes[] = {
	"alarm", "arch_prctl", "arm_fadvise64_64", "breakpoint", "cacheflush", "capget", "capset", "execve", "execveat", "exit",
	"exit_group", "fork", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake",
	"get_robust_list", "get_thread_area", "getcpu", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32",
	"getgroups", "getgroups32", "getitimer", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
	"getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid", "gettid", "getuid",
	"getuid32", "ioprio_get", "ioprio_set", "kcmp", "kill", "landlock_add_rule", "landlock_create_ruleset",
	"landlock_restrict_self", "lsm_get_self_attr", "lsm_list_modules", "nanosleep", "nice", "pause", "personality",
	"pidfd_getfd", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64", "process_vm_readv", "process_vm_writev",
	"ptrace", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
	"rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo",
	"sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
	"sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr",
	"sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "set_robust_list", "set_thread_area",
	"set_tid_address", "set_tls", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32", "setresgid", "setresgid32",
	"setresuid", "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid", "setuid", "setuid32", "sigaction",
	"sigaltstack", "signal", "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "tgkill", "times", "tkill",
	"ugetrlimit", "vfork", "wait4", "waitid", "waitpid", NULL,
};

static const char *const sockets_and_ipc[] = {
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "ipc", "listen", "mq_getsetattr",
	"mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64",
	"mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
	"semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendmmsg", "sendmsg", "sendto", "shmat",
	"shmctl", "shmdt", "shmget", "shutdown", NULL,
};

static const char *const time_and_system[] = {
	"adjtimex", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
	"clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "gettimeofday", "reboot", "setdomainname",
	"sethostname", "sysinfo", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
	"timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
	"timerfd_settime", "timerfd_settime64", "uname", "vhangup", NULL,
};

static const char *const not_permitted[] = {
	"acct", "bpf", "clock_settime", "clock_settime64", "delete_module", "fanotify_init", "fanotify_mark", "finit_module",
	"init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "lookup_dcookie", "migrate_pages", "move_pages",
	"open_by_handle_at", "perf_event_open", "quotactl", "quotactl_fd", "settimeofday", "stime", "swapoff", "swapon",
	"syslog", "userfaultfd", NULL,
};

static const char *const as_if_missing[] = {
	"add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "request_key", NULL,
};
/* clang-format on */

const struct policy_group policy_groups[] = {
	{ POLICY_ALLOW, 0, BOTH, files },
	{ POLICY_ALLOW, 0, BOTH, mounts },
	{ POLICY_ALLOW, 0, BOTH, memory },
	{ POLICY_ALLOW, 0, BOTH, processes },
	{ POLICY_ALLOW, 0, BOTH, sockets_and_ipc },
	{ POLICY_ALLOW, 0, BOTH, time_and_system },
	{ POLICY_ERRNO, EPERM, BOTH, not_permitted },
	{ POLICY_ERRNO, ENOSYS, BOTH, as_if_missing },
	{ POLICY_CLONE, 0, SYSTEM, NAMES("clone") },
	{ POLICY_UNSHARE, 0, SYSTEM, NAMES("unshare") },
	{ POLICY_ERRNO, ENOSYS, SYSTEM, NAMES("clone3") },
	{ POLICY_ALLOW, 0, NESTING, NAMES("clone", "clone3", "unshare") },
	{ POLICY_SOCKET, 0, BOTH, NAMES("socket") },
	{ POLICY_SOCKETPAIR, 0, BOTH, NAMES("socketpair") },
	{ POLICY_SOCKETCALL, 0, BOTH, NAMES("socketcall") },
	{ POLICY_SETSOCKOPT, 0, BOTH, NAMES("setsockopt") },
	{ POLICY_IOCTL, 0, BOTH, NAMES("ioctl") },
	{ 0 },
};

const struct policy_number policy_new_calls[] = {
	{ "cachestat", 451 },
	{ "fchmodat2", 452 },
	{ "map_shadow_stack", 453 },
	{ "futex_wake", 454 },
	{ "futex_wait", 455 },
	{ "futex_requeue", 456 },
	{ "statmount", 457 },
	{ "listmount", 458 },
	{ "lsm_get_self_attr", 459 },
	{ "lsm_list_modules", 461 },
	{ "mseal", 462 },
	{ "setxattrat", 463 },
	{ "getxattrat", 464 },
	{ "listxattrat", 465 },
	{ "removexattrat", 466 },
	{ "open_tree_attr", 467 },
	{ "file_getattr", 468 },
	{ "file_setattr", 469 },
	{ NULL, 0 },
};

/* AF_PACKET: dhcp clients, arping, tcpdump, in the container's own network namespace. */
const int policy_plain_families[] = { AF_UNIX, AF_PACKET, -1 };

const int policy_inet_protocols[] = { 0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6,
	IPPROTO_UDPLITE, -1 };

/* GENERIC: systemd-networkd, and with it Ubuntu's network, does not start without. */
const int policy_netlink_protocols[] = {
	NETLINK_ROUTE,
	NETLINK_SOCK_DIAG,
	NETLINK_NETFILTER,
	NETLINK_KOBJECT_UEVENT,
	NETLINK_GENERIC,
	-1,
};

const int policy_refused_socketcalls[] = { SYS_SOCKET, SYS_SOCKETPAIR, SYS_SETSOCKOPT, -1 };

const struct policy_pair policy_refused_sockopts[] = {
	{ IPPROTO_TCP, TCP_ULP },
	{ IPPROTO_IP, IP_IPSEC_POLICY },
	{ IPPROTO_IP, IP_XFRM_POLICY },
	{ IPPROTO_IPV6, IPV6_IPSEC_POLICY },
	{ IPPROTO_IPV6, IPV6_XFRM_POLICY },
	{ -1, -1 },
};

const unsigned int policy_refused_ioctls[] = { TIOCSTI, TIOCLINUX, FS_IOC_GETFSMAP,
	FS_IOC_SET_ENCRYPTION_POLICY, FS_IOC_ADD_ENCRYPTION_KEY, 0 };

/* CLONE_NEWTIME is a flag of unshare only: clone has the exit signal in these bits, and seccomp.c treats it
 * so. */
const unsigned long policy_refused_clone_flags =
        CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWCGROUP;
